//! The buckets of an erased principal, folded anew from what is left of its events.
//!
//! Invariant: under the partition's lease, and up to the checkpoint of each generation: what stands
//! afterwards is what a sweep would have made of the log as it is now.

use super::totals::{self, Key, Minutes};
use crate::error::StoreError;
use crate::pre_aggregates::{self, BucketDelta};
use crate::statement::Statement;
use crate::values::{JsonString, from_pg};
use aevon_core::erasure::Version;
use aevon_core::fold::{BucketKey, Delta, Fact, Folded, LogEvent, SliceFold};
use aevon_core::labels::Labels;
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use rustc_hash::FxHashMap;

/// Events that are read together; each may have 256 KiB.
const PAGE: i64 = 256;

/// The principal who is erased: whose buckets are folded anew.
pub(super) struct ErasedPrincipal<'a> {
    pub(super) tenant_id: &'a str,
    /// The name that filters read.
    pub(super) pseudonym: &'a str,
    pub(super) partition: i32,
    pub(super) principal_no: i64,
}

/// A generation of a rule, and how far its buckets are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Generation {
    rule_no: i32,
    generation: i32,
    seq: i64,
    keeps_totals: bool,
}

type EventColumns = (
    BigInt,
    Timestamptz,
    Timestamptz,
    Text,
    Integer,
    Jsonb,
    Jsonb,
    Nullable<BigInt>,
);
type EventRow = (
    i64,
    PgTimestamp,
    PgTimestamp,
    String,
    i32,
    JsonString,
    JsonString,
    Option<i64>,
);

/// Folds the buckets of these rules anew: the principal's own, then its tenant's where it had or has a
/// part in them.
pub(super) async fn run(
    pg: &mut AsyncPgConnection,
    erased: &ErasedPrincipal<'_>,
    versions: &[Version],
    rule_nos: &[i32],
) -> Result<(), StoreError> {
    let mut minutes = erased.standing(pg, versions, rule_nos).await?;
    erased.delete(pg, rule_nos).await?;
    let tenant_no = erased.tenant_no(pg).await?;
    let generations = erased.generations(pg, rule_nos).await?;
    for level in generations.chunk_by(|one, next| one.seq == next.seq) {
        let rule = |one: &Generation| rule_of(versions, one.rule_no).cloned();
        let rules: Result<Vec<Rule>, StoreError> = level.iter().map(rule).collect();
        let refold = Refold {
            erased,
            tenant_no,
            generations: level,
            rules: &rules?,
        };
        refold.run(pg, &mut minutes).await?;
    }
    match tenant_no {
        Some(tenant_no) => {
            totals::run(pg, erased, tenant_no, versions, minutes).await?;
            totals::delete_empty(pg, erased, tenant_no, rule_nos).await
        }
        None => Ok(()),
    }
}

/// A rule by its number in the table.
pub(super) fn rule_of(versions: &[Version], rule_no: i32) -> Result<&Rule, StoreError> {
    let mut versions = versions.iter();
    let version = versions.find(|version| version.rule_no == rule_no);
    let gone = || StoreError::Corrupt("a rule is gone".to_owned());
    version.map(|version| &version.rule).ok_or_else(gone)
}

