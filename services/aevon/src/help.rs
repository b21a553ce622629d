//! `aevon cli`: the help of every verb, as a document.

use aevon_service::cli::ServiceArgs;
use clap::{Args, Command};
use std::fmt::Write;

const HEAD: &str = "\
# Command line

Written by `make reference`; a test holds it to the programs.

Every verb of `aevon` but `dev` reads the same [settings](settings.md) as the services do, from the
environment; those that speak to the database want `AEVON_DATABASE__URL`. What was asked for goes to
standard output, everything else to standard error. A failure is one line there and exit code 1, wrong
usage is 2.

## Services

`ingest-svc`, `aggregator-svc` and `projection-svc` take the same flags:

";

/// The document.
pub(crate) fn reference(program: Command) -> String {
    let services = ServiceArgs::augment_args(Command::new("ingest-svc"));
    let mut document = HEAD.to_owned();
    block(&mut document, &mut services.disable_help_flag(true));
    let mut program = program.disable_help_subcommand(true);
    program.build();
    section(&mut document, &mut program);
    document
}

/// A verb, then those below it.
fn section(document: &mut String, verb: &mut Command) {
    let name = verb.get_bin_name().unwrap_or_else(|| verb.get_name());
    // Writing to a String never fails.
    let _ = write!(document, "\n## {name}\n\n");
    block(document, verb);
    for below in verb.get_subcommands_mut() {
        section(document, below);
    }
}

fn block(document: &mut String, verb: &mut Command) {
    let help = verb.render_long_help().to_string();
    let lines = help.lines().map(str::trim_end).collect::<Vec<_>>();
    let _ = writeln!(document, "```\n{}\n```", lines.join("\n").trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_document_is_current() {
        let written = include_str!("../../../docs/cli.md");
        let current = reference(Cli::command());
        assert!(written == current, "run `make reference`");
    }
}
