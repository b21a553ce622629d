//! `read`: state over HTTP, beside the same statements under pgbench, and with a long tail that is
//! not swept.

use anyhow::{Context, Result};
use serde_json::Value;
use tokio_postgres::Client;

use crate::bench::Bench;
use crate::http::{Connection, get};
use crate::load::{self, Load};
use crate::log::fill;
use crate::pgbench::{Ask, Pgbench};
use crate::report::{Section, ms, percent, thousands, times};
use crate::rig::connect;
use crate::service::{PROJECTION, Service};
use crate::sweep::sweep_all;
use crate::tally::Window;
use crate::workload::{
    HOUR_US, MODEL_CALL, PRINCIPALS, TENANT, TYPES, mix, principal_name, rfc3339,
};

const DAY_US: i64 = 24 * HOUR_US;
pub(crate) const SPANS: [(&str, i64); 4] = [
    ("1 h", HOUR_US),
    ("1 d", DAY_US),
    ("30 d", 30 * DAY_US),
    ("1 y", 365 * DAY_US),
];
/// The span for reads a second, and under a tail.
pub(crate) const USUAL_SPAN_US: i64 = 30 * DAY_US;
pub(crate) const CONNECTIONS: u64 = 8;
/// Different requests of a measurement.
const ASKS: u64 = 64;
/// Of these, those that pgbench repeats.
const PGBENCH_ASKS: usize = 8;
pub(crate) const TAIL_EVENTS: u64 = 500_000;
const RULE: &str = "tokens";
const COLUMNS: [&str; 5] = ["what", "reads/s", "p50 ms", "p99 ms", "beside"];

/// Reads of a year of hours, and of principals with a tail.
pub(crate) async fn measure(bench: &Bench) -> Result<bool> {
    let name = "bench_read";
    let section = Section::new("Reads of state", &COLUMNS);
    let mut reads = Reads::prepare(bench, name, section).await?;
    let service = reads.serve().await?;
    for (span, span_us) in SPANS {
        let asks = reads.hourly(span_us);
        let (limit, found) = reads.pair(span, &asks, 1).await?;
        let beside = limit.map(|limit| format!("p50 {}", times(found.p50, limit.p50)));
        reads.row(&format!("HTTP, {span}"), &found, beside.unwrap_or_default());
        reads.check(span, &asks).await?;
    }
    let asks = reads.hourly(USUAL_SPAN_US);
    let what = format!("30 d, {CONNECTIONS} connections");
    let (limit, found) = reads.pair(&what, &asks, CONNECTIONS).await?;
    let beside = limit.map_or(String::new(), |limit| percent(found.rate, limit.rate));
    reads.row(&format!("HTTP, {what}"), &found, beside);
    drop(service);
    tail(&mut reads).await?;
    let mut section = reads.section;
    section.note(format!(
        "{} events in the log before, of {} principals over a year, and of one that has an event \
         each hour, which is read in the first rows; one rule; ranges begin and end within minutes",
        thousands(bench.preload as f64),
        thousands(PRINCIPALS.into())
    ));
    if reads.pgbench.is_none() {
        section.note("the limit by pgbench is left out: there is no pgbench here");
    }
    drop(reads.client);
    bench.rig.drop_database(name).await?;
    Ok(section.print())
}

/// Ordinary principals with events that are not swept, then swept.
async fn tail(reads: &mut Reads<'_>) -> Result<()> {
    let bench = reads.bench;
    let asks = fill_tail(bench, &reads.url, TAIL_EVENTS).await?;
    let mut answers = Vec::new();
    let mut rows = Vec::new();
    for what in ["not swept", "swept"] {
        if what == "swept" {
            sweep_all(bench, &reads.url, 1).await?;
            reads.client.batch_execute("VACUUM (ANALYZE)").await?;
        }
        let _service = reads.serve().await?;
        let what = format!(
            "30 d of any principal, {} events {what}",
            thousands(TAIL_EVENTS as f64)
        );
        rows.push((what.clone(), reads.http(&what, &asks, 1).await?));
        answers.push(reads.check(&what, &asks).await?);
    }
    let swept = rows.last().map_or(0.0, |(_, found)| found.p50);
    for (what, found) in rows {
        let beside = if found.p50 == swept {
            String::new()
        } else {
            times(found.p50, swept)
        };
        reads.row(&what, &found, beside);
    }
    let [before, after] = &answers[..] else {
        anyhow::bail!("answers are missing");
    };
    reads.compare(before, after);
    Ok(())
}

