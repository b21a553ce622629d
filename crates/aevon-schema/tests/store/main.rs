//! The store against a real Postgres: one database a test, committed for real.
//!
//! Values are powers of two, so that loss, double count and mix-up give different wrong answers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod append;
mod dice;
mod erasure;
mod erasure_blanks;
mod erasure_bounds;
mod explain;
mod fault;
mod fold;
mod generations;
mod imports;
mod lists;
mod operators;
mod rejected_events;
mod rules;
mod state;
mod support;
mod sweep;
mod time_travel;
mod totals;
mod verify;
mod voids;
