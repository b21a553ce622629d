//! The routes, one file each, and what they share.

pub(crate) mod answer;
mod body;
pub(crate) mod events;
mod format;
mod held;
pub(crate) mod openmeter;
pub(crate) mod rejected;
pub(crate) mod schemas;
mod take;
mod unpack;

pub(crate) use answer::{Item, unavailable, unstored};
pub(crate) use body::Turns;
