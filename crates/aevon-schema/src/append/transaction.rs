//! One group's transaction: two round trips, and no verdict that anything outside it could change.

use super::Number;
use crate::error::StoreError;
use crate::pipeline::Sent;
use crate::{events, partitions, principals, voids};
use aevon_core::append::{Decision, Head, NewVoid, Placed, Standing, Verdict, Voided, decide};
use aevon_core::event::NewEvent;
use aevon_core::identity::UNIT_SEPARATOR;
use aevon_core::time::Timestamp;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::TryFutureExt;
use rustc_hash::FxHashMap;
use std::ops::Range;

/// Where an event goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) partition: i32,
    pub(super) number: Option<Number>,
}

pub(super) fn write_key(key: &mut String, tenant_id: &str, principal_id: &str) {
    key.clear();
    key.push_str(tenant_id);
    key.push(UNIT_SEPARATOR);
    key.push_str(principal_id);
}

/// What a transaction did.
pub(super) struct Done {
    pub(super) verdicts: Vec<Verdict>,
    pub(super) learned: Vec<(String, Number)>,
    /// Whether there were voids among what was stored.
    pub(super) has_voids: bool,
}

/// What is to be appended.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    pub(super) events: &'a [&'a NewEvent],
    pub(super) places: &'a [Place],
    /// See [`decide`].
    pub(super) atomic: &'a [Range<usize>],
    /// The identity of the event that each of these events voids, by index.
    pub(super) targets: &'a [(usize, String)],
}

impl<'a> Group<'a> {
    /// Each event with its place.
    fn placed(self) -> impl Iterator<Item = (&'a NewEvent, &'a Place)> {
        self.events.iter().copied().zip(self.places)
    }

    /// Each void's target, with its event and its place.
    fn targeted(self) -> impl Iterator<Item = (&'a str, &'a NewEvent, &'a Place)> {
        let targets = self.targets.iter();
        targets.map(move |(at, id)| (id.as_str(), self.events[*at], &self.places[*at]))
    }
}

/// What the first round trip brought.
struct Opened {
    /// Of each partition.
    erasures: FxHashMap<i32, i64>,
    heads: FxHashMap<i32, Head>,
    standing: Standing,
    voided: Voided,
    /// Numbers of principals that the cache did not have.
    found: Vec<principals::Numbered>,
}

/// One group's transaction.
pub(super) struct Transaction<'a> {
    pub(super) pg: &'a AsyncPgConnection,
    pub(super) warm: bool,
    /// Whether the insert of voids was prepared too.
    pub(super) warm_for_voids: bool,
    pub(super) clock: Option<Timestamp>,
    pub(super) commit_sent: std::sync::atomic::AtomicBool,
}

