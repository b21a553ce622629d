//! The whole system: real programs, real Postgres, real HTTP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod aggregation;
mod answers;
mod audit;
mod calendars;
mod client;
mod concurrency;
mod crashes;
mod cursors;
mod data_life;
mod disk;
mod explain;
mod explorer;
mod failover;
mod fleet;
mod formats;
mod history;
mod imports;
mod ingest;
mod isolation;
mod load;
mod log;
mod many;
mod meters;
mod network;
mod openapi;
mod operation;
mod overload;
mod queries;
mod rejected;
mod roles;
mod rule_files;
mod rules;
mod scale;
mod schemas;
mod standby;
mod support;
mod telemetry;
mod time_travel;
mod tls;
mod trouble;
mod upgrade;
mod verify;
