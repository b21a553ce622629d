//! The append: a group of events goes into the log in one transaction of two round trips.
//!
//! Ordering: partition rows are locked first, ascending; everything that a verdict depends on is
//! read by later statements, whose snapshots are younger than the lock (READ COMMITTED). So within
//! a partition `seq` has the order of commits, and what lies at or below a committed head is final.
//! Invariant: a principal's number enters the cache after the commit of its transaction succeeded,
//! never before: a number that was rolled back would send one tenant's events to another.
//! Retry safety: everything may be sent again; what was stored is then a duplicate.

use crate::access::Access;
use crate::database::{Connection, Database};
use crate::error::StoreError;
use crate::pipeline::Sent;
use crate::{events, partitions, principals};
use aevon_core::append::{Head, Placed, Standing, Verdict, decide};
use aevon_core::event::{Fault, FaultCode, NewEvent};
use aevon_core::identity::{UNIT_SEPARATOR, partition_of};
use aevon_core::time::Timestamp;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::TryFutureExt;
use lru::LruCache;
use rustc_hash::FxHashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

mod rehearsal;
mod unreadable;

pub use rehearsal::rehearse;

/// What appends need of the database, and what goes with them: keys, and what was refused.
pub const ACCESS: Access = Access {
    is_writing: true,
    privileges: &[
        ("partitions", "SELECT"),
        // For the lock of a row.
        ("partitions", "UPDATE"),
        ("principals", "SELECT"),
        ("principals", "INSERT"),
        ("principal_numbers", "USAGE"),
        ("events", "SELECT"),
        ("events", "INSERT"),
        ("api_keys", "SELECT"),
        ("rejected_events", "SELECT"),
        ("rejected_events", "INSERT"),
        ("rejected_events", "DELETE"),
    ],
};

/// Principals whose numbers a writer keeps: about 30 MB of identifiers of 60 bytes.
const CACHED_PRINCIPALS: NonZeroUsize = NonZeroUsize::new(200_000).expect("not zero");
/// How long one group may take, whatever the server's own timeouts do.
const GROUP_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a group was not acknowledged. It may be sent again in both cases.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing of it was stored.
    #[error("nothing was stored")]
    NotStored(#[source] StoreError),
    /// The commit was sent and its outcome is not known.
    #[error("whether it was stored is unknown")]
    Unknown(#[source] StoreError),
}

impl AppendError {
    /// Which kind of trouble, in a word, for counting.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotStored(error) => error.kind(),
            Self::Unknown(_) => "unknown",
        }
    }
}

/// Appends groups over a connection of its own.
#[derive(Debug)]
pub struct Writer {
    database: Database,
    connection: Option<Connection>,
    numbers: LruCache<String, Number>,
    partitions: i32,
    clock: Option<Timestamp>,
}

/// A cached principal. Good while its partition has seen no erasure since.
#[derive(Debug, Clone, Copy)]
struct Number {
    principal_no: i64,
    erasures: i64,
}

impl Writer {
    /// A writer for a log of `partitions` partitions. Connects when it is first used.
    pub fn new(database: Database, partitions: i32) -> Self {
        let numbers = LruCache::new(CACHED_PRINCIPALS);
        Self {
            database,
            connection: None,
            numbers,
            partitions,
            clock: None,
        }
    }

