//! Starting a server and stopping it.
//!
//! Invariant: every return from here, also by error, leaves either a [`Server`] whose drop stops
//! the process, or no process.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::account::{Account, command};
use crate::{Programs, cluster, process};

/// The superuser of every cluster made here. It has no password.
pub const USER: &str = "aevon";

/// A start includes the recovery of a cluster that was killed.
const START_DEADLINE: Duration = Duration::from_secs(60);
const PREDECESSOR_DEADLINE: Duration = Duration::from_secs(5);
const STOP_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
const RETRY: Duration = Duration::from_millis(100);
/// How much of the server's log an error shows.
const LOG_TAIL_LINES: usize = 20;
const LOG: &str = "server.log";
/// How PostgreSQL tells that it broke down, or is about to.
const BREAKDOWNS: [&str; 3] = ["PANIC:", "was terminated by signal", "out of memory"];

/// How to start a [`Server`]. The default is a cluster that is gone when the server stops.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// The cluster's directory, made if it is not there; `None` is a temporary one, removed when
    /// the [`Server`] is dropped.
    pub data_dir: Option<PathBuf>,
    /// The port on 127.0.0.1; `None` is a free one.
    pub port: Option<u16>,
    /// Whether a commit that was answered survives a crash of the server or of the machine. Off
    /// is faster: the last commits before a crash may be gone, and after a crash of the machine
    /// the cluster may be beyond repair.
    pub durable: bool,
    /// More settings, name and value, which win over those made here.
    pub settings: Vec<(String, String)>,
}

/// A running PostgreSQL on 127.0.0.1. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    programs: Programs,
    account: Option<Account>,
    options: ServerOptions,
    data_dir: PathBuf,
    port: u16,
    child: Child,
    guard: Child,
    /// Its drop removes the folder.
    temporary: Option<TempDir>,
}

impl Server {
    /// Starts a server and returns when it accepts connections.
    ///
    /// # Errors
    /// No programs were found, the directory cannot be used or has a running server, or the server
    /// did not come up before the deadline; the error then has the tail of its log.
    pub fn start(options: &ServerOptions) -> Result<Self> {
        let programs = Programs::find_or_install()?;
        let account = Account::for_server()?;
        let wanted = options.data_dir.as_deref();
        let (data_dir, temporary) = cluster::place(wanted, account.as_ref())?;
        wait_for_predecessor(&data_dir)?;
        cluster::prepare(&programs, &data_dir, account.as_ref(), options.durable)?;
        Self::launch(programs, account, options.clone(), data_dir, temporary)
    }

    /// Starts a server on a cluster that is there.
    fn launch(
        programs: Programs,
        account: Option<Account>,
        options: ServerOptions,
        data_dir: PathBuf,
        temporary: Option<TempDir>,
    ) -> Result<Self> {
        let port = options.port.map_or_else(free_port, Ok)?;
        let mut child = spawn(&programs, &data_dir, account.as_ref(), port, &options)?;
        let folder = temporary.as_ref().map(TempDir::path);
        let guard = match process::guard(child.id(), &data_dir, folder) {
            Ok(guard) => guard,
            Err(e) => {
                process::kill_whole(child.id());
                child.wait()?;
                return Err(e);
            }
        };
        let mut server = Self {
            programs,
            account,
            options,
            data_dir,
            port,
            child,
            guard,
            temporary,
        };
        server.wait_ready()?;
        Ok(server)
    }

    /// A hot standby of this server, which streams whatever is written here from now on. The server
    /// is stopped while its cluster is copied, and runs again, on its port, when this returns.
    ///
    /// # Errors
    /// One of the two did not come up, or the cluster can't be copied.
    pub fn standby(&mut self) -> Result<Self> {
        self.stop()?;
        let account = Account::for_server()?;
        let (data_dir, temporary) = cluster::place(None, account.as_ref())?;
        cluster::copy(&self.data_dir, &data_dir, account.as_ref())?;
        cluster::mark_standby(&data_dir, account.as_ref())?;
        self.options.port = Some(self.port);
        self.start_again()?;
        self.wait_ready()?;
        let primary = format!("host=127.0.0.1 port={} user={USER}", self.port);
        let mut options = ServerOptions {
            data_dir: None,
            port: None,
            ..self.options.clone()
        };
        options
            .settings
            .push(("primary_conninfo".to_owned(), primary));
        let programs = Programs::find_or_install()?;
        Self::launch(programs, account, options, data_dir, temporary)
    }

