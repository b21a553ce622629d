//! Processes of a server: who runs on a data directory, signals, and the guard that stops the
//! server when the process that started it is gone.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// On end of input (its starter is gone): asks the server on the data directory `$2` to stop if it
/// is still process `$1`, and when `$3` names a temporary folder, waits and removes it.
const GUARD: &str = r#"
trap '' INT TERM HUP
read -r _
[ "$(head -n 1 "$2/postmaster.pid" 2>/dev/null)" = "$1" ] && kill -INT "$1"
[ -n "$3" ] || exit 0
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" 2>/dev/null || break; sleep 1; done
rm -rf -- "$3"
"#;

/// What the file `postmaster.pid` of a data directory says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PidFile {
    /// The server's process.
    pub(crate) pid: u32,
    /// Whether it accepts connections.
    pub(crate) ready: bool,
}

/// Reads `postmaster.pid`: the process on its first line, the state on its eighth.
pub(crate) fn pid_file(data_dir: &Path) -> Option<PidFile> {
    parse(&fs::read_to_string(data_dir.join("postmaster.pid")).ok()?)
}

fn parse(text: &str) -> Option<PidFile> {
    let mut lines = text.lines().map(str::trim);
    // A negative number marks a server in single-user mode.
    let pid = lines.next()?.trim_start_matches('-').parse().ok()?;
    Some(PidFile {
        pid,
        ready: lines.nth(6) == Some("ready"),
    })
}

/// The process of the server that runs on `data_dir`, if one does. A file left by a dead process
/// counts for nothing. Where the number has gone to another program, the file is removed, because
/// PostgreSQL itself would take that program for a server and refuse to start.
pub(crate) fn running_on(data_dir: &Path) -> Result<Option<u32>> {
    let Some(PidFile { pid, .. }) = pid_file(data_dir) else {
        return Ok(None);
    };
    if !alive(pid) {
        return Ok(None);
    }
    // A server's working directory is its data directory. Without /proc, or when it may not be
    // read, the process is taken for the server.
    let cwd = fs::read_link(format!("/proc/{pid}/cwd"));
    let own = fs::canonicalize(data_dir)?;
    if cwd.is_ok_and(|cwd| cwd != own) {
        fs::remove_file(data_dir.join("postmaster.pid"))
            .context("cannot remove the stale postmaster.pid")?;
        return Ok(None);
    }
    Ok(Some(pid))
}

/// Whether a process of this number exists, of whatever user.
fn alive(pid: u32) -> bool {
    as_pid(pid).is_some_and(|pid| match test_kill_process(pid) {
        Ok(()) => true,
        Err(e) => e == rustix::io::Errno::PERM,
    })
}

/// Sends a signal; that the process is gone already is no error.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = as_pid(pid) {
        let _ = kill_process(pid, signal);
    }
}

fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Kills the server process and all its children at once. The parent is stopped first so that it
/// starts no more. Without /proc the children are left to notice that their parent is gone.
pub(crate) fn kill_whole(pid: u32) {
    signal(pid, Signal::STOP);
    let children = children(pid);
    signal(pid, Signal::KILL);
    for child in children {
        signal(child, Signal::KILL);
    }
}

fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()
            .and_then(|stat| parent_in(&stat))
            == Some(parent)
    })
    .collect()
}

/// The parent in a line of `/proc/PID/stat`: the second field after the name, which is in
/// parentheses and may hold spaces.
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit(')')
        .next()?
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Starts the guard of server process `pid`. It holds the reading end of a pipe whose writing end
/// is only here, so however this process ends, the guard sees the end of its input.
pub(crate) fn guard(pid: u32, data_dir: &Path, temporary: Option<&Path>) -> Result<Child> {
    Command::new("sh")
        .args(["-c", GUARD, "aevon-postgres-guard", &pid.to_string()])
        .arg(data_dir)
        .arg(temporary.unwrap_or(Path::new("")))
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start sh")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_tells_the_process_and_whether_it_is_ready() {
        let text = "4711\n/data\n1732465000\n5432\n\n127.0.0.1\n 123 4\nready   \n";
        assert_eq!(
            parse(text),
            Some(PidFile {
                pid: 4711,
                ready: true
            })
        );
        let starting = text.replace("ready   ", "starting");
        assert_eq!(
            parse(&starting),
            Some(PidFile {
                pid: 4711,
                ready: false
            })
        );
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_parent_is_found_behind_a_name_with_spaces_and_parentheses() {
        assert_eq!(parent_in("12 (a) b (c)) S 7 12 12 0"), Some(7));
    }

    #[test]
    fn a_pid_file_whose_number_belongs_to_another_program_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postmaster.pid");
        fs::write(&file, format!("{}\n", std::process::id())).unwrap();
        assert_eq!(running_on(dir.path()).unwrap(), None);
        assert!(!file.exists() || !Path::new("/proc/self/cwd").exists());
    }
}