impl Transaction<'_> {
    pub(super) async fn run(&self, group: Group<'_>) -> Result<Done, StoreError> {
        let mut partitions: Vec<i32> = group.places.iter().map(|place| place.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        let mut opened = self.open(group, &partitions).await?;
        let (numbers, learned) = self.resolve(group, &partitions, &mut opened).await?;
        let Opened {
            erasures,
            heads,
            standing,
            voided,
            ..
        } = opened;

        let placed: Vec<Placed<'_>> = group
            .placed()
            .zip(&numbers)
            .map(|((event, place), number)| {
                let principal_no = number
                    .ok_or_else(|| StoreError::Corrupt("a principal has no number".to_owned()))?;
                Ok(Placed {
                    event,
                    principal_no,
                    partition: place.partition,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        let Decision { verdicts, voids } = decide(&placed, group.atomic, &heads, &standing, voided);
        let is_stored = self.close(&placed, &partitions, &verdicts, &voids).await?;
        let learned = learned.into_iter().filter(|_| is_stored);
        let learned = learned.filter_map(|(key, partition, principal_no)| {
            let erasures = *erasures.get(&partition)?;
            let number = Number {
                principal_no,
                erasures,
            };
            Some((key, number))
        });
        Ok(Done {
            verdicts,
            learned: learned.collect(),
            has_voids: !voids.is_empty(),
        })
    }

    /// First round trip: begin, lock, and read what the verdicts depend on. Statements behind the
    /// lock may be sent in any order; the lock itself must have been prepared, see `warm`.
    async fn open(&self, group: Group<'_>, partitions: &[i32]) -> Result<Opened, StoreError> {
        let (pg, warm) = (self.pg, self.warm);
        let mut numbered = events::Identities::default();
        let mut named = events::NamedIdentities::default();
        let mut targets = events::NamedIdentities::default();
        let mut unknown = principals::Unknown::default();
        for (event, place) in group.placed() {
            match place.number {
                Some(number) => {
                    numbered.push(&event.event_id, number.principal_no, place.partition);
                }
                None => {
                    named.push(event, place.partition);
                    unknown.push(&event.tenant_id, &event.principal_id, place.partition);
                }
            }
        }
        for (target, void, place) in group.targeted() {
            match place.number {
                Some(number) => numbered.push(target, number.principal_no, place.partition),
                None => named.push_other(target, void, place.partition),
            }
            targets.push_other(target, void, place.partition);
        }
        let mut begin_on = pg;
        let begin = begin_on.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED");
        let begin = Sent::new(begin, warm).await;
        let locked = Sent::new(partitions::lock(pg, partitions), warm).await;
        let heads = Sent::new(events::heads(pg, partitions, self.clock), warm).await;
        let standing = Sent::new(events::standing(pg, partitions, &numbered), warm).await;
        let found = Sent::new(principals::find(pg, partitions, &unknown), warm).await;
        let also = Sent::new(events::standing_named(pg, partitions, &named), warm).await;
        let voided = Sent::new(voids::standing(pg, partitions, &targets), warm).await;
        begin.answer().await?;
        let locked = locked.answer().await?;
        if locked.len() != partitions.len() {
            return Err(StoreError::Corrupt("a partition has no row".to_owned()));
        }
        let heads = heads.answer().await?;
        let mut standing = standing.answer().await?;
        let found = found.answer().await?;
        standing.extend(also.answer().await?);
        Ok(Opened {
            erasures: locked.into_iter().collect(),
            heads,
            standing,
            voided: voided.answer().await?,
            found,
        })
    }

    /// The number of each event's principal, and what the cache may learn once the transaction has
    /// committed. Round trips are made only for principals that have no number yet, and for those
    /// that were cached before an erasure.
    async fn resolve(
        &self,
        group: Group<'_>,
        partitions: &[i32],
        opened: &mut Opened,
    ) -> Result<(Vec<Option<i64>>, Vec<(String, i32, i64)>), StoreError> {
        let is_current = |place: &Place, number: &Number| {
            opened.erasures.get(&place.partition) == Some(&number.erasures)
        };
        let mut numbers: Vec<Option<i64>> = group
            .places
            .iter()
            .map(|place| place.number.filter(|n| is_current(place, n)))
            .map(|number| number.map(|n| n.principal_no))
            .collect();
        if numbers.iter().all(Option::is_some) {
            return Ok((numbers, Vec::new()));
        }
        let mut named = events::NamedIdentities::default();
        let (mut stale, mut unknown) =
            <(principals::Unknown<'_>, principals::Unknown<'_>)>::default();
        for ((event, place), number) in group.placed().zip(&numbers) {
            if number.is_none() {
                unknown.push(&event.tenant_id, &event.principal_id, place.partition);
                if place.number.is_some() {
                    stale.push(&event.tenant_id, &event.principal_id, place.partition);
                    named.push(event, place.partition);
                }
            }
        }
        for (target, void, place) in group.targeted() {
            if place
                .number
                .is_some_and(|number| !is_current(place, &number))
            {
                named.push_other(target, void, place.partition);
            }
        }
        opened
            .found
            .extend(principals::find(self.pg, partitions, &stale).await?);
        let standing = events::standing_named(self.pg, partitions, &named).await?;
        opened.standing.extend(standing);

        let mut known: FxHashMap<(&str, &str), i64> = FxHashMap::default();
        for (tenant_id, principal_id, number) in &opened.found {
            known.insert((tenant_id, principal_id), *number);
        }
        let mut missing = principals::Unknown::default();
        for (tenant_id, principal_id, partition) in unknown.iter() {
            if !known.contains_key(&(tenant_id, principal_id)) {
                missing.push(tenant_id, principal_id, partition);
            }
        }
        // Nothing stands under a number that is given only now.
        let inserted = principals::insert(self.pg, partitions, &missing).await?;
        for (tenant_id, principal_id, number) in &inserted {
            known.insert((tenant_id, principal_id), *number);
        }
        for (event, number) in group.events.iter().zip(numbers.iter_mut()) {
            let identity = (event.tenant_id.as_str(), event.principal_id.as_str());
            *number = number.or_else(|| known.get(&identity).copied());
        }
        let learn = |(tenant_id, principal_id, partition): (&str, &str, i32)| {
            let number = known.get(&(tenant_id, principal_id)).copied()?;
            let mut key = String::new();
            write_key(&mut key, tenant_id, principal_id);
            Some((key, partition, number))
        };
        Ok((numbers, unknown.iter().filter_map(learn).collect()))
    }

    /// Second round trip: the accepted rows, and commit. False where there was nothing to commit.
    async fn close(
        &self,
        placed: &[Placed<'_>],
        partitions: &[i32],
        verdicts: &[Verdict],
        voids: &[NewVoid],
    ) -> Result<bool, StoreError> {
        let mut rows = events::Rows::default();
        for (placed, verdict) in placed.iter().zip(verdicts) {
            if let Verdict::Accepted {
                position,
                ingested_at,
            } = verdict
            {
                rows.push(placed.event, placed.principal_no, *position, *ingested_at);
            }
        }
        let mut pg = self.pg;
        if rows.len() == 0 {
            // Nothing to keep, not even the number of a principal whose events were all refused. But
            // who is told of a duplicate takes it for stored, and what a server finds in its log after
            // a crash may not have reached its synchronous standby: a commit waits until it has.
            let is_told = |verdict: &Verdict| matches!(verdict, Verdict::Duplicate { .. });
            let end = match verdicts.iter().any(is_told) {
                true => "COMMIT",
                false => "ROLLBACK",
            };
            pg.batch_execute(end).await?;
            return Ok(false);
        }
        let insert = events::insert(self.pg, partitions, &rows).map_err(StoreError::from);
        let void = voids::insert(self.pg, partitions, voids).map_err(StoreError::from);
        // The commit may follow only what was sent: see `pipeline`.
        if !self.warm || !(voids.is_empty() || self.warm_for_voids) {
            check_count(insert.await?, rows.len())?;
            if !voids.is_empty() {
                check_count(void.await?, voids.len())?;
            }
            self.send_commit();
            pg.batch_execute("COMMIT").await?;
            return Ok(true);
        }
        let insert = Sent::new(insert, true).await;
        let void = match voids.is_empty() {
            true => None,
            false => Some(Sent::new(void, true).await),
        };
        self.send_commit();
        let commit = Sent::new(pg.batch_execute("COMMIT"), true).await;
        let mut inserted = insert.answer().await;
        if let Some(void) = void {
            let voided = void.answer().await;
            inserted = inserted.and_then(|rows| {
                check_count(voided?, voids.len())?;
                Ok(rows)
            });
        }
        let committed = commit.answer().await;
        match inserted {
            // A transaction whose insert was refused ends in a rollback, whatever COMMIT answers.
            Err(StoreError::Refused(error)) if committed.is_ok() => {
                self.commit_sent
                    .store(false, std::sync::atomic::Ordering::Relaxed);
                Err(StoreError::Refused(error))
            }
            Err(error) => Err(error),
            Ok(inserted) => {
                committed?;
                check_count(inserted, rows.len()).map(|()| true)
            }
        }
    }

    /// From here on the outcome is unknown until the answer is there.
    fn send_commit(&self) {
        self.commit_sent
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

fn check_count(inserted: usize, wanted: usize) -> Result<(), StoreError> {
    if inserted == wanted {
        Ok(())
    } else {
        Err(StoreError::Corrupt(format!(
            "{inserted} of {wanted} rows were inserted"
        )))
    }
}
