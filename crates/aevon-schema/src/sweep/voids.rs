//! The voids of a slice: taken into the buckets in the row of their target's epoch.
//!
//! Counts, and what operators can take out of a sum, come with the deltas of the slice. What an
//! operator can't take out is folded anew: the minute from raw events, a tenant's from the minutes of
//! its principals, the hour from minutes, the day from hours.
//!
//! Invariant: nothing of this lies above the slice's end, so that a version that sweeps old slices
//! gets the buckets that the live one has.

use super::Sweep;
use super::slice::FILTER_TIME;
use crate::error::StoreError;
use crate::pre_aggregates::corrections::{self, Place, TenantMinute};
use crate::statement::Statement;
use crate::values::{JsonString, from_pg, to_pg};
use aevon_core::fold::{BucketKey, Fact, Folded, LogEvent, SliceFold, VoidedBuckets};
use aevon_core::labels::Labels;
use aevon_core::operator::Kept;
use aevon_core::rule::Rule;
use aevon_core::time::Grain;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;
use rustc_hash::{FxHashMap, FxHashSet};
use std::time::Instant;

type EventColumns = (
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
type EventRow = (
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
type VoidColumns = (
    BigInt,
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
type VoidRow = (
    i64,
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

/// The series of each (owner's number, rule, group) of a slice.
pub(super) type Numbers = FxHashMap<(i64, u32, u32), i64>;

/// What is known of the buckets that voids changed.
pub(super) struct Corrected<'a> {
    pub(super) numbers: &'a Numbers,
    /// The labels of each group.
    pub(super) groups: &'a [Labels],
    /// The numbers that are tenants'.
    pub(super) tenants: FxHashSet<i64>,
}

impl Corrected<'_> {
    fn place(&self, key: &BucketKey) -> Place {
        Place {
            series_no: self.numbers[&(key.owner_no, key.rule, key.group)],
            window_start: key.window_start,
            epoch: key.epoch,
        }
    }
}

impl Sweep<'_> {
    /// Takes the voids of the slice in, until filters have taken too long; the end of what was taken.
    pub(super) async fn take_voids(&self, fold: &mut SliceFold<'_>) -> Result<i64, StoreError> {
        let begun = Instant::now();
        let reads = |what: fn(&Rule) -> bool| self.rules.iter().any(what);
        let query = diesel::sql_query(include_str!("../sql/sweep_voids.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<BigInt, _>(self.from)
            .bind::<BigInt, _>(self.to)
            .bind::<Array<Text>, _>(fold.event_types())
            .bind::<Bool, _>(reads(|rule| rule.reads().metadata))
            .bind::<Bool, _>(reads(|rule| rule.reads().principal_id));
        let mut pg = &self.connection.pg;
        let mut voids = Statement::<_, VoidColumns>::new(query)
            .load_stream::<VoidRow>(&mut pg)
            .await?;
        while let Some(row) = voids.try_next().await? {
            let (void_seq, target) = (
                row.0,
                (
                    row.1, row.2, row.3, row.4, row.5, row.6, row.7, row.8, row.9,
                ),
            );
            fold.void(void_seq, &self.log_event(&target));
            if begun.elapsed() > FILTER_TIME {
                return Ok(void_seq);
            }
        }
        Ok(self.to)
    }

    fn log_event<'e>(&self, row: &'e EventRow) -> LogEvent<'e> {
        LogEvent {
            fact: Fact {
                position: self.position(row.0),
                occurred_at: from_pg(row.2),
                event_type: &row.4,
                schema_version: row.6,
                principal_id: row.8.as_deref().unwrap_or_default(),
                data: &row.5.0,
                metadata: row.7.as_ref().map_or("", |JsonString(text)| text),
            },
            principal_no: row.1,
            ingested_at: from_pg(row.3),
        }
    }

    /// Writes what voids changed beyond what the deltas of the slice hold, which are written.
    pub(super) async fn write_voids(
        &self,
        corrected: &Corrected<'_>,
        voided: &[(Grain, VoidedBuckets); 3],
    ) -> Result<(), StoreError> {
        let pg = &self.connection.pg;
        let mut of_finer = None;
        for (grain, voided) in voided {
            let keys = voided.iter().filter(|(_, mark)| mark.is_to_be_refolded);
            let keys: Vec<BucketKey> = keys.map(|(key, _)| *key).collect();
            if keys.is_empty() {
                return Ok(());
            }
            match of_finer {
                None => self.write_minutes(corrected, keys).await?,
                Some(finer) => {
                    let operator = |key: &BucketKey| self.rules[key.rule as usize].operator;
                    let places = keys.iter().map(|key| (corrected.place(key), operator(key)));
                    let places: Vec<_> = places.collect();
                    corrections::derive(pg, self.partition, (*grain, finer), &places).await?;
                }
            }
            of_finer = Some(*grain);
        }
        Ok(())
    }

    /// Folds minutes anew: those of principals first, since those of tenants are made of them.
    async fn write_minutes(
        &self,
        corrected: &Corrected<'_>,
        keys: Vec<BucketKey>,
    ) -> Result<(), StoreError> {
        let pg = &self.connection.pg;
        let is_tenants = |key: &BucketKey| corrected.tenants.contains(&key.owner_no);
        let (of_tenants, keys): (Vec<_>, Vec<_>) = keys.into_iter().partition(is_tenants);
        let kept = self
            .refold(corrected.numbers, corrected.groups, &keys)
            .await?;
        let kept = keys.iter().zip(kept);
        let kept = kept
            .map(|(key, kept)| (corrected.place(key), kept))
            .collect();
        corrections::replace(pg, self.partition, Grain::Minute, kept).await?;
        let minute = |key: &BucketKey| {
            let (member, dimensions) = self.member(key.rule);
            let labels = &corrected.groups[key.group as usize];
            let labels = (key.group > 0).then(|| Labels::hash(&labels.to_json(dimensions)));
            TenantMinute {
                tenant_no: key.owner_no,
                rule_no: member.rule_no,
                generation: member.generation,
                labels_hash: labels.map_or_else(Vec::new, |hash| hash.to_vec()),
                place: corrected.place(key),
                operator: self.rules[key.rule as usize].operator,
            }
        };
        let of_tenants: Vec<TenantMinute> = of_tenants.iter().map(minute).collect();
        corrections::derive_of_tenants(pg, self.partition, &of_tenants).await
    }

    /// What minutes keep of the events that stand in them, from these events.
    async fn refold(
        &self,
        numbers: &Numbers,
        groups: &[Labels],
        minutes: &[BucketKey],
    ) -> Result<Vec<Kept>, StoreError> {
        let Folded {
            grains,
            groups: found,
            ..
        } = self.fold_minutes(numbers, minutes).await?;
        let [(_, folded), ..] = grains;
        let folded: FxHashMap<BucketKey, Kept> = folded
            .into_iter()
            .map(|(key, delta)| (key, delta.partial.kept))
            .collect();
        let places: FxHashMap<&Labels, u32> = found.iter().zip(0..).collect();
        let kept = |minute: &BucketKey| {
            // A group of which nothing stands is not there.
            let group = *places.get(&groups[minute.group as usize])?;
            folded.get(&BucketKey { group, ..*minute }).cloned()
        };
        Ok(minutes
            .iter()
            .map(|minute| kept(minute).unwrap_or_default())
            .collect())
    }

    /// Folds the events that stand in minutes, for the rules that can't take events out.
    async fn fold_minutes(
        &self,
        numbers: &Numbers,
        minutes: &[BucketKey],
    ) -> Result<Folded, StoreError> {
        let mut fold = SliceFold::of_some(&self.rules, |rule| !rule.operator.is_reversible());
        // The span of an ungrouped bucket covers those of its groups.
        let ungrouped = || minutes.iter().filter(|minute| minute.group == 0);
        let series = |minute: &BucketKey| numbers[&(minute.owner_no, minute.rule, 0)];
        let reads = |what: fn(&Rule) -> bool| self.rules.iter().any(what);
        let query = diesel::sql_query(include_str!("../sql/sweep_refold.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<BigInt, _>(self.to)
            .bind::<Array<BigInt>, _>(ungrouped().map(|m| m.owner_no).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(ungrouped().map(series).collect::<Vec<_>>())
            .bind::<Array<Timestamptz>, _>(
                ungrouped()
                    .map(|m| to_pg(m.window_start))
                    .collect::<Vec<_>>(),
            )
            .bind::<Array<Integer>, _>(ungrouped().map(|m| m.epoch).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(fold.event_types())
            .bind::<Bool, _>(reads(|rule| rule.reads().metadata))
            .bind::<Bool, _>(reads(|rule| rule.reads().principal_id));
        let mut pg = &self.connection.pg;
        let mut events = Statement::<_, EventColumns>::new(query)
            .load_stream::<EventRow>(&mut pg)
            .await?;
        let wanted: FxHashSet<_> = ungrouped()
            .map(|minute| (minute.owner_no, minute.window_start, minute.epoch))
            .collect();
        // Filters may take longer than Postgres waits for a transaction that says nothing, and nothing
        // can be said while rows arrive: then they are taken in first.
        let is_filtered = self.rules.iter().any(|rule| rule.filter.is_some());
        let mut waiting: Vec<EventRow> = Vec::new();
        while let Some(row) = events.try_next().await? {
            let event = self.log_event(&row);
            let minute = Grain::Minute.floor(event.fact.occurred_at);
            let epoch = event.ingested_at.utc_day();
            match wanted.contains(&(event.principal_no, minute, epoch)) {
                true if is_filtered => waiting.push(row),
                true => fold.add(&event),
                false => {}
            }
        }
        drop(events);
        let mut since = Instant::now();
        for row in waiting {
            fold.add(&self.log_event(&row));
            if since.elapsed() > FILTER_TIME {
                pg.batch_execute("SELECT").await?;
                since = Instant::now();
            }
        }
        Ok(fold.finish())
    }
}
