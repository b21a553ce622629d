//! `with-postgres [--durable] -- COMMAND ARGUMENTS…`: runs a command with a private Postgres beside
//! it, whose address is in `AEVON_TEST_DATABASE_URL`, and ends with the command's exit code.
//!
//! Ordering: the command ends before the server stops, also on SIGINT and SIGTERM.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use aevon_postgres::{Server, ServerOptions};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

const USAGE: &str = "usage: with-postgres [--durable] -- COMMAND ARGUMENTS...";
/// After Ctrl-C, which the terminal sends to the command as well.
const INTERRUPT_GRACE: Duration = Duration::from_secs(5);
const TERMINATE_GRACE: Duration = Duration::from_secs(10);
/// How many lines about a server that broke down are shown beside what failed.
const BREAKDOWNS: usize = 5;
/// In bytes, a round guess: with less, a run of all tests may find the disk full in its middle.
const SPACE: u64 = 3_000_000_000;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    durable: bool,
    command: Vec<String>,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Call> {
    let mut durable = false;
    loop {
        match arguments.next()?.as_str() {
            "--durable" => durable = true,
            "--" => break,
            _ => return None,
        }
    }
    let command: Vec<_> = arguments.collect();
    (!command.is_empty()).then_some(Call { durable, command })
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(call) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(call).await {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("with-postgres: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// The exit code to end with. Signals are caught from the beginning, so that none ends this
/// process while a server is being started.
async fn run(call: Call) -> Result<u8> {
    let mut signals = Signals::catch()?;
    let options = ServerOptions {
        durable: call.durable,
        ..ServerOptions::default()
    };
    let mut server = tokio::task::spawn_blocking(move || Server::start(&options)).await??;
    ensure_space(server.data_dir())?;
    let url = server.url("postgres");
    let code = tokio::select! {
        prepared = aevon_testkit::template::prepare(&url) => match prepared {
            Ok(()) => command(&call.command, &url, &mut signals).await,
            Err(e) => Err(e),
        },
        number = signals.next() => Ok(code_of_signal(number)),
    };
    if !matches!(code, Ok(0)) {
        for line in server.breakdowns(BREAKDOWNS) {
            eprintln!("with-postgres: the server's log: {line}");
        }
    }
    tokio::task::spawn_blocking(move || server.stop()).await??;
    code
}

/// Tests that find the disk full fail one by one, each with a reason of its own.
fn ensure_space(place: &Path) -> Result<()> {
    let found = rustix::fs::statvfs(place)
        .with_context(|| format!("cannot ask for the space in {}", place.display()))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    ensure!(
        free >= SPACE,
        "{} has {} MB free, and the tests' server needs {}: set TMPDIR to a place that has them",
        place.display(),
        free / 1_000_000,
        SPACE / 1_000_000
    );
    Ok(())
}

async fn command(words: &[String], url: &str, signals: &mut Signals) -> Result<u8> {
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .env(aevon_testkit::DATABASE_URL, url)
        .spawn()
        .with_context(|| format!("cannot run {}", words[0]))?;
    let status = tokio::select! {
        status = child.wait() => status?,
        number = signals.next() => end(&mut child, number).await?,
    };
    Ok(code_of(status))
}

/// Ends the command after a signal to this process: asks, then kills.
async fn end(child: &mut Child, number: i32) -> Result<ExitStatus> {
    if number == SignalKind::interrupt().as_raw_value()
        && let Ok(status) = timeout(INTERRUPT_GRACE, child.wait()).await
    {
        return Ok(status?);
    }
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended by itself; the wait below tells.
        let _ = kill_process(pid, rustix::process::Signal::TERM);
    }
    if let Ok(status) = timeout(TERMINATE_GRACE, child.wait()).await {
        return Ok(status?);
    }
    child.kill().await?;
    Ok(child.wait().await?)
}

/// The signals that ask this process to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn catch() -> Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self {
            interrupt,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The number of the next one.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
        }
    }
}

/// The exit code as a shell tells it.
fn code_of(status: ExitStatus) -> u8 {
    let ended = status.code().and_then(|code| u8::try_from(code).ok());
    ended
        .or_else(|| status.signal().map(code_of_signal))
        .unwrap_or(1)
}

fn code_of_signal(number: i32) -> u8 {
    u8::try_from(128 + number).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(text: &str) -> Option<Call> {
        parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_is_everything_behind_the_two_dashes() {
        let command = ["cargo", "test", "--", "--durable"]
            .map(str::to_owned)
            .to_vec();
        let parsed = call("-- cargo test -- --durable");
        assert_eq!(
            parsed,
            Some(Call {
                durable: false,
                command: command.clone()
            })
        );
        let parsed = call("--durable -- cargo test -- --durable");
        assert_eq!(
            parsed,
            Some(Call {
                durable: true,
                command
            })
        );
    }

    #[test]
    fn a_call_without_a_command_or_with_an_unknown_option_is_refused() {
        for text in ["", "--", "--durable", "--fast -- true", "cargo test"] {
            assert_eq!(call(text), None, "{text}");
        }
    }

    #[test]
    fn a_command_ended_by_a_signal_gives_the_code_a_shell_gives() {
        assert_eq!(code_of(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code_of(ExitStatus::from_raw(9)), 137);
    }
}
