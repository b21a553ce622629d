//! `GET /v1/principals/{tenant}`: who is there.

use super::request::{Parameters, identifier, invalid};
use super::{authorized_tenant, not_ready};
use crate::Projection;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::identity::{self, IdentifierFault};
use aevon_schema::principals;
use aevon_service::openapi::{ByStatus, problems_of_route};
use aevon_service::problem::{Code, Problem};
use aevon_service::request::{Listed, Page, cursor};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// Principals of a page, unless the caller says.
const PAGE: usize = 100;
/// Most principals of a page.
const MAX_PAGE: usize = 1_000;

/// Somebody whose state can be read.
#[derive(Serialize, ToSchema)]
struct Principal {
    principal_id: String,
}

struct Problems;

impl IntoResponses for Problems {
    fn responses() -> ByStatus {
        problems_of_route(&[Code::InvalidParameter, Code::QueryBudgetExceeded])
    }
}

/// List principals
///
/// Those of whom events were sent, by identifier, byte by byte.
#[utoipa::path(
    get,
    path = "/v1/principals/{tenant}",
    operation_id = "listPrincipals",
    tag = "state",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        ("prefix" = Option<String>, Query, description = "Keeps those that begin with it.",
         max_length = 512, example = "user_"),
        ("limit" = Option<usize>, Query, description = "Most items.", minimum = 1, maximum = 1000,
         example = 100),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before.",
         min_length = 1),
    ),
    responses(
        (status = 200, description = "A page", body = Listed<Principal>, example = json!({
            "items": [{"principal_id": "user_123"}, {"principal_id": "user_124"}], "next": null
        })),
        Problems
    )
)]
pub(crate) async fn list(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let tenant_id = authorized_tenant(&projection, &request).await?;
    let mut parameters = Parameters::of(&request)?;
    let prefix = parameters.one("prefix")?.unwrap_or_default();
    match identity::check(&prefix) {
        Ok(()) | Err(IdentifierFault::Empty) => {}
        Err(fault) => return Err(invalid("prefix", fault)),
    }
    let Page {
        limit,
        cursor: after,
    } = parameters.page::<String>(PAGE, MAX_PAGE)?;
    parameters.finish()?;
    projection.partitions.get().ok_or_else(not_ready)?;
    let after = after.map(|after| identifier("cursor", after));
    let after = after.transpose()?.unwrap_or_default();
    let mut found = projection
        .ask(async |connection| {
            // One more than is asked for shows whether there is another page.
            principals::list(connection, &tenant_id, &prefix, &after, limit + 1).await
        })
        .await?;
    let is_cut = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| is_cut).map(cursor);
    let items = found
        .into_iter()
        .map(|principal_id| Principal { principal_id })
        .collect();
    Ok(HttpResponse::Ok().json(Listed { items, next }))
}
