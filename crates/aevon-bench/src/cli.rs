//! The command line: what to measure, for how long, on how much.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::bench::Bench;
use crate::report;
use crate::rig::Rig;
use crate::service::{ALL, Programs};
use crate::{many, past, process, read, sweep, write};

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Everything below
    All,
    /// Single events, one a request
    Single,
    /// Bodies of many events, and bytes on disk
    Batch,
    /// Folding the log into buckets
    Sweep,
    /// Reading state
    Read,
    /// Reading state as of earlier versions
    Past,
    /// A tenant of 100,000 principals: its total, and the largest of them
    Many,
    /// Memory, time to start and size of each service
    Process,
}

const SECTIONS: [Subject; 7] = [
    Subject::Single,
    Subject::Batch,
    Subject::Sweep,
    Subject::Read,
    Subject::Past,
    Subject::Many,
    Subject::Process,
];

/// Measures the release programs on a durable Postgres of its own, and prints Markdown.
#[derive(Debug, Parser)]
#[command(name = "aevon-bench")]
pub(crate) struct Arguments {
    subject: Subject,
    /// Seconds of each measurement, after two to warm up
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Events in the log before a measurement, and events of a sweep
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    preload: u64,
    /// The folder of the programs [default: release in CARGO_TARGET_DIR or target]
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// A setting of Postgres; durability stays on
    #[arg(long = "postgres", value_name = "NAME=VALUE", value_parser = setting)]
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
    tokio::select! {
        measured = measure(&arguments) => measured,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            anyhow::bail!("interrupted")
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<ExitCode> {
    let programs = Programs::find(arguments.bin_dir(), &ALL)?;
    let rig = Rig::start(programs, &arguments.postgres).await?;
    report::print_conditions(&rig.conditions().await?);
    let bench = Bench::new(rig, arguments.seconds, arguments.preload);
    let is_asked = |section: &Subject| [Subject::All, *section].contains(&arguments.subject);
    let mut is_right = true;
    for section in SECTIONS.into_iter().filter(is_asked) {
        let measured = match section {
            Subject::All => continue,
            Subject::Single => write::single(&bench).await,
            Subject::Batch => write::batch(&bench).await,
            Subject::Sweep => sweep::measure(&bench).await,
            Subject::Read => read::measure(&bench).await,
            Subject::Past => past::measure(&bench).await,
            Subject::Many => many::measure(&bench).await,
            Subject::Process => process::measure(&bench).await,
        };
        // One section that cannot be measured does not take the others with it.
        is_right &= measured.unwrap_or_else(|error| {
            eprintln!("{section:?} was not measured: {error:#}");
            false
        });
    }
    Ok(if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
