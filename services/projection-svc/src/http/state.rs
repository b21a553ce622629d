//! `GET /v1/state/{tenant}/{principal}`: what the log adds up to for one principal; and
//! `GET /v1/state/{tenant}`, for one, for several, or for all of a tenant's.

mod asked;
pub(crate) mod explain;
mod lines;
mod many;
mod moment;
mod problem;
mod sending;
mod shown;
pub(crate) mod verify;

use super::request::{Parameters, identifier, invalid, path_identifier};
use super::{authorized_tenant, not_ready};
use crate::Projection;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::identity::partition_of;
use aevon_core::position::Version;
use aevon_schema::state::{self, State, StateQuery};
use aevon_service::openapi::{ByStatus, problems_of_route};
use aevon_service::problem::{Code, Problem};
use aevon_service::telemetry;
pub(crate) use asked::{
    QuestionParameters, SelectionParameters, dimension, question, selected, zone,
};
pub(crate) use many::{MAX_NAMED, OfTenant};
use moment::Moment;
pub(crate) use moment::MomentParameters;
pub(crate) use problem::problem;
pub(crate) use sending::insert_version;
use sending::{Sending, erasures, of_question, rules_of};
use serde::Serialize;
pub(crate) use shown::{Estimate, RuleAnswer, StateBody, WindowValue, plain};
use std::iter::once;
use tracing::Instrument;
use tracing::field::Empty;
use utoipa::IntoResponses;

/// An answer as CSV.
const CSV: &str = "principal_id,rule,rule_version,operator,unit,window_start,window_end,group.model,\
value,event_count,skipped_count,relative_error\r\nuser_123,tokens_used,3,sum,tokens,\
2026-02-11T10:00:00Z,2026-02-11T11:00:00Z,m1,123.5,7,0,\r\n";
/// An answer as NDJSON.
const NDJSON: &str = r#"{"principal_id":"user_123","rule":"tokens_used","rule_version":3,"operator":"sum","unit":"tokens","window_start":"2026-02-11T10:00:00Z","window_end":"2026-02-11T11:00:00Z","group":{"model":"m1"},"value":"123.5","event_count":7,"skipped_count":0}
"#;

struct Problems;

impl IntoResponses for Problems {
    fn responses() -> ByStatus {
        problems_of_route(&[
            Code::InvalidParameter,
            Code::RangeReversed,
            Code::RangeRequired,
            Code::TooManyWindows,
            Code::TooManyGroups,
            Code::IncompleteVersion,
            Code::VersionOfAnotherPartition,
            Code::AsOfInFuture,
            Code::UnknownRule,
            Code::UnknownVersion,
            Code::QueryBudgetExceeded,
            Code::VersionNotVisible,
        ])
    }
}

/// Read the state of a principal
///
/// What the log adds up to, exactly, with everything that was acknowledged. Everything but `meta`
/// is a function of the request, the version and the rule versions. A principal that nobody has
/// heard of is no error: its state is empty.
#[utoipa::path(
    get,
    path = "/v1/state/{tenant}/{principal}",
    operation_id = "getState",
    tag = "state",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        ("principal" = String, Path, description = "The principal.", min_length = 1,
         max_length = 512, example = "user_123"),
        SelectionParameters,
        QuestionParameters,
        MomentParameters,
    ),
    responses(
        (status = 200, description = "The state; rows of its values, as `accept` asks",
         headers(("aevon-version" = String), ("etag" = String)),
         content(
            (StateBody = "application/json", example = json!({
            "tenant_id": "acme", "principal_id": "user_123", "start": null, "end": null,
            "granularity": "total", "timezone": "UTC", "version": "7:90210",
            "as_of": "2026-02-11T10:30:01.000017Z",
            "states": [
                {"rule": "api_requests", "rule_version": 1, "operator": "count",
                 "values": [{"window_start": null, "window_end": null, "value": "12",
                             "event_count": 12, "skipped_count": 0}]},
                {"rule": "tokens_used", "rule_version": 3, "operator": "sum", "unit": "tokens",
                 "values": [{"window_start": null, "window_end": null, "value": "123.5",
                             "event_count": 7, "skipped_count": 0}]}
            ],
            "meta": {"data_through": "2026-02-11T10:30:01.000017Z", "staleness_seconds": 0,
                     "lag_events": 12}
        })),
            (String = "text/csv", example = json!(CSV)),
            (String = "application/x-ndjson", example = json!(NDJSON)),
         )),
        (status = 304, description = "What the caller has, by `if-none-match`, is this very answer",
         headers(("aevon-version" = String), ("etag" = String))),
        Problems
    )
)]
pub(crate) async fn get(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let tenant_id = authorized_tenant(&projection, &request).await?;
    let principal_id = path_identifier(&request, "principal_id", 3)?;
    let parameters = Parameters::of(&request)?;
    answer(&projection, &request, tenant_id, principal_id, parameters).await
}

