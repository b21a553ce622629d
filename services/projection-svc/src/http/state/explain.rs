//! `GET /v1/state/{tenant}/{principal}/explain`: why a total is what it is, and what changed it since.

use super::asked::{self, OneRuleParameters};
use super::shown::Group;
use super::{MomentParameters, moment, principal, problem, query};
use crate::Projection;
use crate::http::authorized_tenant;
use crate::http::operators;
use crate::http::request::{Parameters, invalid, path_identifier};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::explain::change;
use aevon_core::identity::partition_of;
use aevon_core::json::Path;
use aevon_core::operator::{Kept, Operator};
use aevon_core::position::{Position, Version};
use aevon_core::reading::Verdict;
use aevon_core::state::Granularity;
use aevon_core::time::{Grain, Timestamp};
use aevon_schema::state::explain::{self, Effect, ExplainQuery, Explained};
use aevon_schema::state::{self, At, Reason, RuleState, State};
use aevon_service::openapi::{ByStatus, problems_of_route};
use aevon_service::problem::{Code, Problem};
use aevon_service::request::{Page, cursor};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use utoipa::{IntoParams, IntoResponses, ToSchema};

/// Items of a page, unless the caller says.
const PAGE: usize = 100;
/// Most items of a page.
const MAX_PAGE: usize = 1_000;
/// Longest text of an event that an item repeats, in characters.
const MAX_REPEATED: usize = 300;

/// The parameters, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read")]
pub(crate) struct ExplainParameters {
    /// Valid time, inclusive, any microsecond. None: unbounded.
    #[param(value_type = Option<String>, format = DateTime, example = "2026-02-11T10:29:30Z")]
    start: Option<String>,
    /// Valid time, exclusive. None: unbounded.
    #[param(value_type = Option<String>, format = DateTime, example = "2026-02-12T00:00:00Z")]
    end: Option<String>,
    /// `filter[dim]=label` keeps the groups with this label; repeatable. `filter[dim]` without `=` is
    /// the group without a value.
    #[param(style = DeepObject, explode, example = json!({"model": "m1"}))]
    filter: Option<HashMap<String, String>>,
    /// An earlier version: `items` are then what has changed the value since, and `from` and `change`
    /// say from what, and by how much.
    #[param(pattern = "^[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*$")]
    from_version: Option<String>,
    /// Most items.
    #[param(minimum = 1, maximum = 1000, example = 100)]
    limit: Option<usize>,
    /// The `next` of the page before: all pages are of the version that the first one names.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// Why a value is what it is.
#[derive(Serialize, ToSchema)]
struct Explanation<'a> {
    tenant_id: &'a str,
    principal_id: &'a str,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    start: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    end: Option<Timestamp>,
    rule: &'a str,
    rule_version: i32,
    #[schema(schema_with = operators)]
    operator: Operator,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unit: Option<&'a str>,
    #[serde(flatten)]
    total: Total,
    /// The position of the event whose value it is, where the operator is `latest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    decided_by: Option<Position>,
    /// Up to where the buckets of the rule are complete; none where no bucket may be used.
    #[schema(value_type = Option<String>, required)]
    checkpoint: Option<Position>,
    sources: Sources,
    /// Events of the value that were stored on a later day (UTC) than they occurred on.
    late_events: u64,
    /// Events that would take part, had they not been voided.
    voids: u64,
    /// The same value as of `from_version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    from: Option<Total>,
    /// By how much the value has changed since `from_version`; none where either is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    change: Option<Option<String>>,
    /// The events behind the value, or what changed it since `from_version`, in the order of the log.
    items: Vec<Item<'a>>,
    /// What to send as `cursor` for the next page; none where this is the last.
    #[schema(required)]
    next: Option<String>,
}

/// A value, and as of when it is.
#[derive(Serialize, ToSchema)]
struct Total {
    #[schema(value_type = String)]
    version: Version,
    /// When that event was ingested.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    as_of: Option<Timestamp>,
    /// An exact decimal.
    #[schema(required)]
    value: Option<String>,
    /// Only where the value is an estimate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    approximate: Option<bool>,
    /// The standard error of an estimate, in parts of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    relative_error: Option<f64>,
    /// Events that entered the value.
    event_count: i64,
    /// Events without a usable value, or on which the filter failed.
    skipped_count: i64,
}

