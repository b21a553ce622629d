//! The read: buckets, raw edges and tail of one principal, from one snapshot, in one round trip.
//!
//! Invariant: everything comes from one repeatable-read, read-only transaction: rule versions,
//! checkpoints, head, buckets, events. Works on a hot standby: no writes, no locks.
//! Invariant: memory does not grow with the tail or the buckets: rows are folded as they arrive.

use crate::access::Access;
use crate::database::{Connection, Database};
use crate::error::StoreError;
use crate::pipeline::Sent;
use crate::rules::read_definition;
use crate::statement::Statement;
use crate::values::{JsonString, end_to_pg, from_pg, start_to_pg, to_pg};
use aevon_core::amount::Amount;
use aevon_core::identity::partition_of;
use aevon_core::operator::Partial;
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use aevon_core::state::{Answer, Granularity, MAX_VALUES, Plan, Range, TooManyWindows, Value};
use aevon_core::time::{Grain, Timestamp};
use bigdecimal::BigDecimal;
use diesel::pg::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{
    Array, BigInt, Bool, Double, Integer, Jsonb, Nullable, Numeric, SmallInt, Text, Timestamptz,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::{TryStream, TryStreamExt};
use std::time::Duration;

/// What reads need of the database.
pub const ACCESS: Access = Access {
    is_writing: false,
    privileges: &[
        ("partitions", "SELECT"),
        ("principals", "SELECT"),
        ("events", "SELECT"),
        ("rules", "SELECT"),
        ("answering_rules", "SELECT"),
        ("series", "SELECT"),
        ("pre_aggregates", "SELECT"),
        ("sweep_checkpoints", "SELECT"),
        ("api_keys", "SELECT"),
    ],
};

/// Which rules to answer for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names, answered by their answering version. Empty together with `pinned`: every name.
    pub names: Vec<String>,
    /// Versions of names.
    pub pinned: Vec<(String, i32)>,
}

/// What is asked. A query can't be built without a tenant.
#[derive(Clone, Debug)]
pub struct StateQuery {
    /// Isolation unit.
    pub tenant_id: String,
    /// Whose state.
    pub principal_id: String,
    /// Which rules.
    pub selection: Selection,
    /// Valid time.
    pub range: Range,
    /// How the answer is divided.
    pub granularity: Granularity,
}

