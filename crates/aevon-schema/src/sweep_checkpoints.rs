//! `sweep_checkpoints`: how far the buckets of a generation are complete in a partition.
//!
//! Invariant: advanced in the transaction that writes the buckets, and only from where the slice
//! began: a slice that was folded twice can't be written twice.
//! Invariant: totals of tenants are complete where `totals_seq` equals `seq`. It is set with the first
//! checkpoint and moves with it; once they differ, they differ for ever. So a program that knows
//! nothing of totals takes their licence away by sweeping. So does `links_seq`, for what principals'
//! buckets say of the totals that they are parts of.

use crate::statement::Statement;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Double, Integer};
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
