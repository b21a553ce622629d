//! Exports: everything that another database can begin with, as lines of [`aevon_core::export`].
//!
//! Invariant: what the first line names is final, so that the rest may be read in as many transactions
//! as it takes, today or tomorrow, and is what one snapshot would have shown. What changes nevertheless
//! is an erasure, which ends an export ([`erasures`]).

use crate::database::Connection;
use crate::error::StoreError;
use crate::migrate;
use crate::statement::Statement;
use crate::values::{JsonString, from_pg, to_pg};
use aevon_core::export::{Erasure, Event, FORMAT, Head, Header, Line, Principal, Rule};
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Principals of one statement.
const PRINCIPALS: i64 = 5_000;
/// Events of one statement; each may have 256 KiB.
const EVENTS: i64 = 1_000;

type RuleRow = (
    i32,
    String,
    i32,
    String,
    Option<PgTimestamp>,
    String,
    JsonString,
);
type RuleColumns = (
    Integer,
    Text,
    Integer,
    Text,
    Nullable<Timestamptz>,
    Text,
    Jsonb,
);
type ErasureRow = (
    i64,
    PgTimestamp,
    String,
    String,
    Option<String>,
    bool,
    i64,
    i64,
    i64,
);
type ErasureColumns = (
    BigInt,
    Timestamptz,
    Text,
    Text,
    Nullable<Text>,
    Bool,
    BigInt,
    BigInt,
    BigInt,
);
type EventRow = (
    i64,
    i64,
    PgTimestamp,
    PgTimestamp,
    i32,
    String,
    String,
    JsonString,
    JsonString,
    Option<i64>,
    Option<PgTimestamp>,
);
type EventColumns = (
    BigInt,
    BigInt,
    Timestamptz,
    Timestamptz,
    Integer,
    Text,
    Text,
    Jsonb,
    Jsonb,
    Nullable<BigInt>,
    Nullable<Timestamptz>,
);

/// The first lines: the header, the rules and the erasures, of one snapshot.
///
/// # Errors
/// [`StoreError`].
pub async fn begin(
    connection: &mut Connection,
    partitions: i32,
) -> Result<Vec<String>, StoreError> {
    connection.begin_use();
    let pg = &mut connection.pg;
    pg.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let header = Header {
        format: FORMAT,
        schema: migrate::newest_known(),
        partitions,
        heads: heads(pg).await?,
    };
    let mut lines = vec![Line::Export(header).text()];
    lines.extend(rules(pg).await?);
    lines.extend(erasure_lines(pg).await?);
    pg.batch_execute("COMMIT").await?;
    connection.end_use();
    Ok(lines)
}

async fn heads(pg: &mut AsyncPgConnection) -> Result<Vec<Head>, StoreError> {
    let query = diesel::sql_query(include_str!("sql/export_heads.sql"));
    let rows: Vec<(i32, i64, PgTimestamp)> =
        Statement::<_, (Integer, BigInt, Timestamptz)>::new(query)
            .load(pg)
            .await?;
    let head = |(partition, seq, ingested_at)| Head {
        partition,
        seq,
        ingested_at: from_pg(ingested_at),
    };
    Ok(rows.into_iter().map(head).collect())
}

async fn rules(pg: &mut AsyncPgConnection) -> Result<Vec<String>, StoreError> {
    let query = diesel::sql_query(include_str!("sql/export_rules.sql"));
    let rows: Vec<RuleRow> = Statement::<_, RuleColumns>::new(query).load(pg).await?;
    let line = |row: &RuleRow| {
        let (rule_no, name, version, status, retired_at, fingerprint, definition) = row;
        let rule = Rule {
            rule_no: *rule_no,
            name: Cow::Borrowed(name),
            version: *version,
            status: Cow::Borrowed(status),
            retired_at: retired_at.map(from_pg),
            fingerprint: Cow::Borrowed(fingerprint),
            definition: raw(definition)?,
        };
        Ok(Line::Rule(rule).text())
    };
    rows.iter().map(line).collect()
}

pub(crate) async fn erasure_lines(pg: &mut AsyncPgConnection) -> Result<Vec<String>, StoreError> {
    let query = diesel::sql_query(include_str!("sql/export_erasures.sql"));
    let rows: Vec<ErasureRow> = Statement::<_, ErasureColumns>::new(query).load(pg).await?;
    let line = |row: ErasureRow| {
        let (erasure_no, erased_at, erased_by, tenant_id, pseudonym, is_forced, events, ..) = row;
        let erasure = Erasure {
            erasure_no,
            erased_at: from_pg(erased_at),
            erased_by: Cow::Owned(erased_by),
            tenant_id: Cow::Owned(tenant_id),
            pseudonym: pseudonym.map(Cow::Owned),
            is_forced,
            events,
            rejected: row.7,
            last_seq: row.8,
        };
        Line::Erasure(erasure).text()
    };
    Ok(rows.into_iter().map(line).collect())
}

