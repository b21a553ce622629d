//! A page of the events behind a total, in the order of the log.

use crate::error::StoreError;
use crate::log::parts_of;
use crate::state::StateQuery;
use crate::state::rows::{RawColumns, RawEvent, RawRow, Rows, StampedRow, Turn};
use crate::statement::Statement;
use crate::values::{JsonString, end_to_pg, start_to_pg};
use aevon_core::explain::{Explainer, Share};
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use aevon_core::time::Timestamp;
use diesel::pg::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::TryStreamExt;
use std::ops::RangeInclusive;

/// Most events of the principal that one statement looks at.
const LOOK: i64 = 2_000;
/// How many a page looks at before it ends: events that take part may be few among others.
const MOST_LOOKED: i64 = 40_000;
/// Most statements of a page.
const MOST_STATEMENTS: usize = 100;
/// Fewest rows that a statement asks for where a filter or labels may leave most of them out.
const LEAST_ROWS: usize = 1_000;

/// How an event came to change a total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It came in.
    Added,
    /// It was voided.
    Removed {
        /// The seq of its void.
        void_seq: i64,
    },
}

/// An event behind a total.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its place in the log.
    pub position: Position,
    /// Where the caller had it from.
    pub source: Option<String>,
    /// The caller's id.
    pub id: String,
    /// Valid time.
    pub occurred_at: Timestamp,
    /// Transaction time.
    pub ingested_at: Timestamp,
    /// What it brings.
    pub share: Share,
    /// By how much it changes the value, where the operator adds.
    pub adds: Option<String>,
    /// Whether it was stored on a later day than it occurred on.
    pub is_late: bool,
    /// Whether it is what the value shows, where one event is.
    pub decides: Option<bool>,
    /// How it changed the total.
    pub effect: Effect,
}

impl Item {
    /// The place in the log at which the total changed.
    pub fn place(&self) -> i64 {
        match self.effect {
            Effect::Added => self.position.seq,
            Effect::Removed { void_seq } => void_seq,
        }
    }
}

/// What is asked of the log.
pub(super) struct Page<'a> {
    pub(super) pg: &'a AsyncPgConnection,
    pub(super) partition: i32,
    pub(super) query: &'a StateQuery,
    pub(super) rule: &'a Rule,
    pub(super) explainer: &'a Explainer<'a>,
    /// The version.
    pub(super) seq: i64,
    /// The earlier version; 0 where everything is told.
    pub(super) from: i64,
}

type Columns = (
    BigInt,
    BigInt,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
    Nullable<Text>,
    Nullable<Integer>,
    Nullable<Jsonb>,
    Nullable<Jsonb>,
);
type Row = (
    i64,
    i64,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<PgTimestamp>,
    Option<PgTimestamp>,
    Option<String>,
    Option<i32>,
    Option<JsonString>,
    Option<JsonString>,
);

/// How far one statement came.
struct Reached {
    /// To here, if there may be more behind it; else to the end of the span.
    place: Option<i64>,
    /// Events that it looked at.
    looked: i64,
}

