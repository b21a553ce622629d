//! The routes, one file each.

mod answer;
mod body;
pub(crate) mod events;
mod format;
pub(crate) mod openmeter;
pub(crate) mod schemas;
mod unpack;

pub(crate) use answer::unavailable;
