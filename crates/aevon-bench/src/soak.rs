//! `soak` (row 15): everything at once for minutes: events in at a fixed rate, sweeps, reads.
//!
//! Load is open-loop: events come in bodies of [`BODY`], a few singly; reads are of any principal.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant as At, interval_at, sleep};
use tokio_postgres::Client;

use crate::bench::Bench;
use crate::figures::{OwnTime, memory_of};
use crate::findings::{Findings, Part};
use crate::goals::card::{Card, median};
use crate::goals::{Id, Verdict};
use crate::load::Load;
use crate::log::{Heads, Totals};
use crate::open::{self, Arrivals};
use crate::outputs::{Outputs, Plots};
use crate::process::mib;
use crate::read::{any_principal, asks, request};
use crate::report::{Section, ms, percent, thousands};
use crate::rig::{RULE_COUNT, Rig, connect};
use crate::run::verify_grown;
use crate::service::{SERVICES, Service};
use crate::svg::{Line, Plot, Scale};
use crate::sweep::sweep_all;
use crate::sweep_limit::{Buckets, FOLDS};
use crate::tally::Span;
use crate::workload::HOUR_US;

const NAME: &str = "soak";
/// Events of a body.
const BODY: u64 = 100;
const BODY_CONNECTIONS: u64 = 16;
/// Single events a second beside the bodies, and part of the rate.
const SINGLES: f64 = 200.0;
const SINGLE_CONNECTIONS: u64 = 16;
const READS: f64 = 500.0;
const READ_CONNECTIONS: u64 = 16;
/// Until caches are warm and the first sweep has run; not part of the minutes.
const WARM_UP: Duration = Duration::from_secs(10);
const SLICE: Duration = Duration::from_secs(5);
/// A lag of less than so many seconds of events is none to speak of.
const USUAL_LAG_S: f64 = 2.0;
/// What the aim wants to come in.
const AIM_RATE: u64 = 60_000;
const DRAIN_DEADLINE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(100);

/// Of the rule that is furthest behind: events that its buckets don't hold yet, over all partitions.
const LAG: &str = "SELECT coalesce(max(lag), 0)::bigint FROM (
    SELECT sum(coalesce(h.seq, 0) - coalesce(c.seq, 0)) AS lag
    FROM rules r
    CROSS JOIN partitions p
    LEFT JOIN sweep_checkpoints c
           ON c.rule_no = r.rule_no AND c.generation = r.generation AND c.partition = p.partition
    LEFT JOIN LATERAL (
        SELECT n.seq FROM events n WHERE n.partition = p.partition ORDER BY n.seq DESC LIMIT 1
    ) h ON true
    WHERE r.status <> 'retired'
    GROUP BY r.rule_no) l";

/// How long, and how much.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Minutes of load
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Events a second
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1000..))]
    rate: u64,
    /// Events in the log before
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    preload: u64,
    #[command(flatten)]
    outputs: Outputs,
    #[command(flatten)]
    plots: Plots,
}

/// One look at the system.
#[derive(Debug, Clone)]
struct Sample {
    lag: i64,
    /// MiB of each service; 0 where it is not known.
    memory: [f64; 3],
}

/// What was counted in a slice of time.
#[derive(Debug, Clone)]
struct Slice {
    seconds: f64,
    events_per_second: f64,
    ingest: [f64; 2],
    read_p99: f64,
    sample: Sample,
}

/// Measures, and tells.
pub(crate) async fn measure(rig: Rig, options: &Options) -> Result<bool> {
    options.outputs.check(&["soak"])?;
    let mut findings = Findings::begin(rig.conditions().await?);
    let span = Span {
        warm_up: WARM_UP,
        measured: Duration::from_secs(60 * options.minutes),
    };
    let bench = Bench::new(rig, span, options.preload);
    let done = load(&bench, options, &mut findings.checks).await?;
    findings.card = done.card(options.rate);
    let mut text = findings.told([
        format!(
            "{} min at {} events/s in bodies of {BODY}, {SINGLES} a second of them singly, and {READS} \
             reads/s of a principal's hour, all open-loop, with sweeps each second; {} events before",
            options.minutes,
            thousands(options.rate as f64),
            thousands(bench.preload as f64)
        ),
        format!("the load generator took {} of a processor", percent(done.generator, 1.0)),
        format!(
            "bounded is a lag whose median in the last quarter is at most 1.5 times that of the second, \
             or less than {USUAL_LAG_S} s of events; flat is memory that grew by a tenth at most between them"
        ),
    ]);
    text += "\n";
    for (name, plot) in done.plots() {
        options.plots.write(name, &plot.svg())?;
        text += &options.plots.shown(name, &plot.told());
    }
    let part = Part {
        title: "All at once",
        marker: "soak",
        text,
    };
    let more = json!({
        "rate": options.rate,
        "minutes": options.minutes,
        "slices": done.slices.iter().map(Slice::json).collect::<Value>(),
    });
    findings.leave(&options.outputs, &[part], more)
}

