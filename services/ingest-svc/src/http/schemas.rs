//! `GET /v1/schemas` and `POST /v1/schemas/{type}/{version}/validate`: what events are checked
//! against, and a check that stores nothing.

use super::format::Coding;
use super::held::hold;
use super::take::flow;
use super::{answer, read, receive};
use crate::queue::Unstored;
use crate::shares::Size;
use crate::{Ingest, now};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::event::{Receipt, native};
use aevon_core::schema::{Schema, SchemaCheck, SchemaKey};
use aevon_service::auth::Scope;
use aevon_service::openapi::{ByStatus, problems_of_route};
use aevon_service::problem::{Code, Problem};
use aevon_service::request::{Listed, Page, Parameters, cursor, invalid, path_part};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

const SCOPES: [Scope; 2] = [Scope::Ingest, Scope::Read];
/// Schemas of a page, unless the caller says.
const PAGE: usize = 100;
/// Most schemas of a page.
const MAX_PAGE: usize = 1_000;

/// About how many bytes an item takes.
const MAX_ITEM_BYTES: usize = 4 * 1024;

/// A schema that events can be checked against.
#[derive(Serialize, ToSchema)]
#[schema(as = EventSchema)]
struct Item<'a> {
    /// Null: the platform's.
    #[schema(required)]
    tenant_id: Option<&'a str>,
    #[serde(rename = "type")]
    event_type: &'a str,
    version: i32,
    #[schema(required)]
    title: Option<&'a str>,
    #[schema(required)]
    description: Option<&'a str>,
    /// Of its file.
    sha256: &'a str,
}

impl<'a> Item<'a> {
    fn new(key: &'a SchemaKey, schema: &'a Schema) -> Self {
        Self {
            tenant_id: key.tenant_id.as_deref(),
            event_type: &key.event_type,
            version: key.version,
            title: schema.title.as_deref(),
            description: schema.description.as_deref(),
            sha256: &schema.sha256,
        }
    }
}

struct ListProblems;

impl IntoResponses for ListProblems {
    fn responses() -> ByStatus {
        problems_of_route(&[Code::InvalidParameter, Code::Overloaded])
    }
}

/// List schemas
///
/// What the caller's events can be checked against: the platform's schemas, and its tenant's or,
/// for the platform, every tenant's.
#[utoipa::path(
    get,
    path = "/v1/schemas",
    operation_id = "listSchemas",
    tag = "ingest",
    security(("key" = [])),
    params(
        ("type" = Option<String>, Query, description = "Keeps those of this type.",
         example = "model.call"),
        ("limit" = Option<usize>, Query, description = "Most items.",
         minimum = 1, maximum = 1000, example = 100),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before.",
         min_length = 1),
    ),
    responses(
        (status = 200, description = "A page", body = Listed<Item>, example = json!({
            "items": [{"tenant_id": null, "type": "model.call", "version": 1,
                       "title": "A call of a language model", "description": null,
                       "sha256": "9c1d"}],
            "next": null
        })),
        ListProblems
    )
)]
pub(crate) async fn list(
    ingest: Data<Ingest>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = ingest.auth.caller_with(&request, &SCOPES).await?;
    let mut parameters = Parameters::of(&request)?;
    let event_type = parameters.one("type")?;
    let page: Page<(Option<String>, String, i32)> = parameters.page(PAGE, MAX_PAGE)?;
    parameters.finish()?;
    let last = page
        .cursor
        .map(|(tenant_id, event_type, version)| SchemaKey {
            tenant_id,
            event_type,
            version,
        });
    let is_shown = |(key, _): &(&SchemaKey, &Schema)| {
        let is_visible = match (&key.tenant_id, caller.tenant()) {
            (Some(owner), Some(own)) => owner == own,
            _ => true,
        };
        is_visible && event_type.as_ref().is_none_or(|one| key.event_type == *one)
    };
    let mut found = ingest.schemas.after(last.as_ref()).filter(is_shown);
    let shown: Vec<_> = found.by_ref().take(page.limit).collect();
    let next = match (shown.last(), found.next()) {
        (Some((key, _)), Some(_)) => Some(cursor(&(&key.tenant_id, &key.event_type, key.version))),
        _ => None,
    };
    let items = shown
        .into_iter()
        .map(|(key, schema)| Item::new(key, schema));
    let listed = Listed {
        items: items.collect::<Vec<_>>(),
        next,
    };
    let mut share = ingest.answers.nothing(flow(caller.tenant()));
    if !share.grow(Size::of_bytes(listed.items.len() * MAX_ITEM_BYTES)) {
        return Err(answer::unstored(&Unstored::Full));
    }
    Ok(hold(HttpResponse::Ok().json(listed), share))
}

