//! `events`: the log. Written by [`crate::append`] alone; nobody updates or deletes.
//!
//! Invariant: within a partition the order of `seq`, of commits and of `ingested_at` is one.

use crate::statement::Statement;
use crate::values::{JsonString, JsonText, from_pg, to_pg};
use aevon_core::append::{Head, Standing, Stored};
use aevon_core::event::NewEvent;
use aevon_core::export;
use aevon_core::position::Position;
use aevon_core::time::Timestamp;
use diesel::pg::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use rustc_hash::FxHashMap;

/// The head of each partition; `clock` replaces the database's in tests.
pub(crate) async fn heads(
    pg: &AsyncPgConnection,
    partitions: &[i32],
    clock: Option<Timestamp>,
) -> QueryResult<FxHashMap<i32, Head>> {
    let query = diesel::sql_query(include_str!("sql/events_heads.sql"))
        .bind::<Array<Integer>, _>(partitions)
        .bind::<Nullable<Timestamptz>, _>(clock.map(to_pg));
    let rows: Vec<(i32, i64, PgTimestamp)> =
        Statement::<_, (Integer, BigInt, Timestamptz)>::new(query)
            .load(&mut &*pg)
            .await?;
    let head = |(partition, seq, stamp)| {
        (
            partition,
            Head {
                seq,
                stamp: from_pg(stamp),
            },
        )
    };
    Ok(rows.into_iter().map(head).collect())
}

/// The identities of events whose principals' numbers are known, column by column.
#[derive(Debug, Default)]
pub(crate) struct Identities<'a> {
    event_ids: Vec<&'a str>,
    principal_nos: Vec<i64>,
    partitions: Vec<i32>,
}

impl<'a> Identities<'a> {
    /// Adds one.
    pub(crate) fn push(&mut self, event_id: &'a str, principal_no: i64, partition: i32) {
        self.event_ids.push(event_id);
        self.principal_nos.push(principal_no);
        self.partitions.push(partition);
    }
}

/// The identities of events whose principals are known by name only, column by column.
#[derive(Debug, Default)]
pub(crate) struct NamedIdentities<'a> {
    pub(crate) event_ids: Vec<&'a str>,
    pub(crate) tenant_ids: Vec<&'a str>,
    pub(crate) principal_ids: Vec<&'a str>,
    pub(crate) partitions: Vec<i32>,
}

impl<'a> NamedIdentities<'a> {
    /// Adds one.
    pub(crate) fn push(&mut self, event: &'a NewEvent, partition: i32) {
        self.push_other(&event.event_id, event, partition);
    }

    /// Adds that of another event of the same principal.
    pub(crate) fn push_other(&mut self, event_id: &'a str, event: &'a NewEvent, partition: i32) {
        self.event_ids.push(event_id);
        self.tenant_ids.push(&event.tenant_id);
        self.principal_ids.push(&event.principal_id);
        self.partitions.push(partition);
    }
}

type StandingColumns = (
    BigInt,
    Text,
    Integer,
    BigInt,
    Timestamptz,
    Text,
    Timestamptz,
    Integer,
    Jsonb,
    Jsonb,
);
type StandingRow = (
    i64,
    String,
    i32,
    i64,
    PgTimestamp,
    String,
    PgTimestamp,
    i32,
    JsonString,
    JsonString,
);

/// What stands under these identities. No statement is sent where there are none.
pub(crate) async fn standing(
    pg: &AsyncPgConnection,
    partitions: &[i32],
    identities: &Identities<'_>,
) -> QueryResult<Standing> {
    if identities.event_ids.is_empty() {
        return Ok(Standing::default());
    }
    let query = diesel::sql_query(include_str!("sql/events_standing.sql"))
        .bind::<Array<Integer>, _>(partitions)
        .bind::<Array<Text>, _>(&identities.event_ids)
        .bind::<Array<BigInt>, _>(&identities.principal_nos)
        .bind::<Array<Integer>, _>(&identities.partitions);
    let query = Statement::<_, StandingColumns>::new(query);
    Ok(stand(query.load(&mut &*pg).await?))
}

/// The same, for principals known by name.
pub(crate) async fn standing_named(
    pg: &AsyncPgConnection,
    partitions: &[i32],
    identities: &NamedIdentities<'_>,
) -> QueryResult<Standing> {
    if identities.event_ids.is_empty() {
        return Ok(Standing::default());
    }
    let query = diesel::sql_query(include_str!("sql/events_standing_named.sql"))
        .bind::<Array<Integer>, _>(partitions)
        .bind::<Array<Text>, _>(&identities.event_ids)
        .bind::<Array<Text>, _>(&identities.tenant_ids)
        .bind::<Array<Text>, _>(&identities.principal_ids)
        .bind::<Array<Integer>, _>(&identities.partitions);
    let query = Statement::<_, StandingColumns>::new(query);
    Ok(stand(query.load(&mut &*pg).await?))
}