/// Read the state of a tenant
///
/// With one `principal_id` the same as the route that has it in its path, for identifiers that proxies
/// would mangle there. With several, or none, a list, whose pages are all of one version; with
/// `scope=tenant` the total of all principals.
#[utoipa::path(
    get,
    path = "/v1/state/{tenant}",
    operation_id = "getStateByParameter",
    tag = "state",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        many::ManyParameters,
        SelectionParameters,
        QuestionParameters,
        MomentParameters,
    ),
    responses(
        (status = 200, description = "The state, the total, or a page of a list; rows of its values, \
         as `accept` asks", headers(("aevon-version" = String), ("etag" = String)),
         content(
            (OfTenant = "application/json", example = json!({
            "tenant_id": "acme", "start": null, "end": null, "granularity": "total",
            "timezone": "UTC", "version": "3:17,7:90210", "as_of": "2026-02-11T10:30:01.000017Z",
            "items": [
                {"principal_id": "user_123", "states": [
                    {"rule": "tokens_used", "rule_version": 3, "operator": "sum", "unit": "tokens",
                     "values": [{"window_start": null, "window_end": null, "value": "123.5",
                                 "event_count": 7, "skipped_count": 0}]}
                ]}
            ],
            "next": null,
            "meta": {"data_through": "2026-02-11T10:30:01.000017Z", "staleness_seconds": 0,
                     "lag_events": 12}
        })),
            (String = "text/csv", example = json!(CSV)),
            (String = "application/x-ndjson", example = json!(NDJSON)),
         )),
        (status = 304, description = "What the caller has, by `if-none-match`, is this very answer",
         headers(("aevon-version" = String), ("etag" = String))),
        Problems
    )
)]
pub(crate) async fn get_by_parameter(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let tenant_id = authorized_tenant(&projection, &request).await?;
    let mut parameters = Parameters::of(&request)?;
    let mut names = parameters.all("principal_id");
    let scope = parameters.one("scope")?;
    if scope.is_some() || names.len() == 1 {
        check_no_list(&mut parameters)?;
    }
    match scope.as_deref() {
        None if names.len() == 1 => {
            let principal_id = identifier("principal_id", names.remove(0))?;
            answer(&projection, &request, tenant_id, principal_id, parameters).await
        }
        None => many::list(&projection, &request, tenant_id, names, parameters).await,
        Some("tenant") if names.is_empty() => {
            many::total(&projection, &request, tenant_id, parameters).await
        }
        Some("tenant") => Err(invalid("scope", "excludes principal_id")),
        Some(other) => Err(invalid("scope", format!("{other:?} is not tenant"))),
    }
}

/// That nothing is asked for that only a list has.
fn check_no_list(parameters: &mut Parameters) -> Result<(), Problem> {
    for name in ["order_by", "limit", "cursor"] {
        if parameters.one(name)?.is_some() {
            let reason = "is of a list, which the total of a tenant and the state of a single principal are not";
            return Err(invalid(name, reason));
        }
    }
    Ok(())
}

/// Takes the principal of a route that has it among its parameters.
fn principal(parameters: &mut Parameters) -> Result<String, Problem> {
    let principal_id = parameters.one("principal_id")?;
    let principal_id = principal_id.ok_or_else(|| invalid("principal_id", "is required here"))?;
    identifier("principal_id", principal_id)
}

/// Takes what every view of a principal's state is asked; with the number of partitions.
fn query(
    projection: &Projection,
    tenant_id: String,
    principal_id: String,
    parameters: &mut Parameters,
) -> Result<(StateQuery, i32), Problem> {
    let partitions = *projection.partitions.get().ok_or_else(not_ready)?;
    let partition = partition_of(&tenant_id, &principal_id, partitions);
    let moment = Moment::take(parameters, partition, projection.latest())?;
    let query = StateQuery {
        at: moment.at,
        min_seq: moment.min_seq,
        wait: moment.wait,
        tenant_id,
        principal_id,
        selection: asked::selection(parameters)?,
        question: question(parameters)?,
    };
    Ok((query, partitions))
}

async fn answer(
    projection: &Projection,
    request: &HttpRequest,
    tenant_id: String,
    principal_id: String,
    mut parameters: Parameters,
) -> Result<HttpResponse, Problem> {
    let sending = Sending::of(request);
    let (query, partitions) = query(projection, tenant_id, principal_id, &mut parameters)?;
    parameters.finish()?;
    let span = tracing::debug_span!(target: telemetry::WORK, "read", buckets = Empty, raw = Empty);
    let read = state::read(&projection.database, partitions, &query, projection.budget);
    let read = read.instrument(span.clone()).await;
    projection.metrics.read(&read);
    let state = read.map_err(|error| problem(&error))?;
    span.record("buckets", state.buckets);
    span.record("raw", state.raw_events);
    let answer = StateBody::new(&query, Version::from(state.position), &state);
    let mut determinants = rules_of(&answer.states);
    determinants.extend(of_question(&query.tenant_id, &query.question));
    determinants.push(query.principal_id.clone());
    determinants.push(erasures(state.erasures));
    let states = once((Some(query.principal_id.as_str()), answer.states.as_slice()));
    sending.send(
        &query.question,
        (&answer.version, determinants),
        (&answer, None),
        states,
    )
}

/// An answer as it is sent.
pub(crate) fn body<'a>(query: &'a StateQuery, state: &'a State) -> impl Serialize + use<'a> {
    StateBody::new(query, Version::from(state.position), state)
}