impl ErasedPrincipal<'_> {
    async fn standing(
        &self,
        pg: &mut AsyncPgConnection,
        versions: &[Version],
        rule_nos: &[i32],
    ) -> Result<Minutes, StoreError> {
        let query = diesel::sql_query(include_str!("../sql/erasure_minutes.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<BigInt, _>(self.principal_no)
            .bind::<Array<Integer>, _>(rule_nos);
        type Columns = (Integer, Integer, Nullable<Jsonb>, Timestamptz, Integer);
        type Row = (i32, i32, Option<JsonString>, PgTimestamp, i32);
        let rows: Vec<Row> = Statement::<_, Columns>::new(query).load(pg).await?;
        let mut minutes = Minutes::default();
        for (rule_no, generation, labels, window_start, epoch) in rows {
            // As they are hashed: Postgres gives documents back in a form of its own.
            let dimensions = &rule_of(versions, rule_no)?.group_by;
            let canonical = |JsonString(text): JsonString| {
                let labels = Labels::from_json(dimensions, &text);
                let unreadable = || StoreError::Corrupt("labels can't be read".to_owned());
                Ok::<_, StoreError>(labels.ok_or_else(unreadable)?.to_json(dimensions))
            };
            let key = Key {
                rule_no,
                generation,
                labels: labels.map(canonical).transpose()?,
            };
            minutes.push(key, from_pg(window_start), epoch);
        }
        Ok(minutes)
    }

    async fn delete(&self, pg: &mut AsyncPgConnection, rule_nos: &[i32]) -> Result<(), StoreError> {
        for sql in [
            include_str!("../sql/erasure_delete_buckets.sql"),
            include_str!("../sql/erasure_delete_series.sql"),
        ] {
            let query = diesel::sql_query(sql)
                .bind::<Integer, _>(self.partition)
                .bind::<BigInt, _>(self.principal_no)
                .bind::<Array<Integer>, _>(rule_nos);
            Statement::<_, ()>::new(query).execute(pg).await?;
        }
        Ok(())
    }

    async fn tenant_no(&self, pg: &mut AsyncPgConnection) -> Result<Option<i64>, StoreError> {
        let query = diesel::sql_query(include_str!("../sql/erasure_tenant.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Text, _>(self.tenant_id);
        let rows: Vec<(i64,)> = Statement::<_, (BigInt,)>::new(query).load(pg).await?;
        Ok(rows.into_iter().next().map(|(tenant_no,)| tenant_no))
    }

    async fn generations(
        &self,
        pg: &mut AsyncPgConnection,
        rule_nos: &[i32],
    ) -> Result<Vec<Generation>, StoreError> {
        let query = diesel::sql_query(include_str!("../sql/erasure_generations.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Array<Integer>, _>(rule_nos);
        let rows: Vec<(i32, i32, i64, bool)> =
            Statement::<_, (Integer, Integer, BigInt, Bool)>::new(query)
                .load(pg)
                .await?;
        let generation = |(rule_no, generation, seq, keeps_totals)| Generation {
            rule_no,
            generation,
            seq,
            keeps_totals,
        };
        Ok(rows.into_iter().map(generation).collect())
    }
}

/// The generations at one checkpoint.
struct Refold<'a> {
    erased: &'a ErasedPrincipal<'a>,
    tenant_no: Option<i64>,
    generations: &'a [Generation],
    rules: &'a [Rule],
}

impl Refold<'_> {
    /// Folds all events up to the checkpoint, as many at once as memory has room for.
    async fn run(
        &self,
        pg: &mut AsyncPgConnection,
        minutes: &mut Minutes,
    ) -> Result<(), StoreError> {
        let Some(checkpoint) = self.generations.first().map(|one| one.seq) else {
            return Ok(());
        };
        let (mut fold, mut after) = (SliceFold::new(self.rules), 0);
        loop {
            let page = self.page(pg, &fold, after, checkpoint).await?;
            for row in &page {
                let event = self.event(row);
                match row.7.filter(|void_seq| *void_seq <= checkpoint) {
                    Some(void_seq) => fold.add_voided(void_seq, &event),
                    None => fold.add(&event),
                }
            }
            let last = page.last().map(|row| row.0);
            if last.is_none() || fold.is_full() {
                let full = std::mem::replace(&mut fold, SliceFold::new(self.rules));
                self.write(pg, full.finish(), minutes).await?;
            }
            match last {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }

    async fn page(
        &self,
        pg: &mut AsyncPgConnection,
        fold: &SliceFold<'_>,
        after: i64,
        checkpoint: i64,
    ) -> Result<Vec<EventRow>, StoreError> {
        let query = diesel::sql_query(include_str!("../sql/erasure_events.sql"))
            .bind::<Integer, _>(self.erased.partition)
            .bind::<BigInt, _>(self.erased.principal_no)
            .bind::<BigInt, _>(after)
            .bind::<BigInt, _>(checkpoint)
            .bind::<Array<Text>, _>(fold.event_types())
            .bind::<BigInt, _>(PAGE);
        Ok(Statement::<_, EventColumns>::new(query).load(pg).await?)
    }

    fn event<'e>(&'e self, row: &'e EventRow) -> LogEvent<'e> {
        let (seq, occurred_at, ingested_at, event_type, schema_version, data, metadata, _) = row;
        LogEvent {
            fact: Fact {
                position: Position {
                    partition: self.erased.partition,
                    seq: *seq,
                },
                occurred_at: from_pg(*occurred_at),
                event_type,
                schema_version: *schema_version,
                principal_id: self.erased.pseudonym,
                data: &data.0,
                metadata: &metadata.0,
            },
            principal_no: self.erased.principal_no,
            ingested_at: from_pg(*ingested_at),
        }
    }

    /// Merges what was folded into buckets, which were deleted, and notes which minutes there are.
    async fn write(
        &self,
        pg: &AsyncPgConnection,
        folded: Folded,
        minutes: &mut Minutes,
    ) -> Result<(), StoreError> {
        let partition = self.erased.partition;
        let Folded {
            grains,
            groups,
            voided,
            ..
        } = folded;
        let key_of = |key: &BucketKey| {
            let generation = &self.generations[key.rule as usize];
            let dimensions = &self.rules[key.rule as usize].group_by;
            let labels: &Labels = &groups[key.group as usize];
            Key {
                rule_no: generation.rule_no,
                generation: generation.generation,
                labels: (key.group > 0).then(|| labels.to_json(dimensions)),
            }
        };
        for (key, _) in &grains[0].1 {
            minutes.push(key_of(key), key.window_start, key.epoch);
        }
        let series_of = |key: &BucketKey| (key.rule, key.group);
        let mut keys: Vec<&BucketKey> = grains[0].1.iter().map(|(key, _)| key).collect();
        keys.sort_unstable_by_key(|key| series_of(key));
        keys.dedup_by_key(|key| series_of(key));
        let own = totals::number(pg, partition, self.erased.principal_no, &keys, key_of).await?;
        let total = match self.tenant_no {
            Some(tenant_no) => {
                let keeps = |key: &BucketKey| self.generations[key.rule as usize].keeps_totals;
                keys.retain(|key| keeps(key));
                totals::number(pg, partition, tenant_no, &keys, key_of).await?
            }
            None => FxHashMap::default(),
        };
        for ((grain, deltas), (_, voided)) in grains.into_iter().zip(&voided) {
            let delta = |(key, delta): (BucketKey, Delta)| BucketDelta {
                series_no: own[&series_of(&key)],
                operator: self.rules[key.rule as usize].operator,
                window_start: key.window_start,
                epoch: key.epoch,
                partial: delta.partial,
                first_seq: delta.first_seq,
                last_seq: delta.last_seq,
                last_void_seq: voided.get(&key).map(|mark| mark.void_seq),
                total_series_no: total.get(&series_of(&key)).copied(),
            };
            let deltas = deltas.into_iter().map(delta).collect();
            pre_aggregates::merge(pg, partition, grain, deltas).await?;
        }
        Ok(())
    }
}

/// The numbers of series of one owner, by rule and group.
pub(super) type Numbers = FxHashMap<(u32, u32), i64>;
