//! `GET /v1/state/{tenant}/{principal}`: what the log adds up to for one principal.

mod moment;

use super::request::{Parameters, identifier, invalid, path_identifier, range};
use super::{authorized_tenant, not_ready, store_problem};
use crate::Projection;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::identity::partition_of;
use aevon_core::json::Path;
use aevon_core::labels::Grouping;
use aevon_core::operator::Operator;
use aevon_core::position::Version;
use aevon_core::state::{Granularity, Question, TooLarge};
use aevon_core::time::Timestamp;
use aevon_schema::state::{self, RuleState, Selection, State, StateError, StateQuery};
use aevon_service::openapi::{ByStatus, problems_of_route};
use aevon_service::problem::{Code, Problem};
use aevon_service::telemetry;
use moment::Moment;
pub(crate) use moment::MomentParameters;
use serde::{Serialize, Serializer};
use tracing::Instrument;
use tracing::field::Empty;
use utoipa::{IntoResponses, ToSchema};

struct Problems;

impl IntoResponses for Problems {
    fn responses() -> ByStatus {
        problems_of_route(&[
            Code::InvalidParameter,
            Code::RangeReversed,
            Code::TooManyWindows,
            Code::TooManyGroups,
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
        ("rule" = Option<Vec<String>>, Query, explode,
         description = "A rule's name, or `name:version` to pin a version; repeatable. None: every \
                        rule that answers.",
         example = json!(["tokens_used"])),
        ("start" = Option<String>, Query, format = DateTime,
         description = "Valid time, inclusive, any microsecond. None: unbounded.",
         example = "2026-02-11T10:29:30Z"),
        ("end" = Option<String>, Query, format = DateTime,
         description = "Valid time, exclusive. None: unbounded.",
         example = "2026-02-12T00:00:00Z"),
        ("granularity" = Option<String>, Query, pattern = "^(total|1m|1h|1d)$",
         description = "One value, or windows, in UTC, cut by the range.", example = "1h"),
        ("group_by" = Option<Vec<String>>, Query, explode,
         description = "Dimensions of the rules asked for; repeatable, or separated by commas.",
         example = json!(["model"])),
        ("filter" = Option<HashMap<String, String>>, Query, style = DeepObject, explode,
         description = "`filter[dim]=label` keeps the groups with this label; repeatable. \
                        `filter[dim]` without `=` is the group without a value.",
         example = json!({"model": "m1"})),
        MomentParameters,
    ),
    responses(
        (status = 200, description = "The state", body = Answer,
         headers(("aevon-version" = String)), example = json!({
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
        Problems
    )
)]
pub(crate) async fn get(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let tenant_id = authorized_tenant(&projection, &request).await?;
    let principal_id = path_identifier(&request, "principal_id", 3)?;
    answer(
        &projection,
        tenant_id,
        principal_id,
        Parameters::of(&request)?,
    )
    .await
}

/// Read the state of any principal
///
/// The same, for identifiers that proxies would mangle in a path.
#[utoipa::path(
    get,
    path = "/v1/state/{tenant}",
    operation_id = "getStateByParameter",
    tag = "state",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        ("principal_id" = String, Query, description = "The principal.", min_length = 1,
         max_length = 512, example = "user_123"),
        ("rule" = Option<Vec<String>>, Query, explode,
         description = "A rule's name, or `name:version` to pin a version; repeatable. None: every \
                        rule that answers.",
         example = json!(["tokens_used"])),
        ("start" = Option<String>, Query, format = DateTime,
         description = "Valid time, inclusive, any microsecond. None: unbounded.",
         example = "2026-02-11T10:29:30Z"),
        ("end" = Option<String>, Query, format = DateTime,
         description = "Valid time, exclusive. None: unbounded.",
         example = "2026-02-12T00:00:00Z"),
        ("granularity" = Option<String>, Query, pattern = "^(total|1m|1h|1d)$",
         description = "One value, or windows, in UTC, cut by the range.", example = "1h"),
        ("group_by" = Option<Vec<String>>, Query, explode,
         description = "Dimensions of the rules asked for; repeatable, or separated by commas.",
         example = json!(["model"])),
        ("filter" = Option<HashMap<String, String>>, Query, style = DeepObject, explode,
         description = "`filter[dim]=label` keeps the groups with this label; repeatable. \
                        `filter[dim]` without `=` is the group without a value.",
         example = json!({"model": "m1"})),
        MomentParameters,
    ),
    responses(
        (status = 200, description = "The state", body = Answer,
         headers(("aevon-version" = String)), example = json!({
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
        Problems
    )
)]
pub(crate) async fn get_by_parameter(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let tenant_id = authorized_tenant(&projection, &request).await?;
    let mut parameters = Parameters::of(&request)?;
    let principal_id = parameters
        .one("principal_id")?
        .ok_or_else(|| invalid("principal_id", "is required here"))?;
    let principal_id = identifier("principal_id", principal_id)?;
    answer(&projection, tenant_id, principal_id, parameters).await
}

async fn answer(
    projection: &Projection,
    tenant_id: String,
    principal_id: String,
    mut parameters: Parameters,
) -> Result<HttpResponse, Problem> {
    let partitions = *projection.partitions.get().ok_or_else(not_ready)?;
    let partition = partition_of(&tenant_id, &principal_id, partitions);
    let moment = Moment::take(&mut parameters, partition, projection.latest())?;
    let query = StateQuery {
        at: moment.at,
        min_seq: moment.min_seq,
        wait: moment.wait,
        tenant_id,
        principal_id,
        selection: selection(&parameters.all("rule"))?,
        question: Question {
            range: range(&mut parameters)?,
            granularity: granularity(parameters.one("granularity")?)?,
            grouping: grouping(&mut parameters)?,
        },
    };
    parameters.finish()?;
    let span = tracing::debug_span!(target: telemetry::WORK, "read", buckets = Empty, raw = Empty);
    let read = state::read(&projection.database, partitions, &query, projection.budget);
    let read = read.instrument(span.clone()).await;
    projection.metrics.read(&read);
    let state = read.map_err(|error| problem(&error))?;
    span.record("buckets", state.buckets);
    span.record("raw", state.raw_events);
    let version = Version::from(state.position);
    let header = ("aevon-version", version.to_string());
    Ok(HttpResponse::Ok()
        .insert_header(header)
        .json(Answer::new(&query, version, &state)))
}

/// An answer as it is sent.
pub(crate) fn body<'a>(query: &'a StateQuery, state: &'a State) -> impl Serialize + use<'a> {
    Answer::new(query, Version::from(state.position), state)
}

/// `name`, or `name:version`; none is every rule that answers.
fn selection(values: &[String]) -> Result<Selection, Problem> {
    let mut selection = Selection::default();
    for value in values {
        match value.split_once(':') {
            None if value.is_empty() => return Err(invalid("rule", "must not be empty")),
            None => selection.names.push(value.clone()),
            Some((name, version)) => {
                let version = version.parse::<i32>().ok().filter(|version| *version > 0);
                let reason = || format!("{value:?} is not of the form name or name:version");
                let version = version.ok_or_else(|| invalid("rule", reason()))?;
                selection.pinned.push((name.to_owned(), version));
            }
        }
    }
    // A name with NUL is no rule's, and Postgres could not even be asked.
    match values.iter().find(|value| value.contains('\0')) {
        None => Ok(selection),
        Some(_) => Err(invalid("rule", "holds a control character")),
    }
}

fn granularity(value: Option<String>) -> Result<Granularity, Problem> {
    let Some(value) = value else {
        return Ok(Granularity::default());
    };
    let names = Granularity::NAMES;
    let found = names.iter().find(|(name, _)| *name == value);
    found.map(|(_, granularity)| *granularity).ok_or_else(|| {
        let known = names.map(|(name, _)| name).join(", ");
        invalid("granularity", format!("{value:?} is not one of {known}"))
    })
}

/// `group_by=a&group_by=b`, or `a,b`; `filter[a]=x` keeps a label, `filter[a]` the group that has
/// none.
fn grouping(parameters: &mut Parameters) -> Result<Grouping, Problem> {
    let mut grouping = Grouping::default();
    for name in parameters.all("group_by").iter().flat_map(|v| v.split(',')) {
        let path = dimension("group_by", name)?;
        if !grouping.by.contains(&path) {
            grouping.by.push(path);
        }
    }
    for (name, value) in parameters.keyed("filter") {
        let parameter = format!("filter[{name}]");
        // A label with NUL is no event's, and Postgres could not even be asked.
        if value.as_ref().is_some_and(|value| value.contains('\0')) {
            return Err(invalid(&parameter, "holds a control character"));
        }
        grouping.keep(&dimension(&parameter, &name)?, value);
    }
    Ok(grouping)
}

fn dimension(parameter: &str, name: &str) -> Result<Path, Problem> {
    match Path::parse(name) {
        Ok(_) if name.contains('\0') => Err(invalid(parameter, "holds a control character")),
        Ok(path) => Ok(path),
        Err(reason) => Err(invalid(parameter, format!("{name:?} {reason}"))),
    }
}

fn problem(error: &StateError) -> Problem {
    let detail = error.to_string();
    match error {
        StateError::Store(error) => store_problem(error),
        StateError::UnknownRule(_) => Problem::new(Code::UnknownRule, detail),
        StateError::UnknownVersion { .. } => Problem::new(Code::UnknownVersion, detail),
        StateError::NotVisible { .. } => {
            let detail = format!("{detail}; ask again, or wait longer for it with `wait`");
            Problem::new(Code::VersionNotVisible, detail)
        }
        StateError::UnknownDimension { .. } => Problem::new(Code::InvalidParameter, detail),
        StateError::TooLarge(TooLarge::Groups) => Problem::new(Code::TooManyGroups, detail),
        StateError::TooLarge(_) => Problem::new(Code::TooManyWindows, detail),
        StateError::BudgetExceeded(_) => {
            let what_to_do = "ask for a shorter range or fewer rules, or ask again when the \
                              aggregator has caught up (lag_events of /v1/rules)";
            Problem::new(Code::QueryBudgetExceeded, format!("{detail}; {what_to_do}"))
        }
    }
}

/// What the log adds up to. Where `states` has one entry, its fields stand beside it too.
#[derive(Serialize, ToSchema)]
#[schema(as = State)]
pub(super) struct Answer<'a> {
    tenant_id: &'a str,
    principal_id: &'a str,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    start: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    end: Option<Timestamp>,
    granularity: &'static str,
    timezone: &'static str,
    /// Where in the principal's partition the answer stands: at the head of the snapshot that
    /// answered, or where it was asked for. As a parameter it gives the same answer, for ever.
    #[schema(value_type = String)]
    version: Version,
    /// When that event was ingested.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    as_of: Option<Timestamp>,
    /// Where there is just one state, its fields stand here too.
    #[serde(flatten)]
    #[schema(ignore)]
    only: Option<RuleAnswer<'a>>,
    states: Vec<RuleAnswer<'a>>,
    meta: Meta,
}

/// What one version of a rule adds up to.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = RuleState)]
pub(super) struct RuleAnswer<'a> {
    rule: &'a str,
    rule_version: i32,
    #[schema(schema_with = super::operators)]
    operator: Operator,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unit: Option<&'a str>,
    /// Ordered by window, then by group.
    values: Vec<WindowValue<'a>>,
}

/// What a rule adds up to over a window, or over the whole range.
#[derive(Clone, Serialize, ToSchema)]
pub(super) struct WindowValue<'a> {
    #[schema(value_type = Option<String>, format = DateTime, required)]
    window_start: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    window_end: Option<Timestamp>,
    /// Only where the answer is divided into groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<HashMap<String, Option<String>>>, nullable = false)]
    group: Option<Group<'a>>,
    /// An exact decimal.
    #[schema(required)]
    value: Option<String>,
    /// Only where the value is an estimate.
    #[serde(flatten)]
    #[schema(ignore)]
    estimate: Option<Estimate>,
    /// Events that entered the value.
    event_count: i64,
    /// Events without a usable value, or on which the filter failed.
    skipped_count: i64,
}

#[derive(Clone, Serialize, ToSchema)]
pub(super) struct Estimate {
    approximate: bool,
    /// The standard error, in parts of the value.
    relative_error: f64,
}

/// Labels by the names of their dimensions.
#[derive(Clone)]
struct Group<'a> {
    dimensions: &'a [String],
    labels: &'a [Option<String>],
}

