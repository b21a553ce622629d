//! `sweep`: the aggregator on a filled log, beside sorted SQL that writes the same bucket rows; two
//! of them at once; and a rebuild.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::bench::Bench;
use crate::figures::{Micros, Spent, micros_cells};
use crate::log::fill;
use crate::report::{Section, percent, thousands};
use crate::rig::{RULE_COUNT, connect};
use crate::service::{AGGREGATOR, Service};
use crate::sweep_limit::{self, Buckets, FOLDS};
use crate::workload::PRINCIPALS;

pub(crate) const DENSE_PRINCIPALS: u32 = 100;
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

/// A log of one hour that nothing is swept of.
pub(crate) struct Log {
    database: &'static str,
    events: u64,
    /// `10,000 principals`.
    pub(crate) what: String,
}

impl Log {
    pub(crate) async fn fill(
        bench: &Bench,
        database: &'static str,
        principals: u32,
    ) -> Result<Self> {
        let url = bench.rig.empty_database(database).await?;
        eprintln!("sweep of {principals} principals");
        Ok(Self {
            database,
            events: fill(&url, bench.last_hour(bench.preload, principals)).await?,
            what: format!("{} principals", thousands(principals.into())),
        })
    }

    fn rate(&self, took: Duration) -> f64 {
        self.events as f64 / took.as_secs_f64()
    }

    pub(crate) async fn drop(self, bench: &Bench) -> Result<()> {
        bench.rig.drop_database(self.database).await
    }
}

/// A swept copy of a log.
pub(crate) struct Outcome {
    /// Events a second.
    pub(crate) rate: f64,
    swept: Swept,
    pub(crate) buckets: Buckets,
    url: String,
}

impl Outcome {
    fn cells(&self, what: String, beside: String) -> [String; 7] {
        let [postgres, service] = micros_cells(self.swept.cpu);
        [
            what,
            thousands(self.rate),
            format!("{:.2}", self.swept.took.as_secs_f64()),
            thousands(self.buckets.rows as f64),
            beside,
            postgres,
            service,
        ]
    }
}

/// What sorted SQL does, on a copy that is gone afterwards.
pub(crate) async fn by_sql(bench: &Bench, log: &Log) -> Result<Outcome> {
    let name = "bench_sweep_sql";
    let url = bench.rig.copy_database(log.database, name).await?;
    bench.rig.settle().await?;
    eprintln!("sorted SQL, {}", log.what);
    let spent = Spent::begin(bench.rig.postgres_pid(), None);
    let took = sweep_limit::write(&url).await?;
    let cpu = spent.per_event(log.events);
    let buckets = Buckets::read(&connect(&url).await?).await?;
    bench.rig.drop_database(name).await?;
    Ok(Outcome {
        rate: log.rate(took),
        swept: Swept { took, cpu },
        buckets,
        url,
    })
}

/// What so many aggregators do, on a copy of this name that stays.
pub(crate) async fn by_service(
    bench: &Bench,
    log: &Log,
    name: &str,
    processes: usize,
) -> Result<Outcome> {
    let url = bench.rig.copy_database(log.database, name).await?;
    eprintln!("{processes} of aggregator-svc, {}", log.what);
    let mut swept = sweep_all(bench, &url, processes).await?;
    if processes > 1 {
        // What was measured is one of them only.
        swept.cpu[1] = None;
    }
    let buckets = Buckets::read(&connect(&url).await?).await?;
    Ok(Outcome {
        rate: log.rate(swept.took),
        swept,
        buckets,
        url,
    })
}

/// Holds what was swept to what SQL wrote.
pub(crate) fn check_digest(what: &str, found: &Outcome, wanted: &Outcome, section: &mut Section) {
    let (rows, digest) = (found.buckets.rows, &found.buckets.digest);
    section.check(&format!("{what}: rows"), rows, wanted.buckets.rows);
    let what = format!("{what}: digest of all rows");
    section.check(&what, digest, &wanted.buckets.digest);
}

/// Holds what was swept to the log.
pub(crate) async fn check_folds(what: &str, found: &Outcome, section: &mut Section) -> Result<()> {
    let expected = Buckets::expected_fold(&connect(&found.url).await?).await?;
    for (fold, (minutes, is_total)) in found.buckets.folds.iter().zip(FOLDS) {
        let whose = if is_total { "totals" } else { "principals" };
        let what = format!("{what}: buckets of {minutes} min of {whose} against the log");
        section.check(&what, fold, &expected);
    }
    Ok(())
}

/// The limit and the service on the same log.
async fn pair(bench: &Bench, principals: u32, section: &mut Section) -> Result<()> {
    let (one, two) = ("bench_sweep_one", "bench_sweep_two");
    let log = Log::fill(bench, "bench_sweep", principals).await?;
    let what = &log.what;
    let limit = by_sql(bench, &log).await?;
    section.row(limit.cells(format!("limit: sorted SQL, {what}"), String::new()));
    for (name, processes) in [(two, 2), (one, 1)] {
        let found = by_service(bench, &log, name, processes).await?;
        let beside = percent(found.rate, limit.rate);
        section.row(found.cells(format!("{processes} of aggregator-svc, {what}"), beside));
        check_digest(&format!("{what} by {processes}"), &found, &limit, section);
        if processes == 1 {
            check_folds(what, &found, section).await?;
            note_updates(&connect(&found.url).await?, what, section).await?;
            rebuild(bench, &log, &found, &limit, section).await?;
        }
        bench.rig.drop_database(name).await?;
    }
    log.drop(bench).await
}

/// Every rule anew, where all are swept.
async fn rebuild(
    bench: &Bench,
    log: &Log,
    swept: &Outcome,
    limit: &Outcome,
    section: &mut Section,
) -> Result<()> {
    let (what, began) = (&log.what, Instant::now());
    for rule in REBUILT {
        let arguments = ["rebuild", "--rule", rule];
        bench.rig.programs().aevon(&swept.url, &arguments).await?;
    }
    let took = began.elapsed() / u32::try_from(REBUILT.len())?;
    section.row([
        format!("aevon rebuild of one rule, {what}"),
        thousands(log.rate(took)),
        format!("{:.2}", took.as_secs_f64()),
        String::new(),
        percent(log.rate(took), limit.rate),
        String::new(),
        String::new(),
    ]);
    let rebuilt = Buckets::read(&connect(&swept.url).await?).await?;
    let what = format!("{what}: digest of all rows, every rule rebuilt");
    section.check(&what, rebuilt.digest, limit.buckets.digest.clone());
    Ok(())
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

/// A sweep of everything that was in a log.
#[derive(Debug)]
pub(crate) struct Swept {
    /// From when the rules stood there to when the last checkpoint reached the head.
    pub(crate) took: Duration,
    /// Per event.
    cpu: Micros,
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
