//! How the last appends went: what a server refuses although it answers, such as writes to a full
//! disk, shows only in them.
//!
//! Invariant: trouble that traffic has shown ends without traffic. A service that is not ready gets
//! none, so a rehearsal finds out.

use aevon_schema::Database;
use aevon_schema::append::rehearse;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Groups that failed one after the other, over all writers, that are no accident.
const TROUBLE: u32 = 3;

/// What the writers of a process know in common. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct AppendHealth {
    /// Groups that have failed since the last one that was stored.
    failures: Arc<AtomicU32>,
}

impl AppendHealth {
    /// A group came back.
    pub(crate) fn record(&self, is_stored: bool) {
        if !is_stored {
            self.failures.fetch_add(1, Ordering::Relaxed);
        } else if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// What is wrong, if appends fail: one line without secrets.
    pub(crate) async fn trouble(&self, database: &Database, partitions: i32) -> Option<String> {
        if self.failures.load(Ordering::Relaxed) < TROUBLE {
            return None;
        }
        match rehearse(database, partitions).await {
            Ok(()) => {
                self.record(true);
                None
            }
            Err(error) => Some(format!("appends fail: {error}; the log says why")),
        }
    }
}
