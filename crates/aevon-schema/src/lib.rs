//! Aevon's tables: one module a table, and the three transactions that make the promise true.
//!
//! Invariant: the only crate that names diesel; domain values go in and come out.
//! Invariant: the log has the order of commits, see [`append`].
//! Invariant: buckets and the checkpoint that licenses them commit together, see [`sweep`].
//! Invariant: an answer comes from one snapshot, see [`state`].

pub mod access;
pub mod api_keys;
pub mod append;
pub mod database;
pub mod discards;
#[cfg(test)]
mod distribution;
pub mod erasure;
mod error;
mod events;
pub mod export;
pub mod import;
pub mod log;
pub mod migrate;
mod partitions;
mod pipeline;
#[cfg(test)]
mod plans;
mod pre_aggregates;
pub mod preview;
pub mod principals;
pub mod rebuild;
pub mod rejected_events;
pub mod roles;
pub mod rules;
mod series;
pub mod server;
pub mod state;
mod statement;
pub mod status;
pub mod sweep;
mod sweep_checkpoints;
mod tenants;
mod values;
pub mod verify;
mod voids;

pub use database::{Budget, Connection, Database, DatabaseOptions};
pub use error::{StoreError, with_causes};

/// The shapes of the tables that diesel's query builder is used on.
mod schema {
    diesel::table! {
        partitions (partition) {
            partition -> Integer,
            erasures -> BigInt,
            row_lock -> Nullable<Bool>,
        }
    }
    diesel::table! {
        sweep_leases (partition) {
            partition -> Integer,
            row_lock -> Nullable<Bool>,
        }
    }
    diesel::table! {
        discards (rule_no, generation, partition) {
            rule_no -> Integer,
            generation -> Integer,
            partition -> Integer,
            principal_no -> BigInt,
        }
    }
    diesel::table! {
        rules (rule_no) {
            rule_no -> Integer,
            name -> Text,
            version -> Integer,
            generation -> Integer,
            fingerprint -> Text,
            definition -> Jsonb,
            status -> Text,
            next_generation -> Nullable<Integer>,
            last_generation -> Integer,
            retired_at -> Nullable<Timestamptz>,
        }
    }
}
