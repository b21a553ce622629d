//! The limit of reads: the statements of the state read under `pgbench`, one pipeline a read, as
//! the service sends them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use aevon_core::identity::partition_of;
use aevon_core::state::{Plan, Question, Range};
use aevon_core::time::{Grain, Timestamp};
use anyhow::{Context, Result, ensure};
use tokio::time::timeout;

use crate::rig::connect;
use crate::tally::{Span, Tally};
use crate::workload::{TENANT, principal_name, rfc3339};

const HEAD: &str = include_str!("../../aevon-schema/src/sql/state_head.sql");
const RULES: &str = include_str!("../../aevon-schema/src/sql/state_rules.sql");
const BUCKETS: &str = include_str!("../../aevon-schema/src/sql/state_buckets.sql");
const RAW: &str = include_str!("../../aevon-schema/src/sql/state_raw.sql");

/// One event of the usual kind, in the tables that events are in.
const INSERT: &str = "\\set seq :seq + 1
\\set principal random(1, 10000)
INSERT INTO events VALUES (:seq, :principal, now(), now(), 0, 0, lpad(:seq::text, 36, '0'), 'model.call',
                           '{\"tokens\": 500, \"model\": \"m1\"}', '{}');
";

/// What every connection of the services has.
const SESSION: &str = "-c jit=off -c enable_seqscan=off -c enable_bitmapscan=off \
                       -c enable_sort=off -c max_parallel_workers_per_gather=0";
/// Over the time that was asked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program.
#[derive(Debug)]
pub(crate) struct Pgbench(PathBuf);

/// One read: a rule of a principal over a range.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) rule: &'static str,
    pub(crate) principal: u32,
    pub(crate) start_us: i64,
    pub(crate) end_us: i64,
}

impl Pgbench {
    /// Beside Postgres's own programs, or on the path.
    pub(crate) fn find(postgres_bin: &Path) -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(postgres_bin.to_owned()).chain(env::split_paths(&path));
        folders
            .map(|folder| folder.join("pgbench"))
            .find(|program| program.is_file())
            .map(Self)
    }

    /// Runs the statements of these reads, in any order; latencies, and reads a second.
    pub(crate) async fn run(
        &self,
        url: &str,
        asks: &[Ask],
        partitions: i32,
        connections: u64,
        span: Span,
    ) -> Result<Timed> {
        let scripts: Vec<String> = asks.iter().map(|ask| script(ask, partitions)).collect();
        self.repeat(url, &scripts, &[], connections, span).await
    }

    /// One prepared INSERT into the log after the other, by one connection: rows of partition 0 behind
    /// those that it has.
    pub(crate) async fn insert(&self, url: &str, span: Span) -> Result<Timed> {
        let client = connect(url).await?;
        let query = "SELECT coalesce(max(seq), 0) FROM events WHERE partition = 0";
        let head: i64 = client.query_one(query, &[]).await?.get(0);
        let define = format!("seq={head}");
        let scripts = [INSERT.to_owned()];
        self.repeat(url, &scripts, &["-D", &define], 1, span).await
    }

    async fn repeat(
        &self,
        url: &str,
        scripts: &[String],
        more: &[&str],
        connections: u64,
        span: Span,
    ) -> Result<Timed> {
        let folder = tempfile::Builder::new()
            .prefix("aevon-pgbench-")
            .tempdir()?;
        let seconds = span.whole().as_secs_f64().ceil();
        let (jobs, connections) = (connections.min(2).to_string(), connections.to_string());
        let seconds = seconds.to_string();
        let mut command = tokio::process::Command::new(&self.0);
        command.args(["-n", "-M", "prepared", "-l", "-j", &jobs]);
        command
            .args(["-c", &connections, "-T", &seconds])
            .args(more);
        for (at, script) in scripts.iter().enumerate() {
            let file = folder.path().join(format!("script-{at}.sql"));
            fs::write(&file, script)?;
            command.arg("-f").arg(file);
        }
        command
            .current_dir(folder.path())
            .env("PGOPTIONS", SESSION)
            .env_remove("PGDATABASE");
        let running = command
            .arg(url)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(span.whole() + PATIENCE, running)
            .await
            .context("pgbench did not end")??;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pgbench: {}", errors.trim());
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder.path())? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "sql") {
                entries.extend(entries_of(&fs::read_to_string(path)?));
            }
        }
        timed(&entries, span.warm_up).context("pgbench logged nothing after its warm-up")
    }
}

/// What pgbench did.
#[derive(Debug)]
pub(crate) struct Timed {
    /// After the warm-up.
    pub(crate) tally: Tally,
    /// A second, after the warm-up.
    pub(crate) rate: f64,
    /// Warm-up included.
    pub(crate) done_in_all: u64,
}

/// Latencies, and when each ended since 1970, in a log of pgbench: the third number of a line, and the
/// last two, in seconds and µs.
fn entries_of(log: &str) -> Vec<(Duration, Duration)> {
    let entry = |line: &str| {
        let mut numbers = line.split(' ').map(|word| word.parse::<u64>().ok());
        let latency = numbers.nth(2)??;
        let (seconds, micros) = (numbers.nth(1)??, numbers.next()??);
        let ended = Duration::from_secs(seconds) + Duration::from_micros(micros);
        Some((Duration::from_micros(latency), ended))
    };
    log.lines().filter_map(entry).collect()
}