fn stand(rows: Vec<StandingRow>) -> Standing {
    let entry = |row: StandingRow| {
        let (principal_no, event_id, partition, seq, ingested_at, event_type, occurred_at, ..) =
            row;
        let (JsonString(data), JsonString(metadata)) = (row.8, row.9);
        let stored = Stored {
            position: Position { partition, seq },
            ingested_at: from_pg(ingested_at),
            event_type,
            occurred_at: from_pg(occurred_at),
            schema_version: row.7,
            data,
            metadata,
        };
        ((principal_no, event_id), stored)
    };
    rows.into_iter().map(entry).collect()
}

/// The rows of one insert, column by column.
#[derive(Debug, Default)]
pub(crate) struct Rows<'a> {
    seqs: Vec<i64>,
    principal_nos: Vec<i64>,
    occurred_ats: Vec<PgTimestamp>,
    ingested_ats: Vec<PgTimestamp>,
    partitions: Vec<i32>,
    schema_versions: Vec<i32>,
    event_ids: Vec<&'a str>,
    types: Vec<&'a str>,
    data: Vec<JsonText<'a>>,
    metadata: Vec<JsonText<'a>>,
}

impl<'a> Rows<'a> {
    /// Adds an accepted event.
    pub(crate) fn push(
        &mut self,
        event: &'a NewEvent,
        principal_no: i64,
        position: Position,
        ingested_at: Timestamp,
    ) {
        self.seqs.push(position.seq);
        self.principal_nos.push(principal_no);
        self.occurred_ats.push(to_pg(event.occurred_at));
        self.ingested_ats.push(to_pg(ingested_at));
        self.partitions.push(position.partition);
        self.schema_versions.push(event.schema_version);
        self.event_ids.push(&event.event_id);
        self.types.push(&event.event_type);
        self.data.push(JsonText(&event.data));
        self.metadata.push(JsonText(&event.metadata));
    }

    /// Adds an event as it was stored elsewhere.
    pub(crate) fn push_exported(&mut self, event: &'a export::Event<'_>) {
        self.seqs.push(event.seq);
        self.principal_nos.push(event.principal_no);
        self.occurred_ats.push(to_pg(event.occurred_at));
        self.ingested_ats.push(to_pg(event.ingested_at));
        self.partitions.push(event.partition);
        self.schema_versions.push(event.schema_version);
        self.event_ids.push(&event.event_id);
        self.types.push(&event.event_type);
        self.data.push(JsonText(event.data.get()));
        self.metadata.push(JsonText(event.metadata.get()));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.seqs.len()
    }
}

/// Writes the rows; says how many.
pub(crate) async fn insert(
    pg: &AsyncPgConnection,
    partitions: &[i32],
    rows: &Rows<'_>,
) -> QueryResult<usize> {
    let query = diesel::sql_query(include_str!("sql/events_insert.sql"))
        .bind::<Array<Integer>, _>(partitions)
        .bind::<Array<BigInt>, _>(&rows.seqs)
        .bind::<Array<BigInt>, _>(&rows.principal_nos)
        .bind::<Array<Timestamptz>, _>(&rows.occurred_ats)
        .bind::<Array<Timestamptz>, _>(&rows.ingested_ats)
        .bind::<Array<Integer>, _>(&rows.partitions)
        .bind::<Array<Integer>, _>(&rows.schema_versions)
        .bind::<Array<Text>, _>(&rows.event_ids)
        .bind::<Array<Text>, _>(&rows.types)
        .bind::<Array<Jsonb>, _>(&rows.data)
        .bind::<Array<Jsonb>, _>(&rows.metadata);
    Statement::<_, ()>::new(query).execute(&mut &*pg).await
}

/// Whether Postgres can read every text and document of these events. Touches no table, so that
/// nothing but the events themselves can make the difference between two calls.
pub(crate) async fn are_readable(pg: &AsyncPgConnection, events: &[&NewEvent]) -> QueryResult<()> {
    let texts: Vec<&str> = events
        .iter()
        .flat_map(|e| [&e.tenant_id, &e.principal_id, &e.event_id, &e.event_type])
        .map(String::as_str)
        .collect();
    let documents: Vec<JsonText<'_>> = events
        .iter()
        .flat_map(|e| [JsonText(&e.data), JsonText(&e.metadata)])
        .collect();
    let query = diesel::sql_query(include_str!("sql/events_readable.sql"))
        .bind::<Array<Text>, _>(&texts)
        .bind::<Array<Jsonb>, _>(&documents);
    Statement::<_, ()>::new(query)
        .execute(&mut &*pg)
        .await
        .map(|_| ())
}
