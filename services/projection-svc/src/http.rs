//! The routes, one file each, and what they share.

use crate::Projection;
use actix_web::HttpRequest;
use aevon_core::operator::Operator;
use aevon_schema::{StoreError, with_causes};
use aevon_service::auth::Scope;
use aevon_service::problem::{Code, Problem};
use std::time::Duration;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr, Schema};
use utoipa::{Modify, ToSchema};

pub(crate) mod events;
pub(crate) mod explorer;
pub(crate) mod feed;
pub(crate) mod format;
pub(crate) mod openmeter;
pub(crate) mod principals;
pub(crate) mod request;
pub(crate) mod rules;
pub(crate) mod state;

/// The tenant of the path, if the caller may look at it.
async fn authorized_tenant(
    projection: &Projection,
    request: &HttpRequest,
) -> Result<String, Problem> {
    let caller = projection.auth.caller(request, Scope::Read).await?;
    let tenant_id = request::path_identifier(request, "tenant_id", 2)?;
    caller.check_tenant(&tenant_id)?;
    Ok(tenant_id)
}

/// When to come back after a 503.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a caller is told where the database failed.
pub(crate) fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable(_) | StoreError::DeadlineExceeded(_) | StoreError::Refused(_) => {
            unavailable(with_causes(error))
        }
        StoreError::Corrupt(_) | StoreError::InvalidUrl(_) => {
            Problem::new(Code::Internal, error.to_string())
        }
    }
}

/// What a caller is told before the database was ever reached.
pub(crate) fn not_ready() -> Problem {
    unavailable("the database was not reached yet".to_owned())
}

fn unavailable(detail: String) -> Problem {
    Problem::new(Code::DatabaseUnavailable, detail).with_retry_after(RETRY_AFTER)
}

/// What the OpenAPI document says of the routes.
#[derive(utoipa::OpenApi)]
#[openapi(
    paths(
        state::get,
        state::get_by_parameter,
        state::explain::get,
        state::explain::get_by_parameter,
        state::verify::get,
        state::verify::get_by_parameter,
        events::list,
        events::get,
        feed::follow,
        principals::list,
        rules::list,
        rules::get,
        openmeter::query,
        explorer::get
    ),
    components(schemas(state::Estimate)),
    modifiers(&Flattened)
)]
pub(crate) struct Documented;

/// The names of operators.
fn operators() -> ObjectBuilder {
    let names = Operator::ALL.map(Operator::as_str);
    let text = ObjectBuilder::new().schema_type(Type::String);
    text.enum_values(Some(names))
}

/// Fields of one schema that may stand in another, all of them or none.
struct Flattened;

impl Modify for Flattened {
    fn modify(&self, document: &mut OpenApi) {
        let schemas = &mut document.components.get_or_insert_default().schemas;
        let object = |schema: &RefOr<Schema>| match schema {
            RefOr::T(Schema::Object(object)) => Some(object.clone()),
            _ => None,
        };
        for (inner, outer) in [
            (state::RuleAnswer::name(), state::StateBody::name()),
            (state::Estimate::name(), state::WindowValue::name()),
        ] {
            let found = schemas.get(inner.as_ref()).and_then(object);
            let outer = schemas.get_mut(outer.as_ref());
            if let (Some(Object { properties, .. }), Some(RefOr::T(Schema::Object(outer)))) =
                (found, outer)
            {
                outer.properties.extend(properties);
            }
        }
        schemas.remove(state::Estimate::name().as_ref());
    }
}