/// One rule's answer.
#[derive(Clone, Debug)]
pub struct RuleState {
    /// The version that answered.
    pub rule_version: i32,
    /// The rule.
    pub rule: Rule,
    /// Its values, by window.
    pub values: Vec<Value>,
    /// Events of the partition that its buckets don't hold yet.
    pub lag_events: i64,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct State {
    /// The head of the principal's partition in the snapshot.
    pub position: Position,
    /// The ingestion time of that head; `None` while the partition is empty.
    pub data_through: Option<Timestamp>,
    /// How far this database is behind its primary; 0 on it.
    pub staleness_seconds: f64,
    /// By name and version.
    pub states: Vec<RuleState>,
    /// Bucket rows that were read for it.
    pub buckets: u64,
    /// Events that were read for it from the log.
    pub raw_events: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such rule, or no such version of it.
    #[error("there is no rule {0}")]
    UnknownRule(String),
    /// The answer would be too long.
    #[error(transparent)]
    TooManyWindows(#[from] TooManyWindows),
    /// The answer took longer than its budget.
    #[error("the answer took longer than {0:?}")]
    BudgetExceeded(Duration),
}

/// Answers a query within `budget`.
///
/// # Errors
/// See [`StateError`].
pub async fn read(
    database: &Database,
    partitions: i32,
    query: &StateQuery,
    budget: Duration,
) -> Result<State, StateError> {
    let answered = tokio::time::timeout(budget, async {
        match read_unbounded(database, partitions, query).await {
            // A read changes nothing. The connection may have died since it was used last, and a
            // server on its way down refuses before it is gone: another connection tells.
            Err(StateError::Store(StoreError::Unavailable(_) | StoreError::Refused(_))) => {
                read_unbounded(database, partitions, query).await
            }
            answered => answered,
        }
    });
    answered
        .await
        .unwrap_or(Err(StateError::BudgetExceeded(budget)))
}

async fn read_unbounded(
    database: &Database,
    partitions: i32,
    query: &StateQuery,
) -> Result<State, StateError> {
    let partition = partition_of(&query.tenant_id, &query.principal_id, partitions);
    let mut connection = database.get().await?;
    let connection: &mut Connection = &mut connection;
    // Whoever gives up in between leaves the mark, and the connection is thrown away; Postgres
    // stops working on it when it notices.
    connection.begin_use();
    let warm = connection.is_warm(TRANSACTION);
    let snapshot = Snapshot {
        pg: &connection.pg,
        warm,
        partition,
        query,
    };
    let state = snapshot.read().await?;
    connection.set_warm(TRANSACTION);
    connection.end_use();
    Ok(state)
}

const TRANSACTION: &str = "state";
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

struct Snapshot<'a> {
    pg: &'a AsyncPgConnection,
    warm: bool,
    partition: i32,
    query: &'a StateQuery,
}

struct Chosen {
    rule_no: i32,
    version: i32,
    rule: Rule,
    checkpoint: Option<i64>,
}

impl Snapshot<'_> {
    async fn read(&self) -> Result<State, StateError> {
        let StateQuery {
            range, granularity, ..
        } = *self.query;
        let plan = Plan::new(range, granularity);
        let (mut begin_on, mut commit_on) = (self.pg, self.pg);

        let begin = Sent::new(begin_on.batch_execute(BEGIN), self.warm).await;
        let head = Sent::new(self.head(), self.warm).await;
        let rules = Sent::new(self.rules(), self.warm).await;
        let buckets = Sent::new(self.buckets(&plan), self.warm).await;
        let raw = Sent::new(self.raw(&plan), self.warm).await;
        // The commit goes out with the rest where its answer can come last: it is awaited only
        // after the events were taken in.
        let commit = Sent::new(commit_on.batch_execute("COMMIT"), self.warm).await;

        begin.answer().await.map_err(StoreError::from)?;
        let (seq, data_through, staleness_seconds) = head.answer().await?;
        let chosen = rules.answer().await?;
        let mut answers: Vec<Answer<'_>> = chosen
            .iter()
            .map(|c| {
                Answer::new(
                    &c.rule,
                    range,
                    granularity,
                    &plan,
                    c.checkpoint.unwrap_or(0),
                )
            })
            .collect();
        let buckets = buckets.answer().await.map_err(StoreError::from)?;
        let buckets = add_buckets(&mut answers, &chosen, buckets).await?;
        let raw = raw.answer().await.map_err(StoreError::from)?;
        let raw_events = add_events(&mut answers, raw).await?;
        commit.answer().await.map_err(StoreError::from)?;
        check_selection(&self.query.selection, &chosen)?;
        let values: Vec<Vec<Value>> = answers
            .into_iter()
            .map(Answer::finish)
            .collect::<Result<_, _>>()?;
        if values.iter().map(Vec::len).sum::<usize>() > MAX_VALUES {
            return Err(TooManyWindows.into());
        }
        let state = |(chosen, values): (Chosen, Vec<Value>)| RuleState {
            rule_version: chosen.version,
            lag_events: seq - chosen.checkpoint.unwrap_or(0),
            rule: chosen.rule,
            values,
        };
        Ok(State {
            position: Position {
                partition: self.partition,
                seq,
            },
            data_through,
            staleness_seconds,
            states: chosen.into_iter().zip(values).map(state).collect(),
            buckets,
            raw_events,
        })
    }

    async fn head(&self) -> Result<(i64, Option<Timestamp>, f64), StoreError> {
        let query = diesel::sql_query(include_str!("sql/state_head.sql"))
            .bind::<Integer, _>(self.partition);
        let rows: Vec<(i64, Option<PgTimestamp>, f64)> =
            Statement::<_, (BigInt, Nullable<Timestamptz>, Double)>::new(query)
                .load(&mut &*self.pg)
                .await?;
        let (seq, ingested_at, staleness) = rows
            .into_iter()
            .next()
            .ok_or_else(|| StoreError::Corrupt("a partition has no row".to_owned()))?;
        Ok((seq, ingested_at.map(from_pg), staleness))
    }

