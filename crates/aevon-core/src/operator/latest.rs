//! The value that occurred last: by valid time, ties by place in the log.

use crate::amount::Amount;
use crate::position::Position;
use crate::time::Timestamp;

/// A value, and what makes it the latest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// The value.
    pub value: Amount,
    /// When its event occurred.
    pub at: Timestamp,
    /// Where its event stands in the log.
    pub position: Position,
}

impl Latest {
    /// Keeps the later of the two. No two events have one place, so there is no tie.
    pub fn merge(&mut self, other: &Latest) {
        if self.order() < other.order() {
            self.clone_from(other);
        }
    }

    fn order(&self) -> (Timestamp, i64, i32) {
        (self.at, self.position.seq, self.position.partition)
    }
}
