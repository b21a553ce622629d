//! What has to stand beside every number: machine, Postgres and its settings, the command line.
//!
//! Invariant: nothing is measured on a Postgres that is not durable; it is asked, not believed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::report::ms;
use crate::tally::Tally;
use crate::workload::now_us;

/// What Postgres has to say `on` to.
pub(crate) const DURABLE: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Conditions {
    date: String,
    command: String,
    /// Of the source, where git knows it.
    commit: Option<String>,
    cores: usize,
    processor: String,
    memory_mib: Option<u64>,
    /// Of the minute before.
    load: Option<String>,
    postgres: String,
    /// Those that are not its default.
    settings: BTreeMap<String, String>,
    /// A write and sync of 8 KiB, in ms: the median, and the slowest of a hundred but one.
    sync: [f64; 2],
    /// Settings that the services were given beside.
    own: Vec<String>,
}

impl Conditions {
    /// Asks the machine and Postgres.
    pub(crate) async fn read<'a>(
        client: &Client,
        settings: impl Iterator<Item = &'a str>,
        folder: &Path,
    ) -> Result<Self> {
        let mut shown = BTreeMap::new();
        for name in settings.chain(DURABLE) {
            let row = client.query_one(&format!("SHOW {name}"), &[]).await?;
            shown.insert(name.to_owned(), row.get::<_, String>(0));
        }
        for name in DURABLE {
            let value = &shown[name];
            ensure!(
                value == "on",
                "{name} is {value}: what is measured has to be durable"
            );
        }
        let mut syncs = time_syncs(folder)?;
        let version = client.query_one("SHOW server_version", &[]).await?;
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Self {
            date: format!("{:.0}", jiff::Timestamp::from_microsecond(now_us())?),
            command: command_line(),
            commit: commit(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            processor: processor(),
            memory_mib: memory_mib(),
            load: load.split_whitespace().next().map(str::to_owned),
            postgres: version.get(0),
            settings: shown,
            sync: [50, 99].map(|percent| syncs.percentile(percent)),
            own: own_settings(),
        })
    }

    /// As lines of text.
    pub(crate) fn lines(&self) -> Vec<String> {
        let source = self.commit.as_ref();
        let source = source.map_or(String::new(), |commit| format!(", of commit {commit}"));
        let memory = self
            .memory_mib
            .map_or(String::new(), |mib| format!(", {} GiB", mib / 1024));
        let settings = self.settings.iter();
        let settings: Vec<_> = settings
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let mut lines = vec![
            format!("`{}`, {}{source}", self.command, self.date),
            format!(
                "{} cores ({}){memory}, shared by services, Postgres and the load generator",
                self.cores, self.processor
            ),
            format!(
                "PostgreSQL {}, asked by SHOW: {}",
                self.postgres,
                settings.join(", ")
            ),
            format!(
                "write and sync of 8 KiB: p50 {} ms, p99 {} ms",
                ms(self.sync[0]),
                ms(self.sync[1])
            ),
        ];
        let load = self.load.iter();
        lines.extend(load.map(|load| format!("load average of the minute before: {load}")));
        if !self.own.is_empty() {
            lines.push(format!("services also had: {}", self.own.join(" ")));
        }
        lines
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "date": self.date,
            "command": self.command,
            "commit": self.commit,
            "machine": {
                "cores": self.cores,
                "processor": self.processor,
                "memory_mib": self.memory_mib,
                "load_average": self.load,
                "sync_ms": {"p50": self.sync[0], "p99": self.sync[1]},
            },
            "postgres": {"version": self.postgres, "settings": self.settings},
            "services": self.own,
        })
    }
}

/// The program without its folder, and what it was told.
fn command_line() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    std::iter::once(name)
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// What `git describe` says of the folder that this runs in.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--exclude", "*"]);
    let output = git.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let is_known = output.status.success() && !text.trim().is_empty();
    is_known.then(|| text.trim().to_owned())
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line
        .and_then(|line| line.split_once(':'))
        .map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn memory_mib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024)
}

/// What the environment tells the services.
fn own_settings() -> Vec<String> {
    let own = |(name, value): (String, String)| {
        let is_setting = name.starts_with("AEVON_") && name.contains("__");
        let is_told = is_setting && name != "AEVON_DATABASE__URL";
        is_told.then(|| format!("{name}={value}"))
    };
    std::env::vars().filter_map(own).collect()
}

/// What a commit waits for at least, in a folder of the same kind as the cluster's.
fn time_syncs(folder: &Path) -> Result<Tally> {
    const ROUNDS: usize = 100;
    let mut file = File::create(folder.join("sync"))?;
    let mut tally = Tally::default();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        file.write_all(&[7; 8192])?;
        file.sync_data()?;
        tally.add(began.elapsed());
    }
    Ok(tally)
}
