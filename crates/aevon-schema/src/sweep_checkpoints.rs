//! `sweep_checkpoints`: how far the buckets of a generation are complete in a partition.
//!
//! Invariant: advanced in the transaction that writes the buckets, and only from where the slice
//! began: a slice that was folded twice can't be written twice.

use crate::database::Connection;
use crate::error::StoreError;
use crate::statement::Statement;
use crate::values::from_pg;
use aevon_core::time::Timestamp;
use diesel::pg::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Double, Integer, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use std::time::Duration;

/// Moves the checkpoints of these generations `from` one seq `to` another, in a slice that `took` so
/// long until now; says how many moved. `from` 0
/// is no checkpoint at all: a row that is gone may mean that the buckets are, and is not made anew
/// in the middle of the log.
pub(crate) async fn advance(
    pg: &AsyncPgConnection,
    partition: i32,
    (from, to): (i64, i64),
    rule_nos: &[i32],
    generations: &[i32],
    took: Duration,
) -> QueryResult<usize> {
    let took = took.as_secs_f64();
    if from == 0 {
        let query = diesel::sql_query(include_str!("sql/sweep_checkpoints_begin.sql"))
            .bind::<Integer, _>(partition)
            .bind::<BigInt, _>(to)
            .bind::<Array<Integer>, _>(rule_nos)
            .bind::<Array<Integer>, _>(generations)
            .bind::<Double, _>(took);
        return Statement::<_, ()>::new(query).execute(&mut &*pg).await;
    }
    let query = diesel::sql_query(include_str!("sql/sweep_checkpoints_advance.sql"))
        .bind::<Integer, _>(partition)
        .bind::<BigInt, _>(from)
        .bind::<BigInt, _>(to)
        .bind::<Array<Integer>, _>(rule_nos)
        .bind::<Array<Integer>, _>(generations)
        .bind::<Double, _>(took);
    Statement::<_, ()>::new(query).execute(&mut &*pg).await
}

/// Where a version of a rule stands in a partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Lag {
    /// The rule's name.
    pub rule: String,
    /// Its version.
    pub version: i32,
    /// The partition.
    pub partition: i32,
    /// Its buckets are complete up to here; 0 where there are none.
    pub checkpoint: i64,
    /// The newest seq.
    pub head: i64,
    /// Age of the oldest event that its buckets don't hold yet, in seconds.
    pub lag_seconds: f64,
    /// When it was swept last.
    pub swept_at: Option<Timestamp>,
    /// How long that slice took.
    pub sweep_seconds: Option<f64>,
}

impl Lag {
    /// Events that its buckets don't hold yet.
    pub const fn events(&self) -> i64 {
        self.head - self.checkpoint
    }
}

type LagColumns = (
    Text,
    Integer,
    Integer,
    BigInt,
    BigInt,
    Double,
    Nullable<Timestamptz>,
    Nullable<Double>,
);
type LagRow = (
    String,
    i32,
    i32,
    i64,
    i64,
    f64,
    Option<PgTimestamp>,
    Option<f64>,
);

/// Where every version of a rule stands in each partition that has events; without a name, every
/// version that is not retired.
///
/// # Errors
/// [`StoreError`].
pub async fn lags(connection: &mut Connection, name: Option<&str>) -> Result<Vec<Lag>, StoreError> {
    let query = diesel::sql_query(include_str!("sql/sweep_checkpoints_lags.sql"))
        .bind::<Nullable<Text>, _>(name);
    connection.begin_use();
    let rows: Vec<LagRow> = Statement::<_, LagColumns>::new(query)
        .load(&mut connection.pg)
        .await?;
    connection.end_use();
    let lag = |row: LagRow| Lag {
        rule: row.0,
        version: row.1,
        partition: row.2,
        checkpoint: row.3,
        head: row.4,
        // Stamps may run ahead of the clock for a moment.
        lag_seconds: row.5.max(0.0),
        swept_at: row.6.map(from_pg),
        sweep_seconds: row.7,
    };
    Ok(rows.into_iter().map(lag).collect())
}
