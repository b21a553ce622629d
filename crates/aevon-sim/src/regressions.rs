//! Lists that once showed a violation; `tests/simulation.rs` replays them. The simulation prints a new
//! one as code to paste here.

#[allow(
    clippy::wildcard_imports,
    unused_imports,
    reason = "whatever a printed list names"
)]
use crate::operation::{
    Ask, At::*, Body, By::*, Event, Operation, Operation::*, Point::*, Says::*, Slice, Trouble,
};

/// All of them, by what was wrong.
pub fn all() -> Vec<(&'static str, Vec<Operation>)> {
    Vec::new()
}