/// Whether the log is the one that an export was begun of: it has its heads.
///
/// # Errors
/// [`StoreError`].
pub async fn holds(connection: &mut Connection, header: &Header) -> Result<bool, StoreError> {
    let heads = &header.heads;
    let partitions: Vec<i32> = heads.iter().map(|head| head.partition).collect();
    let seqs: Vec<i64> = heads.iter().map(|head| head.seq).collect();
    let stamps: Vec<PgTimestamp> = heads.iter().map(|head| to_pg(head.ingested_at)).collect();
    let query = diesel::sql_query(include_str!("sql/export_holds.sql"))
        .bind::<Array<Integer>, _>(partitions)
        .bind::<Array<BigInt>, _>(seqs)
        .bind::<Array<Timestamptz>, _>(stamps);
    let (holds,): (bool,) = Statement::<_, (Bool,)>::new(query)
        .get_result(&mut connection.pg)
        .await?;
    Ok(holds)
}

/// How many erasures there are by now. What was written before one of them is not what stands now.
///
/// # Errors
/// [`StoreError`].
pub async fn erasures(connection: &mut Connection) -> Result<u64, StoreError> {
    Ok(erasure_lines(&mut connection.pg).await?.len() as u64)
}

/// The next principals behind a number; none where there are no more.
///
/// # Errors
/// [`StoreError`].
pub async fn principals(
    connection: &mut Connection,
    header: &Header,
    after: i64,
) -> Result<Vec<String>, StoreError> {
    let heads: Vec<i64> = (0..header.partitions).map(|p| header.head(p)).collect();
    let query = diesel::sql_query(include_str!("sql/export_principals.sql"))
        .bind::<BigInt, _>(after)
        .bind::<Array<BigInt>, _>(heads)
        .bind::<BigInt, _>(PRINCIPALS);
    let rows: Vec<(i64, i32, String, String)> =
        Statement::<_, (BigInt, Integer, Text, Text)>::new(query)
            .load(&mut connection.pg)
            .await?;
    let line = |(principal_no, partition, tenant_id, principal_id): &(i64, i32, String, String)| {
        let principal = Principal {
            principal_no: *principal_no,
            partition: *partition,
            tenant_id: Cow::Borrowed(tenant_id),
            principal_id: Cow::Borrowed(principal_id),
        };
        Line::Principal(principal).text()
    };
    Ok(rows.iter().map(line).collect())
}

/// The next events of a partition behind a place; none where its head is reached.
///
/// # Errors
/// [`StoreError`].
pub async fn events(
    connection: &mut Connection,
    header: &Header,
    partition: i32,
    after: i64,
) -> Result<Vec<String>, StoreError> {
    between(connection, partition, after, header.head(partition)).await
}

/// The event at a place.
pub(crate) async fn event_at(
    connection: &mut Connection,
    partition: i32,
    seq: i64,
) -> Result<Option<String>, StoreError> {
    Ok(between(connection, partition, seq - 1, seq).await?.pop())
}

async fn between(
    connection: &mut Connection,
    partition: i32,
    after: i64,
    up_to: i64,
) -> Result<Vec<String>, StoreError> {
    let query = diesel::sql_query(include_str!("sql/export_events.sql"))
        .bind::<Integer, _>(partition)
        .bind::<BigInt, _>(after)
        .bind::<BigInt, _>(up_to)
        .bind::<BigInt, _>(EVENTS);
    let rows: Vec<EventRow> = Statement::<_, EventColumns>::new(query)
        .load(&mut connection.pg)
        .await?;
    rows.iter().map(|row| event(partition, row)).collect()
}

fn event(partition: i32, row: &EventRow) -> Result<String, StoreError> {
    let event = Event {
        partition,
        seq: row.0,
        principal_no: row.1,
        occurred_at: from_pg(row.2),
        ingested_at: from_pg(row.3),
        schema_version: row.4,
        event_id: Cow::Borrowed(&row.5),
        event_type: Cow::Borrowed(&row.6),
        data: raw(&row.7)?,
        metadata: raw(&row.8)?,
        voids: row.9,
        voids_occurred_at: row.10.map(from_pg),
    };
    Ok(Line::Event(event).text())
}

fn raw(document: &JsonString) -> Result<&RawValue, StoreError> {
    let read = serde_json::from_str(&document.0);
    read.map_err(|error| StoreError::Corrupt(format!("a document can't be read: {error}")))
}
