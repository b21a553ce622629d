//! `projection-svc`: answers what the log adds up to.

use aevon_service::cli::{self, Program};
use std::process::ExitCode;

const PROGRAM: Program = Program {
    name: "projection-svc",
    about: "Answers what the log adds up to, from one snapshot",
    version: env!("CARGO_PKG_VERSION"),
    default_port: 8082,
    check: |_| Ok(()),
};

fn main() -> ExitCode {
    cli::main(PROGRAM, projection_svc::run)
}
