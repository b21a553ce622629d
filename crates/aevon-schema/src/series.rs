//! `series`: one (principal, rule version, group labels); what a bucket belongs to.
//!
//! Invariant: written by whoever holds the lease of the partition, so one identity never gets two
//! numbers.

use crate::statement::Statement;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use rustc_hash::FxHashMap;

/// The series that a slice touches, column by column; each once.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    principal_nos: Vec<i64>,
    rule_nos: Vec<i32>,
    generations: Vec<i32>,
}

impl Touched {
    /// Adds one.
    pub(crate) fn push(&mut self, principal_no: i64, rule_no: i32, generation: i32) {
        self.principal_nos.push(principal_no);
        self.rule_nos.push(rule_no);
        self.generations.push(generation);
    }
}

/// Gives numbers to those that have none.
pub(crate) async fn insert_missing(
    pg: &AsyncPgConnection,
    partition: i32,
    touched: &Touched,
) -> QueryResult<usize> {
    let query = diesel::sql_query(include_str!("sql/series_insert.sql"))
        .bind::<Integer, _>(partition)
        .bind::<Array<BigInt>, _>(&touched.principal_nos)
        .bind::<Array<Integer>, _>(&touched.rule_nos)
        .bind::<Array<Integer>, _>(&touched.generations);
    Statement::<_, ()>::new(query).execute(&mut &*pg).await
}

/// Numbers by (principal, rule).
pub(crate) async fn find(
    pg: &AsyncPgConnection,
    partition: i32,
    touched: &Touched,
) -> QueryResult<FxHashMap<(i64, i32), i64>> {
    let query = diesel::sql_query(include_str!("sql/series_find.sql"))
        .bind::<Integer, _>(partition)
        .bind::<Array<BigInt>, _>(&touched.principal_nos)
        .bind::<Array<Integer>, _>(&touched.rule_nos)
        .bind::<Array<Integer>, _>(&touched.generations);
    let rows: Vec<(i64, i32, i64)> = Statement::<_, (BigInt, Integer, BigInt)>::new(query)
        .load(&mut &*pg)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(principal, rule, series)| ((principal, rule), series))
        .collect())
}
