//! The append: a group of events goes into the log in one transaction of two round trips.
//!
//! Ordering: partition rows are locked first, ascending; everything that a verdict depends on is
//! read by later statements, whose snapshots are younger than the lock (READ COMMITTED). So within
//! a partition `seq` has the order of commits, and what lies at or below a committed head is final.
//! Invariant: a principal's number enters the cache after the commit of its transaction succeeded,
//! never before: a number that was rolled back would send one tenant's events to another. It leaves the
//! cache with the connection: whoever answers next may be a server that never gave it.
//! Retry safety: everything may be sent again; what was stored is then a duplicate.

use crate::access::{Access, LOCK};
use crate::database::{Connection, Database};
use crate::error::StoreError;
use aevon_core::append::Verdict;
use aevon_core::event::{Fault, FaultCode, NewEvent};
use aevon_core::identity::partition_of;
use aevon_core::time::Timestamp;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::Duration;
use transaction::{Group, Place, Transaction, write_key};

mod rehearsal;
mod transaction;
mod unreadable;

pub use rehearsal::rehearse;

/// What appends need of the database, and what goes with them: keys, and what was refused.
pub const ACCESS: Access = Access {
    is_writing: true,
    privileges: &[
        ("partitions", "SELECT"),
        ("partitions", LOCK),
        ("principals", "SELECT"),
        ("principals", "INSERT"),
        ("principal_numbers", "USAGE"),
        ("events", "SELECT"),
        ("events", "INSERT"),
        ("voids", "SELECT"),
        ("voids", "INSERT"),
        ("api_keys", "SELECT"),
        ("rejected_events", "SELECT"),
        ("rejected_events", "INSERT"),
        ("rejected_events", "DELETE"),
    ],
};

/// Principals whose numbers an appender keeps: about 30 MB of identifiers of 60 bytes.
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
pub struct Appender {
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

impl Appender {
    /// An appender for a log of `partitions` partitions. Connects when it is first used.
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
        self.append_bodies(group, &[]).await
    }

    /// The same where some bodies are stored whole or not at all: `atomic`, disjoint ranges of the
    /// group, ascending, each of one principal's events.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append_bodies(
        &mut self,
        group: &[&NewEvent],
        atomic: &[Range<usize>],
    ) -> Result<Vec<Verdict>, AppendError> {
        match self.attempt(group, atomic).await {
            Err(AppendError::NotStored(StoreError::Unavailable(_))) => {
                // The connection died since it was used last: nothing was stored, try a new one.
                self.attempt(group, atomic).await
            }
            Err(AppendError::NotStored(StoreError::Refused(error))) => {
                self.append_readable(group, atomic, error).await
            }
            result => result,
        }
    }

    async fn attempt(
        &mut self,
        group: &[&NewEvent],
        atomic: &[Range<usize>],
    ) -> Result<Vec<Verdict>, AppendError> {
        if group.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.connection().await.map_err(AppendError::NotStored)?;
        connection.begin_use();
        let transaction = Transaction {
            pg: &connection.pg,
            warm: connection.is_warm(TRANSACTION),
            warm_for_voids: connection.is_warm(OF_VOIDS),
            clock: self.clock,
            commit_sent: std::sync::atomic::AtomicBool::new(false),
        };
        let places = self.places(group);
        let target = |(at, event): (usize, &&NewEvent)| Some((at, event.void_target()?));
        let targets: Vec<_> = group.iter().enumerate().filter_map(target).collect();
        let run = transaction.run(Group {
            events: group,
            places: &places,
            atomic,
            targets: &targets,
        });
        let outcome = tokio::time::timeout(GROUP_TIMEOUT, run).await;
        let commit_sent = transaction.commit_sent.into_inner();
        let outcome = outcome.unwrap_or(Err(StoreError::DeadlineExceeded("an append")));
        match outcome {
            Ok(stored) => {
                if commit_sent {
                    connection.set_warm(TRANSACTION);
                }
                if commit_sent && stored.has_voids {
                    connection.set_warm(OF_VOIDS);
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
        // A standby that takes over, or a backup that is put back, may not have the last principals,
        // and may have given their numbers to others.
        self.numbers.clear();
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
        atomic: &[Range<usize>],
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
        let mut verdicts: Vec<Option<Verdict>> = vec![None; group.len()];
        for body in atomic {
            if unreadable.iter().any(|index| body.contains(index)) {
                verdicts[body.clone()].fill(Some(Verdict::Withheld));
            }
        }
        for index in unreadable {
            let fault = "holds something that the log can't keep";
            let fault = Fault::new(None, FaultCode::InvalidField, fault);
            verdicts[index] = Some(Verdict::Refused(vec![fault]));
        }
        let is_open = |index: &usize| verdicts[*index].is_none();
        let rest: Vec<usize> = (0..group.len()).filter(is_open).collect();
        let events: Vec<&NewEvent> = rest.iter().map(|index| group[*index]).collect();
        // A body is among them whole or not at all.
        let place = |index| rest.partition_point(|other| *other < index);
        let whole = atomic.iter().filter(|body| is_open(&body.start));
        let atomic: Vec<_> = whole
            .map(|body| place(body.start)..place(body.end))
            .collect();
        let stored = self.attempt(&events, &atomic).await?;
        for (index, verdict) in rest.into_iter().zip(stored) {
            verdicts[index] = Some(verdict);
        }
        Ok(verdicts.into_iter().flatten().collect())
    }
}

const TRANSACTION: &str = "append";
/// The part of it that only voids need.
const OF_VOIDS: &str = "append voids";