impl Page<'_> {
    /// The items in these spans behind a place, and where the page ended, if there may be more.
    pub(super) async fn items(
        &self,
        spans: &[RangeInclusive<i64>],
        after: i64,
        limit: usize,
    ) -> Result<(Vec<Item>, Option<i64>), StoreError> {
        let (mut items, mut statements, mut looked) = (Vec::new(), 0, 0);
        for span in spans.iter().filter(|span| *span.end() > after) {
            let mut behind = after.max(span.start() - 1);
            loop {
                if statements == MOST_STATEMENTS || looked >= MOST_LOOKED {
                    return Ok((items, Some(behind)));
                }
                statements += 1;
                let reached = self.look(behind, *span.end(), limit, &mut items).await?;
                if items.len() > limit {
                    items.truncate(limit);
                    let next = items.last().map(Item::place);
                    return Ok((items, next));
                }
                looked += reached.looked;
                match reached.place {
                    Some(place) => behind = place,
                    None => break,
                }
            }
        }
        Ok((items, None))
    }

    /// Looks at the next events behind a place, up to another one. Stops where a page has an item
    /// more than it may have, which shows that there is another page.
    async fn look(
        &self,
        behind: i64,
        upto: i64,
        limit: usize,
        items: &mut Vec<Item>,
    ) -> Result<Reached, StoreError> {
        let is_selective = self.rule.filter.is_some() || !self.query.question.grouping.is_none();
        let least_rows = if is_selective { LEAST_ROWS } else { 0 };
        let most_rows = (limit + 1 - items.len()).max(least_rows);
        let mut rows = self.rows(behind, upto, most_rows).await?;
        let (mut count, mut turn) = (0, Turn::default());
        let mut reached = Reached {
            place: None,
            looked: 0,
        };
        while let Some(row) = rows.try_next().await? {
            turn.give().await;
            reached = end(row.0, row.1);
            let Some((place, event_id, event)) = opened(row) else {
                break;
            };
            count += 1;
            if count == most_rows {
                reached.place = Some(place);
            }
            items.extend(self.item(place, &event_id, &event));
            if items.len() > limit {
                break;
            }
        }
        Ok(reached)
    }

    async fn rows(
        &self,
        behind: i64,
        upto: i64,
        most_rows: usize,
    ) -> QueryResult<impl Rows<Row> + use<>> {
        let reach = self.explainer.reach();
        let query = diesel::sql_query(include_str!("../../sql/explain_items.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<Text, _>(&self.query.principal_id)
            .bind::<BigInt, _>(behind)
            .bind::<BigInt, _>(upto)
            .bind::<BigInt, _>(self.seq)
            .bind::<BigInt, _>(self.from)
            .bind::<Text, _>(&self.rule.source_event)
            .bind::<Timestamptz, _>(start_to_pg(reach.start))
            .bind::<Timestamptz, _>(end_to_pg(reach.end))
            .bind::<BigInt, _>(LOOK)
            .bind::<BigInt, _>(i64::try_from(most_rows).unwrap_or(i64::MAX))
            .bind::<Bool, _>(self.rule.reads().metadata);
        Statement::<_, Columns>::new(query)
            .load_stream::<Row>(&mut &*self.pg)
            .await
    }

    /// An event as an item, if it takes part.
    fn item(&self, place: i64, event_id: &str, event: &RawEvent) -> Option<Item> {
        let subject = event.subject(self.partition, &self.query.principal_id);
        let share = self.explainer.share(&subject)?;
        let effect = match place == event.seq {
            true => Effect::Added,
            false => Effect::Removed { void_seq: place },
        };
        let (source, id) = parts_of(event_id);
        Some(Item {
            position: Position {
                partition: self.partition,
                seq: event.seq,
            },
            source: source.map(str::to_owned),
            id: id.to_owned(),
            occurred_at: event.occurred_at,
            ingested_at: event.ingested_at?,
            adds: self.explainer.adds(&share, effect != Effect::Added),
            share,
            is_late: event.is_late(),
            decides: None,
            effect,
        })
    }

    /// How many events would take part, had they not been voided.
    pub(super) async fn voids(&self) -> Result<u64, StoreError> {
        let reach = self.explainer.reach();
        let query = diesel::sql_query(include_str!("../../sql/explain_voids.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<Text, _>(&self.query.principal_id)
            .bind::<BigInt, _>(self.seq)
            .bind::<Timestamptz, _>(start_to_pg(reach.start))
            .bind::<Timestamptz, _>(end_to_pg(reach.end))
            .bind::<Text, _>(&self.rule.source_event)
            .bind::<Bool, _>(self.rule.reads().metadata);
        let mut rows = Statement::<_, RawColumns>::new(query)
            .load_stream::<RawRow>(&mut &*self.pg)
            .await?;
        let (mut count, mut turn) = (0, Turn::default());
        while let Some(row) = rows.try_next().await? {
            turn.give().await;
            let event = RawEvent::from(row);
            let subject = event.subject(self.partition, &self.query.principal_id);
            count += u64::from(self.explainer.share(&subject).is_some());
        }
        Ok(count)
    }
}

/// What a row says of an event: where it changed the total, its identity, itself.
fn opened(row: Row) -> Option<(i64, String, RawEvent)> {
    let (_, _, place, seq, event_id, occurred_at, ingested_at, ..) = row;
    let event: StampedRow = (
        seq?,
        occurred_at?,
        row.7?,
        row.8?,
        row.9?,
        row.10,
        ingested_at?,
    );
    Some((place?, event_id?, event.into()))
}

/// How far a statement came that looked at so many events, up to a place.
fn end(upto: i64, looked: i64) -> Reached {
    Reached {
        place: (looked == LOOK).then_some(upto),
        looked,
    }
}