    /// Replaces the database's clock, for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: Timestamp) -> Self {
        self.clock = Some(clock);
        self
    }

    /// How many principals' numbers it keeps.
    pub fn cached_principals(&self) -> usize {
        self.numbers.len()
    }

    /// Whether it has a connection: that of its last append, unless that failed.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// The partition of an event.
    pub fn partition(&self, event: &NewEvent) -> i32 {
        partition_of(&event.tenant_id, &event.principal_id, self.partitions)
    }

    /// Stores a group; a verdict for each event, in its order.
    ///
    /// Where Postgres refuses a statement, the events that it can't read are refused and the others
    /// are stored: no event takes its neighbours down.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&mut self, group: &[&NewEvent]) -> Result<Vec<Verdict>, AppendError> {
        match self.attempt(group).await {
            Err(AppendError::NotStored(StoreError::Unavailable(_))) => {
                // The connection died since it was used last: nothing was stored, try a new one.
                self.attempt(group).await
            }
            Err(AppendError::NotStored(StoreError::Refused(error))) => {
                self.append_readable(group, error).await
            }
            result => result,
        }
    }

    async fn attempt(&mut self, group: &[&NewEvent]) -> Result<Vec<Verdict>, AppendError> {
        if group.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.connection().await.map_err(AppendError::NotStored)?;
        connection.begin_use();
        let transaction = Transaction {
            pg: &connection.pg,
            warm: connection.is_warm(TRANSACTION),
            clock: self.clock,
            commit_sent: std::sync::atomic::AtomicBool::new(false),
        };
        let places = self.places(group);
        let outcome = tokio::time::timeout(GROUP_TIMEOUT, transaction.run(group, &places)).await;
        let commit_sent = transaction.commit_sent.into_inner();
        let outcome = outcome.unwrap_or(Err(StoreError::DeadlineExceeded("an append")));
        match outcome {
            Ok(stored) => {
                if commit_sent {
                    connection.set_warm(TRANSACTION);
                }
                connection.end_use();
                self.connection = Some(connection);
                for (key, number) in stored.learned {
                    self.numbers.put(key, number);
                }
                Ok(stored.verdicts)
            }
            // The connection is dropped with whatever was open on it.
            Err(error) if commit_sent => Err(AppendError::Unknown(error)),
            Err(error) => Err(AppendError::NotStored(error)),
        }
    }

    async fn connection(&mut self) -> Result<Connection, StoreError> {
        if let Some(mut connection) = self.connection.take()
            && connection.is_usable()
        {
            return Ok(connection);
        }
        self.database.connect().await
    }

    /// The partition of each event and, where it is cached, its principal's number.
    fn places(&mut self, group: &[&NewEvent]) -> Vec<Place> {
        let mut key = String::new();
        let mut place = |event: &NewEvent| {
            write_key(&mut key, &event.tenant_id, &event.principal_id);
            Place {
                partition: partition_of(&event.tenant_id, &event.principal_id, self.partitions),
                number: self.numbers.get(key.as_str()).copied(),
            }
        };
        group.iter().map(|event| place(event)).collect()
    }

    /// Refuses what Postgres can't read of a group that it refused, and stores the rest.
    async fn append_readable(
        &mut self,
        group: &[&NewEvent],
        error: diesel::result::Error,
    ) -> Result<Vec<Verdict>, AppendError> {
        let connection = self.connection().await.map_err(AppendError::NotStored)?;
        let unreadable = unreadable::find(&connection.pg, group)
            .await
            .map_err(AppendError::NotStored)?;
        if unreadable.is_empty() {
            // Nor is this session good for anything: it may be one of a server that takes no writes.
            return Err(AppendError::NotStored(StoreError::Refused(error)));
        }
        self.connection = Some(connection);
        tracing::warn!(
            events = unreadable.len(),
            "Postgres can't read events; they are refused"
        );
        let is_readable = |(index, _): &(usize, _)| !unreadable.contains(index);
        let rest: Vec<&NewEvent> = group
            .iter()
            .copied()
            .enumerate()
            .filter(is_readable)
            .map(|(_, event)| event)
            .collect();
        let mut stored = self.attempt(&rest).await?.into_iter();
        let verdict = |index: usize| match unreadable.contains(&index) {
            true => Some(Verdict::Refused(vec![Fault::new(
                None,
                FaultCode::InvalidField,
                "holds something that the log can't keep",
            )])),
            false => stored.next(),
        };
        Ok((0..group.len()).map_while(verdict).collect())
    }
}

const TRANSACTION: &str = "append";

/// Where an event goes.
#[derive(Debug, Clone, Copy)]
struct Place {
    partition: i32,
    number: Option<Number>,
}

fn write_key(key: &mut String, tenant_id: &str, principal_id: &str) {
    key.clear();
    key.push_str(tenant_id);
    key.push(UNIT_SEPARATOR);
    key.push_str(principal_id);
}

/// What a transaction did.
struct Outcome {
    verdicts: Vec<Verdict>,
    learned: Vec<(String, Number)>,
}

/// What the first round trip brought.
struct Opened {
    /// Of each partition.
    erasures: FxHashMap<i32, i64>,
    heads: FxHashMap<i32, Head>,
    standing: Standing,
    /// Numbers of principals that the cache did not have.
    found: Vec<principals::Numbered>,
}

