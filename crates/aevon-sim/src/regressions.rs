//! Lists that once showed a violation; `tests/simulation.rs` replays them. The simulation prints a new
//! one as code to paste here.

use crate::operation::Operation;

/// All of them, by what was wrong.
pub fn all() -> Vec<(&'static str, Vec<Operation>)> {
    Vec::new()
}
