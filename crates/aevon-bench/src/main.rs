//! `aevon-bench`: measures writing, sweeping and reading beside what Postgres alone does with the
//! same rows, on a durable Postgres of its own. Prints Markdown; fails when a check does.

mod bench;
mod cli;
mod conditions;
mod document;
mod figures;
mod findings;
mod goals;
mod growth;
mod http;
mod limits;
mod load;
mod log;
mod many;
mod open;
mod outputs;
mod past;
mod peers;
mod pgbench;
mod process;
mod read;
mod report;
mod rig;
mod run;
mod service;
mod sizes;
mod soak;
mod svg;
mod sweep;
mod sweep_limit;
mod tally;
mod workload;
mod write;

use clap::Parser;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    cli::run(cli::Arguments::parse()).await
}
