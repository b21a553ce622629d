//! `aevon`: the operator's command line and the one-command local system.

use std::process::ExitCode;

fn main() -> ExitCode {
    aevon::main()
}