/// Without the warm-up; nothing where there was nothing else.
fn timed(entries: &[(Duration, Duration)], warm_up: Duration) -> Option<Timed> {
    let begun = |(latency, ended): &(Duration, Duration)| ended.saturating_sub(*latency);
    let from = entries.iter().map(begun).min()? + warm_up;
    let to = entries.iter().map(|(_, ended)| *ended).max()?;
    let mut tally = Tally::default();
    let kept = entries.iter().filter(|(_, ended)| *ended > from);
    kept.for_each(|(latency, _)| tally.add(*latency));
    let seconds = to.checked_sub(from)?.as_secs_f64();
    Some(Timed {
        rate: tally.len() as f64 / seconds,
        done_in_all: entries.len() as u64,
        tally,
    })
    .filter(|timed| timed.tally.len() > 0)
}

/// The statements of a read, with its parameters in their places.
fn script(ask: &Ask, partitions: i32) -> String {
    let at = Timestamp::from_micros;
    let range = Range {
        start: Some(at(ask.start_us)),
        end: Some(at(ask.end_us)),
    };
    let question = Question {
        range,
        ..Question::default()
    };
    let plan = Plan::new(&question);
    let looking_back = format!("'{{{}}}'::text[]", question.looking_back().join(","));
    let principal = principal_name(ask.principal);
    let text = |text: &str| format!("'{text}'::text");
    let since = "-infinity".to_owned();
    let instant = |at: Option<Timestamp>| at.map_or(since.clone(), |at| rfc3339(at.as_micros()));
    let instants = |list: Vec<String>| format!("'{{{}}}'::timestamptz[]", list.join(","));
    let before = |inside: usize, before: usize| {
        let marks = [vec!["false"; inside], vec!["true"; before]].concat();
        format!("'{{{}}}'::bool[]", marks.join(","))
    };
    let selected = [
        format!("{}::int", partition_of(TENANT, &principal, partitions)),
        "false".to_owned(),
        format!("'{{{}}}'::text[]", ask.rule),
        "'{}'::text[]".to_owned(),
        "'{}'::int[]".to_owned(),
    ];
    let (tenant, principal) = (text(TENANT), text(&principal));

    let parts: Vec<(Grain, Range)> = [&plan.buckets[..], &plan.buckets_before].concat();
    let grains: Vec<String> = parts.iter().map(|(g, _)| g.minutes().to_string()).collect();
    let buckets = [
        format!("'{{{}}}'::smallint[]", grains.join(",")),
        instants(
            parts
                .iter()
                .map(|(_, range)| instant(range.start))
                .collect(),
        ),
        instants(parts.iter().map(|(_, range)| instant(range.end)).collect()),
        before(plan.buckets.len(), plan.buckets_before.len()),
        tenant.clone(),
        principal.clone(),
        "''::bytea".to_owned(),
        "''::bytea".to_owned(),
        "'{}'::jsonb".to_owned(),
        looking_back.clone(),
    ];
    let edges: Vec<Range> = [&plan.edges[..], &plan.edges_before].concat();
    let minutes: Vec<Range> = edges.iter().map(Plan::minutes_of).collect();
    let raw = [
        tenant,
        principal,
        instants(minutes.iter().map(|range| instant(range.start)).collect()),
        instants(minutes.iter().map(|range| instant(range.end)).collect()),
        instants(edges.iter().map(|edge| instant(edge.start)).collect()),
        instants(edges.iter().map(|edge| instant(edge.end)).collect()),
        before(plan.edges.len(), plan.edges_before.len()),
        format!("'{}'::timestamptz", instant(range.start)),
        format!("'{}'::timestamptz", instant(range.end)),
        looking_back,
    ];
    let statements = [
        "\\startpipeline\nBEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned(),
        put(HEAD, &[&selected[..1], &raw[..2]].concat()),
        put(RULES, &selected),
        put(BUCKETS, &[&selected[..], &buckets[..]].concat()),
        put(RAW, &[&selected[..], &raw[..]].concat()),
        "COMMIT;\n\\endpipeline\n".to_owned(),
    ];
    statements.join(";\n")
}

/// A statement with its parameters; the last first, as `$1` begins `$10`.
fn put(sql: &str, parameters: &[String]) -> String {
    let places = parameters.iter().enumerate().rev();
    let put =
        |sql: String, (at, text): (usize, &String)| sql.replace(&format!("${}", at + 1), text);
    places.fold(sql.trim_end().to_owned(), put)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_in_their_places() {
        let letters: Vec<String> = ('a'..='k').map(String::from).collect();
        assert_eq!(put("$1 $11 $2\n", &letters), "a k b");
        let hour = 3_600_000_000;
        let ask = Ask {
            rule: "tokens",
            principal: 1,
            start_us: 7,
            end_us: 96 * hour,
        };
        let script = script(&ask, 16);
        assert!(!script.contains('$'), "{script}");
        assert!(
            script.contains("'{1440,60,1,1440}'::smallint[]"),
            "{script}"
        );
    }

    #[test]
    fn latencies_after_the_warm_up_are_read_from_a_log() {
        let log = "0 1 1500 0 1700000000 123\n0 2 500 0 1700000003 123\n0 3 700 0 1700000004 123\n";
        let timed = timed(&entries_of(log), Duration::from_secs(2)).unwrap();
        assert_eq!((timed.tally.len(), timed.done_in_all), (2, 3));
        assert_eq!(timed.tally.clone().percentile(99), 0.7);
        assert!((timed.rate - 1.0).abs() < 0.01, "{}", timed.rate);
        assert!(super::timed(&entries_of(log), Duration::from_secs(9)).is_none());
    }
}
