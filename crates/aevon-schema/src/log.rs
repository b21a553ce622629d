//! Reading the log itself: a tenant's feed, a principal's events, one event.
//!
//! Invariant: what lies at or below a committed head is final, so a page that was bounded by heads
//! is the same whenever it is read again.

use crate::database::Connection;
use crate::error::StoreError;
use crate::statement::Statement;
use crate::values::{JsonString, end_to_pg, from_pg, start_to_pg, to_pg};
use aevon_core::identity::UNIT_SEPARATOR;
use aevon_core::position::{Position, Version};
use aevon_core::state::Range;
use aevon_core::time::Timestamp;
use diesel::pg::data_types::PgTimestamp;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Array, BigInt, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl;
use futures_util::TryStreamExt;

/// Most positions of a partition that one page of a feed looks at: a tenant may be one of many.
const FEED_WINDOW: i64 = 2_000;
/// Bytes of documents after which a page ends.
const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// An event as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its place in the log.
    pub position: Position,
    /// Whose.
    pub principal_id: String,
    /// The caller's name for it, with its source where it has one.
    event_id: String,
    /// What happened.
    pub event_type: String,
    /// Valid time.
    pub occurred_at: Timestamp,
    /// Transaction time.
    pub ingested_at: Timestamp,
    /// 0 for none.
    pub schema_version: i32,
    /// A JSON object.
    pub data: String,
    /// A JSON object.
    pub metadata: String,
    /// The position of the void that takes it out of every answer; a feed does not look for it, as
    /// the void comes later in it.
    pub voided_by: Option<Position>,
}

impl Logged {
    /// The caller's id.
    pub fn id(&self) -> &str {
        parts_of(&self.event_id).1
    }

    /// Where the caller had it from.
    pub fn source(&self) -> Option<&str> {
        parts_of(&self.event_id).0
    }
}

/// The source of an identity as it is stored, if it has one, and the id.
pub(crate) fn parts_of(event_id: &str) -> (Option<&str>, &str) {
    match event_id.split_once(UNIT_SEPARATOR) {
        Some((source, id)) => (Some(source), id),
        None => (None, event_id),
    }
}

/// What a feed or a list is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The events.
    pub events: Vec<Logged>,
    /// Whether it ended before everything that was asked for: because of its length or its bytes.
    pub is_cut: bool,
}

/// How far a partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The partition.
    pub partition: i32,
    /// Events behind it are asked for.
    pub after: i64,
    /// The newest seq.
    pub head: i64,
}

impl Reach {
    /// The last position that a page looks at.
    fn upto(&self) -> i64 {
        self.head.min(self.after.saturating_add(FEED_WINDOW))
    }
}

/// In which order a principal's events are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they came in.
    Position,
    /// The newest first.
    PositionBack,
    /// As they occurred.
    Occurrence,
    /// The last first.
    OccurrenceBack,
}

/// Which events of a principal are asked for.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Isolation unit.
    pub tenant_id: String,
    /// Whose.
    pub principal_id: String,
    /// The principal's partition.
    pub partition: i32,
    /// Nothing above it.
    pub version: i64,
    /// When they occurred.
    pub range: Range,
    /// Types; none are all.
    pub types: Vec<String>,
    /// In which order.
    pub order: Order,
    /// The last event of the page before.
    pub after: Option<(Timestamp, i64)>,
    /// Most events.
    pub limit: usize,
}

/// The newest seq of each partition, or of some.
///
/// # Errors
/// [`StoreError`].
pub async fn heads(
    connection: &mut Connection,
    partitions: Option<&[i32]>,
) -> Result<Vec<Position>, StoreError> {
    let query = diesel::sql_query(include_str!("sql/log_heads.sql"))
        .bind::<Nullable<Array<Integer>>, _>(partitions);
    connection.begin_use();
    let rows: Vec<(i32, i64)> = Statement::<_, (Integer, BigInt)>::new(query)
        .load(&mut connection.pg)
        .await?;
    connection.end_use();
    let position = |(partition, seq)| Position { partition, seq };
    Ok(rows.into_iter().map(position).collect())
}

/// The first partition where a version is ahead of the log, and how far the log is there; none on a
/// replica, which may be about to hear of it.
///
/// # Errors
/// [`StoreError`].
pub async fn ahead(
    connection: &mut Connection,
    version: &Version,
) -> Result<Option<Position>, StoreError> {
    let partitions: Vec<i32> = version.partitions().collect();
    let seqs: Vec<i64> = partitions.iter().filter_map(|p| version.of(*p)).collect();
    let query = diesel::sql_query(include_str!("sql/log_ahead.sql"))
        .bind::<Array<Integer>, _>(partitions)
        .bind::<Array<BigInt>, _>(seqs);
    connection.begin_use();
    let rows: Vec<(i32, i64)> = Statement::<_, (Integer, BigInt)>::new(query)
        .load(&mut connection.pg)
        .await?;
    connection.end_use();
    let head = rows.into_iter().next();
    Ok(head.map(|(partition, seq)| Position { partition, seq }))
}

