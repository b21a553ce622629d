//! Beside the goals: latencies of an open loop, at a half and at four fifths of what rows 1 and 3 take.

use std::time::Duration;

use anyhow::Result;

use super::Id;
use super::course::OPEN;
use super::run::Sitting;
use crate::bench::Bench;
use crate::figures::OwnTime;
use crate::load::Load;
use crate::log::{Heads, Totals};
use crate::open::{self, Arrivals};
use crate::report::{ms, percent, thousands};
use crate::rig::connect;
use crate::run::verify_grown;
use crate::service::INGEST;
use crate::write::{BATCH_CONNECTIONS, MANY};

const NAME: &str = "goals_open";
/// Of the peak.
const SHARES: [f64; 2] = [0.5, 0.8];
pub(super) const COLUMNS: [&str; 7] = [
    "what",
    "of the peak",
    "offered/s",
    "answered/s",
    "p50 ms",
    "p99 ms",
    "generator",
];

/// Row of the goals, connections, events of a body.
const SUBJECTS: [(Id, &str, u64, u64); 2] = [
    (Id::Single, "single events, 256 connections", MANY, 1),
    (
        Id::Bodies1000,
        "bodies of 1000, 16 connections",
        BATCH_CONNECTIONS,
        1000,
    ),
];

pub(super) async fn measure(bench: &Bench, sitting: &mut Sitting) -> Result<()> {
    sitting.course.part(OPEN);
    sitting.course.next_round();
    for (id, what, connections, per_body) in SUBJECTS {
        let peak = sitting.card.median(id)?;
        for share in SHARES {
            let rate = peak * share;
            let (mut load, window_rate) =
                offer(bench, sitting, (connections, per_body), rate).await?;
            sitting.open.row([
                what.to_owned(),
                percent(share, 1.0),
                thousands(rate),
                thousands(window_rate),
                ms(load.tally.percentile(50)),
                ms(load.tally.percentile(99)),
                percent(load.generator, 1.0),
            ]);
        }
    }
    sitting.open.note(
        "requests are due on whole milliseconds, and a latency counts from then; generator: its \
         share of one processor",
    );
    Ok(())
}

/// Sends so many events a second to a copy of the filled log; events a second that were accepted.
async fn offer(
    bench: &Bench,
    sitting: &mut Sitting,
    (connections, per_body): (u64, u64),
    rate: f64,
) -> Result<(Load, f64)> {
    let (url, numbers) = (bench.filled(NAME).await?, bench.numbers());
    let service = bench.rig.service(INGEST, &url).await?;
    let client = connect(&url).await?;
    let heads = Heads::read(&client).await?;
    bench.rig.settle().await?;
    let by = format!(
        "open loop, {} events/s in bodies of {per_body}",
        thousands(rate)
    );
    eprintln!("{by}, {}", bench.span);
    let own = OwnTime::begin();
    let arrivals = Arrivals::begin(rate / per_body as f64, bench.span, Duration::MAX);
    let slices = open::write(service.port(), connections, per_body, &arrivals, &numbers).await?;
    let mut load = open::together(&slices);
    load.generator = own.share();
    if load.failures() > 0 {
        let failures = load.failures();
        let note = format!("{by}: {failures} requests were not taken");
        sitting.open.note(note);
    }
    let grown = Totals::behind(&client, &heads).await?;
    verify_grown(&by, grown, &load, &mut sitting.section)?;
    drop((client, service));
    bench.rig.drop_database(NAME).await?;
    let accepted = load.tally.per_second(&arrivals.window);
    Ok((load, accepted))
}
