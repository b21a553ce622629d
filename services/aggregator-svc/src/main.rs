//! `aggregator-svc`: folds events into buckets.

use aevon_service::cli::{self, Program};
use std::process::ExitCode;

const PROGRAM: Program = Program {
    name: "aggregator-svc",
    about: "Folds the log into buckets, so that answers stay fast",
    version: env!("CARGO_PKG_VERSION"),
    default_port: 8083,
    check: aggregator_svc::check,
};

fn main() -> ExitCode {
    cli::main(PROGRAM, aggregator_svc::run)
}
