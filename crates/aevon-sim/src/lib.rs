//! The whole system, simulated: operations of a seed against a real Postgres, a clock that moves only
//! when told, processes that die at named points, and after every answer the question whether it is the
//! right one.
//!
//! Invariant: a seed is a list of operations and nothing else; the same list does the same again, so
//! that what fails can be made shorter ([`shrink`]) and kept ([`regressions`]).
//! Invariant: what is expected comes from a list of events that is folded ([`model`], and the oracle of
//! the test kit); it knows no bucket, no checkpoint and no plan.
//! Invariant: the programs under test are the ones that run elsewhere. Crashes, waits and deliberate
//! faults are made on the line to Postgres ([`wire`], [`fault`]), so that nothing in a service could be
//! built or started wrong ([ADR 24](../../../docs/adr/0024-faults-live-on-the-line.md)).

mod asking;
pub mod dice;
pub mod fault;
pub mod model;
pub mod operation;
pub mod regressions;
mod rules;
pub mod run;
pub mod shrink;
pub mod wire;
pub mod world;
