//! `growth` (row 16): what a log takes and answers as it grows, with ids in the order of time and
//! without any. One log grows in place for each, so that nothing is there twice.

use std::fs;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::bench::{Bench, SPAN_US};
use crate::findings::{Findings, Part};
use crate::goals::card::Card;
use crate::goals::{Id, Verdict};
use crate::load::Sent;
use crate::log::{Heads, fill};
use crate::outputs::{Outputs, Plots};
use crate::read::{Reads, USUAL_SPAN_US};
use crate::report::{Section, ms, thousands};
use crate::rig::{Rig, connect};
use crate::run::{Run, Target};
use crate::service::INGEST;
use crate::svg::{Line, Plot, Scale};
use crate::sweep::sweep_all;
use crate::tally::Span;
use crate::workload::{FIRST_NEW, Ids, Numbers, PRINCIPALS, Shape};
use crate::write::BATCH_CONNECTIONS;

const BODY: u64 = 1000;
/// Of the log and its indexes, and of the buckets of an event of three rules; with what VACUUM and the
/// write-ahead log want beside it.
const BYTES_PER_EVENT: u64 = 700;
const SPARE_BYTES: u64 = 6 << 30;
/// Of the goal.
const GOAL_EVENTS: u64 = 50_000_000;
const COLUMNS: [&str; 7] = [
    "ids",
    "events",
    "in, events/s",
    "p99 ms",
    "fold, events/s",
    "30 d, p50 ms",
    "GiB",
];

/// How far, and how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Sizes of the log, ascending
    #[arg(long, value_delimiter = ',', default_value = "1000000,10000000")]
    events: Vec<u64>,
    /// Seconds of each measurement, after two to warm up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Drop the machine's caches of files before each size, which takes root
    #[arg(long)]
    drop_caches: bool,
    #[command(flatten)]
    outputs: Outputs,
    #[command(flatten)]
    plots: Plots,
}

/// What was measured at a size.
#[derive(Debug, Clone)]
struct Point {
    ids: Ids,
    /// In the log before.
    events: u64,
    rate: f64,
    p99: f64,
    fold: f64,
    read_p50: f64,
    bytes: i64,
    generator: f64,
}

fn name(ids: Ids) -> &'static str {
    match ids {
        Ids::OfTime => "time-ordered",
        Ids::Random => "random",
    }
}

/// Measures, and tells.
pub(crate) async fn measure(rig: Rig, options: &Options) -> Result<bool> {
    let is_ascending = options.events.is_sorted_by(|a, b| a < b);
    ensure!(
        is_ascending && options.events[0] > 0,
        "--events: sizes have to ascend from 1 on"
    );
    options.outputs.check(&["growth"])?;
    let mut findings = Findings::begin(rig.conditions().await?);
    let bench = Bench::new(rig, Span::seconds(options.seconds), options.events[0]);
    let (mut points, mut lines) = (Vec::new(), Vec::new());
    for ids in [Ids::OfTime, Ids::Random] {
        match grow(&bench, options, ids, &mut points, &mut findings.checks).await {
            Ok(stopped) => lines.extend(stopped),
            // What was measured until then is not lost.
            Err(error) => findings.failures.push(format!(
                "{} ids were not measured to the end: {error:#}",
                name(ids)
            )),
        }
    }
    findings.card = card(&points);
    lines.push(format!(
        "bodies of {BODY} by {BATCH_CONNECTIONS} connections, then a sweep of what they brought, then \
         reads of 30 d by one connection, each into the same log, of 10,000 principals over a year, all \
         swept before; caches of files were {}dropped before",
        if options.drop_caches { "" } else { "not " }
    ));
    let mut table = Section::new("Growth", &COLUMNS);
    points.iter().for_each(|point| table.row(point.cells()));
    let mut text = format!("{}\n{}\n", findings.told(lines), table.markdown());
    for (name, plot) in plots(&points) {
        options.plots.write(name, &plot.svg())?;
        text += &options.plots.shown(name, &plot.told());
    }
    let part = Part {
        title: "Growth",
        marker: "growth",
        text,
    };
    let more = json!({"points": points.iter().map(Point::json).collect::<Value>()});
    findings.leave(&options.outputs, &[part], more)
}

