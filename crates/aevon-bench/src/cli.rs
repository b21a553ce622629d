//! The command line: what to measure, for how long, on how much.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::bench::Bench;
use crate::goals::course::Size;
use crate::outputs::Outputs;
use crate::report;
use crate::rig::Rig;
use crate::service::{ALL, Programs};
use crate::tally::Span;
use crate::{goals, growth, many, past, process, read, soak, sweep, write};

/// What to measure.
#[derive(Debug, Clone, Subcommand)]
enum Subject {
    /// Every goal that a quarter of an hour can measure, beside its limit
    Goals {
        /// One short round on a fifth of the events
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        outputs: Outputs,
    },
    /// Everything at once for minutes: events in, sweeps, reads
    Soak(soak::Options),
    /// What a log takes and answers as it grows
    Growth(growth::Options),
    /// Every section below
    All(Length),
    /// Single events, one a request
    Single(Length),
    /// Bodies of many events, and bytes on disk
    Batch(Length),
    /// Folding the log into buckets
    Sweep(Length),
    /// Reading state
    Read(Length),
    /// Reading state as of earlier versions
    Past(Length),
    /// A tenant of 100,000 principals: its total, and the largest of them
    Many(Length),
    /// Memory, time to start and size of each service
    Process(Length),
}

/// How long and on how much a section measures.
#[derive(Debug, Clone, Copy, Args)]
struct Length {
    /// Seconds of each measurement, after two to warm up
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Events in the log before a measurement, and events of a sweep
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    preload: u64,
}

/// A part of the report.
#[derive(Debug, Clone, Copy)]
enum Section {
    Single,
    Batch,
    Sweep,
    Read,
    Past,
    Many,
    Process,
}

const SECTIONS: [Section; 7] = [
    Section::Single,
    Section::Batch,
    Section::Sweep,
    Section::Read,
    Section::Past,
    Section::Many,
    Section::Process,
];

/// Measures the release programs on a durable Postgres of its own, and prints Markdown.
#[derive(Debug, Parser)]
#[command(name = "aevon-bench")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    subject: Subject,
    /// The folder of the programs [default: release in CARGO_TARGET_DIR or target]
    #[arg(long, global = true)]
    bin_dir: Option<PathBuf>,
    /// A setting of Postgres; durability stays on
    #[arg(long = "postgres", value_name = "NAME=VALUE", value_parser = setting, global = true)]
    postgres: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("is not NAME=VALUE")?;
    Ok((pair.0.trim().to_owned(), pair.1.trim().to_owned()))
}

impl Arguments {
    fn bin_dir(&self) -> PathBuf {
        let target = || std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        self.bin_dir
            .clone()
            .unwrap_or_else(|| PathBuf::from(target()).join("release"))
    }
}

/// Measures; fails when a check does not hold. Interrupted, it stops what it started.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let is_right = tokio::select! {
        measured = measure(&arguments) => measured?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            anyhow::bail!("interrupted")
        }
    };
    Ok(if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(arguments: &Arguments) -> Result<bool> {
    let programs = Programs::find(arguments.bin_dir(), &ALL)?;
    let rig = Rig::start(programs, &arguments.postgres).await?;
    let (length, asked): (&Length, &[Section]) = match &arguments.subject {
        Subject::Goals { quick, outputs } => {
            let size = if *quick { Size::Quick } else { Size::Full };
            return goals::run::measure(rig, size, outputs).await;
        }
        Subject::Soak(options) => return soak::measure(rig, options).await,
        Subject::Growth(options) => return growth::measure(rig, options).await,
        Subject::All(length) => (length, &SECTIONS),
        Subject::Single(length) => (length, &[Section::Single]),
        Subject::Batch(length) => (length, &[Section::Batch]),
        Subject::Sweep(length) => (length, &[Section::Sweep]),
        Subject::Read(length) => (length, &[Section::Read]),
        Subject::Past(length) => (length, &[Section::Past]),
        Subject::Many(length) => (length, &[Section::Many]),
        Subject::Process(length) => (length, &[Section::Process]),
    };
    sections(rig, *length, asked).await
}

async fn sections(rig: Rig, length: Length, asked: &[Section]) -> Result<bool> {
    report::print_conditions(&rig.conditions().await?.lines());
    let bench = Bench::new(rig, Span::seconds(length.seconds), length.preload);
    let mut is_right = true;
    for section in asked {
        let measured = match section {
            Section::Single => write::single(&bench).await,
            Section::Batch => write::batch(&bench).await,
            Section::Sweep => sweep::measure(&bench).await,
            Section::Read => read::measure(&bench).await,
            Section::Past => past::measure(&bench).await,
            Section::Many => many::measure(&bench).await,
            Section::Process => process::measure(&bench).await,
        };
        // One section that cannot be measured does not take the others with it.
        is_right &= measured.unwrap_or_else(|error| {
            eprintln!("{section:?} was not measured: {error:#}");
            false
        });
    }
    Ok(is_right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_the_subject() {
        let parse = |words: &[&str]| Arguments::try_parse_from([&["aevon-bench"], words].concat());
        let read = parse(&["read", "--seconds", "3", "--postgres", "shared_buffers=1GB"]).unwrap();
        assert!(matches!(
            read.subject,
            Subject::Read(Length { seconds: 3, .. })
        ));
        assert_eq!(
            read.postgres,
            [("shared_buffers".to_owned(), "1GB".to_owned())]
        );
        let goals = parse(&["goals", "--quick", "--json", "f"]).unwrap();
        assert!(matches!(goals.subject, Subject::Goals { quick: true, .. }));
        parse(&["soak", "--minutes", "1", "--plots", "p", "--document", "d"]).unwrap();
        parse(&["growth", "--events", "1000,2000", "--drop-caches"]).unwrap();
        assert!(parse(&["goals", "--seconds", "3"]).is_err());
        assert!(parse(&["read", "--seconds", "0"]).is_err());
    }
}
