//! `sweep`: the aggregator on a filled log, beside sorted SQL that writes the same bucket rows; two
//! of them at once; and a rebuild.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
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
    let (log, name, two) = ("bench_sweep", "bench_sweep_sql", "bench_sweep_two");
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

    let two_url = bench.rig.copy_database(log, two).await?;
    let mut found = None;
    for (url, processes) in [(&two_url, 2), (&url, 1)] {
        let swept = sweep_all(bench, url, processes).await?;
        let buckets = Buckets::read(&connect(url).await?).await?;
        let [postgres, service] = swept.cpu;
        section.row([
            format!("{processes} of aggregator-svc, {what}"),
            thousands(rate(events, swept.took)),
            format!("{:.2}", swept.took.as_secs_f64()),
            thousands(buckets.rows as f64),
            percent(rate(events, swept.took), limit_rate),
            postgres,
            // Of one of them only.
            if processes == 1 {
                service
            } else {
                String::new()
            },
        ]);
        section.check(
            &format!("{what}: digest of all rows by {processes}"),
            &buckets.digest,
            &wanted.digest,
        );
        found = Some(buckets);
    }
    bench.rig.drop_database(two).await?;
    let found = found.context("nothing was swept")?;
    let client = connect(&url).await?;
    let expected = Buckets::expected_fold(&client).await?;
    note_updates(&client, &what, section).await?;
    for (fold, grain) in found.folds.iter().zip(["minutes", "hours", "days"]) {
        section.check(&format!("{what}: {grain} against the log"), fold, &expected);
    }
    section.check(
        &format!("{what}: rows against SQL"),
        found.rows,
        wanted.rows,
    );
    let began = Instant::now();
    for rule in REBUILT {
        let arguments = ["rebuild", "--rule", rule];
        bench.rig.programs().aevon(&url, &arguments).await?;
    }
    let took = began.elapsed() / u32::try_from(REBUILT.len())?;
    section.row([
        format!("aevon rebuild of one rule, {what}"),
        thousands(rate(events, took)),
        format!("{:.2}", took.as_secs_f64()),
        String::new(),
        percent(rate(events, took), limit_rate),
        String::new(),
        String::new(),
    ]);
    let rebuilt = Buckets::read(&client).await?;
    section.check(
        &format!("{what}: digest of all rows, every rule rebuilt"),
        rebuilt.digest,
        wanted.digest,
    );
    drop(client);
    bench.rig.drop_database(log).await
}

/// The names of the rules of the rig.
const REBUILT: [&str; 3] = ["requests", "tokens", "largest"];

/// What the sweep left for vacuum to do.
async fn note_updates(client: &Client, what: &str, section: &mut Section) -> Result<()> {
    let query = "SELECT relname::text, n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_del, n_dead_tup \
                 FROM pg_stat_user_tables WHERE relname LIKE 'pre_aggregates_%' \
                 OR relname IN ('series', 'sweep_checkpoints', 'sweep_leases') ORDER BY relname";
    for row in client.query(query, &[]).await? {
        let [inserted, updated, hot, deleted, dead] =
            [1, 2, 3, 4, 5].map(|at| row.get::<_, i64>(at));
        section.note(format!(
            "{what}: {}: {} rows inserted, {} updated ({} HOT), {} deleted; {} dead",
            row.get::<_, &str>(0),
            thousands(inserted as f64),
            thousands(updated as f64),
            percent(hot as f64, updated as f64),
            thousands(deleted as f64),
            thousands(dead as f64),
        ));
    }
    Ok(())
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

/// Runs so many aggregators on a log that nobody writes to, until nothing is left and every rule
/// answers.
pub(crate) async fn sweep_all(bench: &Bench, url: &str, processes: usize) -> Result<Swept> {
    let client = connect(url).await?;
    let query = "SELECT coalesce(sum(h.seq), 0)::bigint FROM partitions p CROSS JOIN LATERAL \
                 (SELECT max(seq) AS seq FROM events e WHERE e.partition = p.partition) h";
    let events: i64 = client.query_one(query, &[]).await?.get(0);
    bench.rig.settle().await?;
    let mut service = bench.rig.spawn(AGGREGATOR, url)?;
    let others: Result<Vec<Service>> = (1..processes)
        .map(|_| bench.rig.spawn(AGGREGATOR, url))
        .collect();
    let _others = others?;
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