/// Grows one log through the sizes; why it ended before the last of them, if it did.
async fn grow(
    bench: &Bench,
    options: &Options,
    ids: Ids,
    points: &mut Vec<Point>,
    section: &mut Section,
) -> Result<Option<String>> {
    let database = match ids {
        Ids::OfTime => "growth_of_time",
        Ids::Random => "growth_random",
    };
    let url = bench.rig.empty_database(database).await?;
    let mut stopped = None;
    for (stage, &size) in (0..).zip(&options.events) {
        let there = Heads::read(&connect(&url).await?).await?.events();
        let more = size.saturating_sub(there);
        let (free, needed) = (free_bytes(bench)?, needed_bytes(more));
        if free < needed {
            let gib = |bytes: u64| bytes >> 30;
            let told = format!(
                "{} ids end before {} events: that takes {} GiB, and {} are free",
                name(ids),
                thousands(size as f64),
                gib(needed),
                gib(free)
            );
            eprintln!("{told}");
            stopped = Some(told);
            break;
        }
        eprintln!(
            "{} ids: a log of {} events",
            name(ids),
            thousands(size as f64)
        );
        fill(&url, shape(bench, stage, more, ids)).await?;
        sweep_all(bench, &url, 1).await?;
        connect(&url)
            .await?
            .batch_execute("VACUUM (ANALYZE)")
            .await?;
        if options.drop_caches {
            bench.rig.settle().await?;
            fs::write("/proc/sys/vm/drop_caches", "1").context("cannot drop caches of files")?;
        }
        points.push(point(bench, &url, stage, ids, section).await?);
    }
    bench.rig.drop_database(database).await?;
    Ok(stopped)
}

/// A year of events, with the principal of an event each hour in the first stage.
fn shape(bench: &Bench, stage: u64, events: u64, ids: Ids) -> Shape {
    const NUMBERS_OF_STAGE: u64 = FIRST_NEW >> 6;
    Shape {
        first: stage * NUMBERS_OF_STAGE,
        events,
        principals: PRINCIPALS,
        end_us: bench.base_shape().end_us,
        span_us: SPAN_US,
        hourly: stage == 0,
        ids,
    }
}

/// What the log takes and answers as it is.
async fn point(
    bench: &Bench,
    url: &str,
    stage: u64,
    ids: Ids,
    section: &mut Section,
) -> Result<Point> {
    let client = connect(url).await?;
    let numbers = Numbers::from(FIRST_NEW * (stage + 1), ids);
    let run = Run {
        bench,
        url: url.to_owned(),
        numbers: &numbers,
    };
    let events = Heads::read(&client).await?.events();
    let service = bench.rig.service(INGEST, url).await?;
    let target = Target::service(&service);
    let done = run
        .http(target, BATCH_CONNECTIONS, BODY, Sent::Once, section)
        .await?;
    drop(service);
    let new = Heads::read(&client).await?.events() - events;
    eprintln!("sweeping {} new events", thousands(new as f64));
    let swept = sweep_all(bench, url, 1).await?;
    let mut reads = Reads::of(bench, url.to_owned(), Section::new("Checks", &[])).await?;
    let _service = reads.serve().await?;
    let asks = reads.hourly(USUAL_SPAN_US);
    let found = reads.http("30 d", &asks, 1).await?;
    reads.check("30 d", &asks).await?;
    section.take_in(&reads.section);
    let size = "SELECT pg_database_size(current_database())";
    Ok(Point {
        ids,
        events,
        rate: done.rate,
        p99: done.p99,
        fold: new as f64 / swept.took.as_secs_f64(),
        read_p50: found.p50,
        bytes: client.query_one(size, &[]).await?.get(0),
        generator: done.generator,
    })
}

fn needed_bytes(events: u64) -> u64 {
    events * BYTES_PER_EVENT + SPARE_BYTES
}

/// Where the cluster lies.
fn free_bytes(bench: &Bench) -> Result<u64> {
    let disk = rustix::fs::statvfs(bench.rig.data_dir()).context("cannot ask the disk")?;
    Ok(disk.f_bavail * disk.f_frsize)
}

fn card(points: &[Point]) -> Card {
    let (mut card, mut grown) = (Card::default(), Vec::new());
    for (ids, id) in [
        (Ids::OfTime, Id::GrownOrdered),
        (Ids::Random, Id::GrownRandom),
    ] {
        let of_ids: Vec<&Point> = points.iter().filter(|point| point.ids == ids).collect();
        let [first, .., last] = &of_ids[..] else {
            continue;
        };
        card.beside(id, last.rate, first.rate);
        card.generator(id, last.generator);
        grown.push((ids, *first, *last));
        if last.events < GOAL_EVENTS {
            card.cap(id, Verdict::Must, short_of_goal(first, last));
        }
    }
    // Both have to hold, so the worse of the two counts.
    let ratio = |(_, first, last): &(Ids, &Point, &Point)| last.read_p50 / first.read_p50;
    if let Some((ids, first, last)) = grown.iter().max_by(|a, b| ratio(a).total_cmp(&ratio(b))) {
        card.beside(Id::GrownRead, last.read_p50, first.read_p50);
        card.note(Id::GrownRead, format!("{} ids", name(*ids)));
        if last.events < GOAL_EVENTS {
            card.cap(Id::GrownRead, Verdict::Must, short_of_goal(first, last));
        }
    }
    card
}