/// What a value was made of.
#[derive(Serialize, ToSchema)]
struct Sources {
    /// Coarsest first.
    buckets: Vec<BucketsUsed>,
    /// The places of the log that were read; 100 of them at most.
    raw_ranges: Vec<RawRange>,
    /// How many there are.
    raw_range_count: usize,
    /// Events of the value that came from the log.
    raw_events: u64,
    /// Events that were read there, with those of other types and groups.
    events_read: u64,
}

/// The buckets of one grain that were used.
#[derive(Serialize, ToSchema)]
struct BucketsUsed {
    #[schema(pattern = "^(1d|1h|1m)$")]
    grain: &'static str,
    rows: u64,
    /// Events that they hold.
    events: i64,
}

/// Places of the log that were read.
#[derive(Serialize, ToSchema)]
struct RawRange {
    #[schema(value_type = String)]
    first: Position,
    #[schema(value_type = String)]
    last: Position,
    /// `tail`: the buckets don't hold them yet. `part_of_minute`: the range takes a part of their
    /// minute. `refined`: their minute holds what came later, or what a void has taken out.
    reasons: Vec<&'static str>,
    /// Events of the value that came from there.
    events: u64,
}

/// An event behind a value.
#[derive(Serialize, ToSchema)]
#[schema(as = Contribution)]
struct Item<'a> {
    /// Its place in the log.
    #[schema(value_type = String)]
    position: Position,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    source: Option<&'a str>,
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    ingested_at: Timestamp,
    /// Whether it entered the value, or was skipped.
    #[schema(pattern = "^(counted|skipped)$")]
    verdict: &'static str,
    /// Why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// The value that the operator read, where it reads one; cut off at 300 characters.
    #[schema(required)]
    contribution: Option<String>,
    /// By how much it changes the value, where the operator adds: count, sum, weighted_sum. These add
    /// up to the value, or to its change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    adds: Option<String>,
    /// Its labels, where the rule has groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<HashMap<String, Option<String>>>, nullable = false)]
    group: Option<Group<'a>>,
    /// Whether it was stored on a later day (UTC) than it occurred on.
    late: bool,
    /// Whether it is what the value shows: min, max, latest; of one that was voided, what the value
    /// showed as of `from_version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    decides: Option<bool>,
    /// With `from_version`: `added` where it came in, `removed` where it was voided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(added|removed)$", nullable = false)]
    effect: Option<&'static str>,
    /// The position of its void, where it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    voided_by: Option<Position>,
}

/// Where a page ended.
#[derive(Deserialize, Serialize)]
struct Ended {
    version: i64,
    rule_version: i32,
    after: i64,
}

pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> ByStatus {
        problems_of_route(&[
            Code::InvalidParameter,
            Code::RangeReversed,
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

/// Explain a value
///
/// The value of one rule over a range, what it was made of, and the events behind it, page by page.
/// With `from_version`: what has changed it since, events that came in and events that were voided. An
/// event that came in and was voided in between changes nothing and is in neither.
#[utoipa::path(
    get,
    path = "/v1/state/{tenant}/{principal}/explain",
    operation_id = "explainState",
    tag = "state",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        ("principal" = String, Path, description = "The principal.", min_length = 1,
         max_length = 512, example = "user_123"),
        OneRuleParameters,
        ExplainParameters,
        MomentParameters,
    ),
    responses(
        (status = 200, description = "A page", body = Explanation,
         headers(("aevon-version" = String)), example = json!({
            "tenant_id": "acme", "principal_id": "user_123",
            "start": "2026-02-01T00:00:00Z", "end": "2026-03-01T00:00:00Z",
            "rule": "tokens_used", "rule_version": 3, "operator": "sum", "unit": "tokens",
            "version": "7:90210", "as_of": "2026-02-11T10:30:01.000017Z",
            "value": "123.5", "event_count": 7, "skipped_count": 0,
            "checkpoint": "7:90200",
            "sources": {
                "buckets": [{"grain": "1d", "rows": 2, "events": 6},
                            {"grain": "1h", "rows": 0, "events": 0},
                            {"grain": "1m", "rows": 0, "events": 0}],
                "raw_ranges": [{"first": "7:90201", "last": "7:90210", "reasons": ["tail"],
                                "events": 1}],
                "raw_range_count": 1, "raw_events": 1, "events_read": 1
            },
            "late_events": 0, "voids": 1,
            "items": [{
                "position": "7:90210", "id": "evt-001", "source": "gateway",
                "occurred_at": "2026-02-11T10:30:00Z",
                "ingested_at": "2026-02-11T10:30:01.000017Z",
                "verdict": "counted", "contribution": "23.5", "adds": "23.5",
                "group": {"model": "m1"}, "late": false
            }],
            "next": null
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
    let parameters = Parameters::of(&request)?;
    answer(&projection, tenant_id, principal_id, parameters).await
}

/// Explain a value of any principal
///
/// The same, for identifiers that proxies would mangle in a path.
#[utoipa::path(
    get,
    path = "/v1/explain/{tenant}",
    operation_id = "explainStateByParameter",
    tag = "state",
    security(("key" = [])),
    params(
        ("tenant" = String, Path, description = "The tenant.", min_length = 1, max_length = 512,
         example = "acme"),
        ("principal_id" = String, Query, description = "The principal.", min_length = 1,
         max_length = 512, example = "user_123"),
        OneRuleParameters,
        ExplainParameters,
        MomentParameters,
    ),
    responses(
        (status = 200, description = "A page", body = Explanation,
         headers(("aevon-version" = String))),
        Problems
    )
)]
pub(crate) async fn get_by_parameter(
    projection: Data<Projection>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let tenant_id = authorized_tenant(&projection, &request).await?;
    let mut parameters = Parameters::of(&request)?;
    let principal_id = principal(&mut parameters)?;
    answer(&projection, tenant_id, principal_id, parameters).await
}

async fn answer(
    projection: &Projection,
    tenant_id: String,
    principal_id: String,
    mut parameters: Parameters,
) -> Result<HttpResponse, Problem> {
    let page: Page<Ended> = parameters.page(PAGE, MAX_PAGE)?;
    let (mut query, partitions) = query(projection, tenant_id, principal_id, &mut parameters)?;
    let partition = partition_of(&query.tenant_id, &query.principal_id, partitions);
    let from = moment::seq(&mut parameters, "from_version", partition)?;
    parameters.finish()?;
    asked::check_one_rule(&query.selection)?;
    if query.question.granularity != Granularity::Total {
        return Err(invalid(
            "granularity",
            "is total here: one value is explained",
        ));
    }
    if !query.question.grouping.by.is_empty() {
        return Err(invalid(
            "group_by",
            "has no place here: pick a group with filter",
        ));
    }
    let mut after = 0;
    if let Some(ended) = page.cursor {
        query.at = Some(At::Version(ended.version));
        asked::pin(&mut query.selection, ended.rule_version);
        after = ended.after;
    }
    let query = ExplainQuery {
        state: query,
        from,
        after,
        limit: page.limit,
    };
    let explained =
        explain::explain(&projection.database, partitions, &query, projection.budget).await;
    projection.metrics.explained(&explained);
    let explained = explained.map_err(|error| problem(&error))?;
    let [ruled] = explained.state.states.as_slice() else {
        return Err(Problem::new(
            Code::Internal,
            "one rule was asked".to_owned(),
        ));
    };
    let names: Vec<String> = ruled.rule.group_by.iter().map(Path::short).collect();
    let version = Version::from(explained.state.position);
    Ok(HttpResponse::Ok()
        .insert_header(("aevon-version", version.to_string()))
        .json(Explanation::new(&query, &explained, ruled, &names)))
}

impl<'a> Explanation<'a> {
    fn new(
        query: &'a ExplainQuery,
        explained: &'a Explained,
        ruled: &'a RuleState,
        names: &'a [String],
    ) -> Self {
        let rule = &ruled.rule;
        let position = explained.state.position;
        let at = |seq: i64| Position { seq, ..position };
        let total = Total::new(&explained.state, ruled);
        let from = explained.from.as_ref();
        let from = from.and_then(|from| Some(Total::new(from, from.states.first()?)));
        let change = from
            .as_ref()
            .map(|from| change(from.value.as_deref(), total.value.as_deref()));
        let ended = |after| Ended {
            version: position.seq,
            rule_version: ruled.rule_version,
            after,
        };
        let is_change = query.from.is_some();
        let item = |item: &'a explain::Item| Item::new(item, names, is_change);
        Self {
            tenant_id: &query.state.tenant_id,
            principal_id: &query.state.principal_id,
            start: query.state.question.range.start,
            end: query.state.question.range.end,
            rule: &rule.name,
            rule_version: ruled.rule_version,
            operator: rule.operator,
            unit: rule.unit.as_deref(),
            total,
            decided_by: decided_by(ruled),
            checkpoint: explained.sources.checkpoint.map(at),
            sources: Sources::new(&explained.sources, &explained.state),
            late_events: explained.sources.late_events,
            voids: explained.voids,
            from,
            change,
            items: explained.items.iter().map(item).collect(),
            next: explained.next.map(|after| cursor(&ended(after))),
        }
    }
}

/// The event whose value the value is.
fn decided_by(ruled: &RuleState) -> Option<Position> {
    match &ruled.values.first()?.partial.kept {
        Kept::Latest(latest) => Some(latest.position),
        _ => None,
    }
}

impl Total {
    fn new(state: &State, ruled: &RuleState) -> Self {
        let value = ruled.values.first();
        let shown = value.map(|value| value.shown(ruled.rule.operator));
        let relative_error = shown.as_ref().and_then(|shown| shown.relative_error);
        let partial = value.map(|value| &value.partial);
        Self {
            version: state.position.into(),
            as_of: state.data_through,
            value: shown.and_then(|shown| shown.value),
            approximate: relative_error.map(|_| true),
            relative_error,
            event_count: partial.map_or(0, |partial| partial.event_count),
            skipped_count: partial.map_or(0, |partial| partial.skipped_count),
        }
    }
}

impl Sources {
    fn new(sources: &state::Sources, state: &State) -> Self {
        let used = |grain: Grain| BucketsUsed {
            grain: grain.as_str(),
            rows: sources.buckets[grain as usize].rows,
            events: sources.buckets[grain as usize].events,
        };
        let at = |seq: i64| Position {
            seq,
            ..state.position
        };
        let range = |range: &state::RawRange| RawRange {
            first: at(range.first_seq),
            last: at(range.last_seq),
            reasons: range.reasons.iter().copied().map(name_of).collect(),
            events: range.events,
        };
        Self {
            buckets: Grain::ALL.into_iter().rev().map(used).collect(),
            raw_ranges: sources.ranges.iter().map(range).collect(),
            raw_range_count: sources.range_count,
            raw_events: sources.raw_events,
            events_read: state.raw_events,
        }
    }
}

fn name_of(reason: Reason) -> &'static str {
    match reason {
        Reason::Tail => "tail",
        Reason::PartOfMinute => "part_of_minute",
        Reason::Refined => "refined",
    }
}

impl<'a> Item<'a> {
    fn new(item: &'a explain::Item, names: &'a [String], is_change: bool) -> Self {
        let reading = &item.share.reading;
        let (contribution, reason) = match &reading.verdict {
            Verdict::Counted(value) => (value.as_deref().map(cut), None),
            Verdict::FilterFailed(why) => (None, Some(cut(&format!("the filter fails: {why}")))),
            Verdict::Skipped(what) => (None, Some(cut(&format!("no usable value: {what}")))),
            Verdict::OtherType | Verdict::LeftOut => (None, None),
        };
        let (effect, void_seq) = match item.effect {
            Effect::Added => ("added", None),
            Effect::Removed { void_seq } => ("removed", Some(void_seq)),
        };
        let position = item.position;
        Self {
            position,
            id: &item.id,
            source: item.source.as_deref(),
            occurred_at: item.occurred_at,
            ingested_at: item.ingested_at,
            verdict: if reason.is_none() {
                "counted"
            } else {
                "skipped"
            },
            reason,
            contribution,
            adds: item.adds.clone(),
            group: (!names.is_empty()).then_some(Group {
                dimensions: names,
                labels: &reading.labels.0,
            }),
            late: item.is_late,
            decides: item.decides,
            effect: is_change.then_some(effect),
            voided_by: void_seq.map(|seq| Position { seq, ..position }),
        }
    }
}

/// What an event says, no longer than it has to be.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_REPEATED) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}