/// The next events of a tenant behind a position of each partition. Moves every position on, past
/// what is other tenants' or of other types too; says whether anything may be left below the heads.
///
/// # Errors
/// [`StoreError`].
pub async fn feed(
    connection: &mut Connection,
    tenant_id: &str,
    types: &[String],
    reaches: &mut [Reach],
    limit: usize,
) -> Result<(Vec<Logged>, bool), StoreError> {
    let partitions: Vec<i32> = reaches.iter().map(|reach| reach.partition).collect();
    let afters: Vec<i64> = reaches.iter().map(|reach| reach.after).collect();
    let uptos: Vec<i64> = reaches.iter().map(Reach::upto).collect();
    let query = diesel::sql_query(include_str!("sql/log_feed.sql"))
        .into_boxed()
        .bind::<Text, _>(tenant_id)
        .bind::<Array<Integer>, _>(partitions)
        .bind::<Array<BigInt>, _>(afters)
        .bind::<Array<BigInt>, _>(uptos)
        .bind::<Array<Text>, _>(types)
        .bind::<BigInt, _>(count(limit));
    let page = take(connection, query, limit).await?;
    for reach in &mut *reaches {
        let ours = page.events.iter().rev();
        let mut ours = ours.filter(|event| event.position.partition == reach.partition);
        match ours.next() {
            Some(last) if page.is_cut => reach.after = last.position.seq,
            None if page.is_cut => {}
            _ => reach.after = reach.upto(),
        }
    }
    let is_left = reaches.iter().any(|reach| reach.after < reach.head);
    Ok((page.events, is_left))
}

/// Lists events of a principal.
///
/// # Errors
/// [`StoreError`].
pub async fn list(connection: &mut Connection, listing: &Listing) -> Result<Page, StoreError> {
    let sql = match listing.order {
        Order::Position => include_str!("sql/log_by_position.sql"),
        Order::PositionBack => include_str!("sql/log_by_position_back.sql"),
        Order::Occurrence => include_str!("sql/log_by_occurrence.sql"),
        Order::OccurrenceBack => include_str!("sql/log_by_occurrence_back.sql"),
    };
    let is_back = matches!(listing.order, Order::PositionBack | Order::OccurrenceBack);
    let by_position = matches!(listing.order, Order::Position | Order::PositionBack);
    let edge = if is_back { i64::MAX } else { 0 };
    let (at, seq) = match listing.after {
        Some((at, seq)) => (to_pg(at), seq),
        None if is_back => (end_to_pg(None), edge),
        None => (start_to_pg(None), edge),
    };
    let query = diesel::sql_query(sql)
        .into_boxed()
        .bind::<Integer, _>(listing.partition)
        .bind::<Text, _>(&listing.tenant_id)
        .bind::<Text, _>(&listing.principal_id)
        .bind::<BigInt, _>(listing.version)
        .bind::<Timestamptz, _>(start_to_pg(listing.range.start))
        .bind::<Timestamptz, _>(end_to_pg(listing.range.end))
        .bind::<Array<Text>, _>(&listing.types);
    let query = match by_position {
        true => query,
        false => query.bind::<Timestamptz, _>(at),
    };
    let query = query
        .bind::<BigInt, _>(seq)
        .bind::<BigInt, _>(count(listing.limit));
    take(connection, query, listing.limit).await
}

/// Finds one event by its identity.
///
/// # Errors
/// [`StoreError`].
pub async fn find(
    connection: &mut Connection,
    (tenant_id, principal_id, partition): (&str, &str, i32),
    (source, id): (Option<&str>, &str),
) -> Result<Option<Logged>, StoreError> {
    let event_id = match source {
        Some(source) => format!("{source}{UNIT_SEPARATOR}{id}"),
        None => id.to_owned(),
    };
    let query = diesel::sql_query(include_str!("sql/log_find.sql"))
        .into_boxed()
        .bind::<Integer, _>(partition)
        .bind::<Text, _>(tenant_id)
        .bind::<Text, _>(principal_id)
        .bind::<Text, _>(event_id);
    Ok(take(connection, query, 1).await?.events.pop())
}

/// For `LIMIT`: one more than a page has, so that its end shows.
fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

type Columns = (
    Integer,
    BigInt,
    Text,
    Text,
    Text,
    Timestamptz,
    Timestamptz,
    Integer,
    Jsonb,
    Jsonb,
    Nullable<BigInt>,
);
type Row = (
    i32,
    i64,
    String,
    String,
    String,
    PgTimestamp,
    PgTimestamp,
    i32,
    JsonString,
    JsonString,
    Option<i64>,
);

/// Takes rows in until a page is full.
async fn take<'q>(
    connection: &mut Connection,
    query: BoxedSqlQuery<'q, diesel::pg::Pg, SqlQuery>,
    limit: usize,
) -> Result<Page, StoreError> {
    connection.begin_use();
    let mut rows = Statement::<_, Columns>::new(query)
        .load_stream::<Row>(&mut connection.pg)
        .await?;
    let (mut events, mut bytes, mut is_cut) = (Vec::new(), 0, false);
    while let Some(row) = rows.try_next().await? {
        if events.len() == limit || bytes > PAGE_BYTES {
            is_cut = true;
            break;
        }
        let logged = read(row);
        bytes += logged.data.len() + logged.metadata.len();
        events.push(logged);
    }
    drop(rows);
    connection.end_use();
    Ok(Page { events, is_cut })
}

fn read(row: Row) -> Logged {
    let (partition, seq, principal_id, event_id, event_type, occurred_at, ingested_at, ..) = row;
    let (schema_version, JsonString(data), JsonString(metadata)) = (row.7, row.8, row.9);
    Logged {
        position: Position { partition, seq },
        principal_id,
        event_id,
        event_type,
        occurred_at: from_pg(occurred_at),
        ingested_at: from_pg(ingested_at),
        schema_version,
        data,
        metadata,
        voided_by: row.10.map(|seq| Position { partition, seq }),
    }
}