    async fn rules(&self) -> Result<Vec<Chosen>, StoreError> {
        let selected = Selected::new(&self.query.selection);
        let query = diesel::sql_query(include_str!("sql/state_rules.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Bool, _>(selected.every)
            .bind::<Array<Text>, _>(selected.names)
            .bind::<Array<Text>, _>(selected.pinned_names)
            .bind::<Array<Integer>, _>(selected.pinned_versions);
        let rows: Vec<(i32, String, i32, JsonString, Option<i64>)> =
            Statement::<_, (Integer, Text, Integer, Jsonb, Nullable<BigInt>)>::new(query)
                .load(&mut &*self.pg)
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

    async fn buckets(&self, plan: &Plan) -> QueryResult<impl Rows<BucketRow> + use<>> {
        let grains: Vec<i16> = plan
            .buckets
            .iter()
            .map(|(grain, _)| grain.minutes())
            .collect();
        let starts: Vec<_> = plan
            .buckets
            .iter()
            .map(|(_, r)| start_to_pg(r.start))
            .collect();
        let ends: Vec<_> = plan.buckets.iter().map(|(_, r)| end_to_pg(r.end)).collect();
        let selected = Selected::new(&self.query.selection);
        let query = diesel::sql_query(include_str!("sql/state_buckets.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Bool, _>(selected.every)
            .bind::<Array<Text>, _>(selected.names)
            .bind::<Array<Text>, _>(selected.pinned_names)
            .bind::<Array<Integer>, _>(selected.pinned_versions)
            .bind::<Array<SmallInt>, _>(grains)
            .bind::<Array<Timestamptz>, _>(starts)
            .bind::<Array<Timestamptz>, _>(ends)
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<Text, _>(&self.query.principal_id);
        Statement::<_, (Integer, Timestamptz, Nullable<Numeric>, BigInt, BigInt)>::new(query)
            .load_stream::<BucketRow>(&mut &*self.pg)
            .await
    }

    async fn raw(&self, plan: &Plan) -> QueryResult<impl Rows<RawRow> + use<>> {
        let edge_starts = || plan.edges.iter().filter_map(|edge| edge.start);
        let windows: Vec<_> = edge_starts()
            .map(|at| to_pg(Grain::Minute.floor(at)))
            .collect();
        let froms: Vec<_> = edge_starts().map(to_pg).collect();
        let tos: Vec<_> = plan
            .edges
            .iter()
            .filter_map(|edge| edge.end)
            .map(to_pg)
            .collect();
        let selected = Selected::new(&self.query.selection);
        let query = diesel::sql_query(include_str!("sql/state_raw.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Bool, _>(selected.every)
            .bind::<Array<Text>, _>(selected.names)
            .bind::<Array<Text>, _>(selected.pinned_names)
            .bind::<Array<Integer>, _>(selected.pinned_versions)
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<Text, _>(&self.query.principal_id)
            .bind::<Array<Timestamptz>, _>(windows)
            .bind::<Array<Timestamptz>, _>(froms)
            .bind::<Array<Timestamptz>, _>(tos)
            .bind::<Timestamptz, _>(start_to_pg(self.query.range.start))
            .bind::<Timestamptz, _>(end_to_pg(self.query.range.end));
        Statement::<_, (BigInt, Timestamptz, Text, Jsonb)>::new(query)
            .load_stream::<RawRow>(&mut &*self.pg)
            .await
    }
}

/// Takes buckets in, each into the answer of its rule. The checkpoint is the licence: buckets of a
/// rule that has none in this snapshot don't count. Says how many rows there were.
async fn add_buckets(
    answers: &mut [Answer<'_>],
    chosen: &[Chosen],
    mut buckets: impl Rows<BucketRow>,
) -> Result<u64, StoreError> {
    let mut count = 0;
    while let Some(row) = buckets.try_next().await? {
        count += 1;
        let (rule_no, window_start, value, event_count, skipped_count) = row;
        let mut licensed = answers.iter_mut().zip(chosen);
        let is_its = |(_, c): &(_, &Chosen)| c.rule_no == rule_no && c.checkpoint.is_some();
        if let Some((answer, _)) = licensed.find(is_its) {
            let partial = Partial {
                value: value.map(Amount::from_big),
                event_count,
                skipped_count,
            };
            answer.add_bucket(from_pg(window_start), &partial);
        }
    }
    Ok(count)
}

/// Takes events in; each answer takes what is its. Says how many there were.
async fn add_events(
    answers: &mut [Answer<'_>],
    mut events: impl Rows<RawRow>,
) -> Result<u64, StoreError> {
    let mut count = 0;
    while let Some(row) = events.try_next().await? {
        count += 1;
        let (seq, occurred_at, event_type, JsonString(data)) = row;
        for answer in answers.iter_mut() {
            answer.add_event(seq, from_pg(occurred_at), &event_type, &data);
        }
    }
    Ok(count)
}

/// Rows as they arrive.
trait Rows<Row>: TryStream<Ok = Row, Error = diesel::result::Error> + Unpin {}
impl<Row, S: TryStream<Ok = Row, Error = diesel::result::Error> + Unpin> Rows<Row> for S {}

type BucketRow = (i32, PgTimestamp, Option<BigDecimal>, i64, i64);
type RawRow = (i64, PgTimestamp, String, JsonString);

/// A selection, column by column.
struct Selected<'a> {
    every: bool,
    names: &'a [String],
    pinned_names: Vec<&'a str>,
    pinned_versions: Vec<i32>,
}

impl<'a> Selected<'a> {
    fn new(selection: &'a Selection) -> Self {
        Self {
            every: selection.names.is_empty() && selection.pinned.is_empty(),
            names: &selection.names,
            pinned_names: selection
                .pinned
                .iter()
                .map(|(name, _)| name.as_str())
                .collect(),
            pinned_versions: selection
                .pinned
                .iter()
                .map(|(_, version)| *version)
                .collect(),
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
