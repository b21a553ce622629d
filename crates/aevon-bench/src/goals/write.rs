//! Rows 1 to 8: events in.

use anyhow::{Context, Result};

use super::Id;
use super::course::WRITES;
use super::run::Sitting;
use crate::bench::Bench;
use crate::limits::Means;
use crate::load::Sent;
use crate::peers::Peer;
use crate::pgbench::Pgbench;
use crate::report::{percent, thousands};
use crate::run::{Done, Run, Target};
use crate::service::INGEST;
use crate::workload::Numbers;
use crate::write::{BATCH_CONNECTIONS, MANY, POOL, answering};

const NAME: &str = "goals_write";
/// One a core of a small machine: more does not copy faster there.
const COPIES: u64 = 2;

pub(super) async fn measure(bench: &Bench, sitting: &mut Sitting) -> Result<()> {
    sitting.course.part(WRITES);
    while sitting.course.next_round() {
        batches(bench, sitting).await?;
        singles(bench, sitting).await?;
    }
    Ok(())
}

/// A copy of the filled log, to be dropped by its name.
async fn copy<'a>(bench: &'a Bench, numbers: &'a Numbers) -> Result<Run<'a>> {
    Ok(Run {
        bench,
        url: bench.filled(NAME).await?,
        numbers,
    })
}

/// Rows 1, 2, 6 and 7.
async fn batches(bench: &Bench, sitting: &mut Sitting) -> Result<()> {
    let numbers = bench.numbers();
    let mut copied = Vec::new();
    for connections in [COPIES, 1] {
        let run = copy(bench, &numbers).await?;
        copied.push(
            run.limit(Means::Copy, connections, &mut sitting.section)
                .await?,
        );
        bench.rig.drop_database(NAME).await?;
    }
    let [limit, alone] = &copied[..] else {
        anyhow::bail!("limits are missing");
    };
    for (id, per_body) in [(Id::Bodies1000, 1000), (Id::Bodies100, 100)] {
        let run = copy(bench, &numbers).await?;
        let service = bench.rig.service(INGEST, &run.url).await?;
        let target = Target::service(&service);
        let sent = run.http(
            target,
            BATCH_CONNECTIONS,
            per_body,
            Sent::Once,
            &mut sitting.section,
        );
        let done = sent.await?;
        drop(service);
        bench.rig.drop_database(NAME).await?;
        let card = &mut sitting.card;
        card.beside(id, done.rate, limit.rate);
        card.generator(id, done.generator);
        let of_alone = percent(done.rate, alone.rate);
        let copied = thousands(alone.rate);
        card.note(
            id,
            format!("{of_alone} of one connection of COPY ({copied})"),
        );
        let bytes = done.growth.bytes_per_event();
        if id == Id::Bodies1000 {
            let [postgres, service] = done.cpu;
            let unknown = "processor time is known where there is /proc";
            card.figure(Id::CpuPostgres, postgres.context(unknown)?);
            card.figure(Id::CpuService, service.context(unknown)?);
            card.figure(Id::Bytes, bytes);
        } else {
            card.note(Id::Bytes, format!("{bytes:.0} of bodies of 100"));
        }
    }
    Ok(())
}

/// Rows 3, 4, 5 and 8.
async fn singles(bench: &Bench, sitting: &mut Sitting) -> Result<()> {
    let numbers = bench.numbers();
    let run = copy(bench, &numbers).await?;
    let section = &mut sitting.section;
    let pgbench = match Pgbench::find(bench.rig.postgres_bin()) {
        Some(pgbench) => Some(run.pgbench(&pgbench, section).await?),
        None => None,
    };
    let peer = Peer::inserting(&run.url, POOL).await?;
    let sent = run.http(Target::peer(&peer), MANY, 1, Sent::Once, section);
    let inserting = sent.await?;
    peer.stop().await;
    bench.rig.drop_database(NAME).await?;
    let answering = answering(bench, &numbers).await?;

    let run = copy(bench, &numbers).await?;
    let service = bench.rig.service(INGEST, &run.url).await?;
    let target = Target::service(&service);
    let mut ours = Vec::new();
    for (connections, sent) in [(1, Sent::Once), (MANY, Sent::Once), (MANY, Sent::HalfTwice)] {
        ours.push(run.http(target, connections, 1, sent, section).await?);
    }
    drop(service);
    bench.rig.drop_database(NAME).await?;
    let [alone, many, repeated] = &ours[..] else {
        anyhow::bail!("measurements are missing");
    };
    let card = &mut sitting.card;
    match pgbench {
        Some(mut timed) => card.beside(Id::Alone, alone.p50, timed.tally.percentile(50)),
        None => {
            card.figure(Id::Alone, alone.p50);
            card.miss(Id::Alone, "there is no pgbench here to hold it to");
        }
    }
    card.beside(Id::Single, many.rate, inserting.rate);
    card.figure(Id::SingleP99, many.p99);
    card.beside(Id::Answering, many.rate, answering.rate);
    card.beside(Id::Repeated, repeated.rate, many.rate);
    for (id, done) in [
        (Id::Single, many),
        (Id::SingleP99, many),
        (Id::Repeated, repeated),
    ] {
        if done.failures > 0 {
            card.miss(id, format!("{} requests were not taken", done.failures));
        }
    }
    let shown: [(Id, &Done); 3] = [
        (Id::Alone, alone),
        (Id::Single, many),
        (Id::Repeated, repeated),
    ];
    for (id, done) in shown {
        card.generator(id, done.generator);
    }
    let peers = [inserting.generator, answering.generator].map(|share| percent(share, 1.0));
    card.note(
        Id::Answering,
        format!(
            "peers run within the load generator: {} and {} of a processor",
            peers[0], peers[1]
        ),
    );
    Ok(())
}
