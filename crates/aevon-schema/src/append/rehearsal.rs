//! A rehearsal: an append that is never committed, to find out whether one would succeed.
//!
//! Invariant: nothing of it is ever seen: it holds the lock that every writer takes, and ends in a
//! rollback whatever happens.

use super::GROUP_TIMEOUT;
use crate::database::{Connection, Database};
use crate::error::StoreError;
use crate::{events, partitions};
use diesel::sql_types::{BigInt, Integer};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

/// Where it writes.
const STAGE: i32 = 0;

/// Does all that an append does to the log, but for its commit: locks every partition, reads the
/// heads, and writes more than fits into a page, so that a disk without room shows.
///
/// # Errors
/// What an append would meet.
pub async fn rehearse(database: &Database, partitions: i32) -> Result<(), StoreError> {
    let mut connection = database.get().await?;
    // Whoever gives up in between leaves the mark, and the connection is thrown away.
    connection.begin_use();
    let rehearsal = tokio::time::timeout(GROUP_TIMEOUT, perform(&mut connection, partitions));
    rehearsal
        .await
        .unwrap_or(Err(StoreError::DeadlineExceeded("a rehearsal")))?;
    connection.end_use();
    Ok(())
}

async fn perform(connection: &mut Connection, partitions: i32) -> Result<(), StoreError> {
    let mut pg = &connection.pg;
    let all: Vec<i32> = (0..partitions).collect();
    pg.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        .await?;
    partitions::lock(pg, &all).await?;
    let heads = events::heads(pg, &all, None).await?;
    let head = heads.get(&STAGE).map_or(0, |head| head.seq);
    diesel::sql_query(include_str!("../sql/append_rehearsal.sql"))
        .bind::<Integer, _>(STAGE)
        .bind::<BigInt, _>(head)
        .execute(&mut pg)
        .await?;
    Ok(pg.batch_execute("ROLLBACK").await?)
}