/// Adds events of the last hour to a log; what is then asked of their principals.
pub(crate) async fn fill_tail(bench: &Bench, url: &str, events: u64) -> Result<Vec<Ask>> {
    let shape = bench.last_hour(events, PRINCIPALS);
    fill(url, shape).await?;
    Ok(asks(shape.end_us, USUAL_SPAN_US, any_principal))
}

/// A principal of an ask by its number.
pub(crate) fn any_principal(n: u64) -> u32 {
    u32::try_from(mix(n) % u64::from(PRINCIPALS)).unwrap_or(0)
}

/// Ranges that end within the hour before `until_us`.
pub(crate) fn asks(until_us: i64, span_us: i64, principal: impl Fn(u64) -> u32) -> Vec<Ask> {
    let ask = |n| {
        let before = i64::try_from(mix(n) % 3_600_000_000).unwrap_or(0);
        let end_us = until_us - before;
        Ask {
            rule: RULE,
            principal: principal(n),
            start_us: end_us - span_us,
            end_us,
        }
    };
    (0..ASKS).map(ask).collect()
}

/// The request of an ask.
pub(crate) fn request(ask: &Ask) -> Vec<u8> {
    request_with(ask, "")
}

/// The same with more parameters.
pub(crate) fn request_with(ask: &Ask, more: &str) -> Vec<u8> {
    let principal = principal_name(ask.principal);
    let (start, end) = (rfc3339(ask.start_us), rfc3339(ask.end_us));
    let rule = ask.rule;
    get(&format!(
        "/v1/state/{TENANT}/{principal}?rule={rule}&start={start}&end={end}{more}"
    ))
}

/// What was measured of reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// The share of one processor that the load generator took; of pgbench it is not known.
    pub(crate) generator: f64,
}

impl Found {
    pub(crate) fn of((mut load, window): (Load, Window)) -> Self {
        Self {
            rate: load.tally.per_second(&window),
            p50: load.tally.percentile(50),
            p99: load.tally.percentile(99),
            generator: load.generator,
        }
    }

    fn cells(&self, what: &str, beside: String) -> [String; 5] {
        [
            what.to_owned(),
            thousands(self.rate),
            ms(self.p50),
            ms(self.p99),
            beside,
        ]
    }
}

/// A swept log that is read.
pub(crate) struct Reads<'a> {
    bench: &'a Bench,
    pub(crate) pgbench: Option<Pgbench>,
    port: u16,
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) section: Section,
}

impl<'a> Reads<'a> {
    /// Fills a log and sweeps it.
    pub(crate) async fn prepare(bench: &'a Bench, name: &str, section: Section) -> Result<Self> {
        let url = bench.filled(name).await?;
        eprintln!("sweeping before the reads");
        sweep_all(bench, &url, 1).await?;
        let reads = Self::of(bench, url, section).await?;
        reads.client.batch_execute("VACUUM (ANALYZE)").await?;
        Ok(reads)
    }

    /// Of a log that stands.
    pub(crate) async fn of(bench: &'a Bench, url: String, section: Section) -> Result<Self> {
        Ok(Self {
            bench,
            pgbench: Pgbench::find(bench.rig.postgres_bin()),
            port: 0,
            client: connect(&url).await?,
            url,
            section,
        })
    }

    /// Starts the service that is read from now on.
    pub(crate) async fn serve(&mut self) -> Result<Service> {
        let service = self.bench.rig.service(PROJECTION, &self.url).await?;
        self.port = service.port();
        Ok(service)
    }

    /// Questions about the principal with an event each hour.
    pub(crate) fn hourly(&self, span_us: i64) -> Vec<Ask> {
        asks(self.bench.base_shape().end_us, span_us, |_| PRINCIPALS)
    }

