//! The bench itself: a durable Postgres of its own, databases in it, the programs to measure.
//!
//! Invariant: durability is never traded: fsync, synchronous_commit and full_page_writes are on.
//! Invariant: what was started here ends with the [`Rig`], also when a measurement fails.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use aevon_postgres::{Server, ServerOptions};
use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use crate::report::ms;
use crate::service::{Programs, Service};
use crate::tally::Tally;

/// What Postgres is given unless it is told otherwise; everything else is its default.
const SIZES: [(&str, &str); 2] = [("shared_buffers", "512MB"), ("max_wal_size", "4GB")];
/// What it is given whatever it is told.
const DURABLE: [(&str, &str); 3] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
];
/// Name of the migrated database that every log begins as a copy of.
const EMPTY: &str = "bench_empty";
const COPY_DEADLINE: Duration = Duration::from_secs(120);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(50);

/// How many rules there are.
pub(crate) const RULE_COUNT: i64 = 3;

const RULES: [(&str, &str); 3] = [
    (
        "requests.yaml",
        "name: requests\nsource_event: api.request\noperator: count\n",
    ),
    (
        "tokens.yaml",
        "name: tokens\nsource_event: model.call\noperator: sum\nfield: tokens\nunit: tokens\n",
    ),
    (
        "largest.yaml",
        "name: largest\nsource_event: model.call\noperator: max\nfield: tokens\nunit: tokens\n",
    ),
];

/// See the module.
#[derive(Debug)]
pub(crate) struct Rig {
    // Fields drop in this order: connections, then the server, then the folder.
    admin: Client,
    server: Server,
    folder: TempDir,
    programs: Programs,
    /// Names of the settings of Postgres that are not its default.
    settings: BTreeSet<String>,
}

impl Rig {
    /// Starts Postgres, with these settings too, and makes the empty, migrated database.
    pub(crate) async fn start(programs: Programs, more: &[(String, String)]) -> Result<Self> {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let settings = [&SIZES.map(own), more, &DURABLE.map(own)].concat();
        let names = settings.iter().map(|(name, _)| name.clone()).collect();
        let options = ServerOptions {
            durable: true,
            settings,
            ..ServerOptions::default()
        };
        let server = tokio::task::spawn_blocking(move || Server::start(&options)).await??;
        let folder = tempfile::Builder::new().prefix("aevon-bench-").tempdir()?;
        fs::create_dir(folder.path().join("rules"))?;
        for (file, text) in RULES {
            fs::write(folder.path().join("rules").join(file), text)?;
        }
        let admin = connect(&server.url("postgres")).await?;
        let rig = Self {
            admin,
            server,
            folder,
            programs,
            settings: names,
        };
        rig.admin
            .batch_execute(&format!("CREATE DATABASE {EMPTY} TEMPLATE template0"))
            .await?;
        rig.programs.aevon(&rig.url(EMPTY), &["migrate"]).await?;
        Ok(rig)
    }

    /// The programs that are measured.
    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Where Postgres's own programs lie.
    pub(crate) fn postgres_bin(&self) -> &Path {
        &self.server.programs().bin
    }

    /// The address of a database.
    fn url(&self, database: &str) -> String {
        self.server.url(database)
    }

    /// The process of Postgres.
    pub(crate) fn postgres_pid(&self) -> u32 {
        self.server.pid()
    }

    /// A migrated database with nothing in its log.
    pub(crate) async fn empty_database(&self, name: &str) -> Result<String> {
        self.copy_database(EMPTY, name).await
    }

    /// A copy of a database that nobody uses any more.
    pub(crate) async fn copy_database(&self, from: &str, name: &str) -> Result<String> {
        let copy = format!("CREATE DATABASE {name} TEMPLATE {from} STRATEGY file_copy");
        let deadline = Instant::now() + COPY_DEADLINE;
        loop {
            match self.admin.batch_execute(&copy).await {
                Ok(()) => return Ok(self.url(name)),
                // Connections that were just closed are being noticed.
                Err(e)
                    if e.code() == Some(&SqlState::OBJECT_IN_USE) && Instant::now() < deadline =>
                {
                    sleep(RETRY).await;
                }
                Err(e) => return Err(e).with_context(|| format!("cannot copy {from}")),
            }
        }
    }

    pub(crate) async fn drop_database(&self, name: &str) -> Result<()> {
        self.admin
            .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
            .await?;
        Ok(())
    }

    /// Writes back what earlier steps left, so that no measurement pays for another.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.admin.batch_execute("CHECKPOINT").await?;
        Ok(())
    }

    /// Starts a service on a database and waits until it is ready.
    pub(crate) async fn service(&self, name: &'static str, url: &str) -> Result<Service> {
        let mut service = self.spawn(name, url)?;
        service.ready().await?;
        Ok(service)
    }

    /// Starts a service on a database.
    pub(crate) fn spawn(&self, name: &'static str, url: &str) -> Result<Service> {
        let rules = self.folder.path().join("rules");
        let rules = rules.to_str().context("the temporary folder is no text")?;
        let more = [
            ("AEVON_AGGREGATION__CONFIG_DIR", rules),
            ("AEVON_AGGREGATION__CRON_INTERVAL", "1s"),
        ];
        Service::spawn(&self.programs, name, url, self.folder.path(), &more)
    }

    /// What has to stand beside every number: machine, Postgres and settings, command line.
    pub(crate) async fn conditions(&self) -> Result<Vec<String>> {
        let mut lines = vec![format!("`{}`", command_line())];
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        lines.push(format!(
            "{cores} cores ({}), shared by services, Postgres and the load generator",
            processor()
        ));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        if let Some(minute) = load.split_whitespace().next() {
            lines.push(format!("load average of the minute before: {minute}"));
        }
        let mut settings = Vec::new();
        for name in &self.settings {
            let row = self.admin.query_one(&format!("SHOW {name}"), &[]).await?;
            settings.push(format!("{name} {}", row.get::<_, &str>(0)));
        }
        let row = self.admin.query_one("SHOW server_version", &[]).await?;
        lines.push(format!(
            "PostgreSQL {}: {}",
            row.get::<_, &str>(0),
            settings.join(", ")
        ));
        let mut syncs = time_syncs(self.folder.path())?;
        let (p50, p99) = (syncs.percentile(50), syncs.percentile(99));
        lines.push(format!(
            "write and sync of 8 KiB: p50 {} ms, p99 {} ms",
            ms(p50),
            ms(p99)
        ));
        let own = |(name, value): (String, String)| {
            let is_setting = name.starts_with("AEVON_") && name.contains("__");
            let is_told = is_setting && name != "AEVON_DATABASE__URL";
            is_told.then(|| format!("{name}={value}"))
        };
        let own: Vec<String> = std::env::vars().filter_map(own).collect();
        if !own.is_empty() {
            lines.push(format!("services also had: {}", own.join(" ")));
        }
        Ok(lines)
    }
}

/// A connection; its driver ends with it.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let connecting = tokio_postgres::connect(url, NoTls);
    let (client, driver) = timeout(CONNECT_DEADLINE, connecting)
        .await?
        .context("cannot reach Postgres")?;
    // How a connection ends is its client's to notice.
    tokio::spawn(driver);
    Ok(client)
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

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line
        .and_then(|line| line.split_once(':'))
        .map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
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
