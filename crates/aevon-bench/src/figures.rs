//! Processor time and memory of processes, from `/proc`; nothing where there is no such thing.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// Processor time of a process and of all its descendants, ended ones included that were waited
/// for.
fn cpu_of_tree(root: u32) -> Option<Duration> {
    let mut processes = BTreeMap::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // It may have ended meanwhile.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(found) = parse_stat(&stat) {
            processes.insert(pid, found);
        }
    }
    let (mut open, mut ticks) = (vec![root], 0);
    while let Some(pid) = open.pop() {
        ticks += processes.get(&pid)?.1;
        let children = processes.iter().filter(|(_, (parent, _))| *parent == pid);
        open.extend(children.map(|(child, _)| *child));
    }
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// Processor time of Postgres and of a service, from when it was begun on.
#[derive(Debug)]
pub(crate) struct Spent {
    roots: [Option<u32>; 2],
    before: [Option<Duration>; 2],
}

impl Spent {
    pub(crate) fn begin(postgres: u32, service: Option<u32>) -> Self {
        let roots = [Some(postgres), service];
        Self {
            roots,
            before: roots.map(|root| root.and_then(cpu_of_tree)),
        }
    }

    /// Microseconds of Postgres and of the service per event, where they are known.
    pub(crate) fn per_event(&self, events: u64) -> Micros {
        let spent = |at: usize| {
            let now = self.roots[at].and_then(cpu_of_tree)?;
            let spent = now.checked_sub(self.before[at]?)?;
            Some(spent.as_secs_f64() * 1e6 / events.max(1) as f64)
        };
        [0, 1].map(spent)
    }
}

/// Of Postgres and of a service.
pub(crate) type Micros = [Option<f64>; 2];

/// As cells of a table.
pub(crate) fn micros_cells(micros: Micros) -> [String; 2] {
    micros.map(|us| us.map_or(String::new(), |us| format!("{us:.1}")))
}

/// Processor time of this process, the load generator, from when it was begun on.
#[derive(Debug)]
pub(crate) struct OwnTime {
    began: Instant,
    before: Duration,
}

impl OwnTime {
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
            before: own_time(),
        }
    }

    /// The share of one processor that it has taken since.
    pub(crate) fn share(&self) -> f64 {
        let spent = own_time().saturating_sub(self.before);
        spent.as_secs_f64() / self.began.elapsed().as_secs_f64().max(1e-9)
    }
}

fn own_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
}

/// What a process holds in memory.
pub(crate) fn memory_of(pid: u32) -> Option<Memory> {
    parse_status(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn parse_status(status: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let mut words = status
            .lines()
            .find_map(|line| line.strip_prefix(name))?
            .split_whitespace();
        Some(words.next()?.parse::<u64>().ok()? * 1024)
    };
    Some(Memory {
        resident: bytes("VmRSS:")?,
        peak: bytes("VmHWM:")?,
    })
}

/// Parent and ticks of a line of `/proc/PID/stat`; the name, in parentheses, may hold anything.
fn parse_stat(stat: &str) -> Option<(u32, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields
        .get(11..15)?
        .iter()
        .map(|field| field.parse().unwrap_or(0u64))
        .sum();
    Some((fields.get(1)?.parse().ok()?, ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_busy_takes_a_share_of_a_processor() {
        let own = OwnTime::begin();
        let deadline = Instant::now() + Duration::from_secs(20);
        while own_time() < own.before + Duration::from_millis(20) {
            assert!(Instant::now() < deadline, "no time passes");
        }
        assert!(own.share() > 0.0);
    }

    #[test]
    fn parent_and_ticks_are_read_behind_the_name() {
        let stat = "7 (a) b) S 3 7 7 0 -1 0 10 0 0 0 100 20 4 1 20 0 1 0 5";
        assert_eq!(parse_stat(stat), Some((3, 125)));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        assert_eq!(
            parse_status(status),
            Some(Memory {
                resident: 1 << 20,
                peak: 2 << 20
            })
        );
        assert_eq!(parse_status("Name:\ta\n"), None);
    }
}
