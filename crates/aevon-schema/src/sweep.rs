//! The sweep: one slice of one partition, folded into buckets, in one transaction.
//!
//! Invariant: buckets and checkpoints commit together, under the partition's lease.
//! Invariant: nothing that a sweep reads lies above its slice's end, and a slice's end is a
//! committed head: what lies below is final.
//! Retry safety: a sweep that fails anywhere leaves nothing behind.

use crate::access::{Access, LOCK};
use crate::database::Connection;
use crate::error::StoreError;
use crate::pre_aggregates::{self, BucketDelta};
use crate::rules::read_definition;
use crate::statement::Statement;
use crate::values::JsonString;
use crate::{series, sweep_checkpoints};
use aevon_core::fold::{self, SliceFold, Totals};
use aevon_core::json::Path;
use aevon_core::rule::Rule;
use diesel::sql_types::{BigInt, Bool, Double, Integer, Jsonb};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use rustc_hash::FxHashMap;
use std::time::{Duration, Instant};

mod slice;
mod totals;
mod voids;

pub use slice::Whose;
use slice::choose;

/// What sweeps need of the database, and the switch of rules that have caught up.
pub const ACCESS: Access = Access {
    is_writing: true,
    privileges: &[
        ("partitions", "SELECT"),
        ("events", "SELECT"),
        ("voids", "SELECT"),
        ("principals", "SELECT"),
        ("tenants", "SELECT"),
        ("tenants", "INSERT"),
        ("principal_numbers", "USAGE"),
        ("rules", "SELECT"),
        ("rules", "UPDATE"),
        ("swept_generations", "SELECT"),
        ("series", "SELECT"),
        ("series", "INSERT"),
        ("series", "DELETE"),
        ("series_numbers", "USAGE"),
        ("pre_aggregates", "SELECT"),
        ("pre_aggregates", "INSERT"),
        ("pre_aggregates", "UPDATE"),
        ("pre_aggregates", "DELETE"),
        ("sweep_checkpoints", "SELECT"),
        ("sweep_checkpoints", "INSERT"),
        ("sweep_checkpoints", "UPDATE"),
        ("sweep_checkpoints", "DELETE"),
        ("discards", "SELECT"),
        ("discards", "INSERT"),
        ("discards", "UPDATE"),
        ("discards", "DELETE"),
        ("sweep_leases", "SELECT"),
        ("sweep_leases", LOCK),
    ],
};

/// A partition where a generation is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The partition.
    pub partition: i32,
    /// Where the generation that is furthest behind stands.
    pub checkpoint: i64,
    /// The newest seq.
    pub head: i64,
    /// How long ago the first event after the checkpoint came in.
    pub age: Duration,
}

impl Backlog {
    /// How many events it is behind.
    pub const fn events(&self) -> i64 {
        self.head - self.checkpoint
    }
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Where.
    pub partition: i32,
    /// The checkpoint that it began at.
    pub from: i64,
    /// The checkpoint that it reached.
    pub to: i64,
    /// Bucket rows written, of all grains.
    pub rows: usize,
    /// Events without a usable number, once for each rule that would have counted them.
    pub skipped: i64,
}

/// Partitions where a rule is behind, the largest backlog first.
///
/// # Errors
/// [`StoreError`].
pub async fn backlogs(connection: &mut Connection) -> Result<Vec<Backlog>, StoreError> {
    let query = diesel::sql_query(include_str!("sql/sweep_backlogs.sql"));
    let rows: Vec<(i32, i64, i64, f64)> =
        Statement::<_, (Integer, BigInt, BigInt, Double)>::new(query)
            .load(&mut connection.pg)
            .await?;
    let backlog = |(partition, checkpoint, head, age)| Backlog {
        partition,
        checkpoint,
        head,
        // Stamps may run ahead of the clock for a moment.
        age: Duration::try_from_secs_f64(age).unwrap_or_default(),
    };
    Ok(rows.into_iter().map(backlog).collect())
}

