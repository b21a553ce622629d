//! What both kinds of reads share: the rules of a question, and taking rows into their answers.

use super::trace::Trace;
use super::{RuleState, Selection, State, StateError, StateQuery};
use crate::error::StoreError;
use crate::rules::read_definition;
use crate::statement::Statement;
use crate::values::{JsonString, from_pg};
use aevon_core::amount::Amount;
use aevon_core::explain::is_late;
use aevon_core::filter::Subject;
use aevon_core::fold::Fact;
use aevon_core::labels::Labels;
use aevon_core::operator::{Columns, Kept, Operator, Partial};
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use aevon_core::state::{Answer, Fill, MAX_VALUES, TooLarge, Value};
use aevon_core::time::Timestamp;
use bigdecimal::BigDecimal;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Double, Integer, Jsonb, Nullable, Numeric, Text, Timestamptz,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::{TryStream, TryStreamExt};
use std::time::{Duration, Instant};

/// How long filters may keep a thread from others.
const TURN: Duration = Duration::from_millis(20);
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Where the commit does not go out with the rest, Postgres waits for it while filters take their
/// time. No lock is held, and the budget of a read is shorter.
const BEGIN_COLD: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                          SET LOCAL idle_in_transaction_session_timeout = '2min'";

/// What begins a transaction.
pub(super) const fn begin(warm: bool) -> &'static str {
    if warm { BEGIN } else { BEGIN_COLD }
}

/// A rule that answers.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) rule_no: i32,
    pub(super) version: i32,
    pub(super) rule: Rule,
    pub(super) checkpoint: Option<i64>,
}

/// What is known of the log where an answer stands.
pub(crate) struct Standpoint {
    pub(crate) head: i64,
    pub(crate) seq: i64,
    pub(crate) ingested_at: Option<Timestamp>,
    pub(crate) staleness_seconds: f64,
    pub(crate) erasures: i64,
}

type HeadRow = (i64, Option<PgTimestamp>, f64, Option<i64>, i64);
type HeadColumns = (
    BigInt,
    Nullable<Timestamptz>,
    Double,
    Nullable<BigInt>,
    BigInt,
);

/// The head of a partition, and the newest void of the principal that is asked about.
pub(crate) async fn head(
    pg: &AsyncPgConnection,
    partition: i32,
    query: &StateQuery,
) -> Result<(Standpoint, Option<i64>), StoreError> {
    let query = diesel::sql_query(include_str!("../sql/state_head.sql"))
        .bind::<Integer, _>(partition)
        .bind::<Text, _>(&query.tenant_id)
        .bind::<Text, _>(&query.principal_id);
    let rows: Vec<HeadRow> = Statement::<_, HeadColumns>::new(query)
        .load(&mut &*pg)
        .await?;
    let (seq, ingested_at, staleness_seconds, newest_void, erasures) = rows
        .into_iter()
        .next()
        .ok_or_else(|| StoreError::Corrupt("a partition has no row".to_owned()))?;
    let standpoint = Standpoint {
        head: seq,
        seq,
        ingested_at: ingested_at.map(from_pg),
        staleness_seconds,
        erasures,
    };
    Ok((standpoint, newest_void))
}

/// What an answer took, in rows.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) buckets: u64,
    pub(super) raw_events: u64,
}

impl Cost {
    pub(super) fn add(&mut self, other: Self) {
        self.buckets += other.buckets;
        self.raw_events += other.raw_events;
    }
}

/// The rules of a question, and their checkpoints.
pub(super) async fn chosen(
    mut pg: &AsyncPgConnection,
    partition: i32,
    selection: &Selection,
) -> Result<Vec<Chosen>, StoreError> {
    let selected = Selected::new(selection);
    let query = diesel::sql_query(include_str!("../sql/state_rules.sql"))
        .bind::<Integer, _>(partition)
        .bind::<Bool, _>(selected.every)
        .bind::<Array<Text>, _>(selected.names)
        .bind::<Array<Text>, _>(selected.pinned_names)
        .bind::<Array<Integer>, _>(selected.pinned_versions);
    let rows: Vec<(i32, String, i32, JsonString, Option<i64>)> =
        Statement::<_, (Integer, Text, Integer, Jsonb, Nullable<BigInt>)>::new(query)
            .load(&mut pg)
            .await?;
    rows.into_iter()
        .map(|(rule_no, _, version, definition, checkpoint)| {
            let rule = read_definition(&definition.0)?;
            Ok(Chosen {
                rule_no,
                version,
                rule,
                checkpoint,
            })
        })
        .collect()
}

