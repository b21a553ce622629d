//! `rejected_events`: what was refused of what a tenant sent. Written and trimmed by ingest-svc
//! alone.
//!
//! Invariant: bounded in age and in bytes; where it is too large, no tenant keeps more than its
//! share at the expense of another.

use crate::database::Connection;
use crate::error::StoreError;
use crate::statement::Statement;
use crate::values::{from_pg, to_pg};
use aevon_core::time::Timestamp;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl;
use std::time::Duration;

/// About what a row takes beside its body.
const ROW_BYTES: i64 = 500;

/// Something that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// When it was received, by the clock of who received it.
    pub received_at: Timestamp,
    /// Whose it is.
    pub tenant_id: String,
    /// The code of the refusal, then those of its faults. Never empty.
    pub codes: Vec<&'static str>,
    /// The request.
    pub request_id: String,
    /// Its place in an array.
    pub item_index: Option<i32>,
    /// The caller's id, where it could be read.
    pub event_id: Option<String>,
    /// As the request said.
    pub content_type: Option<String>,
    /// Each fault, as JSON.
    pub faults: String,
    /// The event, or the body as a whole, as far as it is kept.
    pub body: Vec<u8>,
    /// How many bytes it has in full, where that is known.
    pub body_bytes: Option<usize>,
}

impl Rejected {
    /// About how many bytes of memory and of the table it takes.
    pub fn size_bytes(&self) -> usize {
        usize::try_from(ROW_BYTES).unwrap_or(0) + self.body.len() + self.faults.len()
    }
}

/// Something that was refused, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its number; later ones are larger.
    pub rejected_no: i64,
    /// When it was received.
    pub received_at: Timestamp,
    /// The code of the refusal, then those of its faults.
    pub codes: Vec<String>,
    /// The request.
    pub request_id: String,
    /// Its place in an array.
    pub item_index: Option<i32>,
    /// The caller's id, where it could be read.
    pub event_id: Option<String>,
    /// As the request said.
    pub content_type: Option<String>,
    /// Each fault, as JSON.
    pub faults: String,
    /// The event, or the body as a whole, as far as it is kept.
    pub body: Vec<u8>,
    /// How many bytes it has in full, where that is known.
    pub body_bytes: Option<i64>,
    /// Whether the list goes on behind it.
    pub has_next: bool,
}

/// Adds some.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(connection: &mut Connection, list: &[Rejected]) -> Result<(), StoreError> {
    fn column<'a, T>(list: &'a [Rejected], field: impl Fn(&'a Rejected) -> T) -> Vec<T> {
        list.iter().map(field).collect()
    }
    let bytes = |one: &Rejected| one.body_bytes.and_then(|bytes| i64::try_from(bytes).ok());
    let query = diesel::sql_query(include_str!("sql/rejected_events_insert.sql"))
        .bind::<Array<Timestamptz>, _>(column(list, |one| to_pg(one.received_at)))
        .bind::<Array<Text>, _>(column(list, |one| &one.tenant_id))
        .bind::<Array<Text>, _>(column(list, |one| one.codes.join(",")))
        .bind::<Array<Text>, _>(column(list, |one| &one.request_id))
        .bind::<Array<Nullable<Integer>>, _>(column(list, |one| one.item_index))
        .bind::<Array<Nullable<Text>>, _>(column(list, |one| one.event_id.as_deref()))
        .bind::<Array<Nullable<Text>>, _>(column(list, |one| one.content_type.as_deref()))
        .bind::<Array<Text>, _>(column(list, |one| &one.faults))
        .bind::<Array<Binary>, _>(column(list, |one| one.body.as_slice()))
        .bind::<Array<Nullable<BigInt>>, _>(column(list, bytes));
    connection.begin_use();
    Statement::<_, ()>::new(query)
        .execute(&mut connection.pg)
        .await?;
    connection.end_use();
    Ok(())
}

/// Which part of a tenant's list is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// Whose.
    pub tenant_id: &'a str,
    /// Only those before this number.
    pub before: Option<i64>,
    /// Only those with this code.
    pub code: Option<&'a str>,
    /// Most of them.
    pub limit: usize,
    /// Bytes of bodies after which none follows.
    pub body_bytes: usize,
}

type Columns = (
    BigInt,
    Timestamptz,
    Array<Text>,
    Text,
    Nullable<Integer>,
    Nullable<Text>,
    Nullable<Text>,
    Text,
    Binary,
    Nullable<BigInt>,
    Bool,
);
type Row = (
    i64,
    PgTimestamp,
    Vec<String>,
    String,
    Option<i32>,
    Option<String>,
    Option<String>,
    String,
    Vec<u8>,
    Option<i64>,
    bool,
);

/// What was refused of a tenant's, the newest first.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    connection: &mut Connection,
    filter: Filter<'_>,
) -> Result<Vec<Stored>, StoreError> {
    let query = diesel::sql_query(include_str!("sql/rejected_events_list.sql"))
        .bind::<Text, _>(filter.tenant_id)
        .bind::<BigInt, _>(filter.before.unwrap_or(i64::MAX))
        .bind::<Nullable<Text>, _>(filter.code)
        .bind::<BigInt, _>(i64::try_from(filter.limit).unwrap_or(i64::MAX))
        .bind::<BigInt, _>(i64::try_from(filter.body_bytes).unwrap_or(i64::MAX));
    connection.begin_use();
    let rows: Vec<Row> = Statement::<_, Columns>::new(query)
        .load(&mut connection.pg)
        .await?;
    connection.end_use();
    Ok(rows.into_iter().map(stored).collect())
}

fn stored(row: Row) -> Stored {
    let (rejected_no, received_at, codes, request_id, item_index, event_id, ..) = row;
    let (.., content_type, faults, body, body_bytes, has_next) = row;
    Stored {
        rejected_no,
        received_at: from_pg(received_at),
        codes,
        request_id,
        item_index,
        event_id,
        content_type,
        faults,
        body,
        body_bytes,
        has_next,
    }
}

/// Takes out what is older than `keep`, and what is too much for `max_bytes`; how many went.
///
/// # Errors
/// [`StoreError`].
pub async fn trim(
    connection: &mut Connection,
    keep: Duration,
    max_bytes: usize,
) -> Result<usize, StoreError> {
    let expire = diesel::sql_query(include_str!("sql/rejected_events_expire.sql"))
        .bind::<BigInt, _>(i64::try_from(keep.as_micros()).unwrap_or(i64::MAX));
    let trim = diesel::sql_query(include_str!("sql/rejected_events_trim.sql"))
        .bind::<BigInt, _>(i64::try_from(max_bytes).unwrap_or(i64::MAX))
        .bind::<BigInt, _>(ROW_BYTES);
    connection.begin_use();
    let expired = Statement::<_, ()>::new(expire)
        .execute(&mut connection.pg)
        .await?;
    let trimmed = Statement::<_, ()>::new(trim)
        .execute(&mut connection.pg)
        .await?;
    connection.end_use();
    Ok(expired + trimmed)
}