/// That the data is valid, by this schema.
#[derive(Serialize, ToSchema)]
struct Valid<'a> {
    valid: bool,
    schema: Item<'a>,
}

struct ValidateProblems;

impl IntoResponses for ValidateProblems {
    fn responses() -> ByStatus {
        problems_of_route(&[
            Code::MalformedBody,
            Code::InvalidParameter,
            Code::RequestTimeout,
            Code::BodyTooLarge,
            Code::EventTooLarge,
            Code::UnsupportedMediaType,
            Code::InvalidField,
            Code::NumberOutOfBounds,
            Code::UnknownSchema,
            Code::SchemaMismatch,
            Code::InvalidEvent,
            Code::Overloaded,
        ])
    }
}

/// Check data against a schema
///
/// The body is the `data` of an event, and is checked as that of an event of this type and version
/// would be; nothing is stored. Faults have JSON Pointers into it.
#[utoipa::path(
    post,
    path = "/v1/schemas/{type}/{version}/validate",
    operation_id = "validateData",
    tag = "ingest",
    security(("key" = [])),
    params(
        ("type" = String, Path, description = "The type of the event.",
         min_length = 1, max_length = 512, example = "model.call"),
        ("version" = i32, Path, description = "The version of the schema.",
         minimum = 1, example = 1),
        ("tenant_id" = Option<String>, Query, description = "With a platform key: for whom.",
         min_length = 1, max_length = 512, example = "acme"),
    ),
    request_body(content = Map<String, Value>, description = "The data.",
                 content_type = "application/json", example = json!({"tokens": 1, "model": "m1"})),
    responses(
        (status = 200, description = "It is valid", body = Valid, example = json!({
            "valid": true,
            "schema": {"tenant_id": null, "type": "model.call", "version": 1,
                       "title": "A call of a language model", "description": null,
                       "sha256": "9c1d"}
        })),
        ValidateProblems
    )
)]
pub(crate) async fn validate(
    ingest: Data<Ingest>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let caller = ingest.auth.caller_with(&request, &SCOPES).await?;
    let event_type = path_part(&request, "type", 2)?;
    let version: Option<i32> = path_part(&request, "version", 3)?.parse().ok();
    let version = version
        .filter(|version| *version >= 1)
        .ok_or_else(|| invalid("version", "is no number from 1 to 2147483647"))?;
    let mut parameters = Parameters::of(&request)?;
    let named = parameters.one("tenant_id")?;
    parameters.finish()?;
    if let Some(named) = &named {
        caller.check_tenant(named)?;
    }
    receive::check_length(&request)?;
    let bytes = receive::whole(
        Coding::of(&request)?,
        payload,
        ingest.arriving.nothing(flow(caller.tenant())),
    )
    .await?;
    let schemas = SchemaCheck::new(&ingest.schemas);
    let receipt = Receipt {
        at: now(),
        tenant: caller.tenant().or(named.as_deref()),
        is_data_optional: false,
        limits: &ingest.limits,
        schemas: &schemas,
    };
    let data = read::text(&bytes)?.trim_ascii();
    let faults = native::data_faults(data, &event_type, version, &receipt);
    match ingest.schemas.find(receipt.tenant, &event_type, version) {
        Some((key, schema)) if faults.is_empty() => Ok(HttpResponse::Ok().json(Valid {
            valid: true,
            schema: Item::new(key, schema),
        })),
        _ => Err(answer::problem(&faults)),
    }
}
