//! The routes, one file each, and what they share.

pub(crate) mod answer;
mod body;
pub(crate) mod events;
mod format;
mod held;
pub(crate) mod openmeter;
pub(crate) mod rejected;
pub(crate) mod schemas;
mod shapes;
mod take;
mod unpack;

pub(crate) use answer::{Item, unavailable, unstored};
pub(crate) use body::Turns;

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
