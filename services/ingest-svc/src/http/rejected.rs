//! `GET /v1/rejected/{tenant}`: what was refused, so that a producer's fault can be found and its
//! events sent again.

use super::answer;
use super::held::hold;
use super::take::flow;
use crate::Ingest;
use crate::queue::Unstored;
use crate::shares::Size;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::identity;
use aevon_core::time::Timestamp;
use aevon_schema::StoreError;
use aevon_schema::rejected_events::{self, Filter, Stored};
use aevon_service::auth::Scope;
use aevon_service::openapi::{ByStatus, problems_of_route};
use aevon_service::problem::{Code, Problem, ProblemItem};
use aevon_service::request::{Listed, Page, Parameters, cursor, invalid, path_part};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use std::time::Duration;
use utoipa::{IntoResponses, ToSchema};

/// Events of a page, unless the caller says.
const PAGE: usize = 100;
/// Most events of a page.
const MAX_PAGE: usize = 1_000;
/// Bytes of bodies after which a page ends.
const PAGE_BYTES: usize = 1024 * 1024;
/// How long a page may take.
const BUDGET: Duration = Duration::from_secs(10);

/// What was refused: an event, or a body as a whole.
#[derive(Serialize, ToSchema)]
#[schema(as = Rejected)]
struct Item<'a> {
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    request_id: &'a str,
    /// One of the codes of problems.
    code: &'a str,
    /// Its place in the array that was sent.
    #[schema(required)]
    index: Option<i32>,
    /// The event's, where it could be read.
    #[schema(required)]
    id: Option<&'a str>,
    /// Each fault.
    #[schema(value_type = Vec<ProblemItem>)]
    errors: &'a RawValue,
    #[schema(required)]
    content_type: Option<&'a str>,
    /// What was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    body: Option<&'a str>,
    /// Instead of `body`, where that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    body_base64: Option<String>,
    /// How many bytes were sent, where that is known.
    #[schema(required)]
    body_bytes: Option<i64>,
    /// Whether all of them are here.
    is_body_whole: bool,
}

impl<'a> Item<'a> {
    fn new(one: &'a Stored) -> Result<Self, serde_json::Error> {
        let body = std::str::from_utf8(&one.body).ok();
        Ok(Self {
            received_at: one.received_at,
            request_id: &one.request_id,
            code: one.codes.first().map_or("", String::as_str),
            index: one.item_index,
            id: one.event_id.as_deref(),
            errors: serde_json::from_str(&one.faults)?,
            content_type: one.content_type.as_deref(),
            body,
            body_base64: body.is_none().then(|| STANDARD.encode(&one.body)),
            body_bytes: one.body_bytes,
            is_body_whole: one.body_bytes == i64::try_from(one.body.len()).ok(),
        })
    }
}

struct Problems;

impl IntoResponses for Problems {
    fn responses() -> ByStatus {
        problems_of_route(&[Code::InvalidParameter, Code::Overloaded])
    }
}

/// List what was refused
///
/// The newest first. It is written just after the answer, and kept for a while.
#[utoipa::path(
    get,
    path = "/v1/rejected/{tenant}",
    operation_id = "listRejected",
    tag = "ingest",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        ("code" = Option<String>, Query, description = "Keeps those with this code, or a fault of it.",
         example = "missing-field"),
        ("limit" = Option<usize>, Query, description = "Most items; a page also ends after 1 MiB of bodies.",
         minimum = 1, maximum = 1000, example = 100),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before.",
         min_length = 1),
    ),
    responses(
        (status = 200, description = "A page", body = Listed<Item>, example = json!({
            "items": [{
                "received_at": "2026-02-11T10:30:00.123456Z", "request_id": "order-4711",
                "code": "missing-field", "index": 0, "id": "evt-001",
                "errors": [{"field": "occurred_at", "code": "missing-field",
                            "detail": "is required"}],
                "content_type": "application/json", "body": "{\"id\":\"evt-001\"}",
                "body_bytes": 16, "is_body_whole": true
            }],
            "next": null
        })),
        Problems
    )
)]
pub(crate) async fn list(
    ingest: Data<Ingest>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let scopes = [Scope::Ingest, Scope::Read];
    let caller = ingest.auth.caller_with(&request, &scopes).await?;
    let tenant_id = path_part(&request, "tenant", 2)?;
    identity::check(&tenant_id).map_err(|fault| invalid("tenant", fault))?;
    caller.check_tenant(&tenant_id)?;
    let mut parameters = Parameters::of(&request)?;
    let code = parameters.one("code")?;
    let page: Page<i64> = parameters.page(PAGE, MAX_PAGE)?;
    parameters.finish()?;
    if let Some(code) = &code
        && !Code::ALL.iter().any(|known| known.as_str() == code)
    {
        return Err(invalid("code", format!("{code:?} is no code")));
    }
    ingest.queue.get().ok_or_else(answer::not_ready)?;
    let filter = Filter {
        tenant_id: &tenant_id,
        before: page.cursor,
        code: code.as_deref(),
        limit: page.limit,
        body_bytes: PAGE_BYTES,
    };
    let full = || answer::unstored(&Unstored::Full);
    // The page as it stands, then as it goes out, where a byte may take six.
    let mut share = ingest.answers.nothing(flow(caller.tenant()));
    if !share.grow(Size::of_bytes(2 * PAGE_BYTES)) {
        return Err(full());
    }
    let found = find(&ingest, filter)
        .await
        .map_err(|error| answer::unavailable(&error))?;
    let items: Result<Vec<Item<'_>>, _> = found.iter().map(Item::new).collect();
    let items = items.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    let last = found.last().filter(|last| last.has_next);
    let next = last.map(|last| cursor(&last.rejected_no));
    let text = serde_json::to_vec(&Listed { items, next });
    let text = text.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    if !share.grow(Size::of_bytes(text.len())) {
        return Err(full());
    }
    let answer = HttpResponse::Ok()
        .content_type("application/json")
        .body(text);
    Ok(hold(answer, share))
}

async fn find(ingest: &Ingest, filter: Filter<'_>) -> Result<Vec<Stored>, StoreError> {
    let finding = async {
        let mut connection = ingest.database.get().await?;
        rejected_events::list(&mut connection, filter).await
    };
    let found = tokio::time::timeout(BUDGET, finding).await;
    found.unwrap_or(Err(StoreError::DeadlineExceeded("listing refused events")))
}