/// Sweeps one slice. `None` where another sweeper has the partition, or nothing is left there.
///
/// # Errors
/// [`StoreError`]; nothing was changed then.
pub async fn sweep_once(
    connection: &mut Connection,
    partition: i32,
    slice_events: i64,
    whose: Whose,
) -> Result<Option<Swept>, StoreError> {
    let Some(sweep) = Sweep::open(connection, partition, slice_events, whose).await? else {
        return Ok(None);
    };
    let folded = sweep.fold().await?;
    let written = folded.write().await?;
    written.commit().await.map(Some)
}

/// One generation of a slice.
#[derive(Debug)]
struct Member {
    rule_no: i32,
    generation: i32,
    /// Whether it keeps totals of tenants.
    keeps_totals: bool,
}

/// A slice whose lease is held. Dropped before its commit, it leaves nothing behind.
#[derive(Debug)]
pub struct Sweep<'c> {
    connection: &'c mut Connection,
    begun: Instant,
    partition: i32,
    from: i64,
    to: i64,
    members: Vec<Member>,
    rules: Vec<Rule>,
}

/// A slice with its deltas.
#[derive(Debug)]
pub struct Folded<'c> {
    sweep: Sweep<'c>,
    fold: fold::Folded,
    totals: Totals,
}

/// A slice that is written and not committed.
#[derive(Debug)]
pub struct Written<'c> {
    sweep: Sweep<'c>,
    rows: usize,
    skipped: i64,
}

type StandingColumns = (Integer, Integer, Jsonb, BigInt, Bool, BigInt);

impl<'c> Sweep<'c> {
    /// Takes the lease and chooses the slice.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(
        connection: &'c mut Connection,
        partition: i32,
        slice_events: i64,
        whose: Whose,
    ) -> Result<Option<Self>, StoreError> {
        let begun = Instant::now();
        connection.begin_use();
        let mut pg = &connection.pg;
        pg.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            .await?;
        if !lease(pg, partition).await? {
            return nothing(connection).await;
        }
        let standing =
            diesel::sql_query(include_str!("sql/sweep_standing.sql")).bind::<Integer, _>(partition);
        let standing: Vec<(i32, i32, JsonString, i64, bool, i64)> =
            Statement::<_, StandingColumns>::new(standing)
                .load(&mut pg)
                .await?;
        let head = standing.iter().map(|row| row.5).max().unwrap_or(0);
        let checkpoints: Vec<i64> = standing.iter().map(|row| row.3).collect();
        let Some((from, to)) = choose(&checkpoints, head, slice_events, whose) else {
            return nothing(connection).await;
        };
        let (mut members, mut rules) = (Vec::new(), Vec::new());
        for (rule_no, generation, definition, checkpoint, keeps_totals, _) in standing {
            if checkpoint == from {
                members.push(Member {
                    rule_no,
                    generation,
                    keeps_totals,
                });
                rules.push(read_definition(&definition.0)?);
            }
        }
        Ok(Some(Self {
            connection,
            begun,
            partition,
            from,
            to,
            members,
            rules,
        }))
    }

    /// Reads the slice and folds it. Events are taken in as they arrive.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fold(mut self) -> Result<Folded<'c>, StoreError> {
        let mut fold = SliceFold::new(&self.rules);
        self.to = self.take_voids(&mut fold).await?;
        let end = match self.rules.iter().any(|rule| rule.filter.is_some()) {
            true => self.take_in_filtered(&mut fold).await?,
            false => self.take_in(&mut fold).await?,
        };
        let totals = self.totals(&fold).await?;
        let fold = fold.finish_at(end, &totals);
        self.to = end;
        Ok(Folded {
            sweep: self,
            fold,
            totals,
        })
    }
}

