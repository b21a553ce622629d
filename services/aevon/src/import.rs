//! `aevon import`: an empty database begins with an export.
//!
//! Invariant: nothing is written before the whole file was read once and found sound.
//! Invariant: an import that was broken off goes on when it is asked for again.

use crate::lines::{Lines, bar};
use crate::reach;
use aevon_core::export::{Erasure, Event, Header, Line, Principal, Progress, Rule};
use aevon_schema::Connection;
use aevon_schema::import::{self, Import};
use aevon_service::settings::Settings;
use anyhow::{Context, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "Examples:\n  \
    aevon migrate --partitions 16 && aevon import aevon.ndjson\n\n\
    Needs the owner of the schema, and a database that is empty, with as many partitions as the one that\n\
    was exported. What was broken off goes on when it is run again. Start services afterwards; aggregators\n\
    make the buckets, and until then answers come from the log. Exit codes: 0 all of it is there,\n\
    1 refused (standard error names the line) or failed, 2 wrong usage.";

/// How long one statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(600);
/// Lines of one transaction.
const BATCH: usize = 2_000;
/// Bytes of lines of one transaction.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// What to import.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// A file that `aevon export` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Imports.
pub(crate) async fn run(settings: &Settings, args: ImportArgs) -> anyhow::Result<()> {
    let (database, partitions) = reach(settings, "aevon import", STATEMENT_TIMEOUT).await?;
    let mut connection = database.connect().await?;
    let (progress, first_lines) = check(&args.file)?;
    let header = progress.header().context("the file is empty")?;
    ensure!(
        header.partitions == partitions,
        "the export is of a log of {} partitions, and the database has {partitions}: use one that was \
         made by `aevon migrate --partitions {}`",
        header.partitions,
        header.partitions
    );
    let hash = progress.sum();
    let mut import = import::standing(&mut connection, partitions, hash).await?;
    if import.is_finished {
        eprintln!("all of it is there already");
        return Ok(());
    }
    if !import.is_begun {
        begin(&mut connection, hash, &first_lines).await?;
    }
    let writer = Writer {
        connection: &mut connection,
        import: &mut import,
        bar: &bar(header.events().unsigned_abs()),
    };
    writer.write_all(&args.file).await?;
    complete(&import, header)?;
    import::finish(&mut connection, hash).await?;
    let counts = progress.counts();
    eprintln!(
        "imported {} events of {} principals, {} versions of rules",
        counts.events, counts.principals, counts.rules
    );
    Ok(())
}

/// That every event is there.
fn complete(import: &Import, header: &Header) -> anyhow::Result<()> {
    for (partition, found) in (0..).zip(&import.heads) {
        let ought = header.head(partition);
        ensure!(
            *found == ought,
            "partition {partition} is at {found}, and the export at {ought}: somebody else writes to this \
             database"
        );
    }
    Ok(())
}

/// Reads the file as a whole, and keeps its rules and erasures.
fn check(path: &Path) -> anyhow::Result<(Progress, Vec<String>)> {
    let mut lines = open(path)?;
    let (mut progress, mut first) = (Progress::default(), Vec::new());
    while let Some(text) = lines.next_whole().with_context(|| of(path))? {
        match progress.take(&text) {
            Ok(Line::Rule(_) | Line::Erasure(_)) => first.push(text),
            Ok(_) => {}
            Err(fault) => bail!("{}, line {}: {fault}", path.display(), lines.number()),
        }
    }
    ensure!(
        progress.is_ended(),
        "{} breaks off behind line {}: `aevon export --resume` goes on with it",
        path.display(),
        lines.number()
    );
    Ok((progress, first))
}

fn of(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

fn open(path: &Path) -> anyhow::Result<Lines<File>> {
    Ok(Lines::new(File::open(path).with_context(|| of(path))?))
}

async fn begin(
    connection: &mut Connection,
    hash: [u8; 32],
    first_lines: &[String],
) -> anyhow::Result<()> {
    let (mut rules, mut erasures) = (Vec::<Rule<'_>>::new(), Vec::<Erasure<'_>>::new());
    for line in first_lines {
        match parse(line)? {
            Line::Rule(rule) => rules.push(rule),
            Line::Erasure(erasure) => erasures.push(erasure),
            _ => bail!("the file changed while it was read"),
        }
    }
    Ok(import::begin(connection, hash, &rules, &erasures).await?)
}

/// A line that was found sound before.
fn parse(text: &str) -> anyhow::Result<Line<'_>> {
    serde_json::from_str(text).context("the file changed while it was read")
}

struct Writer<'a> {
    connection: &'a mut Connection,
    import: &'a mut Import,
    bar: &'a ProgressBar,
}

impl Writer<'_> {
    async fn write_all(mut self, path: &Path) -> anyhow::Result<()> {
        let mut lines = open(path)?;
        loop {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while batch.len() < BATCH
                && bytes < BATCH_BYTES
                && let Some(line) = lines.next_whole().with_context(|| of(path))?
            {
                bytes += line.len();
                batch.push(line);
            }
            if batch.is_empty() {
                self.bar.finish_and_clear();
                return Ok(());
            }
            self.write(&batch).await?;
        }
    }

    async fn write(&mut self, batch: &[String]) -> anyhow::Result<()> {
        let (mut principals, mut events) = (Vec::<Principal<'_>>::new(), Vec::<Event<'_>>::new());
        for text in batch {
            match parse(text)? {
                Line::Principal(principal) => principals.push(principal),
                Line::Event(event) => events.push(event),
                _ => {}
            }
        }
        import::principals(self.connection, self.import, &principals).await?;
        import::events(self.connection, self.import, &events).await?;
        self.bar.inc(events.len() as u64);
        Ok(())
    }
}