    /// The address of a database of this server, without a password: it trusts 127.0.0.1.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The programs it was started from.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Where the cluster is: the wanted directory, or where [`crate::reachable`] put it.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The server's log, begun anew at each start.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.data_dir.join(LOG)
    }

    /// What the log says of a breakdown: a process that was killed, a disk or a memory that was full. Up
    /// to `n` lines, the earliest first.
    #[must_use]
    pub fn breakdowns(&self, n: usize) -> Vec<String> {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let told = log
            .lines()
            .filter(|line| BREAKDOWNS.iter().any(|word| line.contains(word)));
        told.take(n).map(str::to_owned).collect()
    }

    /// How the server ended, if it did; `None` while it runs.
    ///
    /// # Errors
    /// The process cannot be asked.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Stops the server: connections are closed, what was committed is written. Past the deadline
    /// it is killed. Stopping a stopped server does nothing.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub fn stop(&mut self) -> Result<()> {
        if self.exited()?.is_none() {
            process::signal(self.pid(), Signal::INT);
            let deadline = Instant::now() + STOP_DEADLINE;
            while self.exited()?.is_none() {
                if Instant::now() > deadline {
                    process::kill_whole(self.pid());
                    self.child.wait()?;
                }
                sleep(POLL);
            }
        }
        self.release_guard()
    }

    /// Kills the server and all its processes at once, as a crash does. The cluster recovers at
    /// the next start.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        if self.exited()?.is_none() {
            process::kill_whole(self.pid());
            self.child.wait()?;
        }
        self.release_guard()
    }

    /// The guard is killed before its input ends, so that it does nothing.
    fn release_guard(&mut self) -> Result<()> {
        if self.guard.try_wait()?.is_none() {
            self.guard.kill()?;
            self.guard.wait()?;
        }
        Ok(())
    }

    /// Waits until the server accepts connections. One that ended is started again when what ended
    /// it passes: another program took the free port, or the processes of a killed server still
    /// hold its memory and are about to notice.
    fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let file = process::pid_file(&self.data_dir);
            if file.is_some_and(|file| file.ready && file.pid == self.pid()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let waited = START_DEADLINE.as_secs();
                return Err(self.failure(&format!("was not ready after {waited} s")));
            }
            if let Some(status) = self.exited()? {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                let lost_port = log.contains("could not bind") && self.options.port.is_none();
                if !lost_port && !log.contains("pre-existing shared memory block") {
                    return Err(self.failure(&format!("ended while starting ({status})")));
                }
                sleep(RETRY);
                self.start_again()?;
            }
            sleep(POLL);
        }
    }

    fn start_again(&mut self) -> Result<()> {
        self.release_guard()?;
        self.port = self.options.port.map_or_else(free_port, Ok)?;
        let account = self.account.as_ref();
        self.child = spawn(
            &self.programs,
            &self.data_dir,
            account,
            self.port,
            &self.options,
        )?;
        let folder = self.temporary.as_ref().map(TempDir::path);
        self.guard = process::guard(self.child.id(), &self.data_dir, folder)?;
        Ok(())
    }

    fn failure(&self, what: &str) -> Error {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n  ");
        let data_dir = self.data_dir.display();
        anyhow!(
            "PostgreSQL on {data_dir}, port {}, {what}; its log:\n  {tail}",
            self.port
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.stop().is_err() {
            let _ = self.kill();
        }
    }
}

/// A server whose owner was killed is being stopped by its guard; it gets the time for it.
fn wait_for_predecessor(data_dir: &Path) -> Result<()> {
    let deadline = Instant::now() + PREDECESSOR_DEADLINE;
    while let Some(pid) = process::running_on(data_dir)? {
        if Instant::now() > deadline {
            let data_dir = data_dir.display();
            bail!("a PostgreSQL server (process {pid}) is running on {data_dir}");
        }
        sleep(POLL);
    }
    Ok(())
}

/// A port nobody listens on now. Another program may take it before the server does; the start
/// then tries again.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

/// In a process group of its own, so that Ctrl-C at the terminal reaches the caller, who decides
/// when the server stops, and not the server first.
fn spawn(
    programs: &Programs,
    data_dir: &Path,
    account: Option<&Account>,
    port: u16,
    options: &ServerOptions,
) -> Result<Child> {
    let log = data_dir.join(LOG);
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    cluster::give(&log, account)?;
    let mut postgres = command(programs.bin.join("postgres"), account);
    postgres.arg("-D").arg(data_dir);
    for (name, value) in settings(programs, port, options) {
        postgres.arg("-c").arg(format!("{name}={value}"));
    }
    postgres
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot run {}", programs.bin.join("postgres").display()))
}

/// Name and value of every setting; of two with one name the later counts.
fn settings(programs: &Programs, port: u16, options: &ServerOptions) -> Vec<(String, String)> {
    let port = port.to_string();
    let mut settings = vec![
        ("port", port.as_str()),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("max_connections", "200"),
    ];
    if programs.library("pg_stat_statements").is_some() {
        settings.push(("shared_preload_libraries", "pg_stat_statements"));
    }
    if !options.durable {
        let names = ["fsync", "synchronous_commit", "full_page_writes"];
        settings.extend(names.map(|name| (name, "off")));
    }
    let own = settings
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.chain(options.settings.iter().cloned()).collect()
}
