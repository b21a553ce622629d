//! `pre_aggregates`: the buckets. Written by [`crate::sweep`] alone.
//!
//! Ordering: rows are written in the order of their key, so that no two writers of overlapping keys
//! could ever wait for each other in a circle.

use crate::statement::Statement;
use crate::values::to_pg;
use aevon_core::fold::{BucketKey, Delta};
use aevon_core::operator::Operator;
use aevon_core::time::Grain;
use bigdecimal::BigDecimal;
use diesel::pg::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Numeric, SmallInt, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// The deltas of one grain, column by column.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    series_nos: Vec<i64>,
    operators: Vec<i16>,
    window_starts: Vec<PgTimestamp>,
    epochs: Vec<i32>,
    event_counts: Vec<i64>,
    skipped_counts: Vec<i64>,
    first_seqs: Vec<i64>,
    last_seqs: Vec<i64>,
    values: Vec<Option<BigDecimal>>,
}

impl Rows {
    /// The rows, sorted by key.
    pub(crate) fn sorted(mut deltas: Vec<(i64, Operator, BucketKey, Delta)>) -> Self {
        deltas.sort_unstable_by_key(|(series_no, _, key, _)| {
            (*series_no, key.window_start, key.epoch)
        });
        let mut rows = Self::default();
        for (series_no, operator, key, delta) in deltas {
            rows.series_nos.push(series_no);
            rows.operators.push(operator.code());
            rows.window_starts.push(to_pg(key.window_start));
            rows.epochs.push(key.epoch);
            rows.event_counts.push(delta.partial.event_count);
            rows.skipped_counts.push(delta.partial.skipped_count);
            rows.first_seqs.push(delta.first_seq);
            rows.last_seqs.push(delta.last_seq);
            rows.values
                .push(delta.partial.value.map(|value| value.to_big()));
        }
        rows
    }
}

/// Merges deltas of one grain into the buckets of a partition.
pub(crate) async fn merge(
    pg: &AsyncPgConnection,
    partition: i32,
    grain: Grain,
    rows: &Rows,
) -> QueryResult<usize> {
    let query = diesel::sql_query(include_str!("sql/pre_aggregates_merge.sql"))
        .bind::<Integer, _>(partition)
        .bind::<SmallInt, _>(grain.minutes())
        .bind::<Array<BigInt>, _>(&rows.series_nos)
        .bind::<Array<SmallInt>, _>(&rows.operators)
        .bind::<Array<Timestamptz>, _>(&rows.window_starts)
        .bind::<Array<Integer>, _>(&rows.epochs)
        .bind::<Array<BigInt>, _>(&rows.event_counts)
        .bind::<Array<BigInt>, _>(&rows.skipped_counts)
        .bind::<Array<BigInt>, _>(&rows.first_seqs)
        .bind::<Array<BigInt>, _>(&rows.last_seqs)
        .bind::<Array<Nullable<Numeric>>, _>(&rows.values);
    Statement::<_, ()>::new(query).execute(&mut &*pg).await
}