impl Serialize for Group<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.dimensions.iter().zip(self.labels))
    }
}

/// What may differ between two equal answers.
#[derive(Serialize, ToSchema)]
struct Meta {
    #[schema(value_type = Option<String>, format = DateTime, required)]
    data_through: Option<Timestamp>,
    /// How far this database is behind its primary.
    #[serde(serialize_with = "plain")]
    staleness_seconds: f64,
    /// Events that were folded from the raw log, as no bucket holds them yet.
    lag_events: i64,
}

impl<'a> Answer<'a> {
    fn new(query: &'a StateQuery, version: Version, state: &'a State) -> Self {
        let states: Vec<RuleAnswer<'a>> = state.states.iter().map(RuleAnswer::new).collect();
        Self {
            tenant_id: &query.tenant_id,
            principal_id: &query.principal_id,
            start: query.question.range.start,
            end: query.question.range.end,
            granularity: query.question.granularity.as_str(),
            timezone: "UTC",
            version,
            as_of: state.data_through,
            only: match states.as_slice() {
                [only] => Some(only.clone()),
                _ => None,
            },
            states,
            meta: Meta {
                data_through: state.data_through,
                staleness_seconds: state.staleness_seconds,
                lag_events: state.states.iter().map(|s| s.lag_events).max().unwrap_or(0),
            },
        }
    }
}

