//! `aevon rules status`: where every version of every rule is in its life, how far its buckets are
//! behind, and when a backfill will have caught up.

use super::STATEMENT_TIMEOUT;
use crate::output::{Format, OutputArg, print, say};
use crate::reach;
use crate::table::{aligned, titles};
use aevon_schema::rules::Status;
use aevon_schema::status::{self, Progress, VersionStatus};
use aevon_service::settings::{HumanDuration, Settings};
use anyhow::ensure;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(super) const EXAMPLES: &str = "Examples:\n  \
    aevon rules status\n  \
    aevon rules status tokens_used --over 10s -o json\n\n\
    Where anything lags, checkpoints are looked at twice, --over apart: what they gained on the log \
    meanwhile gives the\nrate and the time that is left; unknown where nothing was gained. A rebuild that was \
    broken off stays, and goes\non with `aevon rebuild`, until it is given up.\n\n\
    Exit codes: 0 shown, however far it is behind, 1 failed, or there is no such rule, 2 wrong usage.";

/// Most versions that a line lists.
const MAX_LISTED: usize = 4;

/// What to show.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Only this rule
    name: Option<String>,
    /// How long to watch how fast a backfill goes
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    over: HumanDuration,
    #[command(flatten)]
    output: OutputArg,
}

/// Looks, once or twice, and prints.
pub(super) async fn run(settings: &Settings, args: StatusArgs) -> anyhow::Result<()> {
    let (database, _) = reach(settings, "aevon rules status", STATEMENT_TIMEOUT).await?;
    let mut connection = database.get().await?;
    let name = args.name.as_deref();
    let first = status::read(&mut connection, name).await?;
    if let Some(name) = name {
        ensure!(!first.is_empty(), "there is no rule {name}");
    }
    let began = Instant::now();
    let (second, watched) = match first.iter().any(|version| lag_of(version) > 0) {
        false => (first.clone(), Duration::ZERO),
        true => {
            tokio::time::sleep(args.over.get()).await;
            (status::read(&mut connection, name).await?, began.elapsed())
        }
    };
    let lines: Vec<Line<'_>> = second
        .iter()
        .map(|version| Line::new(version, &first, watched))
        .collect();
    match args.output.format {
        Format::Json => say!("{:#}", as_json(&lines, watched)),
        Format::Table => {
            print(&as_table(&lines, watched)?)?;
        }
    }
    Ok(())
}

/// A retired version is swept no more: it is not behind, it has ended.
fn is_swept(version: &VersionStatus) -> bool {
    version.status != Status::Retired
}

fn lag_of(version: &VersionStatus) -> i64 {
    let partitions = version.partitions.iter().filter(|_| is_swept(version));
    partitions.map(Progress::lag_events).sum()
}

/// A version as it is shown.
struct Line<'a> {
    version: &'a VersionStatus,
    lag_events: i64,
    lag_seconds: f64,
    /// By how many events a second it gains on the log; none where nothing is known.
    rate: Option<f64>,
}

impl<'a> Line<'a> {
    fn new(version: &'a VersionStatus, before: &[VersionStatus], watched: Duration) -> Self {
        let same = |other: &&VersionStatus| {
            (&other.name, other.version) == (&version.name, version.version)
        };
        let lag_events = lag_of(version);
        let seconds = watched.as_secs_f64();
        let rate = before.iter().find(same).and_then(|before| {
            let gained = lag_of(before) - lag_events;
            (gained > 0 && seconds > 0.0).then(|| gained as f64 / seconds)
        });
        let lagging = version.partitions.iter().filter(|p| p.lag_events() > 0);
        Self {
            version,
            lag_events,
            lag_seconds: lagging.map(|p| p.age_seconds).fold(0.0, f64::max),
            rate,
        }
    }

    fn lagging(&self) -> impl Iterator<Item = &Progress> {
        let is_lagging = |p: &&Progress| is_swept(self.version) && p.lag_events() > 0;
        self.version.partitions.iter().filter(is_lagging)
    }

    fn eta_seconds(&self) -> Option<f64> {
        self.rate.map(|rate| self.lag_events as f64 / rate)
    }
}

fn as_table(lines: &[Line<'_>], watched: Duration) -> anyhow::Result<String> {
    let names = [
        "rule",
        "version",
        "status",
        "lag events",
        "lag",
        "events/s",
        "left",
    ];
    let mut rows = vec![titles(&names)];
    rows.extend(lines.iter().map(row));
    let mut text = aligned(&rows)?;
    let behind: Vec<&Line<'_>> = lines.iter().filter(|line| line.lag_events > 0).collect();
    if behind.is_empty() {
        return Ok(text);
    }
    let mut rows = vec![titles(&[
        "partition",
        "checkpoint",
        "head",
        "lag events",
        "lag",
        "versions",
    ])];
    rows.extend(by_place(&behind).iter().map(|(progress, names)| {
        vec![
            progress.partition.to_string(),
            progress.checkpoint.to_string(),
            progress.head.to_string(),
            progress.lag_events().to_string(),
            lasting(progress.age_seconds),
            listed(names),
        ]
    }));
    text += &format!(
        "\nbehind, by partition (rates were measured over {:.1} s):\n{}",
        watched.as_secs_f64(),
        aligned(&rows)?
    );
    Ok(text)
}

/// Where versions lag: those at one checkpoint of a partition together.
fn by_place<'l>(behind: &[&'l Line<'_>]) -> Vec<(&'l Progress, Vec<String>)> {
    let mut places: BTreeMap<(i32, i64), (&Progress, Vec<String>)> = BTreeMap::new();
    for line in behind {
        let name = format!("{}:{}", line.version.name, line.version.version);
        for progress in line.lagging() {
            let place = (progress.partition, progress.checkpoint);
            let (_, names) = places.entry(place).or_insert((progress, Vec::new()));
            names.push(name.clone());
        }
    }
    places.into_values().collect()
}

fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(MAX_LISTED);
    let first = names[..names.len() - more].join(", ");
    match more {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn row(line: &Line<'_>) -> Vec<String> {
    let none = || "-".to_owned();
    let (lag_events, lag, rate, left) = match (is_swept(line.version), line.lag_events) {
        (false, _) => (none(), none(), none(), none()),
        (true, 0) => ("0".to_owned(), none(), none(), none()),
        (true, events) => {
            let unknown = || "unknown".to_owned();
            let rate = line.rate.map(|rate| format!("{rate:.0}"));
            (
                events.to_string(),
                lasting(line.lag_seconds),
                rate.unwrap_or_else(unknown),
                line.eta_seconds().map_or_else(unknown, lasting),
            )
        }
    };
    vec![
        line.version.name.clone(),
        line.version.version.to_string(),
        match line.version.is_rebuilding {
            true => format!("{}, rebuilding", line.version.status.as_str()),
            false => line.version.status.as_str().to_owned(),
        },
        lag_events,
        lag,
        rate,
        left,
    ]
}

/// Seconds as people say them: `1h 2m 3s`.
fn lasting(seconds: f64) -> String {
    let whole = Duration::from_secs(seconds.max(0.0).ceil() as u64);
    HumanDuration::from(whole).to_string()
}

fn as_json(lines: &[Line<'_>], watched: Duration) -> Value {
    let partition = |progress: &Progress| {
        json!({
            "partition": progress.partition,
            "checkpoint": progress.checkpoint,
            "head": progress.head,
            "lag_events": progress.lag_events(),
            "lag_seconds": progress.age_seconds,
        })
    };
    let rule = |line: &Line<'_>| {
        let is_swept = is_swept(line.version);
        json!({
            "name": line.version.name,
            "version": line.version.version,
            "status": line.version.status.as_str(),
            "rebuilding": line.version.is_rebuilding,
            "lag_events": is_swept.then_some(line.lag_events),
            "lag_seconds": is_swept.then_some(line.lag_seconds),
            "events_per_second": line.rate,
            "eta_seconds": line.eta_seconds(),
            "partitions": line.lagging().map(partition).collect::<Vec<_>>(),
        })
    };
    json!({
        "watched_seconds": watched.as_secs_f64(),
        "rules": lines.iter().map(rule).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(status: Status, checkpoints: &[i64]) -> VersionStatus {
        let progress = |(partition, checkpoint): (i32, &i64)| Progress {
            partition,
            checkpoint: *checkpoint,
            head: 1_000,
            age_seconds: 7.0,
            swept_at: None,
            sweep_seconds: None,
        };
        VersionStatus {
            name: "r".to_owned(),
            version: 2,
            status,
            is_rebuilding: false,
            partitions: (0..).zip(checkpoints).map(progress).collect(),
        }
    }

    #[test]
    fn what_a_backfill_gained_on_the_log_says_when_it_will_have_caught_up() {
        let before = [version(Status::Building, &[0, 500])];
        let now = version(Status::Building, &[300, 600]);
        let line = Line::new(&now, &before, Duration::from_secs(2));
        assert_eq!((line.lag_events, line.rate), (1_100, Some(200.0)));
        assert_eq!(line.eta_seconds(), Some(5.5));
        assert_eq!(row(&line)[3..], ["1100", "7s", "200", "6s"]);
        let still = Line::new(&before[0], &before, Duration::from_secs(2));
        assert_eq!(row(&still)[3..], ["1500", "7s", "unknown", "unknown"]);
        let json = as_json(&[still], Duration::from_secs(2));
        assert_eq!(json["rules"][0]["eta_seconds"], Value::Null);
        assert_eq!(json["rules"][0]["partitions"][1]["lag_events"], 500);
    }

    #[test]
    fn versions_at_one_place_share_a_line() {
        let named = |name: &str, checkpoints: &[i64]| VersionStatus {
            name: name.to_owned(),
            ..version(Status::Active, checkpoints)
        };
        let mut all: Vec<_> = ["a", "b", "c", "d", "e", "f"]
            .map(|n| named(n, &[7, 1_000]))
            .into();
        all.push(named("g", &[1_000, 9]));
        let lines: Vec<_> = all
            .iter()
            .map(|v| Line::new(v, &[], Duration::ZERO))
            .collect();
        let text = as_table(&lines, Duration::ZERO).unwrap();
        let places: Vec<&str> = text.lines().skip(11).collect();
        let expected = [
            "0          7           1000  993         7s   a:2, b:2, c:2, d:2 and 2 more",
            "1          9           1000  991         7s   g:2",
        ];
        assert_eq!(places, expected, "{text}");
    }

    #[test]
    fn a_retired_version_is_not_behind() {
        let retired = version(Status::Retired, &[0, 500]);
        let line = Line::new(&retired, &[], Duration::ZERO);
        assert_eq!(row(&line)[2..], ["retired", "-", "-", "-", "-"]);
        let text = as_table(&[line], Duration::ZERO).unwrap();
        assert!(!text.contains("by partition"), "{text}");
    }
}
