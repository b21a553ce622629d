//! What bodies of events look like, for the OpenAPI document. They are read in core, by hand.

use aevon_service::openapi::{ByStatus, problems_of_route};
use aevon_service::problem::Code;
use serde_json::{Map, Value};
use std::borrow::Cow;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

/// An immutable fact about a principal. (`tenant_id`, `principal_id`, `source` or none, `id`)
/// identify it for ever.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what core reads")]
pub(super) struct Event {
    /// Required with a platform key; otherwise it is the key's.
    #[schema(min_length = 1, max_length = 512)]
    tenant_id: Option<String>,
    /// Whose state it is.
    #[schema(min_length = 1, max_length = 512)]
    principal_id: String,
    #[schema(min_length = 1, max_length = 512)]
    id: String,
    /// Who names it so.
    #[schema(min_length = 1, max_length = 512)]
    source: Option<String>,
    /// What happened; names that begin with `aevon.` are reserved.
    #[schema(min_length = 1, max_length = 512)]
    r#type: String,
    /// Valid time, from year 1; at most `ingest.max_future_skew` ahead.
    #[schema(value_type = String, format = DateTime)]
    occurred_at: String,
    /// 0 asks for no schema.
    #[schema(minimum = 0, default = 0)]
    schema_version: Option<i32>,
    /// Nested up to 64 levels; numbers of up to 60 digits, exponents within ±60.
    data: Map<String, Value>,
    /// Keys that begin with `aevon.` are reserved.
    metadata: Option<Map<String, Value>>,
}

/// A CloudEvent 1.0 in structured mode. Other attributes are extensions and become metadata.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what core reads")]
pub(super) struct CloudEvent {
    #[schema(pattern = "^1\\.0$")]
    specversion: String,
    #[schema(min_length = 1, max_length = 512)]
    id: String,
    #[schema(min_length = 1, max_length = 512)]
    source: String,
    #[schema(min_length = 1, max_length = 512)]
    r#type: String,
    /// The principal.
    #[schema(min_length = 1, max_length = 512)]
    subject: String,
    /// When it occurred; the time of receipt where absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    time: Option<String>,
    /// The tenant: required with a platform key.
    #[schema(min_length = 1, max_length = 512)]
    tenantid: Option<String>,
    /// JSON, or absent.
    datacontenttype: Option<String>,
    data: Map<String, Value>,
}

/// A CloudEvent as OpenMeter's SDKs send it: `data` may be absent.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what core reads")]
pub(super) struct OpenMeterEvent {
    #[schema(pattern = "^1\\.0$")]
    specversion: String,
    #[schema(min_length = 1, max_length = 512)]
    id: String,
    #[schema(min_length = 1, max_length = 512)]
    source: String,
    #[schema(min_length = 1, max_length = 512)]
    r#type: String,
    /// The principal.
    #[schema(min_length = 1, max_length = 512)]
    subject: String,
    /// When it occurred; the time of receipt where absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    time: Option<String>,
    /// The tenant: required with a platform key.
    #[schema(min_length = 1, max_length = 512)]
    tenantid: Option<String>,
    data: Option<Map<String, Value>>,
}

/// Something, or an array of it; and what else `application/json` may hold.
fn one_or_many(name: &str) -> AnyOfBuilder {
    let array = ArrayBuilder::new()
        .items(Ref::from_schema_name(name))
        .max_items(Some(crate::MAX_BODY_EVENTS));
    AnyOfBuilder::new()
        .item(Ref::from_schema_name(name))
        .item(array)
}

/// JSON without further words.
pub(super) struct Events;

impl PartialSchema for Events {
    fn schema() -> RefOr<Schema> {
        let data = "With `ce-` headers: the data of one CloudEvent in binary mode.";
        let data = ObjectBuilder::new().description(Some(data));
        one_or_many(&Event::name()).item(data).into()
    }
}

impl ToSchema for Events {
    fn name() -> Cow<'static, str> {
        "Events".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Event::name().into_owned(), Event::schema()));
    }
}

/// JSON as OpenMeter's SDKs send it.
pub(super) struct OpenMeterEvents;

impl PartialSchema for OpenMeterEvents {
    fn schema() -> RefOr<Schema> {
        one_or_many(&OpenMeterEvent::name()).into()
    }
}

impl ToSchema for OpenMeterEvents {
    fn name() -> Cow<'static, str> {
        "OpenMeterEvents".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((
            OpenMeterEvent::name().into_owned(),
            OpenMeterEvent::schema(),
        ));
    }
}

/// What a route that takes events can refuse.
pub(super) struct EventProblems;

impl IntoResponses for EventProblems {
    fn responses() -> ByStatus {
        problems_of_route(&[
            Code::MalformedBody,
            Code::InvalidParameter,
            Code::RequestTimeout,
            Code::EventConflict,
            Code::BodyTooLarge,
            Code::EventTooLarge,
            Code::TooManyEvents,
            Code::UnsupportedMediaType,
            Code::MissingField,
            Code::UnknownField,
            Code::InvalidField,
            Code::NumberOutOfBounds,
            Code::IdentifierTooLong,
            Code::OccurredAtInFuture,
            Code::ReservedType,
            Code::UnknownSchema,
            Code::SchemaMismatch,
            Code::UnknownVoidTarget,
            Code::AlreadyVoided,
            Code::InvalidEvent,
            Code::AllRejected,
            Code::RateLimited,
            Code::Overloaded,
        ])
    }
}
