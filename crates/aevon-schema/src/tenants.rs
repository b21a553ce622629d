//! `tenants`: the number that a tenant has in a partition, for the series of its total.
//!
//! Invariant: written by whoever holds the lease of the partition, so one tenant never gets two
//! numbers there. Numbers come from the sequence of principals: none is both.

use crate::statement::Statement;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use rustc_hash::FxHashMap;

/// The number of each principal's tenant, by principal. Tenants that have none get one. Of principals
/// that are not there, whose state nobody can ask for either, nothing is said.
pub(crate) async fn number(
    pg: &AsyncPgConnection,
    partition: i32,
    principal_nos: &[i64],
) -> QueryResult<FxHashMap<i64, i64>> {
    if principal_nos.is_empty() {
        return Ok(FxHashMap::default());
    }
    let found = find(pg, partition, principal_nos).await?;
    if found.len() == principal_nos.len() {
        return Ok(found);
    }
    let is_missing = |principal_no: &&i64| !found.contains_key(*principal_no);
    let missing: Vec<i64> = principal_nos.iter().filter(is_missing).copied().collect();
    let query = diesel::sql_query(include_str!("sql/tenants_insert.sql"))
        .bind::<Integer, _>(partition)
        .bind::<Array<BigInt>, _>(&missing);
    Statement::<_, ()>::new(query).execute(&mut &*pg).await?;
    let mut numbers = found;
    numbers.extend(find(pg, partition, &missing).await?);
    Ok(numbers)
}

async fn find(
    pg: &AsyncPgConnection,
    partition: i32,
    principal_nos: &[i64],
) -> QueryResult<FxHashMap<i64, i64>> {
    let query = diesel::sql_query(include_str!("sql/tenants_find.sql"))
        .bind::<Integer, _>(partition)
        .bind::<Array<BigInt>, _>(principal_nos);
    let rows: Vec<(i64, i64)> = Statement::<_, (BigInt, BigInt)>::new(query)
        .load(&mut &*pg)
        .await?;
    Ok(rows.into_iter().collect())
}
