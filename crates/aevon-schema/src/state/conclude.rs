//! What an answer says as a whole: where it stands, what it took, and the values of each rule.

use super::chosen::{Chosen, check_question};
use super::{RuleState, State, StateError, StateQuery};
use crate::error::StoreError;
use crate::statement::Statement;
use crate::values::from_pg;
use aevon_core::position::Position;
use aevon_core::state::{Answer, MAX_VALUES, TooLarge, Value};
use aevon_core::time::Timestamp;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{BigInt, Double, Integer, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

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
