//! `partitions`: one row a partition. Its lock orders that partition's log.
//!
//! Ordering: rows are locked in ascending order, by everyone.
//! Invariant: rows are locked and never updated by appends, so that nothing bloats under a long
//! snapshot elsewhere.

use crate::error::StoreError;
use crate::schema::{partitions, sweep_leases};
use crate::statement::Statement;
use aevon_core::identity::partition_of;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use std::collections::BTreeMap;
use std::future::Future;

/// Makes `wanted` partitions and their leases where there are none; says how many there are.
pub(crate) async fn create(pg: &mut AsyncPgConnection, wanted: i32) -> Result<i32, StoreError> {
    let numbers: Vec<i32> = (0..wanted).collect();
    pg.transaction(async |pg| {
        let existing = partitions::table.count().get_result::<i64>(pg).await?;
        if existing == 0 {
            let rows: Vec<_> = numbers
                .iter()
                .map(|n| (partitions::partition.eq(n), partitions::erasures.eq(0)))
                .collect();
            diesel::insert_into(partitions::table)
                .values(&rows)
                .execute(pg)
                .await?;
            let rows: Vec<_> = numbers
                .iter()
                .map(|n| sweep_leases::partition.eq(n))
                .collect();
            diesel::insert_into(sweep_leases::table)
                .values(&rows)
                .execute(pg)
                .await?;
        }
        diesel::result::QueryResult::Ok(())
    })
    .await?;
    count(pg).await
}

/// How many there are.
pub(crate) async fn count(pg: &mut AsyncPgConnection) -> Result<i32, StoreError> {
    let count: i64 = partitions::table.count().get_result(pg).await?;
    i32::try_from(count).map_err(|_| StoreError::Corrupt(format!("{count} partitions")))
}

/// Locks partitions, given ascending, until the transaction ends: `(partition, erasures)` of each.
pub(crate) fn lock<'a>(
    pg: &'a AsyncPgConnection,
    numbers: &'a [i32],
) -> impl Future<Output = QueryResult<Vec<(i32, i64)>>> + Send + 'a {
    let query = diesel::sql_query(include_str!("sql/partitions_lock.sql"))
        .bind::<Array<Integer>, _>(numbers);
    async move {
        Statement::<_, (Integer, BigInt)>::new(query)
            .load(&mut &*pg)
            .await
    }
}

/// Counts erasures that were made elsewhere, by tenant and pseudonym, where the principals are: what was answered
/// before one of them is not what is answered now.
pub(crate) async fn count_erasures<'e>(
    pg: &mut AsyncPgConnection,
    erased: impl Iterator<Item = (&'e str, &'e str)>,
) -> Result<(), StoreError> {
    let all = count(pg).await?;
    let mut counts: BTreeMap<i32, i64> = BTreeMap::new();
    for (tenant_id, pseudonym) in erased {
        *counts
            .entry(partition_of(tenant_id, pseudonym, all))
            .or_default() += 1;
    }
    for (number, counted) in counts {
        diesel::update(partitions::table.find(number))
            .set(partitions::erasures.eq(counted))
            .execute(pg)
            .await?;
    }
    Ok(())
}
