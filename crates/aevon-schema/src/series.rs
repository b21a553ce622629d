//! `series`: one (principal, rule version, group labels); what a bucket belongs to.
//!
//! Invariant: written by whoever holds the lease of the partition, so one identity never gets two
//! numbers.

use crate::error::StoreError;
use crate::statement::Statement;
use crate::values::JsonText;
use aevon_core::labels::Labels;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Jsonb, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// The series that a slice touches, column by column; each once.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    principal_nos: Vec<i64>,
    rule_nos: Vec<i32>,
    generations: Vec<i32>,
    labels_hashes: Vec<Vec<u8>>,
    labels: Vec<Option<String>>,
}

impl Identities {
    /// Adds one; `labels` as they are stored, none for the ungrouped series.
    pub(crate) fn push(
        &mut self,
        principal_no: i64,
        rule_no: i32,
        generation: i32,
        labels: Option<String>,
    ) {
        self.principal_nos.push(principal_no);
        self.rule_nos.push(rule_no);
        self.generations.push(generation);
        let hash = labels.as_ref().map(|json| Labels::hash(json).to_vec());
        self.labels_hashes.push(hash.unwrap_or_default());
        self.labels.push(labels);
    }

    /// True where there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.principal_nos.is_empty()
    }
}

/// The numbers of series, in their order. Those that have none get one.
pub(crate) async fn number(
    pg: &AsyncPgConnection,
    partition: i32,
    identities: &Identities,
) -> Result<Vec<i64>, StoreError> {
    insert_missing(pg, partition, identities).await?;
    let query = diesel::sql_query(include_str!("sql/series_find.sql"))
        .bind::<Integer, _>(partition)
        .bind::<Array<BigInt>, _>(&identities.principal_nos)
        .bind::<Array<Integer>, _>(&identities.rule_nos)
        .bind::<Array<Integer>, _>(&identities.generations)
        .bind::<Array<Binary>, _>(&identities.labels_hashes);
    let rows: Vec<(i64, i64)> = Statement::<_, (BigInt, BigInt)>::new(query)
        .load(&mut &*pg)
        .await?;
    let mut numbers = vec![None; identities.principal_nos.len()];
    for (place, series_no) in rows {
        let number = usize::try_from(place - 1)
            .ok()
            .and_then(|at| numbers.get_mut(at));
        if let Some(number) = number {
            *number = Some(series_no);
        }
    }
    let numbers: Option<Vec<i64>> = numbers.into_iter().collect();
    numbers.ok_or_else(|| StoreError::Corrupt("a series has no number".to_owned()))
}

async fn insert_missing(
    pg: &AsyncPgConnection,
    partition: i32,
    identities: &Identities,
) -> QueryResult<usize> {
    let labels: Vec<Option<JsonText<'_>>> = identities
        .labels
        .iter()
        .map(|json| json.as_deref().map(JsonText))
        .collect();
    let query = diesel::sql_query(include_str!("sql/series_insert.sql"))
        .bind::<Integer, _>(partition)
        .bind::<Array<BigInt>, _>(&identities.principal_nos)
        .bind::<Array<Integer>, _>(&identities.rule_nos)
        .bind::<Array<Integer>, _>(&identities.generations)
        .bind::<Array<Binary>, _>(&identities.labels_hashes)
        .bind::<Array<Nullable<Jsonb>>, _>(labels);
    Statement::<_, ()>::new(query).execute(&mut &*pg).await
}
