//! An explanation as it is sent.

use super::Ended;
use crate::http::operators;
use crate::http::state::shown::Group;
use aevon_core::explain::change;
use aevon_core::operator::{Kept, Operator};
use aevon_core::position::{Position, Version};
use aevon_core::reading::Verdict;
use aevon_core::time::{Grain, Timestamp};
use aevon_schema::state::explain::{self, Effect, ExplainQuery, Explained};
use aevon_schema::state::{self, Reason, RuleState, State};
use aevon_service::request::cursor;
use serde::Serialize;
use utoipa::ToSchema;

/// Longest text of an event that an item repeats, in characters.
const MAX_REPEATED: usize = 300;

/// Why a value is what it is.
#[derive(Serialize, ToSchema)]
pub(super) struct Explanation<'a> {
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
    #[schema(value_type = Option<std::collections::HashMap<String, Option<String>>>, nullable = false)]
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

impl<'a> Explanation<'a> {
    pub(super) fn new(
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
