//! How many instructions a turn of a workload takes, counted by Valgrind's callgrind.
//!
//! Invariant: what is counted is the difference of one turn and of many. Starting, making the input
//! and ending are in both, so neither the environment, nor where things lie, nor stripped symbols
//! change it. What does is the processor, by which the C library chooses its routines: a few per
//! cent, as `GLIBC_TUNABLES` shows.

use crate::workload::Workload;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Turns that are counted.
pub const TURNS: u32 = 10;
/// How long one run may take; the longest takes a few seconds.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// Variables that Valgrind is found and works by; a run is given no others.
const VARIABLES: [&str; 2] = ["PATH", "VALGRIND_LIB"];

/// Why there is no count.
#[derive(Debug)]
pub enum Uncounted {
    /// There is no Valgrind.
    Missing,
    /// Something else, in a sentence.
    Failed(String),
}

/// The instructions of one turn; `program` is this one.
///
/// # Errors
/// See [`Uncounted`].
pub fn count(program: &Path, workload: &Workload) -> Result<u64, Uncounted> {
    let once = count_run(program, workload, 1)?;
    let often = count_run(program, workload, 1 + TURNS)?;
    let turns = often.checked_sub(once).ok_or_else(|| {
        let detail = format!("one turn took {once} instructions, {TURNS} more {often}");
        Uncounted::Failed(detail)
    })?;
    Ok(turns / u64::from(TURNS))
}

fn count_run(program: &Path, workload: &Workload, turns: u32) -> Result<u64, Uncounted> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Uncounted::Failed(format!("{}: {what}: {error}", workload.name))
    };
    let folder = tempfile::tempdir().map_err(|error| failed("a folder for counts", &error))?;
    let file = folder.path().join("callgrind.out");
    let mut out = OsString::from("--callgrind-out-file=");
    out.push(&file);
    let variables = VARIABLES
        .iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    let child = Command::new("valgrind")
        .args([
            "-q",
            "--tool=callgrind",
            "--cache-sim=no",
            "--branch-sim=no",
        ])
        .arg(out)
        .arg(program)
        .args(["run", workload.name, "--turns", &turns.to_string()])
        .env_clear()
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Uncounted::Missing,
        _ => failed("valgrind", &error),
    })?;
    let (status, said) = end(child, DEADLINE).map_err(|error| failed("valgrind", &error))?;
    if !status.success() {
        let said = said.trim();
        return Err(failed("valgrind", &format!("{status}: {said}")));
    }
    let counts = fs::read_to_string(&file).map_err(|error| failed("its counts", &error))?;
    instructions(&counts).ok_or_else(|| failed("its counts", &"no total of Ir in them"))
}

/// Waits until a program closes what it says, which it does as it ends; kills it where that takes
/// too long.
fn end(mut child: Child, deadline: Duration) -> std::io::Result<(ExitStatus, String)> {
    let (sender, receiver) = mpsc::channel();
    let stderr = child.stderr.take();
    thread::spawn(move || {
        let mut said = Vec::new();
        let read = stderr.map_or(Ok(0), |mut stderr| stderr.read_to_end(&mut said));
        // Nobody listens any more where it took too long.
        let _ = sender.send(read.map(|_| String::from_utf8_lossy(&said).into_owned()));
    });
    let said = receiver.recv_timeout(deadline);
    if let Err(RecvTimeoutError::Timeout) = said {
        child.kill()?;
        child.wait()?;
        let detail = format!("took longer than {deadline:?}");
        return Err(std::io::Error::new(ErrorKind::TimedOut, detail));
    }
    let status = child.wait()?;
    let said = said.map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok((status, said?))
}

/// The total of what callgrind wrote: of `Ir`, the instructions, which is the first of its events.
fn instructions(counts: &str) -> Option<u64> {
    let field = |name: &str| {
        let line = counts.lines().find_map(|line| line.strip_prefix(name));
        line?.split_ascii_whitespace().next()
    };
    let is_of_instructions = field("events:") == Some("Ir");
    let total = field("totals:").or_else(|| field("summary:"));
    total.filter(|_| is_of_instructions)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = "# callgrind format\nversion: 1\ncreator: callgrind-3.19.0\npid: 7\n\
        desc: Trigger: Program termination\n\npositions: line\nevents: Ir\nsummary: 4321\n\n\
        fn=(1) main\n7 4000\n8 321\n\ntotals: 4321\n";

    #[test]
    fn the_total_of_instructions_is_read_and_nothing_else_passes_for_it() {
        assert_eq!(instructions(WRITTEN), Some(4321));
        assert_eq!(instructions(&WRITTEN.replace("totals", "t")), Some(4321));
        let simulated = WRITTEN.replace("events: Ir", "events: Ir Dr");
        let simulated = simulated.replace("totals: 4321", "totals: 4321 99");
        assert_eq!(instructions(&simulated), Some(4321));
        for (from, to) in [
            ("events: Ir", "events: Dr Ir"),
            ("events: Ir\n", ""),
            ("4321\n", "many\n"),
        ] {
            assert_eq!(instructions(&WRITTEN.replace(from, to)), None, "{to}");
        }
        assert_eq!(instructions(""), None);
    }

    fn spawn(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    #[test]
    fn a_run_ends_with_what_it_said_or_at_its_deadline() {
        let (status, said) = end(spawn("echo why >&2; exit 3"), DEADLINE).unwrap();
        assert_eq!((status.code(), said.as_str()), (Some(3), "why\n"));
        let late = end(spawn("exec sleep 600"), Duration::from_millis(50)).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
    }
}
