//! What became of everything.

use crate::error::Error;
use crate::outcome::Outcome;
use crate::spool::Size;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts since the producer was started.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Events that were put in.
    pub taken: u64,
    /// Of them, those without an outcome yet.
    pub pending: u64,
    /// Stored, also from the spool.
    pub stored: u64,
    /// Stored before, also from the spool.
    pub duplicates: u64,
    /// Refused for another content under the same id, also from the spool.
    pub conflicts: u64,
    /// Refused for what they are, also from the spool.
    pub rejected: u64,
    /// Put into the spool.
    pub spooled: u64,
    /// Not delivered, and kept nowhere.
    pub undelivered: u64,
    /// Attempts after the first ones.
    pub retries: u64,
    /// Events that lie in the spool now.
    pub spool_events: u64,
    /// Bytes of the spool, with what was refused of it.
    pub spool_bytes: u64,
    /// Why something was not delivered the last time.
    pub last_error: Option<Error>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    taken: AtomicU64,
    decided: AtomicU64,
    stored: AtomicU64,
    duplicates: AtomicU64,
    conflicts: AtomicU64,
    rejected: AtomicU64,
    spooled: AtomicU64,
    undelivered: AtomicU64,
    retries: AtomicU64,
    last_error: Mutex<Option<Error>>,
}

impl Counts {
    pub(super) fn taken(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn retried(&self, times: u64) {
        self.retries.fetch_add(times, Ordering::Relaxed);
    }

    /// An event that was put in has its outcome.
    pub(super) fn decided(&self, outcome: &Outcome) {
        self.came(outcome);
        self.decided.fetch_add(1, Ordering::Relaxed);
    }

    /// An outcome, be it of an event that lay in the spool.
    pub(super) fn came(&self, outcome: &Outcome) {
        let count = match outcome {
            Outcome::Stored => &self.stored,
            Outcome::Duplicate => &self.duplicates,
            Outcome::Conflict(_) => &self.conflicts,
            Outcome::Rejected(_) => &self.rejected,
            Outcome::Spooled => &self.spooled,
            Outcome::Undelivered(_) => &self.undelivered,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, error: Error) {
        let last = self.last_error.lock();
        *last.unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(super) fn read(&self, spool: Size) -> Stats {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        // Decided first: an event that is decided in between was taken before.
        let decided = count(&self.decided);
        let taken = count(&self.taken);
        let last = self.last_error.lock();
        Stats {
            taken,
            pending: taken.saturating_sub(decided),
            stored: count(&self.stored),
            duplicates: count(&self.duplicates),
            conflicts: count(&self.conflicts),
            rejected: count(&self.rejected),
            spooled: count(&self.spooled),
            undelivered: count(&self.undelivered),
            retries: count(&self.retries),
            spool_events: spool.events,
            spool_bytes: spool.bytes,
            last_error: last.unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
