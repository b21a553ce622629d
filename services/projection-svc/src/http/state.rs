//! `GET /v1/state/{tenant}/{principal}`: what the log adds up to for one principal.

use super::request::{Parameters, identifier, instant, invalid, path_identifier};
use super::{not_ready, store_problem};
use crate::Projection;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::json::Path;
use aevon_core::labels::Grouping;
use aevon_core::operator::Operator;
use aevon_core::position::Version;
use aevon_core::state::{Granularity, Question, Range, TooLarge};
use aevon_core::time::Timestamp;
use aevon_schema::state::{self, RuleState, Selection, State, StateError, StateQuery};
use aevon_service::auth::Scope;
use aevon_service::problem::{Code, Problem};
use aevon_service::telemetry;
use serde::{Serialize, Serializer};
use tracing::Instrument;
use tracing::field::Empty;

/// The principal stands in the path.
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

/// The principal stands in `principal_id`, for identifiers that proxies would mangle in a path.
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

/// The tenant of the path, if the caller may look at it.
async fn authorized_tenant(
    projection: &Projection,
    request: &HttpRequest,
) -> Result<String, Problem> {
    let caller = projection.auth.caller(request, Scope::Read).await?;
    let tenant_id = path_identifier(request, "tenant_id", 2)?;
    caller.check_tenant(&tenant_id)?;
    Ok(tenant_id)
}

async fn answer(
    projection: &Projection,
    tenant_id: String,
    principal_id: String,
    mut parameters: Parameters,
) -> Result<HttpResponse, Problem> {
    let query = StateQuery {
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
    let partitions = *projection.partitions.get().ok_or_else(not_ready)?;
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

fn range(parameters: &mut Parameters) -> Result<Range, Problem> {
    let (start, end) = (instant(parameters, "start")?, instant(parameters, "end")?);
    match (start, end) {
        (Some(start), Some(end)) if start > end => Err(Problem::new(
            Code::RangeReversed,
            format!("start {start} lies behind end {end}"),
        )),
        _ => Ok(Range { start, end }),
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

#[derive(Serialize)]
struct Answer<'a> {
    tenant_id: &'a str,
    principal_id: &'a str,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    granularity: &'static str,
    timezone: &'static str,
    version: Version,
    as_of: Option<Timestamp>,
    /// Where there is just one state, its fields stand here too.
    #[serde(flatten)]
    only: Option<RuleAnswer<'a>>,
    states: Vec<RuleAnswer<'a>>,
    meta: Meta,
}

#[derive(Clone, Serialize)]
struct RuleAnswer<'a> {
    rule: &'a str,
    rule_version: i32,
    operator: Operator,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
    values: Vec<Value<'a>>,
}

#[derive(Clone, Serialize)]
struct Value<'a> {
    window_start: Option<Timestamp>,
    window_end: Option<Timestamp>,
    /// Only where the answer is divided into groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<Group<'a>>,
    value: Option<String>,
    /// Only where the value is an estimate.
    #[serde(flatten)]
    estimate: Option<Estimate>,
    event_count: i64,
    skipped_count: i64,
}

#[derive(Clone, Serialize)]
struct Estimate {
    approximate: bool,
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
#[derive(Serialize)]
struct Meta {
    data_through: Option<Timestamp>,
    #[serde(serialize_with = "plain")]
    staleness_seconds: f64,
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
            Value {
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