fn short_of_goal(first: &Point, last: &Point) -> String {
    let [from, to, goal] =
        [first.events, last.events, GOAL_EVENTS].map(|events| thousands(events as f64));
    format!("from {from} to {to} events; the goal is of {goal}")
}

fn plots(points: &[Point]) -> [(&'static str, Plot); 2] {
    let line = |what: &str, ids: Ids, figure: fn(&Point) -> f64| Line {
        name: format!("{what}{}", name(ids)),
        points: points
            .iter()
            .filter(|point| point.ids == ids)
            .map(|point| (point.events as f64, figure(point)))
            .collect(),
    };
    let plot = |title, y, lines| Plot {
        title,
        x: "events in the log",
        y,
        scale: Scale::Log,
        lines,
    };
    let rates = vec![
        line("in, ", Ids::OfTime, |point| point.rate),
        line("in, ", Ids::Random, |point| point.rate),
        line("fold, ", Ids::OfTime, |point| point.fold),
        line("fold, ", Ids::Random, |point| point.fold),
    ];
    let latencies = vec![
        line("", Ids::OfTime, |point| point.read_p50),
        line("", Ids::Random, |point| point.read_p50),
    ];
    [
        (
            "growth-rate.svg",
            plot("Rate by size of the log", "events/s", rates),
        ),
        (
            "growth-latency.svg",
            plot("A read of 30 days by size of the log", "ms, p50", latencies),
        ),
    ]
}

impl Point {
    fn cells(&self) -> [String; 7] {
        [
            name(self.ids).to_owned(),
            thousands(self.events as f64),
            thousands(self.rate),
            ms(self.p99),
            thousands(self.fold),
            ms(self.read_p50),
            format!("{:.1}", self.bytes as f64 / f64::from(1 << 30)),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "ids": name(self.ids),
            "events": self.events,
            "events_per_second": self.rate,
            "p99_ms": self.p99,
            "fold_events_per_second": self.fold,
            "read_p50_ms": self.read_p50,
            "bytes": self.bytes,
            "generator": self.generator,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(ids: Ids, events: u64, rate: f64, read_p50: f64) -> Point {
        Point {
            ids,
            events,
            rate,
            p99: 1.0,
            fold: 1.0,
            read_p50,
            bytes: 1,
            generator: 0.1,
        }
    }

    #[test]
    fn the_largest_is_held_to_the_smallest_and_the_slower_read_counts() {
        let points = [
            point(Ids::OfTime, 1_000_000, 100.0, 1.0),
            point(Ids::OfTime, GOAL_EVENTS, 80.0, 1.1),
            point(Ids::Random, 1_000_000, 100.0, 1.0),
            point(Ids::Random, GOAL_EVENTS, 30.0, 1.3),
        ];
        let json = card(&points).json();
        let verdict = |at: usize| json[at]["verdict"].as_str().unwrap().to_owned();
        assert_eq!([0, 1, 2].map(verdict), ["must", "missed", "missed"]);
        assert_eq!(json[2]["ratio"], 1.3);
        let [(_, rates), (_, latencies)] = plots(&points);
        assert_eq!((rates.lines.len(), latencies.lines.len()), (4, 2));
    }

    #[test]
    fn a_log_that_did_not_grow_as_far_as_the_goal_does_not_reach_its_aim() {
        let points = [
            point(Ids::OfTime, 1_000_000, 100.0, 1.0),
            point(Ids::OfTime, 10_000_000, 100.0, 1.0),
        ];
        let card = card(&points);
        assert_eq!(card.json()[0]["verdict"], "must");
        assert!(card.markdown().contains("the goal is of 50,000,000"));
    }

    #[test]
    fn a_large_log_needs_more_than_its_bytes() {
        assert!(needed_bytes(GOAL_EVENTS) > GOAL_EVENTS * 600);
        assert!(needed_bytes(0) > 1 << 30);
    }
}
