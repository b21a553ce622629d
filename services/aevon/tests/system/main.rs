//! The whole system: real programs, real Postgres, real HTTP.

mod answers;
mod ingest;
mod operation;
mod support;
