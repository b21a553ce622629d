//! `process`: memory, time to start and size of each service.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;

use crate::bench::Bench;
use crate::figures::{Memory, memory_of};
use crate::load::{self, Sent};
use crate::log::{Heads, Totals};
use crate::read::{any_principal, asks, request};
use crate::report::{Section, thousands};
use crate::rig::connect;
use crate::run::verify_grown;
use crate::service::{SERVICES, Service};
use crate::tally::Tally;
use crate::workload::{HOUR_US, now_us};

/// Starts of each service; their median counts.
const STARTS: usize = 5;
/// From ready to the look at what an idle service holds.
const IDLE: Duration = Duration::from_secs(2);
const WRITE_CONNECTIONS: u64 = 16;
const WRITE_BODY: u64 = 1000;
const READ_CONNECTIONS: u64 = 8;

/// What a service takes.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) name: &'static str,
    /// From its start, the median.
    pub(crate) ready_ms: f64,
    /// In bytes, as the next two.
    pub(crate) idle: Option<u64>,
    /// The most under load.
    pub(crate) peak: Option<u64>,
    pub(crate) program: u64,
}

/// Figures of each service.
pub(crate) async fn measure(bench: &Bench) -> Result<bool> {
    let columns = [
        "what",
        "ready after ms",
        "idle MiB",
        "peak MiB under load",
        "program MiB",
    ];
    let mut section = Section::new("Processes", &columns);
    for process in processes(bench, &mut section).await? {
        let mib = |bytes: Option<u64>| bytes.map_or(String::new(), |b| format!("{:.1}", mib(b)));
        section.row([
            process.name.to_owned(),
            format!("{:.0}", process.ready_ms),
            mib(process.idle),
            mib(process.peak),
            mib(Some(process.program)),
        ]);
    }
    Ok(section.print())
}

/// Bytes as MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Figures of each service, at rest and under load, on an empty log.
pub(crate) async fn processes(bench: &Bench, section: &mut Section) -> Result<Vec<Process>> {
    let name = "bench_process";
    let url = bench.rig.empty_database(name).await?;
    let mut running = Vec::new();
    for service in SERVICES {
        eprintln!("starting {service} {STARTS} times");
        running.push(start(bench, service, &url).await?);
    }
    sleep(IDLE).await;
    let memory = |running: &[(Service, f64)]| -> Vec<Option<Memory>> {
        running
            .iter()
            .map(|(service, _)| memory_of(service.pid()))
            .collect()
    };
    let idle = memory(&running);

    let [(ingest, _), _, (projection, _)] = &running[..] else {
        anyhow::bail!("services are missing");
    };
    eprintln!("load for memory, twice {}", bench.span);
    let (span, numbers) = (bench.span, bench.numbers());
    let (load, _) = load::write(
        ingest.port(),
        WRITE_CONNECTIONS,
        WRITE_BODY,
        Sent::Once,
        span,
        &numbers,
    )
    .await?;
    let requests: Vec<_> = asks(now_us(), HOUR_US, any_principal)
        .iter()
        .map(request)
        .collect();
    load::read(projection.port(), READ_CONNECTIONS, &requests, span).await?;
    let loaded = memory(&running);
    let client = connect(&url).await?;
    let grown = Totals::behind(&client, &Heads::nowhere(&client).await?).await?;
    verify_grown("load for memory", grown, &load, section)?;
    drop(client);
    section.note(format!(
        "start is the median of {STARTS}; load is bodies of {WRITE_BODY} by {WRITE_CONNECTIONS} \
         connections ({} events) with the aggregator sweeping, then reads by {READ_CONNECTIONS}",
        thousands(grown.events as f64)
    ));
    let mut processes = Vec::new();
    for (at, name) in SERVICES.into_iter().enumerate() {
        processes.push(Process {
            name,
            ready_ms: running[at].1,
            idle: idle[at].map(|memory| memory.resident),
            peak: loaded[at].map(|memory| memory.peak),
            program: bench.rig.programs().size_of(name)?,
        });
    }
    drop(running);
    bench.rig.drop_database(name).await?;
    Ok(processes)
}

/// Starts a service again and again; the last one, and the median of ms until ready.
async fn start(bench: &Bench, name: &'static str, url: &str) -> Result<(Service, f64)> {
    let mut took = Tally::default();
    loop {
        let began = Instant::now();
        let service = bench.rig.service(name, url).await?;
        took.add(began.elapsed());
        if took.len() == STARTS {
            return Ok((service, took.percentile(50)));
        }
    }
}
