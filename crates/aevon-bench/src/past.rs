//! `past`: state as of random versions over HTTP, beside the newest, of one principal with a year of
//! events of which some came late.

use aevon_core::identity::partition_of;
use anyhow::Result;
use tokio_postgres::Client;

use crate::bench::Bench;
use crate::http::Connection;
use crate::load;
use crate::pgbench::Ask;
use crate::read::{Found, answer, asks, request_with};
use crate::report::{Section, ms, thousands, times};
use crate::rig::connect;
use crate::service::{PROJECTION, Service};
use crate::sweep::sweep_all;
use crate::workload::{HOUR_US, MODEL_CALL, TENANT, TYPES, mix, principal_name, rfc3339};

const PRINCIPAL: u32 = 0;
const SPAN_US: i64 = 365 * 24 * HOUR_US;
/// One event of so many is late, by up to [`LATE_DAYS`].
const LATE_ONE_OF: i64 = 100;
const LATE_DAYS: i64 = 30;
/// Ranges of the reads.
pub(crate) const SPANS: [(&str, i64); 2] = [("30 d", 30 * 24 * HOUR_US), ("1 y", SPAN_US)];
const COLUMNS: [&str; 5] = ["what", "reads/s", "p50 ms", "p99 ms", "beside"];

/// Events in the order of their ingestion: evenly over a year, most of them at once.
const FILL: &str = "
    INSERT INTO events
    SELECT n, $1::bigint, CASE WHEN n % $4::bigint = 0
                       THEN at - (n * 7919 % ($5::bigint * 86400)) * interval '1 second' ELSE at END,
           at, $2::int, 0, 'e' || n, $6, jsonb_build_object('tokens', n % 1000, 'model', 'm' || n % 3), '{}'
    FROM generate_series(1, $3::bigint) n
    CROSS JOIN LATERAL (
        SELECT $7::text::timestamptz + n * interval '1 microsecond' * ($8::bigint / $3::bigint) AS at
    ) a";

/// A swept log of one principal that is read as of earlier versions.
pub(crate) struct Past<'a> {
    bench: &'a Bench,
    service: Service,
    partition: i32,
    client: Client,
    pub(crate) section: Section,
}

/// Reads as of random versions.
pub(crate) async fn measure(bench: &Bench) -> Result<bool> {
    let name = "bench_past";
    let section = Section::new("Reads of the past", &COLUMNS);
    let mut past = Past::prepare(bench, name, section).await?;
    for (span, span_us) in SPANS {
        let asks = past.asks(span_us);
        let newest = past.newest(span, &asks).await?;
        let found = past.at_versions(span, &asks).await?;
        let beside = format!("p50 {}", times(found.p50, newest.p50));
        past.row(&format!("{span}, newest"), &newest, String::new());
        past.row(&format!("{span}, at random versions"), &found, beside);
        past.check(span, &asks).await?;
    }
    past.section.note(format!(
        "one principal with {} events over a year, of which 1 % came late by up to {LATE_DAYS} days; \
         one rule; all swept; ranges begin and end within minutes",
        thousands(bench.preload as f64)
    ));
    let section = past.end();
    bench.rig.drop_database(name).await?;
    Ok(section.print())
}

/// Where the principal lives.
async fn fill(client: &Client, events: u64, end_us: i64) -> Result<i32> {
    eprintln!("filling a log of one principal with {events} events");
    let query = "SELECT count(*)::int FROM partitions";
    let partitions: i32 = client.query_one(query, &[]).await?.get(0);
    let name = principal_name(PRINCIPAL);
    let partition = partition_of(TENANT, &name, partitions);
    let insert = "INSERT INTO principals (tenant_id, principal_id, partition) VALUES ($1, $2, $3) \
                  RETURNING principal_no";
    let number: i64 = client
        .query_one(insert, &[&TENANT, &name, &partition])
        .await?
        .get(0);
    let events = i64::try_from(events)?;
    let begin = rfc3339(end_us - SPAN_US);
    let kind = TYPES[MODEL_CALL];
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
        &number,
        &partition,
        &events,
        &LATE_ONE_OF,
        &LATE_DAYS,
        &kind,
        &begin,
        &SPAN_US,
    ];
    client.execute(FILL, &parameters).await?;
    client.batch_execute("VACUUM (ANALYZE)").await?;
    Ok(partition)
}