/// One group's transaction.
struct Transaction<'a> {
    pg: &'a AsyncPgConnection,
    warm: bool,
    clock: Option<Timestamp>,
    commit_sent: std::sync::atomic::AtomicBool,
}

impl Transaction<'_> {
    async fn run(&self, group: &[&NewEvent], places: &[Place]) -> Result<Outcome, StoreError> {
        let mut partitions: Vec<i32> = places.iter().map(|place| place.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        let mut opened = self.open(group, places, &partitions).await?;
        let (numbers, learned) = self
            .resolve(group, places, &partitions, &mut opened)
            .await?;
        let Opened {
            erasures,
            heads,
            standing,
            ..
        } = opened;

        let placed: Vec<Placed<'_>> = group
            .iter()
            .zip(places)
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
        let verdicts = decide(&placed, &heads, &standing);
        if !self.close(&placed, &partitions, &verdicts).await? {
            return Ok(Outcome {
                verdicts,
                learned: Vec::new(),
            });
        }
        let learned = learned
            .into_iter()
            .filter_map(|(key, partition, principal_no)| {
                let erasures = *erasures.get(&partition)?;
                Some((
                    key,
                    Number {
                        principal_no,
                        erasures,
                    },
                ))
            })
            .collect();
        Ok(Outcome { verdicts, learned })
    }

    /// First round trip: begin, lock, and read what the verdicts depend on. Statements behind the
    /// lock may be sent in any order; the lock itself must have been prepared, see `warm`.
    async fn open(
        &self,
        group: &[&NewEvent],
        places: &[Place],
        partitions: &[i32],
    ) -> Result<Opened, StoreError> {
        let (pg, warm) = (self.pg, self.warm);
        let mut numbered = events::Identities::default();
        let mut named = events::NamedIdentities::default();
        let mut unknown = principals::Unknown::default();
        for (event, place) in group.iter().zip(places) {
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
        let mut begin_on = pg;
        let begin = begin_on.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED");
        let begin = Sent::new(begin, warm).await;
        let locked = Sent::new(partitions::lock(pg, partitions), warm).await;
        let heads = Sent::new(events::heads(pg, partitions, self.clock), warm).await;
        let standing = Sent::new(events::standing(pg, partitions, &numbered), warm).await;
        let found = Sent::new(principals::find(pg, partitions, &unknown), warm).await;
        let also = Sent::new(events::standing_named(pg, partitions, &named), warm).await;
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
            found,
        })
    }

    /// The number of each event's principal, and what the cache may learn once the transaction has
    /// committed. Round trips are made only for principals that have no number yet, and for those
    /// that were cached before an erasure.
    async fn resolve(
        &self,
        group: &[&NewEvent],
        places: &[Place],
        partitions: &[i32],
        opened: &mut Opened,
    ) -> Result<(Vec<Option<i64>>, Vec<(String, i32, i64)>), StoreError> {
        let is_current = |place: &Place, number: &Number| {
            opened.erasures.get(&place.partition) == Some(&number.erasures)
        };
        let mut numbers: Vec<Option<i64>> = places
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
        for ((event, place), number) in group.iter().zip(places).zip(&numbers) {
            if number.is_none() {
                unknown.push(&event.tenant_id, &event.principal_id, place.partition);
                if place.number.is_some() {
                    stale.push(&event.tenant_id, &event.principal_id, place.partition);
                    named.push(event, place.partition);
                }
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
        for (event, number) in group.iter().zip(numbers.iter_mut()) {
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
            // Nothing to keep, not even the number of a principal whose events were all refused.
            pg.batch_execute("ROLLBACK").await?;
            return Ok(false);
        }
        let insert = events::insert(self.pg, partitions, &rows).map_err(StoreError::from);
        if !self.warm {
            let inserted = insert.await?;
            check_count(inserted, rows.len())?;
            self.send_commit();
            pg.batch_execute("COMMIT").await?;
            return Ok(true);
        }
        let insert = Sent::new(insert, self.warm).await;
        self.send_commit();
        let commit = Sent::new(pg.batch_execute("COMMIT"), self.warm).await;
        let inserted = insert.answer().await;
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
