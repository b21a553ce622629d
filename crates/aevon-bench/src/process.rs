//! `process`: memory, time to start and size of each service.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;

use crate::bench::Bench;
use crate::figures::{Memory, memory_of};
use crate::load;
use crate::log::Totals;
use crate::read::{any_principal, asks, request};
use crate::report::{Section, thousands};
use crate::rig::connect;
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
    eprintln!("load for memory, twice {} s", bench.seconds);
    let (seconds, numbers) = (bench.seconds, bench.numbers());
    let (load, _) = load::write(
        ingest.port(),
        WRITE_CONNECTIONS,
        WRITE_BODY,
        seconds,
        &numbers,
    )
    .await?;
    let requests: Vec<_> = asks(now_us(), HOUR_US, any_principal)
        .iter()
        .map(request)
        .collect();
    load::read(projection.port(), READ_CONNECTIONS, &requests, seconds).await?;
    let loaded = memory(&running);
    let events = Totals::read(&connect(&url).await?).await?.events;
    if load.is_certain() {
        section.check("events", events, i64::try_from(load.tally.done_in_all)?);
    }

    for (at, service) in SERVICES.into_iter().enumerate() {
        let mib = |bytes: Option<u64>| {
            bytes.map_or(String::new(), |bytes| {
                format!("{:.1}", bytes as f64 / f64::from(1 << 20))
            })
        };
        section.row([
            service.to_owned(),
            format!("{:.0}", running[at].1),
            mib(idle[at].map(|memory| memory.resident)),
            mib(loaded[at].map(|memory| memory.peak)),
            mib(Some(bench.rig.programs().size_of(service)?)),
        ]);
    }
    section.note(format!(
        "start is the median of {STARTS}; load is bodies of {WRITE_BODY} by {WRITE_CONNECTIONS} \
         connections ({} events) with the aggregator sweeping, then reads by {READ_CONNECTIONS}",
        thousands(events as f64)
    ));
    drop(running);
    bench.rig.drop_database(name).await?;
    Ok(section.print())
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
