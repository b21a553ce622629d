//! The routes, one file each.

mod answer;
mod body;
pub(crate) mod events;
mod format;
mod unpack;

pub(crate) use answer::unavailable;