    fn row(&mut self, what: &str, found: &Found, beside: String) {
        self.section.row(found.cells(what, beside));
    }

    /// By pgbench, where there is one, and over HTTP.
    async fn pair(
        &mut self,
        what: &str,
        asks: &[Ask],
        connections: u64,
    ) -> Result<(Option<Found>, Found)> {
        let limit = self.limit(what, asks, connections).await?;
        if let Some(limit) = &limit {
            self.row(&format!("limit: pgbench, {what}"), limit, String::new());
        }
        Ok((limit, self.http(what, asks, connections).await?))
    }

    /// By pgbench, where there is one.
    pub(crate) async fn limit(
        &self,
        what: &str,
        asks: &[Ask],
        connections: u64,
    ) -> Result<Option<Found>> {
        let Some(pgbench) = &self.pgbench else {
            return Ok(None);
        };
        eprintln!("pgbench: {what}, {}", self.bench.span);
        let row = self
            .client
            .query_one("SELECT count(*)::int FROM partitions", &[])
            .await?;
        let asks = &asks[..PGBENCH_ASKS];
        let mut timed = pgbench
            .run(&self.url, asks, row.get(0), connections, self.bench.span)
            .await?;
        Ok(Some(Found {
            rate: timed.rate,
            p50: timed.tally.percentile(50),
            p99: timed.tally.percentile(99),
            generator: 0.0,
        }))
    }

    pub(crate) async fn http(
        &mut self,
        what: &str,
        asks: &[Ask],
        connections: u64,
    ) -> Result<Found> {
        eprintln!("HTTP: {what}, {}", self.bench.span);
        let requests: Vec<_> = asks.iter().map(request).collect();
        let read = load::read(self.port, connections, &requests, self.bench.span).await?;
        let answered = read.0.tally.done_in_all;
        self.section
            .check(&format!("{what}: answers 200"), answered, read.0.sent());
        Ok(Found::of(read))
    }

    /// Holds answers to those before.
    pub(crate) fn compare(&mut self, before: &[String], after: &[String]) {
        let same = before
            .iter()
            .zip(after)
            .filter(|(before, after)| before == after);
        let (same, all) = (same.count(), after.len());
        self.section
            .check("answers that the sweep left as they were", same, all);
    }

    /// Compares each answer with the raw log; the answers.
    pub(crate) async fn check(&mut self, what: &str, asks: &[Ask]) -> Result<Vec<String>> {
        let mut connection = Connection::open(self.port).await?;
        let query = "SELECT concat(count(*), ' events, ', \
                     coalesce(sum((e.data ->> 'tokens')::int), 0), ' tokens') \
                     FROM events e JOIN principals q USING (principal_no) \
                     WHERE q.tenant_id = $1 AND q.principal_id = $2 AND e.type = $3 \
                     AND e.occurred_at >= $4::text::timestamptz \
                     AND e.occurred_at < $5::text::timestamptz";
        let statement = self.client.prepare(query).await?;
        let (mut answers, mut right) = (Vec::new(), 0);
        for ask in asks {
            connection.send(&request(ask)).await?;
            let answer = answer(connection.body())?;
            let (start, end) = (rfc3339(ask.start_us), rfc3339(ask.end_us));
            let (principal, kind) = (principal_name(ask.principal), TYPES[MODEL_CALL]);
            let row = self
                .client
                .query_one(&statement, &[&TENANT, &principal, &kind, &start, &end])
                .await?;
            right += usize::from(answer == row.get::<_, &str>(0));
            answers.push(answer);
        }
        self.section.check(
            &format!("{what}: answers that equal the log"),
            right,
            asks.len(),
        );
        Ok(answers)
    }
}

/// `7 events, 123 tokens` of an answer for one rule.
pub(crate) fn answer(body: &[u8]) -> Result<String> {
    let body: Value = serde_json::from_slice(body).context("an answer is no JSON")?;
    let value = &body["states"][0]["values"][0];
    let sum = value["value"].as_str().unwrap_or("no");
    Ok(format!("{} events, {sum} tokens", value["event_count"]))
}
