//! `GET /v1/events/{tenant}/{principal}` and `…/{id}`: a principal's events, and one of them.

use super::format::{Format, csv, insert_next, ndjson};
use super::request::{Parameters, identifier, invalid, path_identifier, range};
use super::{authorized_tenant, not_ready};
use crate::Projection;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use aevon_core::identity::partition_of;
use aevon_core::position::{Position, Version};
use aevon_core::time::Timestamp;
use aevon_schema::log::{self, Listing, Logged, Order};
use aevon_service::openapi::{ByStatus, VERSION_HEADER, problems_of_route};
use aevon_service::problem::{Code, Problem};
use aevon_service::request::{Page, cursor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::iter::once;
use std::slice;
use utoipa::{IntoResponses, ToSchema};

/// Events of a page, unless the caller says.
pub(super) const PAGE: usize = 100;
/// Most events of a page.
pub(super) const MAX_PAGE: usize = 1_000;
/// Most types that a page may be narrowed to.
const MAX_TYPES: usize = 50;

/// The orders of a list, by name.
const ORDERS: [(&str, Order); 4] = [
    ("position", Order::Position),
    ("-position", Order::PositionBack),
    ("occurred_at", Order::Occurrence),
    ("-occurred_at", Order::OccurrenceBack),
];

/// An event as the log has it.
#[derive(Serialize, ToSchema)]
#[schema(as = LoggedEvent)]
pub(super) struct Item<'a> {
    /// Its place in the log.
    #[schema(value_type = String)]
    position: Position,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    ingested_at: Timestamp,
    tenant_id: &'a str,
    principal_id: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    source: Option<&'a str>,
    r#type: &'a str,
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Timestamp,
    /// 0 where it follows no schema.
    schema_version: i32,
    #[schema(value_type = Object)]
    data: &'a RawValue,
    #[schema(value_type = Object)]
    metadata: &'a RawValue,
    /// In lists, and of one event: the position of the void that takes it out of every answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    voided_by: Option<Position>,
}

impl<'a> Item<'a> {
    fn new(tenant_id: &'a str, event: &'a Logged) -> Result<Self, Problem> {
        Ok(Self {
            position: event.position,
            ingested_at: event.ingested_at,
            tenant_id,
            principal_id: &event.principal_id,
            id: event.id(),
            source: event.source(),
            r#type: &event.event_type,
            occurred_at: event.occurred_at,
            schema_version: event.schema_version,
            data: document(&event.data)?,
            metadata: document(&event.metadata)?,
            voided_by: event.voided_by,
        })
    }

    /// What [`Item::cells`] are.
    const TITLES: [&'static str; 12] = [
        "position",
        "ingested_at",
        "tenant_id",
        "principal_id",
        "id",
        "source",
        "type",
        "occurred_at",
        "schema_version",
        "data",
        "metadata",
        "voided_by",
    ];

    fn cells(&self) -> [Cow<'_, str>; 12] {
        [
            self.position.to_string().into(),
            self.ingested_at.to_string().into(),
            self.tenant_id.into(),
            self.principal_id.into(),
            self.id.into(),
            self.source.unwrap_or_default().into(),
            self.r#type.into(),
            self.occurred_at.to_string().into(),
            self.schema_version.to_string().into(),
            self.data.get().into(),
            self.metadata.get().into(),
            self.voided_by
                .map(|by| by.to_string())
                .unwrap_or_default()
                .into(),
        ]
    }

    pub(super) fn all(tenant_id: &'a str, events: &'a [Logged]) -> Result<Vec<Self>, Problem> {
        events
            .iter()
            .map(|event| Self::new(tenant_id, event))
            .collect()
    }
}

fn document(text: &str) -> Result<&RawValue, Problem> {
    serde_json::from_str(text).map_err(|error| Problem::new(Code::Internal, error.to_string()))
}

/// A page of a principal's events.
#[derive(Serialize, ToSchema)]
#[schema(as = EventList)]
pub(super) struct Listed<'a> {
    items: Vec<Item<'a>>,
    /// What to send as `cursor` for the next page; none where this is the last.
    #[schema(required)]
    next: Option<String>,
    /// Nothing above it is listed, on any page.
    #[schema(value_type = String)]
    version: Version,
}

