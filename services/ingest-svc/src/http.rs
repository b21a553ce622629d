//! The routes, one file each, and what they share.

mod answer;
pub(crate) mod events;
mod format;
mod held;
pub(crate) mod item;
pub(crate) mod openmeter;
mod read;
mod receive;
pub(crate) mod rejected;
pub(crate) mod schemas;
mod shapes;
mod take;
mod unpack;

pub(crate) use answer::{unavailable, unstored};
pub(crate) use item::Item;
pub(crate) use read::Turns;

/// What the OpenAPI document says of the routes.
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    events::post,
    openmeter::post,
    rejected::list,
    schemas::list,
    schemas::validate
))]
pub(crate) struct Documented;
