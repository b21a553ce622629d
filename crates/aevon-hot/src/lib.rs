//! The hot pure functions, as workloads that can be counted and timed: what ingest, sweeps and reads
//! spend their own time in, without Postgres, sockets or threads.
//!
//! Invariant: a workload is a function of its name. It knows no clock and no chance, and holds its
//! result to what is known of its input without the function that is measured.
//! Instructions are counted by Valgrind ([`callgrind`]) and held to a [`baseline`]; time is only
//! shown, by `cargo bench -p aevon-hot`.

pub mod baseline;
pub mod callgrind;
mod input;
pub mod workload;
mod workloads;
