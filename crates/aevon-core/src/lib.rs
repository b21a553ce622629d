//! The domain of Aevon: events, rules, windows, operators, the fold and the answer.
//!
//! Invariant: pure. No I/O, no clock, no environment, no async; time is an argument.
//! Everything that decides what an answer *is* lives here, so that tail, buckets and
//! rebuild share one implementation and can be compared with an oracle.

pub mod amount;
pub mod append;
pub mod calendar;
pub mod erasure;
pub mod event;
pub mod explain;
pub mod export;
pub mod filter;
pub mod fold;
pub mod identity;
pub mod json;
pub mod labels;
pub mod operator;
pub mod position;
pub mod reading;
pub mod rule;
pub mod schema;
pub mod state;
pub mod time;
pub mod verify;
