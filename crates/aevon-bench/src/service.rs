//! The programs that are measured: started as an operator starts them, killed when dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{sleep, timeout};

use crate::http::{Connection, get};

pub(crate) const INGEST: &str = "ingest-svc";
pub(crate) const AGGREGATOR: &str = "aggregator-svc";
pub(crate) const PROJECTION: &str = "projection-svc";
const AEVON: &str = "aevon";
/// The services.
pub(crate) const SERVICES: [&str; 3] = [INGEST, AGGREGATOR, PROJECTION];
/// Every program that is needed.
pub(crate) const ALL: [&str; 4] = [INGEST, AGGREGATOR, PROJECTION, AEVON];

const READY_DEADLINE: Duration = Duration::from_secs(30);
const COMMAND_DEADLINE: Duration = Duration::from_secs(600);
/// The time to start is measured in steps of this.
const POLL: Duration = Duration::from_millis(5);
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// How much of a program's log an error shows.
const LOG_TAIL_LINES: usize = 10;

/// Where the programs lie.
#[derive(Debug, Clone)]
pub(crate) struct Programs(PathBuf);

impl Programs {
    /// The programs of a folder, all of them there.
    pub(crate) fn find(dir: PathBuf, needed: &[&str]) -> Result<Self> {
        let is_missing = |name: &&&str| !dir.join(name).is_file();
        let missing: Vec<&str> = needed.iter().filter(is_missing).copied().collect();
        ensure!(
            missing.is_empty(),
            "{} not in {}: run `make build`",
            missing.join(", "),
            dir.display()
        );
        Ok(Self(dir))
    }

    /// Bytes of a program.
    pub(crate) fn size_of(&self, name: &str) -> Result<u64> {
        Ok(fs::metadata(self.0.join(name))?.len())
    }

    fn command(&self, name: &str, url: &str) -> Command {
        let mut command = Command::new(self.0.join(name));
        command
            .env("AEVON_DATABASE__URL", url)
            .env("AEVON_AUTH__MODE", "disabled")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of an operator's to its end.
    pub(crate) async fn aevon(&self, url: &str, arguments: &[&str]) -> Result<()> {
        let mut command = tokio::process::Command::from(self.command(AEVON, url));
        let running = command.args(arguments).kill_on_drop(true).output();
        let what = arguments.join(" ");
        let output = timeout(COMMAND_DEADLINE, running)
            .await
            .with_context(|| format!("aevon {what} did not end"))?
            .context("cannot run aevon")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "aevon {what}: {}", said.trim());
        Ok(())
    }
}

/// A running service.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Service {
    /// Starts a program; its log goes into `folder`.
    pub(crate) fn spawn(
        programs: &Programs,
        name: &'static str,
        url: &str,
        folder: &Path,
        more: &[(&str, &str)],
    ) -> Result<Self> {
        let port = free_port()?;
        let log = folder.join(format!("{name}-{port}.log"));
        let file = File::create(&log).context("cannot write the log of a service")?;
        let child = programs
            .command(name, url)
            .env("AEVON_SERVER__PORT", port.to_string())
            .envs(more.iter().copied())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot run {name}"))?;
        Ok(Self {
            name,
            child,
            port,
            log,
        })
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_DEADLINE;
        let request = get("/readyz");
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}):\n{}", self.name, self.log_tail());
            }
            if let Ok(mut connection) = Connection::open(self.port).await
                && let Ok(Ok(200)) = timeout(READY_TIMEOUT, connection.send(&request)).await
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} was not ready after {READY_DEADLINE:?}:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            sleep(POLL).await;
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs; an error with its last words if not.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}):\n{}", self.name, self.log_tail()),
        }
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port nobody listens on now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}
