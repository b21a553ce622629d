//! How answers are printed: for people or for programs, with colours on a terminal alone.
//!
//! Invariant: a reader that has seen enough (`| head`) ends a command quietly.

use anyhow::Context;
use clap::{Args, ValueEnum};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// The flag of every command that answers.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArg {
    /// How it is printed
    #[arg(
        short = 'o',
        long = "output",
        alias = "format",
        value_enum,
        default_value_t
    )]
    pub(crate) format: Format,
}

/// A colour of a word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    Red = 31,
    Green = 32,
}

/// Whether standard output shows colours: it is a terminal, and `NO_COLOR` is not set.
pub(crate) fn is_coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stdout().is_terminal()
}

/// A word in a colour, if there are colours.
pub(crate) fn painted(word: &str, colour: Colour, is_coloured: bool) -> String {
    match is_coloured {
        true => format!("\u{1b}[{}m{word}\u{1b}[0m", colour as u8),
        false => word.to_owned(),
    }
}

/// Prints what was asked for; whether anybody still reads.
pub(crate) fn print(text: &str) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write"),
    }
}

/// Prints a line of what was asked for, in a function that may fail.
macro_rules! say {
    ($($what:tt)*) => {{
        $crate::output::print(&format!("{}\n", format_args!($($what)*)))?;
    }};
}
pub(crate) use say;

/// Success where everything is well, failure where what was asked about is not; the command itself has
/// said what.
pub(crate) fn verdict(is_well: bool) -> ExitCode {
    match is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
