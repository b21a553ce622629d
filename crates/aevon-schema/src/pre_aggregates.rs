//! `pre_aggregates`: the buckets. Written by [`crate::sweep`] alone.
//!
//! Ordering: rows are written in the order of their key, so that no two writers of overlapping keys
//! could ever wait for each other in a circle.
//! Invariant: called under the lease of the partition: a sketch is read, merged and written back.

use crate::error::StoreError;
use crate::statement::Statement;
use crate::values::to_pg;
use aevon_core::operator::{Columns, Distinct, Kept, Operator, Partial};
use aevon_core::time::{Grain, Timestamp};
use bigdecimal::BigDecimal;
use diesel::pg::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, Numeric, SmallInt, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

pub(crate) mod corrections;

/// Most sketches of one statement: each may take 16 KiB.
const MAX_SKETCHES: usize = 512;

/// What is to be merged into one bucket.
#[derive(Debug)]
pub(crate) struct BucketDelta {
    pub(crate) series_no: i64,
    pub(crate) operator: Operator,
    pub(crate) window_start: Timestamp,
    pub(crate) epoch: i32,
    pub(crate) partial: Partial,
    pub(crate) first_seq: i64,
    pub(crate) last_seq: i64,
    /// The last void that is in it.
    pub(crate) last_void_seq: Option<i64>,
    /// The series of the tenant's total that it is a part of; none for a total, and where none is kept.
    pub(crate) total_series_no: Option<i64>,
}

impl BucketDelta {
    fn keeps_more(&self) -> bool {
        self.operator.keeps_more() || self.last_void_seq.is_some()
    }

    fn has_sketch(&self) -> bool {
        matches!(self.partial.kept, Kept::Distinct(_))
    }
}

/// Merges deltas of one grain into the buckets of a partition: one statement, or one for each
/// [`MAX_SKETCHES`].
pub(crate) async fn merge(
    pg: &AsyncPgConnection,
    partition: i32,
    grain: Grain,
    mut deltas: Vec<BucketDelta>,
) -> Result<usize, StoreError> {
    // Cached: the deltas are large, and come in no order.
    deltas.sort_by_cached_key(|delta| (delta.series_no, delta.window_start, delta.epoch));
    let mut rows = 0;
    while !deltas.is_empty() {
        let sketches = deltas
            .iter()
            .enumerate()
            .filter(|(_, delta)| delta.has_sketch());
        let beyond = sketches.map(|(at, _)| at).nth(MAX_SKETCHES);
        let rest = beyond.map_or_else(Vec::new, |at| deltas.split_off(at));
        add_standing(pg, partition, grain, &mut deltas).await?;
        let keeps_more = deltas.iter().any(BucketDelta::keeps_more);
        let batch = Rows::new(std::mem::replace(&mut deltas, rest));
        rows += match keeps_more {
            true => batch.merge_more(pg, partition, grain).await?,
            false => batch.merge(pg, partition, grain).await?,
        };
    }
    Ok(rows)
}

/// Takes the sketches that stand into the deltas that have one.
async fn add_standing(
    pg: &AsyncPgConnection,
    partition: i32,
    grain: Grain,
    deltas: &mut [BucketDelta],
) -> Result<(), StoreError> {
    let mut deltas: Vec<&mut BucketDelta> = deltas
        .iter_mut()
        .filter(|delta| delta.has_sketch())
        .collect();
    if deltas.is_empty() {
        return Ok(());
    }
    let series_nos: Vec<i64> = deltas.iter().map(|delta| delta.series_no).collect();
    let windows: Vec<PgTimestamp> = deltas.iter().map(|d| to_pg(d.window_start)).collect();
    let epochs: Vec<i32> = deltas.iter().map(|delta| delta.epoch).collect();
    let query = diesel::sql_query(include_str!("sql/pre_aggregates_sketches.sql"))
        .bind::<Integer, _>(partition)
        .bind::<SmallInt, _>(grain.minutes())
        .bind::<Array<BigInt>, _>(&series_nos)
        .bind::<Array<Timestamptz>, _>(&windows)
        .bind::<Array<Integer>, _>(&epochs);
    let rows: Vec<(i64, Vec<u8>)> = Statement::<_, (BigInt, Binary)>::new(query)
        .load(&mut &*pg)
        .await?;
    for (place, bytes) in rows {
        let delta = usize::try_from(place - 1)
            .ok()
            .and_then(|at| deltas.get_mut(at));
        let (Some(delta), Some(set)) = (delta, Distinct::from_bytes(&bytes)) else {
            return Err(StoreError::Corrupt("a sketch can't be read".to_owned()));
        };
        let standing = Partial {
            kept: Kept::Distinct(Box::new(set)),
            ..Partial::default()
        };
        delta.partial.merge(delta.operator, &standing);
    }
    Ok(())
}

