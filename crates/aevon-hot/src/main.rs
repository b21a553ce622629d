//! `aevon-hot`: runs a hot workload, or counts the instructions of each and holds them to a baseline.
//!
//! Ends with 0 where none has risen; 1 where one has, or could not be counted; 2 where the baseline
//! lacks one; 3 where nothing can be counted or compared on this machine.

use aevon_hot::baseline::{self, Baseline, Change, TOLERANCE};
use aevon_hot::callgrind::{self, Uncounted};
use aevon_hot::workload::{self, ALL};
use anyhow::{Context, anyhow, bail};
use clap::Parser;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What writes a baseline.
const UPDATE: &str = "make instructions ARGS=--update";

/// Hot pure functions, run and counted
#[derive(Debug, Parser)]
#[command(name = "aevon-hot")]
enum Arguments {
    /// Run one workload, whose result is checked each time
    Run {
        /// Its name
        name: String,
        /// How many times
        #[arg(long, default_value_t = 1)]
        turns: u32,
    },
    /// Count the instructions of each workload with Valgrind, and compare
    Check {
        /// Write the baseline instead of comparing with it
        #[arg(long)]
        update: bool,
        /// The baseline
        #[arg(long, default_value = "crates/aevon-hot/baseline.json")]
        baseline: PathBuf,
    },
}

/// Why a check ends early, and with what.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
struct Stop {
    code: u8,
    said: String,
}

fn stop(code: u8, said: String) -> anyhow::Error {
    Stop { code, said }.into()
}

fn main() -> ExitCode {
    let done = match Arguments::parse() {
        Arguments::Run { name, turns } => run(&name, turns),
        Arguments::Check { update, baseline } if update => write(&baseline),
        Arguments::Check { baseline, .. } => check(&baseline),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aevon-hot: {error:#}");
            ExitCode::from(error.downcast_ref::<Stop>().map_or(1, |stop| stop.code))
        }
    }
}

fn run(name: &str, turns: u32) -> anyhow::Result<()> {
    let workload = workload::named(name).map_err(|said| anyhow!(said))?;
    let ran = workload.prepare().turns(turns);
    ran.map_err(|said| anyhow!("{name}: {said}"))
}

fn write(path: &Path) -> anyhow::Result<()> {
    count(None)?.write(path)?;
    writeln!(stdout(), "{} is written", path.display())?;
    Ok(())
}

fn check(path: &Path) -> anyhow::Result<()> {
    let missing = || format!("there is no {}; `{UPDATE}` writes it", path.display());
    let held_to = Baseline::read(path)?.ok_or_else(|| stop(2, missing()))?;
    if let Some(said) = Baseline::here().differs(&held_to) {
        return Err(stop(3, format!("{said}: they can't be compared")));
    }
    let counted = count(Some(&held_to))?;
    if let Some(said) = counted.note(&held_to) {
        writeln!(stdout(), "note: {said}")?;
    }
    let fallen = counted.changed(&held_to, Change::Fallen);
    if !fallen.is_empty() {
        let said = "lower the baseline";
        writeln!(
            stdout(),
            "note: less by more than {TOLERANCE} %: {fallen}; {said}: `{UPDATE}`"
        )?;
    }
    let risen = counted.changed(&held_to, Change::Risen);
    if !risen.is_empty() {
        let said = "make it cheaper; or say why it is worth that, and write the baseline";
        bail!("more by more than {TOLERANCE} %: {risen}; {said}: `{UPDATE}`");
    }
    let unmatched = counted.unmatched(&held_to);
    match unmatched.is_empty() {
        true => Ok(()),
        false => {
            let said = format!("not both counted and in the baseline: {unmatched}; `{UPDATE}`");
            Err(stop(2, said))
        }
    }
}

/// Counts every workload, and shows each beside its baseline.
fn count(held_to: Option<&Baseline>) -> anyhow::Result<Baseline> {
    let program = std::env::current_exe().context("where this program is")?;
    let mut out = stdout();
    let mut counted = Baseline::here();
    for workload in ALL {
        let count = callgrind::count(&program, &workload).map_err(|error| match error {
            Uncounted::Missing => stop(
                3,
                "valgrind is missing: apt-get install valgrind".to_owned(),
            ),
            Uncounted::Failed(said) => anyhow!(said),
        })?;
        let before = held_to.and_then(|held_to| held_to.instructions.get(workload.name).copied());
        if counted.instructions.is_empty() {
            writeln!(out, "{}", baseline::titles())?;
        }
        writeln!(out, "{}", baseline::row(workload.name, count, before))?;
        counted.instructions.insert(workload.name.to_owned(), count);
    }
    Ok(counted)
}