/// Where a page ended.
#[derive(Deserialize, Serialize)]
struct Ended {
    version: i64,
    order: String,
    at: String,
    seq: i64,
}

pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> ByStatus {
        problems_of_route(&[
            Code::InvalidParameter,
            Code::RangeReversed,
            Code::UnknownEvent,
            Code::UnknownVersion,
            Code::QueryBudgetExceeded,
        ])
    }
}

/// List the events of a principal
///
/// As of the version that the first page names: what comes in meanwhile changes no page.
#[utoipa::path(
    get,
    path = "/v1/events/{tenant}/{principal}",
    operation_id = "listEvents",
    tag = "events",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        ("principal" = String, Path, description = "The principal.", min_length = 1,
         max_length = 512, example = "user_123"),
        ("start" = Option<String>, Query, format = DateTime,
         description = "Valid time, inclusive. None: unbounded.", example = "2026-02-11T10:29:30Z"),
        ("end" = Option<String>, Query, format = DateTime,
         description = "Valid time, exclusive. None: unbounded.", example = "2026-02-12T00:00:00Z"),
        ("order" = Option<String>, Query, pattern = "^-?(position|occurred_at)$",
         description = "As they came in, or as they occurred, which reads all of the range for each \
                        page; `-` turns it round.", example = "-position"),
        ("type" = Option<Vec<String>>, Query, explode, description = "Keeps these types; repeatable.",
         example = json!(["api.request"])),
        ("limit" = Option<usize>, Query, description = "Most items; a page also ends after 2 MiB.",
         minimum = 1, maximum = 1000, example = 100),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before.",
         min_length = 1),
    ),
    responses(
        (status = 200, description = "A page", body = Listed, example = json!({
            "items": [{
                "position": "7:90210", "ingested_at": "2026-02-11T10:30:01.000017Z",
                "tenant_id": "acme", "principal_id": "user_123", "id": "evt-001",
                "type": "api.request", "occurred_at": "2026-02-11T10:30:00Z", "schema_version": 0,
                "data": {"tokens": 123, "model": "m1"}, "metadata": {}
            }],
            "next": null, "version": "7:90210"
        })),
        Problems
    )
)]
pub(crate) async fn list(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let tenant_id = authorized_tenant(&projection, &request).await?;
    let principal_id = path_identifier(&request, "principal_id", 3)?;
    let parameters = Parameters::of(&request)?;
    let format = Format::of(&request);
    listing(&projection, format, &tenant_id, principal_id, parameters).await
}

/// Read one event
#[utoipa::path(
    get,
    path = "/v1/events/{tenant}/{principal}/{id}",
    operation_id = "getEvent",
    tag = "events",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        ("principal" = String, Path, description = "The principal.", min_length = 1,
         max_length = 512, example = "user_123"),
        ("id" = String, Path, description = "The caller's id.", min_length = 1, max_length = 512,
         example = "evt-002"),
        ("source" = Option<String>, Query, description = "Its source, where it was sent with one.",
         min_length = 1, max_length = 512),
    ),
    responses(
        (status = 200, description = "The event", body = Item, example = json!({
            "position": "7:90210", "ingested_at": "2026-02-11T10:30:01.000017Z",
            "tenant_id": "acme", "principal_id": "user_123", "id": "evt-002",
            "type": "model.call", "occurred_at": "2026-02-11T10:31:00.5Z", "schema_version": 0,
            "data": {"tokens": "0.25", "model": "m2"}, "metadata": {}
        })),
        Problems
    )
)]
pub(crate) async fn get(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let tenant_id = authorized_tenant(&projection, &request).await?;
    let principal_id = path_identifier(&request, "principal_id", 3)?;
    let id = path_identifier(&request, "id", 4)?;
    let parameters = Parameters::of(&request)?;
    let format = Format::of(&request);
    one(
        &projection,
        format,
        (&tenant_id, &principal_id),
        &id,
        parameters,
    )
    .await
}