/// Takes a bucket into the answer of its rule. The checkpoint is the licence: buckets of a rule that
/// has none in this snapshot don't count.
pub(super) fn add_bucket(
    answers: &mut [Answer<'_>],
    chosen: &[Chosen],
    partition: i32,
    row: BucketRow,
) -> Result<(), StoreError> {
    let (rule_no, labels, window_start, ..) = row;
    let Some((answer, rule)) = licensed(answers, chosen, rule_no) else {
        return Ok(());
    };
    let columns = Columns {
        value: row.5.map(Amount::from_big),
        latest_at: row.6.map(from_pg),
        latest_seq: row.7,
        moment: row.8.map(Amount::from_big),
        sketch: row.9,
    };
    let kept = Kept::from_columns(rule.operator, partition, columns);
    let partial = Partial {
        kept: kept.ok_or_else(|| unreadable(rule, Some(from_pg(window_start))))?,
        event_count: row.3,
        skipped_count: row.4,
    };
    answer.add_bucket(from_pg(window_start), &labels_of(rule, labels)?, &partial);
    Ok(())
}

/// The labels of a series as its rule names them.
pub(super) fn labels_of(rule: &Rule, labels: Option<JsonString>) -> Result<Labels, StoreError> {
    let labels = match labels {
        None => Some(Labels::default()),
        Some(JsonString(json)) => Labels::from_json(&rule.group_by, &json),
    };
    labels.ok_or_else(|| unreadable(rule, None))
}

fn unreadable(rule: &Rule, window_start: Option<Timestamp>) -> StoreError {
    let at = window_start.map_or(String::new(), |at| format!(" at {at}"));
    let name = &rule.name;
    StoreError::Corrupt(format!("a bucket of the rule {name}{at} can't be read"))
}

/// The answer of a rule, if its buckets are licensed.
pub(super) fn licensed<'s, 'a>(
    answers: &'s mut [Answer<'a>],
    chosen: &'s [Chosen],
    rule_no: i32,
) -> Option<(&'s mut Answer<'a>, &'s Rule)> {
    let mut both = answers.iter_mut().zip(chosen);
    let (answer, chosen) = both.find(|(_, c)| c.rule_no == rule_no && c.checkpoint.is_some())?;
    Some((answer, &chosen.rule))
}