impl<'a> RuleAnswer<'a> {
    fn new(state: &'a RuleState) -> Self {
        let operator = state.rule.operator;
        let value = |value: &'a aevon_core::state::Value| {
            let shown = value.shown(operator);
            WindowValue {
                window_start: value.window_start,
                window_end: value.window_end,
                group: (!state.dimensions.is_empty()).then_some(Group {
                    dimensions: &state.dimensions,
                    labels: &value.group.0,
                }),
                value: shown.value,
                estimate: shown.relative_error.map(|relative_error| Estimate {
                    approximate: true,
                    relative_error,
                }),
                event_count: value.partial.event_count,
                skipped_count: value.partial.skipped_count,
            }
        };
        Self {
            rule: &state.rule.name,
            rule_version: state.rule_version,
            operator,
            unit: state.rule.unit.as_deref(),
            values: state.values.iter().map(value).collect(),
        }
    }
}

/// Seconds without a fraction where there is none: `0`, not `0.0`.
pub(super) fn plain<S: Serializer>(seconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if seconds.fract() == 0.0 {
        serializer.serialize_i64(*seconds as i64)
    } else {
        serializer.serialize_f64(*seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(values: &[&str]) -> Result<Selection, Problem> {
        selection(
            &values
                .iter()
                .map(|&value| value.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_rule_is_a_name_or_a_name_with_a_version() {
        let selected = select(&["a", "b:7"]).unwrap();
        assert_eq!(selected.names, ["a"]);
        assert_eq!(selected.pinned, [("b".to_owned(), 7)]);
        assert_eq!(select(&[]).unwrap(), Selection::default());
        for wrong in ["", "b:", "b:0", "b:-1", "b:x", "b:99999999999", "a\0"] {
            assert_eq!(
                select(&[wrong]).unwrap_err().code,
                Code::InvalidParameter,
                "{wrong}"
            );
        }
    }
}
