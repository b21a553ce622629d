//! `single` and `batch`: events in, beside what Postgres alone does with the same rows.

use anyhow::Result;

use crate::bench::Bench;
use crate::limits::Means;
use crate::load::{self, Sent};
use crate::peers::Peer;
use crate::report::{Section, connections, percent, thousands, times};
use crate::run::{COLUMNS, Done, Run, Target};
use crate::service::INGEST;
use crate::sizes;
use crate::workload::{Numbers, Requests};

/// A usual pool.
pub(crate) const POOL: u64 = 16;
/// One alone is the idle system.
const SINGLE_CONNECTIONS: [u64; 3] = [1, 64, MANY];
pub(crate) const MANY: u64 = 256;
/// One, and one a core of a small machine.
const COPY_CONNECTIONS: [u64; 2] = [1, 2];
pub(crate) const BATCH_CONNECTIONS: u64 = 16;
const BATCH_BODIES: [u64; 2] = [1000, 100];

/// Single events, one a request.
pub(crate) async fn single(bench: &Bench) -> Result<bool> {
    let mut section = Section::new("Single events", &COLUMNS);
    let limits = single_limits(bench, &mut section).await?;
    let (name, numbers) = ("bench_single", bench.numbers());
    let url = bench.filled(name).await?;
    let service = bench.rig.service(INGEST, &url).await?;
    let run = Run {
        bench,
        url,
        numbers: &numbers,
    };
    for count in SINGLE_CONNECTIONS {
        let done = run
            .http(
                Target::service(&service),
                count,
                1,
                Sent::Once,
                &mut section,
            )
            .await?;
        let beside = match count {
            1 => format!("p50 {}", times(done.p50, limits.alone.p50)),
            MANY => format!(
                "{}, peers {} and {}",
                times(done.rate, limits.pool.rate),
                times(done.rate, limits.inserting.rate),
                percent(done.rate, limits.answering.rate)
            ),
            _ => times(done.rate, limits.pool.rate),
        };
        section.row(done.cells(&format!("ingest-svc, {}", connections(count)), &beside));
    }
    drop(service);
    bench.rig.drop_database(name).await?;
    about(&mut section, bench);
    Ok(section.print())
}

/// What single events are held against.
struct SingleLimits {
    alone: Done,
    pool: Done,
    inserting: Done,
    answering: Done,
}

async fn single_limits(bench: &Bench, section: &mut Section) -> Result<SingleLimits> {
    let (name, numbers) = ("bench_insert", bench.numbers());
    let run = Run {
        bench,
        url: bench.filled(name).await?,
        numbers: &numbers,
    };
    let alone = run.limit(Means::Insert, 1, section).await?;
    section.row(alone.cells("limit: prepared INSERT, 1 connection", ""));
    let pool = run.limit(Means::Insert, POOL, section).await?;
    section.row(pool.cells(&format!("limit: prepared INSERT, {POOL} connections"), ""));

    let peer = Peer::inserting(&run.url, POOL).await?;
    let inserting = run
        .http(Target::peer(&peer), MANY, 1, Sent::Once, section)
        .await?;
    peer.stop().await;
    let what = format!("peer: a server that INSERTs over a pool of {POOL}, {MANY} connections");
    section.row(inserting.cells(&what, &times(inserting.rate, pool.rate)));
    bench.rig.drop_database(name).await?;

    let answering = answering(bench, &numbers).await?;
    let what = format!("peer: a server that parses and answers 202, {MANY} connections");
    section.row(answering.cells(&what, &times(answering.rate, pool.rate)));
    Ok(SingleLimits {
        alone,
        pool,
        inserting,
        answering,
    })
}

/// A server that parses and answers 202.
pub(crate) async fn answering(bench: &Bench, numbers: &Numbers) -> Result<Done> {
    eprintln!("a server that answers 202, {}", bench.span);
    let peer = Peer::answering()?;
    let (load, window) = load::write(peer.port(), MANY, 1, Sent::Once, bench.span, numbers).await?;
    peer.stop().await;
    Ok(Done {
        generator: load.generator,
        ..Done::of(load.tally, &window)
    })
}

/// Bodies of many events, and what they take on disk.
pub(crate) async fn batch(bench: &Bench) -> Result<bool> {
    let mut section = Section::new("Batches", &COLUMNS);
    let (name, numbers) = ("bench_batch", bench.numbers());
    let (mut limits, mut growths) = (Vec::new(), Vec::new());
    for count in COPY_CONNECTIONS {
        let run = Run {
            bench,
            url: bench.filled(name).await?,
            numbers: &numbers,
        };
        let limit = run.limit(Means::Copy, count, &mut section).await?;
        section.row(limit.cells(&format!("limit: binary COPY, {}", connections(count)), ""));
        limits.push(limit.rate);
        growths.push(limit.growth);
        bench.rig.drop_database(name).await?;
    }
    for per_body in BATCH_BODIES {
        let url = bench.filled(name).await?;
        let service = bench.rig.service(INGEST, &url).await?;
        let run = Run {
            bench,
            url,
            numbers: &numbers,
        };
        let target = Target::service(&service);
        let done = run
            .http(
                target,
                BATCH_CONNECTIONS,
                per_body,
                Sent::Once,
                &mut section,
            )
            .await?;
        let beside: Vec<_> = limits
            .iter()
            .map(|limit| percent(done.rate, *limit))
            .collect();
        let what = format!("ingest-svc, bodies of {per_body}, {BATCH_CONNECTIONS} connections");
        section.row(done.cells(&what, &beside.join(", ")));
        growths.push(done.growth);
        drop(service);
        bench.rig.drop_database(name).await?;
    }
    about(&mut section, bench);
    let is_right = section.print();
    Ok(sizes::section(&growths).print() && is_right)
}

fn about(section: &mut Section, bench: &Bench) {
    let bytes = Requests::new(1000, 0, &bench.numbers()).bytes_per_event();
    section.note(format!(
        "events of {bytes} bytes of JSON; {} events in the log before; CPU is per event",
        thousands(bench.preload as f64)
    ));
}