impl Sweep<'_> {
    /// Merges the deltas of every grain into their buckets; says how many rows that were.
    async fn write_buckets(
        &self,
        fold: fold::Folded,
        totals: &Totals,
    ) -> Result<usize, StoreError> {
        let pg = &self.connection.pg;
        let fold::Folded {
            grains,
            groups,
            voided,
            ..
        } = fold;
        let series = |key: &fold::BucketKey| (key.owner_no, key.rule, key.group);
        let mut keys: Vec<_> = grains[0].1.iter().map(|(key, _)| series(key)).collect();
        // As their buckets are to lie beside each other: lists by value read a rule of everybody.
        keys.sort_unstable_by_key(|(owner_no, rule, group)| (*rule, *owner_no, *group));
        keys.dedup();
        let mut identities = series::Identities::default();
        for (owner_no, rule, group) in &keys {
            let (member, dimensions) = self.member(*rule);
            let labels = (*group > 0).then(|| groups[*group as usize].to_json(dimensions));
            identities.push(*owner_no, member.rule_no, member.generation, labels);
        }
        if identities.is_empty() {
            return Ok(0);
        }
        let numbers = series::number(pg, self.partition, &identities).await?;
        let numbers: FxHashMap<_, i64> = keys.into_iter().zip(numbers).collect();
        let mut rows = 0;
        for ((grain, deltas), (_, voided)) in grains.into_iter().zip(&voided) {
            let delta = |(key, delta): (fold::BucketKey, fold::Delta)| BucketDelta {
                series_no: numbers[&series(&key)],
                operator: self.rules[key.rule as usize].operator,
                window_start: key.window_start,
                epoch: key.epoch,
                partial: delta.partial,
                first_seq: delta.first_seq,
                last_seq: delta.last_seq,
                last_void_seq: voided.get(&key).map(|mark| mark.void_seq),
                total_series_no: totals.of(&key).map(|total| numbers[&series(&total)]),
            };
            let deltas = deltas.into_iter().map(delta).collect();
            rows += pre_aggregates::merge(pg, self.partition, grain, deltas).await?;
        }
        let corrected = voids::Corrected {
            numbers: &numbers,
            groups: &groups,
            tenants: totals.tenants.values().copied().collect(),
        };
        self.write_voids(&corrected, &voided).await?;
        Ok(rows)
    }

    fn member(&self, rule: u32) -> (&Member, &[Path]) {
        let rule = rule as usize;
        (&self.members[rule], &self.rules[rule].group_by)
    }
}

impl<'c> Folded<'c> {
    /// Writes the buckets of every grain and advances the checkpoints.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write(self) -> Result<Written<'c>, StoreError> {
        let Self {
            sweep,
            fold,
            totals,
        } = self;
        let pg = &sweep.connection.pg;
        let skipped = fold.skipped;
        let rows = sweep.write_buckets(fold, &totals).await?;
        let rule_nos: Vec<i32> = sweep.members.iter().map(|member| member.rule_no).collect();
        let generations: Vec<i32> = sweep
            .members
            .iter()
            .map(|member| member.generation)
            .collect();
        let slice = (sweep.from, sweep.to);
        let took = sweep.begun.elapsed();
        let partition = sweep.partition;
        let moved =
            sweep_checkpoints::advance(pg, partition, slice, &rule_nos, &generations, took).await?;
        if moved != sweep.members.len() {
            return Err(StoreError::Corrupt(format!(
                "the checkpoints of partition {partition} are not at {} any more",
                sweep.from
            )));
        }
        Ok(Written {
            sweep,
            rows,
            skipped,
        })
    }
}

impl Written<'_> {
    /// Makes it so.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn commit(self) -> Result<Swept, StoreError> {
        let Sweep {
            connection,
            partition,
            from,
            to,
            ..
        } = self.sweep;
        connection.pg.batch_execute("COMMIT").await?;
        connection.end_use();
        Ok(Swept {
            partition,
            from,
            to,
            rows: self.rows,
            skipped: self.skipped,
        })
    }
}

/// Takes the right to write the buckets of a partition, until the transaction ends. False where
/// another has it.
pub(crate) async fn lease(pg: &AsyncPgConnection, partition: i32) -> Result<bool, StoreError> {
    let query =
        diesel::sql_query(include_str!("sql/sweep_lease.sql")).bind::<Integer, _>(partition);
    let rows: Vec<(i32,)> = Statement::<_, (Integer,)>::new(query)
        .load(&mut &*pg)
        .await?;
    Ok(!rows.is_empty())
}

async fn nothing<'c>(connection: &mut Connection) -> Result<Option<Sweep<'c>>, StoreError> {
    connection.pg.batch_execute("ROLLBACK").await?;
    connection.end_use();
    Ok(None)
}
