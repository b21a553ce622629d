//! `discards`: generations of buckets that nobody needs any more, and how far they are deleted.
//!
//! Invariant: the checkpoint goes in the transaction that deletes the first bucket, under the lease
//! of the partition: no reader has a licence for buckets of which some are gone, and no sweep adds to
//! them. A generation's number is never used again.

use crate::database::Connection;
use crate::error::StoreError;
use crate::statement::Statement;
use crate::sweep;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Double, Integer, Nullable};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use std::time::Duration;

/// Most series of one transaction.
const MAX_SERIES: i64 = 1_000;
/// Most buckets of one transaction.
const MAX_BUCKETS: i64 = 20_000;

/// A generation that nobody needs any more, in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    rule_no: i32,
    generation: i32,
    partition: i32,
}

/// Generations that were replaced or given up, and those of versions that were retired longer ago
/// than `keep_retired`; none is for ever.
///
/// # Errors
/// [`StoreError`].
pub async fn due(
    connection: &mut Connection,
    keep_retired: Option<Duration>,
) -> Result<Vec<Discard>, StoreError> {
    let seconds = keep_retired.map(|keep| keep.as_secs_f64());
    let query = diesel::sql_query(include_str!("sql/discards_due.sql"))
        .bind::<Nullable<Double>, _>(seconds);
    let rows: Vec<(i32, i32, i32)> = Statement::<_, (Integer, Integer, Integer)>::new(query)
        .load(&mut connection.pg)
        .await?;
    let discard = |(rule_no, generation, partition)| Discard {
        rule_no,
        generation,
        partition,
    };
    Ok(rows.into_iter().map(discard).collect())
}

/// Deletes some of a generation; says whether anything may be left. `None` where a sweeper has the
/// partition.
///
/// # Errors
/// [`StoreError`]; nothing was changed then.
pub async fn delete_some(
    connection: &mut Connection,
    discard: &Discard,
) -> Result<Option<bool>, StoreError> {
    connection.begin_use();
    let deleted = connection
        .pg
        .transaction::<_, StoreError, _>(async |pg| {
            if !sweep::lease(pg, discard.partition).await? {
                return Ok(None);
            }
            discard.begin(pg).await?;
            let series = discard.next_series(pg).await?;
            let (principal_nos, series_nos): (Vec<i64>, Vec<i64>) = series.into_iter().unzip();
            let Some(last) = principal_nos.last() else {
                discard.end(pg).await?;
                return Ok(Some(false));
            };
            let buckets = discard.delete_buckets(pg, &series_nos).await?;
            if i64::try_from(buckets).unwrap_or(i64::MAX) < MAX_BUCKETS {
                discard
                    .delete_series(pg, &principal_nos, &series_nos)
                    .await?;
                discard.set_reached(pg, *last).await?;
            }
            Ok(Some(true))
        })
        .await?;
    connection.end_use();
    Ok(deleted)
}

impl Discard {
    async fn begin(&self, pg: &mut AsyncPgConnection) -> QueryResult<()> {
        for sql in [
            include_str!("sql/discards_licence.sql"),
            include_str!("sql/discards_begin.sql"),
        ] {
            let query = diesel::sql_query(sql)
                .bind::<Integer, _>(self.rule_no)
                .bind::<Integer, _>(self.generation)
                .bind::<Integer, _>(self.partition);
            Statement::<_, ()>::new(query).execute(pg).await?;
        }
        Ok(())
    }

    async fn next_series(&self, pg: &mut AsyncPgConnection) -> QueryResult<Vec<(i64, i64)>> {
        let query = diesel::sql_query(include_str!("sql/discards_series.sql"))
            .bind::<Integer, _>(self.rule_no)
            .bind::<Integer, _>(self.generation)
            .bind::<Integer, _>(self.partition)
            .bind::<BigInt, _>(MAX_SERIES);
        Statement::<_, (BigInt, BigInt)>::new(query).load(pg).await
    }

    async fn delete_buckets(
        &self,
        pg: &mut AsyncPgConnection,
        series_nos: &[i64],
    ) -> QueryResult<usize> {
        let query = diesel::sql_query(include_str!("sql/discards_buckets.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Array<BigInt>, _>(series_nos)
            .bind::<BigInt, _>(MAX_BUCKETS);
        Statement::<_, ()>::new(query).execute(pg).await
    }

    async fn delete_series(
        &self,
        pg: &mut AsyncPgConnection,
        principal_nos: &[i64],
        series_nos: &[i64],
    ) -> QueryResult<()> {
        let query = diesel::sql_query(include_str!("sql/discards_series_delete.sql"))
            .bind::<Integer, _>(self.rule_no)
            .bind::<Integer, _>(self.generation)
            .bind::<Integer, _>(self.partition)
            .bind::<Array<BigInt>, _>(principal_nos)
            .bind::<Array<BigInt>, _>(series_nos);
        Statement::<_, ()>::new(query).execute(pg).await.map(|_| ())
    }

    /// So that the next look does not pass again over what is gone.
    async fn set_reached(&self, pg: &mut AsyncPgConnection, principal_no: i64) -> QueryResult<()> {
        use crate::schema::discards::dsl;
        let ours = (self.rule_no, self.generation, self.partition);
        diesel::update(dsl::discards.find(ours))
            .set(dsl::principal_no.eq(principal_no))
            .execute(pg)
            .await
            .map(|_| ())
    }

    async fn end(&self, pg: &mut AsyncPgConnection) -> QueryResult<()> {
        use crate::schema::discards::dsl;
        let ours = (self.rule_no, self.generation, self.partition);
        diesel::delete(dsl::discards.find(ours))
            .execute(pg)
            .await
            .map(|_| ())
    }
}
