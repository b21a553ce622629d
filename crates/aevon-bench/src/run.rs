//! One measurement of writes: what stood in the log before, the load, what stands there after.

use anyhow::Result;

use crate::bench::Bench;
use crate::figures::{Micros, Spent, micros_cells};
use crate::limits::{self, Means};
use crate::load::{self, Load, Sent};
use crate::log::{Heads, Totals};
use crate::peers::Peer;
use crate::pgbench::{Pgbench, Timed};
use crate::report::{Section, ms, thousands};
use crate::rig::connect;
use crate::service::{INGEST, Service};
use crate::sizes::{Growth, Sizes};
use crate::tally::{Tally, Window};
use crate::workload::Numbers;

/// Columns of what [`Done::cells`] gives.
pub(crate) const COLUMNS: [&str; 7] = [
    "what",
    "events/s",
    "p50 ms",
    "p99 ms",
    "beside",
    "µs CPU Postgres",
    "µs CPU service",
];

/// A database to measure on.
pub(crate) struct Run<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) url: String,
    pub(crate) numbers: &'a Numbers,
}

/// A server to send events to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    name: &'static str,
    port: u16,
    /// Of a process of its own.
    pid: Option<u32>,
}

impl Target {
    pub(crate) fn service(service: &Service) -> Self {
        let (port, pid) = (service.port(), Some(service.pid()));
        Self {
            name: INGEST,
            port,
            pid,
        }
    }

    pub(crate) fn peer(peer: &Peer) -> Self {
        let (port, pid) = (peer.port(), None);
        Self {
            name: "peer",
            port,
            pid,
        }
    }
}

/// What was measured.
pub(crate) struct Done {
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Per event.
    pub(crate) cpu: Micros,
    pub(crate) growth: Growth,
    /// The share of one processor that the load generator took.
    pub(crate) generator: f64,
    /// Answers that are no success, and none at all.
    pub(crate) failures: u64,
}

impl Done {
    /// What was counted within a window, and nothing that was spent.
    pub(crate) fn of(mut tally: Tally, window: &Window) -> Self {
        Self {
            rate: tally.per_second(window),
            p50: tally.percentile(50),
            p99: tally.percentile(99),
            cpu: [None; 2],
            growth: Growth::default(),
            generator: 0.0,
            failures: 0,
        }
    }

    pub(crate) fn cells(&self, what: &str, beside: &str) -> [String; 7] {
        let [postgres, service] = micros_cells(self.cpu);
        let (rate, p50, p99) = (thousands(self.rate), ms(self.p50), ms(self.p99));
        let (what, beside) = (what.to_owned(), beside.to_owned());
        [what, rate, p50, p99, beside, postgres, service]
    }
}

/// The log at a moment.
struct Standing {
    heads: Heads,
    sizes: Sizes,
}

impl Run<'_> {
    async fn standing(&self) -> Result<Standing> {
        let client = connect(&self.url).await?;
        let (heads, sizes) = (Heads::read(&client).await?, Sizes::read(&client).await?);
        Ok(Standing { heads, sizes })
    }

    async fn growth(&self, by: &str, before: Standing) -> Result<(Totals, Growth)> {
        let client = connect(&self.url).await?;
        let grown = Totals::behind(&client, &before.heads).await?;
        let growth = Growth {
            by: by.to_owned(),
            events: grown.events,
            before: before.sizes,
            after: Sizes::read(&client).await?,
        };
        Ok((grown, growth))
    }

    /// What Postgres alone does.
    pub(crate) async fn limit(
        &self,
        means: Means,
        connections: u64,
        section: &mut Section,
    ) -> Result<Done> {
        let (bench, by) = (self.bench, format!("{means:?} by {connections}"));
        let before = self.standing().await?;
        bench.rig.settle().await?;
        eprintln!("{by}, {}", bench.span);
        let spent = Spent::begin(bench.rig.postgres_pid(), None);
        let (tally, window) =
            limits::measure(means, &self.url, connections, bench.span, self.numbers).await?;
        let cpu = spent.per_event(tally.done_in_all);
        let (grown, growth) = self.growth(&by, before).await?;
        let written = i64::try_from(tally.done_in_all)?;
        section.check(&format!("{by}: rows"), grown.events, written);
        Ok(Done {
            cpu,
            growth,
            ..Done::of(tally, &window)
        })
    }

    /// What Postgres does for pgbench, which INSERTs by one connection.
    pub(crate) async fn pgbench(&self, pgbench: &Pgbench, section: &mut Section) -> Result<Timed> {
        let before = self.standing().await?;
        self.bench.rig.settle().await?;
        eprintln!("INSERT by pgbench, {}", self.bench.span);
        let timed = pgbench.insert(&self.url, self.bench.span).await?;
        let (grown, _) = self.growth("pgbench", before).await?;
        let done = i64::try_from(timed.done_in_all)?;
        section.check("INSERT by pgbench: rows", grown.events, done);
        Ok(timed)
    }

    /// What a server does.
    pub(crate) async fn http(
        &self,
        target: Target,
        connections: u64,
        per_body: u64,
        sent: Sent,
        section: &mut Section,
    ) -> Result<Done> {
        let (bench, numbers) = (self.bench, self.numbers);
        let by = match sent {
            Sent::Once => format!("{}, bodies of {per_body} by {connections}", target.name),
            Sent::HalfTwice => format!("{}, half of the ids twice by {connections}", target.name),
        };
        let before = self.standing().await?;
        bench.rig.settle().await?;
        eprintln!("{by}, {}", bench.span);
        let spent = Spent::begin(bench.rig.postgres_pid(), target.pid);
        let (load, window) = load::write(
            target.port,
            connections,
            per_body,
            sent,
            bench.span,
            numbers,
        )
        .await?;
        let cpu = spent.per_event(load.tally.done_in_all);
        let growth = self.verify(&by, before, &load, section).await?;
        Ok(Done {
            cpu,
            growth,
            generator: load.generator,
            failures: load.failures(),
            ..Done::of(load.tally, &window)
        })
    }

    /// Holds counts and sums of the log to what was answered.
    async fn verify(
        &self,
        by: &str,
        before: Standing,
        load: &Load,
        section: &mut Section,
    ) -> Result<Growth> {
        let (grown, growth) = self.growth(by, before).await?;
        verify_grown(by, grown, load, section)?;
        Ok(growth)
    }
}

/// Holds what was added to a log to what was answered.
pub(crate) fn verify_grown(
    by: &str,
    grown: Totals,
    load: &Load,
    section: &mut Section,
) -> Result<()> {
    let is_whole = load.is_certain() && load.partial == 0;
    // Where everything was taken, what was sent for the first time is what has to be there.
    let accepted = match is_whole && load.statuses.keys().all(|status| *status < 300) {
        true => i64::try_from(load.distinct)?,
        false => i64::try_from(load.tally.done_in_all)?,
    };
    if load.is_certain() {
        section.check(&format!("{by}: events"), grown.events, accepted);
    } else {
        let there = grown.events.min(accepted);
        section.check(&format!("{by}: accepted events"), there, accepted);
    }
    if is_whole {
        let tokens = i64::try_from(load.tokens)?;
        section.check(&format!("{by}: sum of tokens"), grown.tokens, tokens);
    }
    section.note(format!("{by}: answers {}", load.statuses()));
    Ok(())
}
