//! `aevon export`: the log and its rules as lines of JSON, with which another database can begin.
//!
//! Invariant: a file that was broken off goes on behind its last whole line, and ends as it would have
//! otherwise.

use crate::lines::{Lines, bar};
use crate::reach;
use aevon_core::export::{Header, Progress};
use aevon_schema::{Connection, export, import};
use aevon_service::settings::Settings;
use anyhow::{Context, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "Examples:\n  \
    aevon export --output aevon.ndjson             events, principals, rules, erasures, as of now\n  \
    aevon export --output aevon.ndjson --resume    goes on where it was broken off\n  \
    aevon export | zstd > aevon.ndjson.zst\n\n\
    Needs the owner of the schema, reads only, and holds nobody up. Not in it: buckets, which are made\n\
    anew, keys, and what was rejected. Exit codes: 0 all of it was written, 1 failed, 2 wrong usage.";

/// How long one statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(600);

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The file to write; standard output without it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Goes on with a file that was broken off
    #[arg(long, requires = "output")]
    resume: bool,
}

/// Exports.
pub(crate) async fn run(settings: &Settings, args: ExportArgs) -> anyhow::Result<()> {
    let (database, partitions) = reach(settings, "aevon export", STATEMENT_TIMEOUT).await?;
    let mut connection = database.connect().await?;
    if let Some(unfinished) = import::unfinished(&mut connection).await? {
        bail!("nothing is exported: {unfinished}");
    }
    let (to, progress) = match &args.output {
        None => (To::Stdout(io::stdout().lock()), Progress::default()),
        Some(path) if args.resume => resumed(path)?,
        Some(path) => {
            let file = File::create_new(path);
            let file = file.with_context(|| {
                format!("cannot make {}; --resume goes on with one", path.display())
            })?;
            (To::File(io::BufWriter::new(file)), Progress::default())
        }
    };
    let mut writer = Writer { to, progress };
    if writer.progress.is_ended() {
        eprintln!("nothing is missing");
        return Ok(());
    }
    let written = writer.write_all(&mut connection, partitions).await;
    if let (Err(_), Some(path), None) = (&written, &args.output, writer.progress.header()) {
        // Nothing is in it; the next try may make it.
        let _ = std::fs::remove_file(path);
    }
    written?;
    writer.to.finish()?;
    let counts = writer.progress.counts();
    eprintln!(
        "exported {} events of {} principals, {} versions of rules",
        counts.events, counts.principals, counts.rules
    );
    Ok(())
}

/// A file that was begun, cut behind its last whole line, and how far it is.
fn resumed(path: &Path) -> anyhow::Result<(To, Progress)> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let mut file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let mut progress = Progress::default();
    let (mut lines, mut whole) = (Lines::new(&file), 0);
    while let Some(line) = lines.next_whole()? {
        let taken = progress.take(&line);
        if let Err(fault) = taken {
            bail!("{}, line {}: {fault}", path.display(), lines.number());
        }
        whole = lines.bytes();
    }
    drop(lines);
    file.set_len(whole)?;
    file.seek(io::SeekFrom::End(0))?;
    // Where the rules may be missing in part, there is little to lose.
    if !progress.reached().is_begun && !progress.is_ended() {
        file.set_len(0)?;
        file.rewind()?;
        progress = Progress::default();
    }
    Ok((To::File(io::BufWriter::new(file)), progress))
}

enum To {
    Stdout(io::StdoutLock<'static>),
    File(io::BufWriter<File>),
}

impl To {
    fn write(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.write_all(text.as_bytes()),
            Self::File(file) => file.write_all(text.as_bytes()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(file) => {
                file.flush()?;
                file.get_ref().sync_all()
            }
        }
    }
}

struct Writer {
    to: To,
    progress: Progress,
}

impl Writer {
    fn take(&mut self, lines: &[String]) -> anyhow::Result<()> {
        for line in lines {
            let taken = self.progress.take(line.trim_end_matches('\n'));
            if let Err(fault) = taken {
                bail!("the tables are inconsistent: a line that comes of them {fault}");
            }
            self.to.write(line).context("cannot write")?;
        }
        Ok(())
    }

    async fn write_all(
        &mut self,
        connection: &mut Connection,
        partitions: i32,
    ) -> anyhow::Result<()> {
        if self.progress.header().is_none() {
            let lines = export::begin(connection, partitions).await?;
            self.take(&lines)?;
        }
        let header = self.progress.header().cloned();
        let header = header.context("an export begins with its first line")?;
        ensure!(
            header.partitions == partitions,
            "the file is of a log of {} partitions; the database has {partitions}",
            header.partitions
        );
        ensure!(
            export::holds(connection, &header).await?,
            "the file is of another log, or the database went back in time since: begin anew"
        );
        let bar = bar(header.events().unsigned_abs());
        bar.set_position(self.progress.counts().events);
        if self.progress.reached().event.is_none() {
            loop {
                let after = self.progress.reached().principal_no;
                let lines = export::principals(connection, &header, after).await?;
                if lines.is_empty() {
                    break;
                }
                self.take(&lines)?;
            }
        }
        self.write_events(connection, &header, &bar).await?;
        bar.finish_and_clear();
        // What was written before an erasure is not what stands now, and ought to be nowhere.
        let erasures = export::erasures(connection).await?;
        ensure!(
            erasures == self.progress.counts().erasures,
            "a principal was erased meanwhile: delete what was written, and begin anew"
        );
        let end = self.progress.end().text();
        self.take(&[end])
    }

    async fn write_events(
        &mut self,
        connection: &mut Connection,
        header: &Header,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        for head in &header.heads {
            let mut after = match self.progress.reached().event {
                Some((partition, _)) if partition > head.partition => continue,
                Some((partition, seq)) if partition == head.partition => seq,
                _ => 0,
            };
            while after < head.seq {
                let lines = export::events(connection, header, head.partition, after).await?;
                ensure!(
                    !lines.is_empty(),
                    "the log ends at {}:{after}, before the head of the export",
                    head.partition
                );
                self.take(&lines)?;
                after += i64::try_from(lines.len())?;
                bar.inc(lines.len() as u64);
            }
        }
        Ok(())
    }
}
