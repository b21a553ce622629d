//! An answer as it is sent.

use crate::http::operators;
use aevon_core::calendar::tzdb;
use aevon_core::operator::Operator;
use aevon_core::position::Version;
use aevon_core::state::Question;
use aevon_core::time::Timestamp;
use aevon_schema::state::{RuleState, State, StateQuery, TenantQuery, TenantState};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// What the log adds up to. Where `states` has one entry, its fields stand beside it too.
#[derive(Serialize, ToSchema)]
#[schema(as = State)]
pub(crate) struct StateBody<'a> {
    tenant_id: &'a str,
    /// Only where it is about the total of the tenant: `tenant`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scope: Option<&'static str>,
    /// Only where it is about one principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    principal_id: Option<&'a str>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    start: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    end: Option<Timestamp>,
    granularity: &'static str,
    /// The zone whose hours, days, weeks and months are meant.
    timezone: &'static str,
    /// The release of the tz database, where that is not UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^[0-9]{4}[a-z]+$")]
    tzdb: Option<&'static str>,
    /// Where in the principal's partition, or in all of them, the answer stands: at the head of the
    /// snapshot that answered, or where it was asked for. As a parameter it gives the same answer, for
    /// ever.
    #[schema(value_type = String)]
    pub(super) version: Version,
    /// When that event was ingested; of a total the newest of them.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    as_of: Option<Timestamp>,
    /// Where there is just one state, its fields stand here too.
    #[serde(flatten)]
    #[schema(ignore)]
    only: Option<RuleAnswer<'a>>,
    pub(super) states: Vec<RuleAnswer<'a>>,
    meta: Meta,
}

/// What one version of a rule adds up to.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = RuleState)]
pub(crate) struct RuleAnswer<'a> {
    pub(super) rule: &'a str,
    pub(super) rule_version: i32,
    #[schema(schema_with = operators)]
    pub(super) operator: Operator,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) unit: Option<&'a str>,
    /// Ordered by window, then by group.
    pub(super) values: Vec<WindowValue<'a>>,
}

/// What a rule adds up to over a window, or over the whole range.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct WindowValue<'a> {
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub(super) window_start: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub(super) window_end: Option<Timestamp>,
    /// Only where the answer is divided into groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<HashMap<String, Option<String>>>, nullable = false)]
    pub(super) group: Option<Group<'a>>,
    /// An exact decimal.
    #[schema(required)]
    pub(super) value: Option<String>,
    /// Only where the value is an estimate.
    #[serde(flatten)]
    #[schema(ignore)]
    estimate: Option<Estimate>,
    /// Events that entered the value.
    pub(super) event_count: i64,
    /// Events without a usable value, or on which the filter failed.
    pub(super) skipped_count: i64,
}

#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct Estimate {
    approximate: bool,
    /// The standard error, in parts of the value.
    relative_error: f64,
}

impl WindowValue<'_> {
    pub(super) fn relative_error(&self) -> Option<f64> {
        self.estimate
            .as_ref()
            .map(|estimate| estimate.relative_error)
    }
}

/// Labels by the names of their dimensions.
#[derive(Clone)]
pub(super) struct Group<'a> {
    pub(super) dimensions: &'a [String],
    pub(super) labels: &'a [Option<String>],
}

impl<'a> Group<'a> {
    /// The label of a dimension; none where it has none.
    pub(super) fn label(&self, dimension: &str) -> Option<&'a str> {
        let at = self.dimensions.iter().position(|name| name == dimension)?;
        self.labels.get(at)?.as_deref()
    }
}

impl Serialize for Group<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.dimensions.iter().zip(self.labels))
    }
}

/// What may differ between two equal answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Meta {
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub(super) data_through: Option<Timestamp>,
    /// How far this database is behind its primary.
    #[serde(serialize_with = "plain")]
    pub(super) staleness_seconds: f64,
    /// Events that were folded from the raw log, as no bucket holds them yet.
    pub(super) lag_events: i64,
}

impl<'a> StateBody<'a> {
    pub(super) fn new(query: &'a StateQuery, version: Version, state: &'a State) -> Self {
        let meta = Meta {
            data_through: state.data_through,
            staleness_seconds: state.staleness_seconds,
            lag_events: lag_events(&state.states),
        };
        let mut answer = Self::of(&query.tenant_id, &query.question, &state.states, meta);
        answer.principal_id = Some(&query.principal_id);
        answer.version = version;
        answer.as_of = state.data_through;
        answer
    }

    /// The total of a tenant.
    pub(super) fn total(query: &'a TenantQuery, state: &'a TenantState) -> Self {
        let meta = Meta {
            data_through: state.data_through,
            staleness_seconds: state.staleness_seconds,
            lag_events: lag_events(&state.states),
        };
        let mut answer = Self::of(&query.tenant_id, &query.question, &state.states, meta);
        answer.scope = Some("tenant");
        answer.version = state.version.clone();
        answer.as_of = state.data_through;
        answer
    }

    fn of(tenant_id: &'a str, question: &Question, states: &'a [RuleState], meta: Meta) -> Self {
        let states: Vec<RuleAnswer<'a>> = states.iter().map(RuleAnswer::new).collect();
        Self {
            tenant_id,
            scope: None,
            principal_id: None,
            start: question.range.start,
            end: question.range.end,
            granularity: question.granularity.as_str(),
            timezone: question.zone.name(),
            tzdb: (!question.zone.is_utc()).then(tzdb),
            version: Version::default(),
            as_of: None,
            only: match states.as_slice() {
                [only] => Some(only.clone()),
                _ => None,
            },
            states,
            meta,
        }
    }
}

fn lag_events(states: &[RuleState]) -> i64 {
    states.iter().map(|s| s.lag_events).max().unwrap_or(0)
}

impl<'a> RuleAnswer<'a> {
    pub(super) fn new(state: &'a RuleState) -> Self {
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
pub(crate) fn plain<S: Serializer>(seconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if seconds.fract() == 0.0 {
        serializer.serialize_i64(*seconds as i64)
    } else {
        serializer.serialize_f64(*seconds)
    }
}