impl<'a> Past<'a> {
    /// Fills a log and sweeps it.
    pub(crate) async fn prepare(bench: &'a Bench, name: &str, section: Section) -> Result<Self> {
        let url = bench.rig.empty_database(name).await?;
        let client = connect(&url).await?;
        let partition = fill(&client, bench.preload, bench.base_shape().end_us).await?;
        eprintln!("sweeping before the reads");
        sweep_all(bench, &url, 1).await?;
        client.batch_execute("VACUUM (ANALYZE)").await?;
        Ok(Self {
            bench,
            service: bench.rig.service(PROJECTION, &url).await?,
            partition,
            client,
            section,
        })
    }

    /// Lets go of the database.
    pub(crate) fn end(self) -> Section {
        self.section
    }

    pub(crate) fn asks(&self, span_us: i64) -> Vec<Ask> {
        asks(self.bench.base_shape().end_us, span_us, |_| PRINCIPAL)
    }

    fn row(&mut self, what: &str, found: &Found, beside: String) {
        let (rate, p50, p99) = (thousands(found.rate), ms(found.p50), ms(found.p99));
        self.section.row([what.to_owned(), rate, p50, p99, beside]);
    }

    pub(crate) async fn newest(&mut self, span: &str, asks: &[Ask]) -> Result<Found> {
        let newest = asks.iter().map(|ask| request_with(ask, "")).collect();
        self.http(&format!("{span}, newest"), newest).await
    }

    pub(crate) async fn at_versions(&mut self, span: &str, asks: &[Ask]) -> Result<Found> {
        let versions = self.versions(asks.len());
        let asks = asks.iter().zip(versions);
        let past = asks.map(|(ask, at)| request_with(ask, &self.as_of(at)));
        let past = past.collect();
        self.http(&format!("{span}, at random versions"), past)
            .await
    }

    fn versions(&self, count: usize) -> Vec<u64> {
        let version = |n: u64| 1 + mix(n ^ 0x5EED) % self.bench.preload;
        (0..).map(version).take(count).collect()
    }

    fn as_of(&self, at: u64) -> String {
        format!("&version={}:{at}", self.partition)
    }

    async fn http(&mut self, what: &str, requests: Vec<Vec<u8>>) -> Result<Found> {
        eprintln!("HTTP: {what}, {}", self.bench.span);
        let read = load::read(self.service.port(), 1, &requests, self.bench.span).await?;
        let answered = read.0.tally.done_in_all;
        self.section
            .check(&format!("{what}: answers 200"), answered, read.0.sent());
        Ok(Found::of(read))
    }

    /// Compares the answers at versions with the raw log.
    pub(crate) async fn check(&mut self, span: &str, asks: &[Ask]) -> Result<()> {
        let versions = self.versions(asks.len());
        let mut connection = Connection::open(self.service.port()).await?;
        let query = "SELECT concat(count(*), ' events, ', \
                     coalesce(sum((e.data ->> 'tokens')::int), 0), ' tokens') FROM events e \
                     WHERE e.seq <= $1 AND e.occurred_at >= $2::text::timestamptz \
                     AND e.occurred_at < $3::text::timestamptz";
        let statement = self.client.prepare(query).await?;
        let mut right = 0;
        for (ask, at) in asks.iter().zip(versions) {
            connection.send(&request_with(ask, &self.as_of(at))).await?;
            let answer = answer(connection.body())?;
            let (start, end) = (rfc3339(ask.start_us), rfc3339(ask.end_us));
            let at = i64::try_from(at)?;
            let row = self
                .client
                .query_one(&statement, &[&at, &start, &end])
                .await?;
            right += usize::from(answer == row.get::<_, &str>(0));
        }
        let what = format!("{span}: answers at versions that equal the log");
        self.section.check(&what, right, asks.len());
        Ok(())
    }
}
