//! `ingest-svc`: takes events in.

use aevon_service::cli::{self, Program};
use std::process::ExitCode;

const PROGRAM: Program = Program {
    name: "ingest-svc",
    about: "Takes immutable events over HTTP and appends them to the log",
    version: env!("CARGO_PKG_VERSION"),
    default_port: 8081,
    check: ingest_svc::check,
};

fn main() -> ExitCode {
    cli::main(PROGRAM, ingest_svc::run)
}
