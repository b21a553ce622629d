//! `voids`: which events are voided, and from which position on. Written by [`crate::append`] with
//! the voids themselves.
//!
//! Invariant: a row stands exactly where an event of type `aevon.void` stands at `void_seq`.

use crate::events::NamedIdentities;
use crate::statement::Statement;
use crate::values::to_pg;
use aevon_core::append::{NewVoid, Voided};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// Which of the events under these identities are voided. No statement is sent where there are none.
pub(crate) async fn standing(
    pg: &AsyncPgConnection,
    partitions: &[i32],
    targets: &NamedIdentities<'_>,
) -> QueryResult<Voided> {
    if targets.event_ids.is_empty() {
        return Ok(Voided::default());
    }
    let query = diesel::sql_query(include_str!("sql/voids_standing.sql"))
        .bind::<Array<Integer>, _>(partitions)
        .bind::<Array<Text>, _>(&targets.event_ids)
        .bind::<Array<Text>, _>(&targets.tenant_ids)
        .bind::<Array<Text>, _>(&targets.principal_ids)
        .bind::<Array<Integer>, _>(&targets.partitions);
    let rows: Vec<(i64, i64)> = Statement::<_, (BigInt, BigInt)>::new(query)
        .load(&mut &*pg)
        .await?;
    Ok(rows.into_iter().collect())
}

/// Writes what the accepted voids of a group void; says how many rows that were.
pub(crate) async fn insert(
    pg: &AsyncPgConnection,
    partitions: &[i32],
    voids: &[NewVoid],
) -> QueryResult<usize> {
    let numbers = |number: fn(&NewVoid) -> i64| voids.iter().map(number).collect::<Vec<_>>();
    let occurred_ats = voids.iter().map(|void| to_pg(void.target_occurred_at));
    let of: Vec<i32> = voids.iter().map(|void| void.target.partition).collect();
    let query = diesel::sql_query(include_str!("sql/voids_insert.sql"))
        .bind::<Array<Integer>, _>(partitions)
        .bind::<Array<BigInt>, _>(numbers(|void| void.principal_no))
        .bind::<Array<BigInt>, _>(numbers(|void| void.target.seq))
        .bind::<Array<BigInt>, _>(numbers(|void| void.seq))
        .bind::<Array<Timestamptz>, _>(occurred_ats.collect::<Vec<_>>())
        .bind::<Array<Integer>, _>(of);
    Statement::<_, ()>::new(query).execute(&mut &*pg).await
}
