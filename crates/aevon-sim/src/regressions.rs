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
    vec![(
        "a group of duplicates alone that is committed twice is no violation",
        duplicates_committed_twice(),
    )]
}

fn duplicates_committed_twice() -> Vec<Operation> {
    let body = || Body {
        principal: 1,
        is_atomic: false,
        events: vec![Event {
            id: 28,
            at: -6_912_000_000_000,
            says: Usage(8, 0, 1),
        }],
    };
    vec![
        Append {
            writer: 0,
            bodies: vec![body()],
            trouble: None,
        },
        Append {
            writer: 1,
            bodies: vec![body()],
            trouble: Some(Trouble {
                point: After("COMMIT"),
                is_killed: false,
            }),
        },
    ]
}