/// What a soak counted.
struct Done {
    slices: Vec<Slice>,
    ingest: Load,
    reads: Load,
    generator: f64,
}

/// Fills, sweeps, starts everything, and loads it.
async fn load(bench: &Bench, options: &Options, section: &mut Section) -> Result<Done> {
    let url = bench.filled(NAME).await?;
    eprintln!("sweeping before the load");
    sweep_all(bench, &url, 1).await?;
    let client = connect(&url).await?;
    client.batch_execute("VACUUM (ANALYZE)").await?;
    let mut services = Vec::new();
    for name in SERVICES {
        services.push(bench.rig.service(name, &url).await?);
    }
    let [ingest, _, projection] = &services[..] else {
        anyhow::bail!("services are missing");
    };
    let heads = Heads::read(&client).await?;
    bench.rig.settle().await?;
    eprintln!("load for {}", bench.span);
    let (own, numbers) = (OwnTime::begin(), bench.numbers());
    let asked = asks(bench.base_shape().end_us, HOUR_US, any_principal);
    let requests: Vec<_> = asked.iter().map(request).collect();
    let arrivals = |per_second| Arrivals::begin(per_second, bench.span, SLICE);
    let bodies = arrivals((options.rate as f64 - SINGLES) / BODY as f64);
    let (singles, reads) = (arrivals(SINGLES), arrivals(READS));
    let pids = [0, 1, 2].map(|at: usize| services[at].pid());
    let (bodies, singles, reads, samples) = tokio::try_join!(
        open::write(ingest.port(), BODY_CONNECTIONS, BODY, &bodies, &numbers),
        open::write(ingest.port(), SINGLE_CONNECTIONS, 1, &singles, &numbers),
        open::read(projection.port(), READ_CONNECTIONS, &requests, &reads),
        samples(&client, bench.span, pids)
    )?;
    let generator = own.share();
    drain(&client, &mut services).await?;
    let done = Done::of([&bodies, &singles, &reads], &samples, generator);
    check(&client, &heads, &done, section).await?;
    drop((services, client));
    bench.rig.drop_database(NAME).await?;
    Ok(done)
}

/// Looks at the system at the end of each slice.
async fn samples(client: &Client, span: Span, pids: [u32; 3]) -> Result<Vec<Sample>> {
    let mut ticks = interval_at(At::now() + SLICE, SLICE);
    let count = span.whole().as_secs() / SLICE.as_secs();
    let mut samples = Vec::new();
    for number in 0..count {
        ticks.tick().await;
        let lag: i64 = client.query_one(LAG, &[]).await?.get(0);
        let memory = pids.map(|pid| memory_of(pid).map_or(0.0, |memory| mib(memory.resident)));
        if number % 12 == 11 {
            let minutes = (number + 1) / 12;
            eprintln!("{minutes} min: {lag} events behind, services hold {memory:.0?} MiB");
        }
        samples.push(Sample { lag, memory });
    }
    Ok(samples)
}

/// Until everything is swept.
async fn drain(client: &Client, services: &mut [Service]) -> Result<()> {
    let deadline = Instant::now() + DRAIN_DEADLINE;
    loop {
        let lag: i64 = client.query_one(LAG, &[]).await?.get(0);
        if lag == 0 {
            return Ok(());
        }
        services.iter_mut().try_for_each(Service::check_alive)?;
        ensure!(
            Instant::now() < deadline,
            "{lag} events are not swept after the load"
        );
        sleep(POLL).await;
    }
}

