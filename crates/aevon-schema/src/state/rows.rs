//! What both kinds of reads share: how their transaction begins, and taking rows into their answers.

use super::chosen::{Chosen, licensed};
use super::trace::Trace;
use crate::error::StoreError;
use crate::values::{JsonString, from_pg};
use aevon_core::amount::Amount;
use aevon_core::explain::is_late;
use aevon_core::filter::Subject;
use aevon_core::fold::Fact;
use aevon_core::labels::Labels;
use aevon_core::operator::{Columns, Kept, Partial};
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use aevon_core::state::Answer;
use aevon_core::time::Timestamp;
use bigdecimal::BigDecimal;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{BigInt, Binary, Integer, Jsonb, Nullable, Numeric, Text, Timestamptz};
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
