//! `principals`: text identifiers, once; everywhere else a principal is a number.
//!
//! Invariant: numbers are given under the lock of the principal's partition, so one identity never
//! gets two.

use crate::database::Connection;
use crate::error::StoreError;
use crate::statement::Statement;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use rustc_hash::FxHashSet;

/// Principals whose numbers are not known, column by column; each once.
#[derive(Debug, Default)]
pub(crate) struct Unknown<'a> {
    tenants: Vec<&'a str>,
    principals: Vec<&'a str>,
    partitions: Vec<i32>,
    seen: FxHashSet<(&'a str, &'a str)>,
}

impl<'a> Unknown<'a> {
    /// Adds one, unless it is there.
    pub(crate) fn push(&mut self, tenant_id: &'a str, principal_id: &'a str, partition: i32) {
        if self.seen.insert((tenant_id, principal_id)) {
            self.tenants.push(tenant_id);
            self.principals.push(principal_id);
            self.partitions.push(partition);
        }
    }

    /// True where there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str, i32)> + '_ {
        let identities = self.tenants.iter().zip(&self.principals);
        identities
            .zip(&self.partitions)
            .map(|((tenant, principal), p)| (*tenant, *principal, *p))
    }
}

/// `(tenant_id, principal_id, principal_no)`.
pub(crate) type Numbered = (String, String, i64);

/// The numbers of those that have one. No statement is sent where none is unknown.
pub(crate) async fn find(
    pg: &AsyncPgConnection,
    partitions: &[i32],
    unknown: &Unknown<'_>,
) -> QueryResult<Vec<Numbered>> {
    run(
        pg,
        include_str!("sql/principals_find.sql"),
        partitions,
        unknown,
    )
    .await
}

/// Gives each a number. The caller holds the locks of their partitions and found none.
pub(crate) async fn insert(
    pg: &AsyncPgConnection,
    partitions: &[i32],
    unknown: &Unknown<'_>,
) -> QueryResult<Vec<Numbered>> {
    run(
        pg,
        include_str!("sql/principals_insert.sql"),
        partitions,
        unknown,
    )
    .await
}

async fn run(
    pg: &AsyncPgConnection,
    sql: &'static str,
    partitions: &[i32],
    unknown: &Unknown<'_>,
) -> QueryResult<Vec<Numbered>> {
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let query = diesel::sql_query(sql)
        .bind::<Array<Integer>, _>(partitions)
        .bind::<Array<Text>, _>(&unknown.tenants)
        .bind::<Array<Text>, _>(&unknown.principals)
        .bind::<Array<Integer>, _>(&unknown.partitions);
    Statement::<_, (Text, Text, BigInt)>::new(query)
        .load(&mut &*pg)
        .await
}

/// The next principals of a tenant behind one of them, by name; of those that begin with a prefix.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    connection: &mut Connection,
    tenant_id: &str,
    prefix: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = diesel::sql_query(include_str!("sql/principals_list.sql"))
        .bind::<Text, _>(tenant_id)
        .bind::<Text, _>(after)
        .bind::<Text, _>(prefix)
        .bind::<Nullable<Text>, _>(successor(prefix))
        .bind::<BigInt, _>(limit);
    connection.begin_use();
    let rows: Vec<(String,)> = Statement::<_, (Text,)>::new(query)
        .load(&mut connection.pg)
        .await?;
    connection.end_use();
    Ok(rows
        .into_iter()
        .map(|(principal_id,)| principal_id)
        .collect())
}

/// The least text behind all that begin with a prefix, byte by byte; none where there is none.
fn successor(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The characters in their order, which is that of their bytes; the next one skips surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_successor_of_a_prefix_lies_behind_everything_that_begins_with_it() {
        let of = |prefix: &str| successor(prefix);
        assert_eq!(of("ab").as_deref(), Some("ac"));
        assert_eq!(of("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(of("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(of("\u{10ffff}"), None);
        assert_eq!(of(""), None);
    }
}