/// The rows of one statement, column by column.
#[derive(Debug, Default)]
struct Rows {
    series_nos: Vec<i64>,
    operators: Vec<i16>,
    window_starts: Vec<PgTimestamp>,
    epochs: Vec<i32>,
    event_counts: Vec<i64>,
    skipped_counts: Vec<i64>,
    first_seqs: Vec<i64>,
    last_seqs: Vec<i64>,
    values: Vec<Option<BigDecimal>>,
    latest_ats: Vec<Option<PgTimestamp>>,
    latest_seqs: Vec<Option<i64>>,
    moments: Vec<Option<BigDecimal>>,
    sketches: Vec<Option<Vec<u8>>>,
    last_void_seqs: Vec<Option<i64>>,
    total_series_nos: Vec<Option<i64>>,
}

impl Rows {
    fn new(deltas: Vec<BucketDelta>) -> Self {
        let mut rows = Self::default();
        for delta in deltas {
            rows.series_nos.push(delta.series_no);
            rows.operators.push(delta.operator.code());
            rows.window_starts.push(to_pg(delta.window_start));
            rows.epochs.push(delta.epoch);
            rows.event_counts.push(delta.partial.event_count);
            rows.skipped_counts.push(delta.partial.skipped_count);
            rows.first_seqs.push(delta.first_seq);
            rows.last_seqs.push(delta.last_seq);
            rows.last_void_seqs.push(delta.last_void_seq);
            rows.total_series_nos.push(delta.total_series_no);
            let Columns {
                value,
                latest_at,
                latest_seq,
                moment,
                sketch,
            } = delta.partial.kept.to_columns();
            rows.values.push(value.map(|value| value.to_big()));
            rows.latest_ats.push(latest_at.map(to_pg));
            rows.latest_seqs.push(latest_seq);
            rows.moments.push(moment.map(|moment| moment.to_big()));
            rows.sketches.push(sketch);
        }
        rows
    }

    async fn merge(
        &self,
        pg: &AsyncPgConnection,
        partition: i32,
        grain: Grain,
    ) -> QueryResult<usize> {
        let query = diesel::sql_query(include_str!("sql/pre_aggregates_merge.sql"))
            .bind::<Integer, _>(partition)
            .bind::<SmallInt, _>(grain.minutes())
            .bind::<Array<BigInt>, _>(&self.series_nos)
            .bind::<Array<SmallInt>, _>(&self.operators)
            .bind::<Array<Timestamptz>, _>(&self.window_starts)
            .bind::<Array<Integer>, _>(&self.epochs)
            .bind::<Array<BigInt>, _>(&self.event_counts)
            .bind::<Array<BigInt>, _>(&self.skipped_counts)
            .bind::<Array<BigInt>, _>(&self.first_seqs)
            .bind::<Array<BigInt>, _>(&self.last_seqs)
            .bind::<Array<Nullable<Numeric>>, _>(&self.values)
            .bind::<Array<Nullable<BigInt>>, _>(&self.total_series_nos);
        Statement::<_, ()>::new(query).execute(&mut &*pg).await
    }

    async fn merge_more(
        &self,
        pg: &AsyncPgConnection,
        partition: i32,
        grain: Grain,
    ) -> QueryResult<usize> {
        let query = diesel::sql_query(include_str!("sql/pre_aggregates_merge_more.sql"))
            .bind::<Integer, _>(partition)
            .bind::<SmallInt, _>(grain.minutes())
            .bind::<Array<BigInt>, _>(&self.series_nos)
            .bind::<Array<SmallInt>, _>(&self.operators)
            .bind::<Array<Timestamptz>, _>(&self.window_starts)
            .bind::<Array<Integer>, _>(&self.epochs)
            .bind::<Array<BigInt>, _>(&self.event_counts)
            .bind::<Array<BigInt>, _>(&self.skipped_counts)
            .bind::<Array<BigInt>, _>(&self.first_seqs)
            .bind::<Array<BigInt>, _>(&self.last_seqs)
            .bind::<Array<Nullable<Numeric>>, _>(&self.values)
            .bind::<Array<Nullable<Timestamptz>>, _>(&self.latest_ats)
            .bind::<Array<Nullable<BigInt>>, _>(&self.latest_seqs)
            .bind::<Array<Nullable<Numeric>>, _>(&self.moments)
            .bind::<Array<Nullable<Binary>>, _>(&self.sketches)
            .bind::<Array<Nullable<BigInt>>, _>(&self.last_void_seqs)
            .bind::<Array<Nullable<BigInt>>, _>(&self.total_series_nos);
        Statement::<_, ()>::new(query).execute(&mut &*pg).await
    }
}
