//! One measurement of writes: what stood in the log before, the load, what stands there after.

use anyhow::Result;

use crate::bench::Bench;
use crate::figures::Spent;
use crate::limits::{self, Means};
use crate::load;
use crate::log::Totals;
use crate::peers::Peer;
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
    p99: f64,
    /// Per event, of Postgres and of the service.
    cpu: [String; 2],
    pub(crate) growth: Growth,
}

impl Done {
    pub(crate) fn new(mut tally: Tally, window: &Window, cpu: [String; 2], growth: Growth) -> Self {
        Self {
            rate: tally.per_second(window),
            p50: tally.percentile(50),
            p99: tally.percentile(99),
            cpu,
            growth,
        }
    }

    pub(crate) fn cells(&self, what: &str, beside: &str) -> [String; 7] {
        let [postgres, service] = self.cpu.clone();
        let (rate, p50, p99) = (thousands(self.rate), ms(self.p50), ms(self.p99));
        let (what, beside) = (what.to_owned(), beside.to_owned());
        [what, rate, p50, p99, beside, postgres, service]
    }
}

/// The log at a moment.
struct Standing {
    totals: Totals,
    sizes: Sizes,
}

impl Run<'_> {
    async fn standing(&self) -> Result<Standing> {
        let client = connect(&self.url).await?;
        let (totals, sizes) = (Totals::read(&client).await?, Sizes::read(&client).await?);
        Ok(Standing { totals, sizes })
    }

    async fn growth(&self, by: &str, before: Standing) -> Result<(Totals, Growth)> {
        let after = self.standing().await?;
        let grown = Totals {
            events: after.totals.events - before.totals.events,
            tokens: after.totals.tokens - before.totals.tokens,
        };
        let growth = Growth {
            by: by.to_owned(),
            events: grown.events,
            before: before.sizes,
            after: after.sizes,
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
        eprintln!("{by}, {} s", bench.seconds);
        let spent = Spent::begin(bench.rig.postgres_pid(), None);
        let (tally, window) =
            limits::measure(means, &self.url, connections, bench.seconds, self.numbers).await?;
        let cpu = spent.per_event(tally.done_in_all);
        let (grown, growth) = self.growth(&by, before).await?;
        let written = i64::try_from(tally.done_in_all)?;
        section.check(&format!("{by}: rows"), grown.events, written);
        Ok(Done::new(tally, &window, cpu, growth))
    }

    /// What a server does.
    pub(crate) async fn http(
        &self,
        target: Target,
        connections: u64,
        per_body: u64,
        section: &mut Section,
    ) -> Result<Done> {
        let (bench, numbers) = (self.bench, self.numbers);
        let by = format!("{}, bodies of {per_body} by {connections}", target.name);
        let before = self.standing().await?;
        bench.rig.settle().await?;
        eprintln!("{by}, {} s", bench.seconds);
        let spent = Spent::begin(bench.rig.postgres_pid(), target.pid);
        let (load, window) =
            load::write(target.port, connections, per_body, bench.seconds, numbers).await?;
        let cpu = spent.per_event(load.tally.done_in_all);
        let (grown, growth) = self.growth(&by, before).await?;
        let (events, accepted) = (grown.events, i64::try_from(load.tally.done_in_all)?);
        if load.is_certain() {
            section.check(&format!("{by}: events"), events, accepted);
        } else {
            let there = events.min(accepted);
            section.check(&format!("{by}: accepted events"), there, accepted);
        }
        if load.is_certain() && load.partial == 0 {
            let tokens = i64::try_from(load.tokens)?;
            section.check(&format!("{by}: sum of tokens"), grown.tokens, tokens);
        }
        section.note(format!("{by}: answers {}", load.statuses()));
        Ok(Done::new(load.tally, &window, cpu, growth))
    }
}
