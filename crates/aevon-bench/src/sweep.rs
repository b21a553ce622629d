//! `sweep`: the aggregator on a filled log, beside sorted SQL that writes the same bucket rows.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::bench::Bench;
use crate::figures::Spent;
use crate::log::fill;
use crate::report::{Section, percent, thousands};
use crate::rig::{RULE_COUNT, connect};
use crate::service::{AGGREGATOR, Service};
use crate::sweep_limit::{self, Buckets};
use crate::workload::PRINCIPALS;

const DENSE_PRINCIPALS: u32 = 100;
const DEADLINE: Duration = Duration::from_secs(1800);
const POLL: Duration = Duration::from_millis(5);

/// Folding, sparse and dense.
pub(crate) async fn measure(bench: &Bench) -> Result<bool> {
    let columns = [
        "what",
        "events/s",
        "seconds",
        "rows",
        "beside",
        "µs CPU Postgres",
        "µs CPU service",
    ];
    let mut section = Section::new("Sweep", &columns);
    for principals in [PRINCIPALS, DENSE_PRINCIPALS] {
        pair(bench, principals, &mut section).await?;
    }
    section.note(format!(
        "a log of {} events of one hour, {RULE_COUNT} rules, nothing swept before; rows of all \
         grains; the limit is one transaction of INSERT .. SELECT .. GROUP BY .. ORDER BY",
        thousands(bench.preload as f64)
    ));
    Ok(section.print())
}

/// The limit and the service on the same log.
async fn pair(bench: &Bench, principals: u32, section: &mut Section) -> Result<()> {
    let (log, name) = ("bench_sweep", "bench_sweep_sql");
    let url = bench.rig.empty_database(log).await?;
    eprintln!("sweep of {principals} principals");
    let events = fill(&url, bench.last_hour(bench.preload, principals)).await?;
    let what = format!("{} principals", thousands(principals.into()));

    let limit_url = bench.rig.copy_database(log, name).await?;
    bench.rig.settle().await?;
    let spent = Spent::begin(bench.rig.postgres_pid(), None);
    let took = sweep_limit::write(&limit_url).await?;
    let [cpu, _] = spent.per_event(events);
    let limit_rate = rate(events, took);
    let wanted = Buckets::read(&connect(&limit_url).await?).await?;
    bench.rig.drop_database(name).await?;
    section.row([
        format!("limit: sorted SQL, {what}"),
        thousands(limit_rate),
        format!("{:.2}", took.as_secs_f64()),
        thousands(wanted.rows as f64),
        String::new(),
        cpu,
        String::new(),
    ]);

    let swept = sweep_all(bench, &url).await?;
    let client = connect(&url).await?;
    let found = Buckets::read(&client).await?;
    let expected = Buckets::expected_fold(&client).await?;
    let [postgres, service] = swept.cpu;
    section.row([
        format!("aggregator-svc, {what}"),
        thousands(rate(events, swept.took)),
        format!("{:.2}", swept.took.as_secs_f64()),
        thousands(found.rows as f64),
        percent(rate(events, swept.took), limit_rate),
        postgres,
        service,
    ]);
    for (fold, grain) in found.folds.iter().zip(["minutes", "hours", "days"]) {
        section.check(&format!("{what}: {grain} against the log"), fold, &expected);
    }
    section.check(
        &format!("{what}: rows against SQL"),
        found.rows,
        wanted.rows,
    );
    section.check(
        &format!("{what}: digest of all rows"),
        found.digest,
        wanted.digest,
    );
    bench.rig.drop_database(log).await
}

fn rate(events: u64, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64()
}

/// A sweep of everything that was in a log.
#[derive(Debug)]
pub(crate) struct Swept {
    /// From when the rules stood there to when the last checkpoint reached the head.
    pub(crate) took: Duration,
    cpu: [String; 2],
}

/// Runs the aggregator on a log that nobody writes to, until nothing is left and every rule
/// answers.
pub(crate) async fn sweep_all(bench: &Bench, url: &str) -> Result<Swept> {
    let client = connect(url).await?;
    let query = "SELECT coalesce(sum(h.seq), 0)::bigint FROM partitions p CROSS JOIN LATERAL \
                 (SELECT max(seq) AS seq FROM events e WHERE e.partition = p.partition) h";
    let events: i64 = client.query_one(query, &[]).await?.get(0);
    bench.rig.settle().await?;
    let mut service = bench.rig.spawn(AGGREGATOR, url)?;
    wait(&client, &mut service, |standing| {
        standing.rules == RULE_COUNT
    })
    .await?;
    let from = Instant::now();
    let spent = Spent::begin(bench.rig.postgres_pid(), Some(service.pid()));
    wait(&client, &mut service, |standing| {
        standing.swept == events * RULE_COUNT
    })
    .await?;
    let (took, cpu) = (from.elapsed(), spent.per_event(u64::try_from(events)?));
    wait(&client, &mut service, |standing| {
        standing.active == RULE_COUNT
    })
    .await?;
    Ok(Swept { took, cpu })
}

/// Where the sweep stands.
#[derive(Debug)]
struct Standing {
    rules: i64,
    active: i64,
    /// The sum of all checkpoints.
    swept: i64,
}

async fn wait(
    client: &Client,
    service: &mut Service,
    is_there: impl Fn(&Standing) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    let query = "SELECT count(*), count(*) FILTER (WHERE status = 'active'), \
                 (SELECT coalesce(sum(seq), 0)::bigint FROM sweep_checkpoints) FROM rules";
    loop {
        let row = client.query_one(query, &[]).await?;
        let standing = Standing {
            rules: row.get(0),
            active: row.get(1),
            swept: row.get(2),
        };
        if is_there(&standing) {
            return Ok(());
        }
        service.check_alive()?;
        let is_late = Instant::now() > deadline;
        ensure!(
            !is_late,
            "the sweep stands at {standing:?}:\n{}",
            service.log_tail()
        );
        sleep(POLL).await;
    }
}