/// Counts and sums of the log and of all buckets.
async fn check(client: &Client, heads: &Heads, done: &Done, section: &mut Section) -> Result<()> {
    let grown = Totals::behind(client, heads).await?;
    verify_grown("all at once", grown, &done.ingest, section)?;
    let (answered, sent) = (done.reads.tally.done_in_all, done.reads.sent());
    section.check("all at once: reads answered 200", answered, sent);
    let (found, expected) = (
        Buckets::read(client).await?,
        Buckets::expected_fold(client).await?,
    );
    for (fold, (minutes, is_total)) in found.folds.iter().zip(FOLDS) {
        let whose = if is_total { "totals" } else { "principals" };
        section.check(
            &format!("buckets of {minutes} min of {whose}"),
            fold,
            &expected,
        );
    }
    let rules: i64 = client
        .query_one("SELECT count(*) FROM rules", &[])
        .await?
        .get(0);
    section.check("rules", rules, RULE_COUNT);
    Ok(())
}

impl Done {
    fn of([bodies, singles, reads]: [&[Load]; 3], samples: &[Sample], generator: f64) -> Self {
        let warm = usize::try_from(WARM_UP.as_secs() / SLICE.as_secs()).unwrap_or(0);
        let none = Load::default();
        let of = |loads: &[Load], at: usize| loads.get(at).unwrap_or(&none).clone();
        let slice = |(at, sample): (usize, &Sample)| {
            let (mut ingest, mut read) = (of(bodies, at), of(reads, at));
            ingest.merge(of(singles, at));
            Slice {
                seconds: (at + 1 - warm) as f64 * SLICE.as_secs_f64(),
                events_per_second: ingest.tally.done_in_all as f64 / SLICE.as_secs_f64(),
                ingest: [50, 99].map(|part| ingest.tally.percentile(part)),
                read_p99: read.tally.percentile(99),
                sample: sample.clone(),
            }
        };
        let mut ingest = open::together(bodies);
        ingest.merge(open::together(singles));
        Self {
            slices: samples.iter().enumerate().skip(warm).map(slice).collect(),
            ingest,
            reads: open::together(reads),
            generator,
        }
    }

    /// The medians of the second and of the last quarter.
    fn quarters(&self, figure: impl Fn(&Slice) -> f64) -> Option<[f64; 2]> {
        let quarter = self.slices.len() / 4;
        let part =
            |from: usize, to: usize| median(self.slices[from..to].iter().map(&figure).collect());
        let count = self.slices.len();
        Some([part(quarter, 2 * quarter)?, part(count - quarter, count)?])
    }

    fn card(&self, rate: u64) -> Card {
        let mut card = Card::default();
        let (mut ingest, mut reads) = (self.ingest.tally.clone(), self.reads.tally.clone());
        card.figure(Id::MixedP99, ingest.percentile(99));
        card.figure(Id::MixedReadP99, reads.percentile(99));
        let statuses = self.ingest.statuses();
        let offered = format!("p50 {} ms; answers {statuses}", ms(ingest.percentile(50)));
        card.note(Id::MixedP99, offered);
        for (id, load) in [
            (Id::MixedP99, &self.ingest),
            (Id::MixedReadP99, &self.reads),
        ] {
            if load.failures() > 0 {
                card.miss(id, format!("{} requests were not taken", load.failures()));
            }
        }
        if let Some([second, last]) = self.quarters(|slice| slice.sample.lag as f64) {
            // Nearly no lag may double and is none still.
            let usual = USUAL_LAG_S * rate as f64;
            let before = if last < usual {
                second.max(last).max(1.0)
            } else {
                second
            };
            card.beside(Id::Lag, last, before);
            let largest = self
                .slices
                .iter()
                .map(|slice| slice.sample.lag)
                .max()
                .unwrap_or(0);
            let [second, last, largest] = [second, last, largest as f64].map(thousands);
            let lag =
                format!("{second} in the second quarter, {last} in the last, {largest} at most");
            card.note(
                Id::Lag,
                format!("{lag}; less than {} may double", thousands(usual)),
            );
        }
        let memory = |at: usize| self.quarters(move |slice| slice.sample.memory[at]);
        let each: Vec<[f64; 2]> = [0, 1, 2].into_iter().filter_map(memory).collect();
        let grown = |[before, after]: &[f64; 2]| after / before.max(1e-9);
        if let Some([before, after]) = each.iter().max_by(|a, b| grown(a).total_cmp(&grown(b))) {
            card.beside(Id::MixedMemory, *after, *before);
            let each = SERVICES.iter().zip(&each);
            let each = each.map(|(name, [from, to])| format!("{name} {from:.1} to {to:.1}"));
            card.note(Id::MixedMemory, each.collect::<Vec<_>>().join(", "));
        }
        if rate < AIM_RATE {
            for id in [Id::Lag, Id::MixedP99, Id::MixedReadP99, Id::MixedMemory] {
                let why = format!("the aim wants {} events/s in", thousands(AIM_RATE as f64));
                card.cap(id, Verdict::Must, why);
            }
        }
        card
    }

