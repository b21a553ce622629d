//! `aevon import`: an empty database begins with an export.
//!
//! Invariant: nothing is written before the whole file was read once and found sound.
//! Invariant: an import that was broken off goes on when it is asked for again, and only where nobody else
//! has written since.

use crate::lines::{Lines, bar};
use crate::output::say;
use crate::reach;
use aevon_core::export::{Erasure, Event, Header, Line, Principal, Progress, Rule};
use aevon_schema::Connection;
use aevon_schema::import::{self, Import, Part};
use aevon_service::settings::Settings;
use anyhow::{Context, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;
use std::fs::File;
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "Examples:\n  \
    aevon migrate --partitions 16 && aevon import aevon.ndjson\n  \
    aevon import aevon.ndjson --dry-run            what is in it, and whether it would be taken\n\n\
    Needs the owner of the schema, and a database that is empty, with as many partitions as the one that\n\
    was exported. The file is read twice, so that it can be no pipe. What was broken off goes on when it is\n\
    run again, unless somebody else has written to the database: start services afterwards. Aggregators\n\
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
    /// Reads the file, says what is in it and whether it would be taken, and writes nothing
    #[arg(long)]
    dry_run: bool,
}

/// Imports.
pub(crate) async fn run(settings: &Settings, args: ImportArgs) -> anyhow::Result<()> {
    let mut file = open(&args.file)?;
    let (database, partitions) = reach(settings, "aevon import", STATEMENT_TIMEOUT).await?;
    let mut connection = database.connect().await?;
    let mut part = Part::look(&mut connection, partitions).await?;
    let mut reading = Reading {
        path: &args.file,
        file: &mut file,
    };
    let (progress, first_lines) = reading.check(&mut connection, &mut part).await?;
    let header = progress.header().context("the file is empty")?;
    if args.dry_run {
        contents(&progress, header)?;
    }
    ensure!(
        header.partitions == partitions,
        "the export is of a log of {} partitions, and the database has {partitions}: use one that was \
         made by `aevon migrate --partitions {}`",
        header.partitions,
        header.partitions
    );
    let hash = progress.sum();
    let mut import = import::standing(&mut connection, &part, hash).await?;
    if import.is_finished {
        eprintln!("all of it is there already");
        return Ok(());
    }
    if args.dry_run {
        let here = match import.is_begun {
            true => import.heads.iter().sum(),
            false => 0,
        };
        say!("it would be taken; {here} of its events are there already");
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
    writer.write_all(&mut reading).await?;
    import::finish(&mut connection, &import, header, hash).await?;
    let counts = progress.counts();
    eprintln!(
        "imported {} events of {} principals, {} versions of rules",
        counts.events, counts.principals, counts.rules
    );
    Ok(())
}

/// Says what is in an export.
fn contents(progress: &Progress, header: &Header) -> anyhow::Result<()> {
    let counts = progress.counts();
    say!(
        "{} events of {} principals in {} partitions, {} versions of rules, {} erasures",
        counts.events,
        counts.principals,
        header.partitions,
        counts.rules,
        counts.erasures
    );
    Ok(())
}

/// A file, from its beginning as often as it takes.
struct Reading<'a> {
    path: &'a Path,
    file: &'a mut File,
}

impl Reading<'_> {
    fn lines(&mut self) -> anyhow::Result<Lines<&File>> {
        self.file.rewind().with_context(|| of(self.path))?;
        Ok(Lines::new(&*self.file))
    }

    /// Reads it as a whole, compares it with what stands in the database, and keeps its rules and
    /// erasures.
    async fn check(
        &mut self,
        connection: &mut Connection,
        part: &mut Part,
    ) -> anyhow::Result<(Progress, Vec<String>)> {
        let path = self.path;
        let mut lines = self.lines()?;
        let (mut progress, mut first) = (Progress::default(), Vec::new());
        while let Some(text) = lines.next_whole().with_context(|| of(path))? {
            match progress.take(&text) {
                Ok(line) => {
                    part.take(connection, &line).await?;
                    if matches!(line, Line::Rule(_) | Line::Erasure(_)) {
                        first.push(text);
                    }
                }
                Err(fault) => bail!("{}, line {}: {fault}", path.display(), lines.number()),
            }
        }
        ensure!(
            progress.is_ended(),
            "{} breaks off behind line {}: `aevon export --resume` goes on with it",
            path.display(),
            lines.number()
        );
        if let Some(header) = progress.header() {
            part.end(connection, header).await?;
        }
        Ok((progress, first))
    }
}

fn of(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

/// Opens what can be read twice; before anything waits for the other end of a pipe.
fn open(path: &Path) -> anyhow::Result<File> {
    let is_file = std::fs::metadata(path).with_context(|| of(path))?.is_file();
    ensure!(
        is_file,
        "{} is no regular file: an import reads it twice, first as a whole and then to write; save it as a \
         file",
        path.display()
    );
    File::open(path).with_context(|| of(path))
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
    async fn write_all(mut self, reading: &mut Reading<'_>) -> anyhow::Result<()> {
        let path = reading.path;
        let mut lines = reading.lines()?;
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
