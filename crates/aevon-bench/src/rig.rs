//! The bench itself: a durable Postgres of its own, databases in it, the programs to measure.
//!
//! Invariant: durability is never traded: fsync, synchronous_commit and full_page_writes are on.
//! Invariant: what was started here ends with the [`Rig`], also when a measurement fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use aevon_postgres::{Server, ServerOptions};
use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use crate::conditions::{Conditions, DURABLE};
use crate::service::{Programs, Service};

/// What Postgres is given unless it is told otherwise; everything else is its default.
const SIZES: [(&str, &str); 2] = [("shared_buffers", "512MB"), ("max_wal_size", "4GB")];
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
        // Whatever it is told, it is durable.
        let durable = DURABLE.map(|name| own((name, "on")));
        let settings = [&SIZES.map(own), more, &durable].concat();
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

    /// Where Postgres keeps its files.
    pub(crate) fn data_dir(&self) -> &Path {
        self.server.data_dir()
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

    /// What has to stand beside every number.
    pub(crate) async fn conditions(&self) -> Result<Conditions> {
        let settings = self.settings.iter().map(String::as_str);
        Conditions::read(&self.admin, settings, self.folder.path()).await
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