    fn plots(&self) -> [(&'static str, Plot); 3] {
        type Figure<'a> = &'a dyn Fn(&Slice) -> f64;
        let line = |name: &str, figure: Figure<'_>| Line {
            name: name.to_owned(),
            points: self
                .slices
                .iter()
                .map(|slice| (slice.seconds, figure(slice)))
                .collect(),
        };
        let plot = |title, y, lines| Plot {
            title,
            x: "seconds",
            y,
            scale: Scale::Linear,
            lines,
        };
        let lag = vec![line("lag", &|slice| slice.sample.lag as f64)];
        let latency = vec![
            line("ingest p99", &|slice| slice.ingest[1]),
            line("ingest p50", &|slice| slice.ingest[0]),
            line("reads p99", &|slice| slice.read_p99),
        ];
        let memory = (0..SERVICES.len())
            .map(|at| line(SERVICES[at], &move |slice| slice.sample.memory[at]))
            .collect();
        [
            (
                "soak-lag.svg",
                plot("Events that no bucket holds yet", "events", lag),
            ),
            (
                "soak-latency.svg",
                plot("Latency under load", "ms", latency),
            ),
            (
                "soak-memory.svg",
                plot("Memory of the services", "MiB", memory),
            ),
        ]
    }
}

impl Slice {
    fn json(&self) -> Value {
        json!({
            "seconds": self.seconds,
            "events_per_second": self.events_per_second,
            "ingest_p50_ms": self.ingest[0],
            "ingest_p99_ms": self.ingest[1],
            "read_p99_ms": self.read_p99,
            "lag_events": self.sample.lag,
            "memory_mib": self.sample.memory,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(lag: impl Fn(i64) -> i64, memory: impl Fn(i64) -> f64) -> Done {
        let slice = |at: i64| Slice {
            seconds: at as f64,
            events_per_second: 0.0,
            ingest: [1.0, 2.0],
            read_p99: 3.0,
            sample: Sample {
                lag: lag(at),
                memory: [1.0, memory(at), 1.0],
            },
        };
        Done {
            slices: (0..40).map(slice).collect(),
            ingest: Load::default(),
            reads: Load::default(),
            generator: 0.0,
        }
    }

    fn reached(done: &Done) -> bool {
        done.card(30_000).missed() == 0
    }

    #[test]
    fn a_lag_or_memory_that_grows_misses_its_goal() {
        assert!(reached(&done(|at| 20_000 + 100 * (at % 3), |_| 30.0)));
        // Below two seconds of events a lag may grow.
        assert!(reached(&done(|at| at * 1000, |_| 30.0)));
        assert!(!reached(&done(|at| at * 10_000, |_| 30.0)));
        assert!(!reached(&done(|_| 0, |at| 30.0 + at as f64)));
    }

    #[test]
    fn a_refusal_misses_the_goal_however_quick_it_is() {
        let mut done = done(|_| 0, |_| 30.0);
        done.ingest.statuses = [(202, 1000), (503, 1)].into();
        assert_eq!(done.card(60_000).missed(), 1);
    }

    #[test]
    fn what_takes_less_than_the_aim_wants_does_not_reach_it() {
        let done = done(|_| 0, |_| 30.0);
        assert_eq!(done.card(30_000).json()[0]["verdict"], "must");
        assert_eq!(done.card(60_000).json()[0]["verdict"], "aim");
    }

    #[test]
    fn plots_have_each_slice() {
        let [(_, lag), (_, latency), (_, memory)] = done(|at| at, |_| 30.0).plots();
        let counts = [lag, latency, memory].map(|plot| plot.lines.len());
        assert_eq!(counts, [1, 3, 3]);
    }
}