/// Takes events in; each answer takes what is its. Says how many there were.
pub(super) async fn add_events<Row: Into<RawEvent>>(
    answers: &mut [Answer<'_>],
    partition: i32,
    principal_id: &str,
    mut events: impl Rows<Row>,
    mut trace: Option<&mut Trace>,
) -> Result<u64, StoreError> {
    let (mut count, mut turn) = (0, Turn::default());
    while let Some(row) = events.try_next().await? {
        count += 1;
        turn.give().await;
        let event: RawEvent = row.into();
        let is_taken = add_event(answers, partition, principal_id, &event);
        if let Some(trace) = trace.as_deref_mut().filter(|_| is_taken) {
            trace.event(&event);
        }
    }
    Ok(count)
}

/// The same with events of several principals.
pub(super) async fn add_events_of_tenant(
    answers: &mut [Answer<'_>],
    partition: i32,
    mut events: impl Rows<RawOfTenantRow>,
) -> Result<u64, StoreError> {
    let (mut count, mut turn) = (0, Turn::default());
    while let Some(row) = events.try_next().await? {
        count += 1;
        turn.give().await;
        let (seq, occurred_at, event_type, schema_version, data, metadata, principal_id) = row;
        let row = (seq, occurred_at, event_type, schema_version, data, metadata);
        add_event(answers, partition, &principal_id, &RawEvent::from(row));
    }
    Ok(count)
}

/// Whether any answer took it in.
fn add_event(
    answers: &mut [Answer<'_>],
    partition: i32,
    principal_id: &str,
    event: &RawEvent,
) -> bool {
    let subject = event.subject(partition, principal_id);
    let mut is_taken = false;
    for answer in answers.iter_mut() {
        is_taken |= answer.add_event(&subject);
    }
    is_taken
}

/// Gives the budget of a read, and whoever shares its thread, their turn.
pub(super) struct Turn(Instant);

impl Default for Turn {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Turn {
    /// To be called once an event.
    pub(super) async fn give(&mut self) {
        if self.0.elapsed() > TURN {
            tokio::task::yield_now().await;
            *self = Self::default();
        }
    }
}

/// The answer of a rule, of which everything was taken in.
pub(super) struct Finished {
    dimensions: Vec<String>,
    values: Result<Vec<Value>, TooLarge>,
}

impl Finished {
    pub(super) fn of(answer: Answer<'_>) -> Self {
        Self {
            dimensions: answer.dimensions(),
            values: answer.finish(),
        }
    }

    /// The values.
    pub(super) fn into_values(self) -> Result<Vec<Value>, TooLarge> {
        self.values
    }
}

/// The answer as a whole.
pub(super) fn conclude(
    query: &StateQuery,
    partition: i32,
    standpoint: Standpoint,
    chosen: Vec<Chosen>,
    finished: Vec<Finished>,
    cost: Cost,
) -> Result<State, StateError> {
    let seq = standpoint.seq;
    let lag = |c: &Chosen| (seq - c.checkpoint.unwrap_or(0)).max(0);
    let lags: Vec<i64> = chosen.iter().map(lag).collect();
    Ok(State {
        position: Position { partition, seq },
        head: standpoint.head,
        data_through: standpoint.ingested_at,
        staleness_seconds: standpoint.staleness_seconds,
        erasures: standpoint.erasures,
        states: states(query, chosen, finished, &lags)?,
        buckets: cost.buckets,
        raw_events: cost.raw_events,
    })
}

/// The answers of all rules, with how far the buckets of each lag behind.
pub(super) fn states(
    query: &StateQuery,
    chosen: Vec<Chosen>,
    finished: Vec<Finished>,
    lags: &[i64],
) -> Result<Vec<RuleState>, StateError> {
    check_question(query, &chosen)?;
    let mut parts = Vec::with_capacity(finished.len());
    for Finished { dimensions, values } in finished {
        parts.push((dimensions, values?));
    }
    if parts.iter().map(|(_, values)| values.len()).sum::<usize>() > MAX_VALUES {
        return Err(TooLarge::of_values(&query.question).into());
    }
    let state = |((chosen, (dimensions, values)), lag): ((Chosen, _), &i64)| RuleState {
        rule_version: chosen.version,
        lag_events: *lag,
        rule: chosen.rule,
        dimensions,
        values,
    };
    Ok(chosen.into_iter().zip(parts).zip(lags).map(state).collect())
}

/// That the rules are there which were asked for, and have the dimensions that were.
pub(super) fn check_question(query: &StateQuery, chosen: &[Chosen]) -> Result<(), StateError> {
    check_selection(&query.selection, chosen)?;
    check_dimensions(query, chosen)?;
    check_fill(query, chosen)
}

/// Parts of the range and of what lies before it, with which of the two each is.
pub(super) fn marked<'p, T: Copy>(
    inside: &'p [T],
    before: &'p [T],
) -> impl Iterator<Item = (T, bool)> + 'p {
    let inside = inside.iter().map(|part| (*part, false));
    inside.chain(before.iter().map(|part| (*part, true)))
}

/// Rows as they arrive.
pub(super) trait Rows<Row>:
    TryStream<Ok = Row, Error = diesel::result::Error> + Unpin
{
}
impl<Row, S: TryStream<Ok = Row, Error = diesel::result::Error> + Unpin> Rows<Row> for S {}

pub(super) type BucketColumns = (
    Integer,
    Nullable<Jsonb>,
    Timestamptz,
    BigInt,
    BigInt,
    Nullable<Numeric>,
    Nullable<Timestamptz>,
    Nullable<BigInt>,
    Nullable<Numeric>,
    Nullable<Binary>,
);
pub(super) type BucketRow = (
    i32,
    Option<JsonString>,
    PgTimestamp,
    i64,
    i64,
    Option<BigDecimal>,
    Option<PgTimestamp>,
    Option<i64>,
    Option<BigDecimal>,
    Option<Vec<u8>>,
);
pub(super) type RawColumns = (BigInt, Timestamptz, Text, Integer, Jsonb, Nullable<Jsonb>);
pub(super) type RawRow = (
    i64,
    PgTimestamp,
    String,
    i32,
    JsonString,
    Option<JsonString>,
);

pub(super) type RawOfTenantColumns = (
    BigInt,
    Timestamptz,
    Text,
    Integer,
    Jsonb,
    Nullable<Jsonb>,
    Text,
);
pub(super) type RawOfTenantRow = (
    i64,
    PgTimestamp,
    String,
    i32,
    JsonString,
    Option<JsonString>,
    String,
);

/// An event of the log as a statement gives it.
pub(super) struct RawEvent {
    pub(super) seq: i64,
    pub(super) occurred_at: Timestamp,
    /// Where it was asked for.
    pub(super) ingested_at: Option<Timestamp>,
    event_type: String,
    schema_version: i32,
    data: String,
    metadata: Option<JsonString>,
}

impl RawEvent {
    /// As rules see it.
    pub(super) fn subject<'e>(&'e self, partition: i32, principal_id: &'e str) -> Subject<'e> {
        Subject::new(Fact {
            position: Position {
                partition,
                seq: self.seq,
            },
            occurred_at: self.occurred_at,
            event_type: &self.event_type,
            schema_version: self.schema_version,
            principal_id,
            data: &self.data,
            metadata: self.metadata.as_ref().map_or("", |JsonString(text)| text),
        })
    }

    /// Whether it was stored on a later day than it occurred on.
    pub(super) fn is_late(&self) -> bool {
        self.ingested_at
            .is_some_and(|at| is_late(self.occurred_at, at))
    }
}

impl From<RawRow> for RawEvent {
    fn from(row: RawRow) -> Self {
        let (seq, occurred_at, event_type, schema_version, JsonString(data), metadata) = row;
        Self {
            seq,
            occurred_at: from_pg(occurred_at),
            ingested_at: None,
            event_type,
            schema_version,
            data,
            metadata,
        }
    }
}

impl From<StampedRow> for RawEvent {
    fn from(row: StampedRow) -> Self {
        let (seq, occurred_at, event_type, schema_version, data, metadata, ingested_at) = row;
        let row = (seq, occurred_at, event_type, schema_version, data, metadata);
        Self {
            ingested_at: Some(from_pg(ingested_at)),
            ..row.into()
        }
    }
}

/// The same columns, and the stamp.
pub(super) type StampedColumns = (
    BigInt,
    Timestamptz,
    Text,
    Integer,
    Jsonb,
    Nullable<Jsonb>,
    Timestamptz,
);
pub(super) type StampedRow = (
    i64,
    PgTimestamp,
    String,
    i32,
    JsonString,
    Option<JsonString>,
    PgTimestamp,
);

/// A selection, column by column.
pub(super) struct Selected<'a> {
    pub(super) every: bool,
    pub(super) names: &'a [String],
    pub(super) pinned_names: Vec<&'a str>,
    pub(super) pinned_versions: Vec<i32>,
}

impl<'a> Selected<'a> {
    pub(super) fn new(selection: &'a Selection) -> Self {
        let pinned = &selection.pinned;
        Self {
            every: selection.names.is_empty() && pinned.is_empty(),
            names: &selection.names,
            pinned_names: pinned.iter().map(|(name, _)| name.as_str()).collect(),
            pinned_versions: pinned.iter().map(|(_, version)| *version).collect(),
        }
    }
}

/// Everything that was named must have been found.
fn check_selection(selection: &Selection, chosen: &[Chosen]) -> Result<(), StateError> {
    for name in &selection.names {
        if !chosen.iter().any(|c| c.rule.name == *name) {
            return Err(StateError::UnknownRule(name.clone()));
        }
    }
    for (name, version) in &selection.pinned {
        if !chosen
            .iter()
            .any(|c| c.rule.name == *name && c.version == *version)
        {
            return Err(StateError::UnknownRule(format!("{name}:{version}")));
        }
    }
    Ok(())
}

/// Every rule must be of an operator whose values can be carried on, where they are to be.
fn check_fill(query: &StateQuery, chosen: &[Chosen]) -> Result<(), StateError> {
    let is_carried = query.question.fill == Fill::Previous;
    let other = |c: &&Chosen| is_carried && c.rule.operator != Operator::Latest;
    match chosen.iter().find(other) {
        None => Ok(()),
        Some(other) => Err(StateError::NotLatest(Box::new(other.rule.clone()))),
    }
}

/// Every rule must have the dimensions that were asked for: none is passed over in silence.
fn check_dimensions(query: &StateQuery, chosen: &[Chosen]) -> Result<(), StateError> {
    for Chosen { rule, .. } in chosen {
        if let Some(dimension) = query.question.grouping.missing(&rule.group_by) {
            let rule = Box::new(rule.clone());
            return Err(StateError::UnknownDimension { rule, dimension });
        }
    }
    Ok(())
}
