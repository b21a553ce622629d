//! A slice: which one is swept next, and taking its events into the fold.

use super::Sweep;
use crate::error::StoreError;
use crate::statement::Statement;
use crate::values::{JsonString, from_pg};
use aevon_core::fold::{Fact, LogEvent, SliceFold};
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl;
use futures_util::TryStreamExt;
use std::time::{Duration, Instant};

/// How long filters may take in one slice, which then ends early: the transaction is open meanwhile,
/// and Postgres ends one that says nothing for 2 s.
pub(super) const FILTER_TIME: Duration = Duration::from_millis(500);

/// Which rules a sweep moves where they don't all stand at one checkpoint. Taking turns, neither a
/// backfill nor new events wait for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those that are furthest ahead, toward the head.
    Front,
    /// Those that are furthest behind, toward the others.
    Behind,
}

type SliceColumns = (BigInt, BigInt, Timestamptz, Timestamptz, Text, Jsonb);
type SliceRow = (i64, i64, PgTimestamp, PgTimestamp, String, JsonString);
type FilteredColumns = (
    BigInt,
    BigInt,
    Timestamptz,
    Timestamptz,
    Text,
    Jsonb,
    Integer,
    Nullable<Jsonb>,
    Nullable<Text>,
);
type FilteredRow = (
    i64,
    i64,
    PgTimestamp,
    PgTimestamp,
    String,
    JsonString,
    i32,
    Option<JsonString>,
    Option<String>,
);

/// The slice to sweep: from the checkpoint of the rules whose turn it is, to the next rules'
/// checkpoint or the head, at most `slice_events` further.
pub(super) fn choose(
    checkpoints: &[i64],
    head: i64,
    slice_events: i64,
    whose: Whose,
) -> Option<(i64, i64)> {
    let (behind, front) = (*checkpoints.iter().min()?, *checkpoints.iter().max()?);
    let from = if whose == Whose::Front && front < head {
        front
    } else {
        behind
    };
    let next = checkpoints
        .iter()
        .copied()
        .filter(|checkpoint| *checkpoint > from)
        .min();
    let to = next.unwrap_or(head).min(from + slice_events.max(1));
    (to > from).then_some((from, to))
}

impl Sweep<'_> {
    /// Takes events in until the slice ends or is full; the end of what was taken.
    pub(super) async fn take_in(&self, fold: &mut SliceFold<'_>) -> Result<i64, StoreError> {
        let query = diesel::sql_query(include_str!("../sql/sweep_slice.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<BigInt, _>(self.from)
            .bind::<BigInt, _>(self.to)
            .bind::<Array<Text>, _>(fold.event_types());
        let mut pg = &self.connection.pg;
        let mut events = Statement::<_, SliceColumns>::new(query)
            .load_stream::<SliceRow>(&mut pg)
            .await?;
        while let Some((seq, principal_no, occurred_at, ingested_at, event_type, data)) =
            events.try_next().await?
        {
            fold.add(&LogEvent {
                fact: Fact {
                    position: self.position(seq),
                    occurred_at: from_pg(occurred_at),
                    event_type: &event_type,
                    schema_version: 0,
                    principal_id: "",
                    data: &data.0,
                    metadata: "",
                },
                principal_no,
                ingested_at: from_pg(ingested_at),
            });
            if fold.is_full() {
                return Ok(seq);
            }
        }
        Ok(self.to)
    }

    /// The same with what filters read, until they have taken too long.
    pub(super) async fn take_in_filtered(
        &self,
        fold: &mut SliceFold<'_>,
    ) -> Result<i64, StoreError> {
        let begun = Instant::now();
        let reads = |what: fn(&Rule) -> bool| self.rules.iter().any(what);
        let query = diesel::sql_query(include_str!("../sql/sweep_slice_filtered.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<BigInt, _>(self.from)
            .bind::<BigInt, _>(self.to)
            .bind::<Array<Text>, _>(fold.event_types())
            .bind::<Bool, _>(reads(|rule| rule.reads().metadata))
            .bind::<Bool, _>(reads(|rule| rule.reads().principal_id));
        let mut pg = &self.connection.pg;
        let mut events = Statement::<_, FilteredColumns>::new(query)
            .load_stream::<FilteredRow>(&mut pg)
            .await?;
        while let Some(row) = events.try_next().await? {
            let (seq, principal_no, occurred_at, ingested_at, event_type, JsonString(data), ..) =
                row;
            let (schema_version, metadata, principal_id) = (row.6, row.7, row.8);
            fold.add(&LogEvent {
                fact: Fact {
                    position: self.position(seq),
                    occurred_at: from_pg(occurred_at),
                    event_type: &event_type,
                    schema_version,
                    principal_id: principal_id.as_deref().unwrap_or_default(),
                    data: &data,
                    metadata: metadata.as_ref().map_or("", |JsonString(text)| text),
                },
                principal_no,
                ingested_at: from_pg(ingested_at),
            });
            if begun.elapsed() > FILTER_TIME || fold.is_full() {
                return Ok(seq);
            }
        }
        Ok(self.to)
    }

    pub(super) fn position(&self, seq: i64) -> Position {
        Position {
            partition: self.partition,
            seq,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_behind_and_new_events_take_turns_and_meet() {
        assert_eq!(choose(&[], 9, 5, Whose::Front), None);
        assert_eq!(choose(&[9, 9], 9, 5, Whose::Front), None);
        assert_eq!(choose(&[3, 3], 9, 5, Whose::Behind), Some((3, 8)));
        assert_eq!(choose(&[0, 7, 3], 9, 5, Whose::Front), Some((7, 9)));
        assert_eq!(choose(&[0, 7, 3], 9, 5, Whose::Behind), Some((0, 3)));
        assert_eq!(choose(&[0, 9], 9, 5, Whose::Front), Some((0, 5)));
    }
}