pub(super) async fn listing(
    projection: &Projection,
    format: Format,
    tenant_id: &str,
    principal_id: String,
    mut parameters: Parameters,
) -> Result<HttpResponse, Problem> {
    let types = types(&mut parameters)?;
    let range = range(&mut parameters, ["start", "end"])?;
    let name = parameters.one("order")?;
    let name = name.as_deref().unwrap_or("position");
    let order = ORDERS.iter().find(|(known, _)| *known == name);
    let (name, order) = order.copied().ok_or_else(|| {
        let known = ORDERS.map(|(name, _)| name).join(", ");
        invalid("order", format!("{name:?} is not one of {known}"))
    })?;
    let page: Page<Ended> = parameters.page(PAGE, MAX_PAGE)?;
    parameters.finish()?;
    if page
        .cursor
        .as_ref()
        .is_some_and(|ended| ended.order != name)
    {
        return Err(invalid("cursor", "is one of another order"));
    }
    let count = *projection.partitions.get().ok_or_else(not_ready)?;
    let partition = partition_of(tenant_id, &principal_id, count);
    let version = match &page.cursor {
        Some(ended) => ended.version,
        None => head(projection, partition).await?,
    };
    let after = page.cursor.map(|ended| match Timestamp::parse(&ended.at) {
        Ok(at) => Ok((at, ended.seq)),
        Err(_) => Err(invalid("cursor", "is none that this list gave")),
    });
    let listing = Listing {
        tenant_id: tenant_id.to_owned(),
        principal_id,
        partition,
        version,
        range,
        types,
        order,
        after: after.transpose()?,
        limit: page.limit,
    };
    let found = projection
        .ask(async |connection| log::list(connection, &listing).await)
        .await?;
    let last = found.events.last().filter(|_| found.is_cut);
    let next = last.map(|last| {
        cursor(&Ended {
            version,
            order: name.to_owned(),
            at: last.occurred_at.to_string(),
            seq: last.position.seq,
        })
    });
    let version = Position {
        partition,
        seq: version,
    };
    let listed = Listed {
        items: Item::all(tenant_id, &found.events)?,
        next,
        version: version.into(),
    };
    let mut response = format.ok();
    response.insert_header((VERSION_HEADER, listed.version.to_string()));
    send(
        format,
        response,
        &listed,
        &listed.items,
        listed.next.clone(),
    )
}

async fn head(projection: &Projection, partition: i32) -> Result<i64, Problem> {
    let heads = projection
        .ask(async |connection| log::heads(connection, Some(&[partition])).await)
        .await?;
    Ok(heads.first().map_or(0, |head| head.seq))
}

pub(super) async fn one(
    projection: &Projection,
    format: Format,
    (tenant_id, principal_id): (&str, &str),
    id: &str,
    mut parameters: Parameters,
) -> Result<HttpResponse, Problem> {
    let source = parameters.one("source")?;
    let source = source
        .map(|source| identifier("source", source))
        .transpose()?;
    parameters.finish()?;
    let count = *projection.partitions.get().ok_or_else(not_ready)?;
    let whose = (
        tenant_id,
        principal_id,
        partition_of(tenant_id, principal_id, count),
    );
    let found = projection
        .ask(async |connection| log::find(connection, whose, (source.as_deref(), id)).await)
        .await?;
    let of_source = source
        .as_ref()
        .map_or(String::new(), |source| format!(" of the source {source}"));
    let event = found.ok_or_else(|| {
        let detail = format!("{principal_id} has no event {id}{of_source}");
        Problem::new(Code::UnknownEvent, detail)
    })?;
    let item = Item::new(tenant_id, &event)?;
    send(format, format.ok(), &item, slice::from_ref(&item), None)
}

/// Sends events: what JSON has beside them, the next page, stands in a header of rows.
pub(super) fn send(
    format: Format,
    mut response: HttpResponseBuilder,
    whole: &impl Serialize,
    items: &[Item<'_>],
    next: Option<String>,
) -> Result<HttpResponse, Problem> {
    insert_next(&mut response, format, next.as_deref());
    Ok(match format {
        Format::Json => response.json(whole),
        Format::Ndjson => response.body(ndjson(items)?),
        Format::Csv => {
            let titles = Item::TITLES.map(Cow::from);
            response.body(csv(once(titles).chain(items.iter().map(Item::cells)))?)
        }
    })
}

pub(super) fn types(parameters: &mut Parameters) -> Result<Vec<String>, Problem> {
    let types = parameters.all("type");
    if types.len() > MAX_TYPES {
        return Err(invalid("type", format!("may be given {MAX_TYPES} times")));
    }
    types
        .into_iter()
        .map(|name| identifier("type", name))
        .collect()
}
