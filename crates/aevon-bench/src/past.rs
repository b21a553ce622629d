//! `past`: state as of random versions over HTTP, beside the newest, of one principal with a year of
//! events of which some came late.

use aevon_core::identity::partition_of;
use anyhow::Result;
use tokio_postgres::Client;

use crate::bench::Bench;
use crate::http::Connection;
use crate::load;
use crate::pgbench::Ask;
use crate::read::{answer, asks, request_with};
use crate::report::{Section, ms, thousands, times};
use crate::rig::connect;
use crate::service::PROJECTION;
use crate::sweep::sweep_all;
use crate::workload::{HOUR_US, MODEL_CALL, TENANT, TYPES, mix, principal_name, rfc3339};

const PRINCIPAL: u32 = 0;
const SPAN_US: i64 = 365 * 24 * HOUR_US;
/// One event of so many is late, by up to [`LATE_DAYS`].
const LATE_ONE_OF: i64 = 100;
const LATE_DAYS: i64 = 30;
/// Ranges of the reads.
const SPANS: [(&str, i64); 2] = [("30 d", 30 * 24 * HOUR_US), ("1 y", SPAN_US)];
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

struct Past<'a> {
    bench: &'a Bench,
    port: u16,
    partition: i32,
    client: Client,
    section: Section,
}

/// Reads as of random versions.
pub(crate) async fn measure(bench: &Bench) -> Result<bool> {
    let name = "bench_past";
    let url = bench.rig.empty_database(name).await?;
    let end_us = bench.base_shape().end_us;
    let client = connect(&url).await?;
    let partition = fill(&client, bench.preload, end_us).await?;
    eprintln!("sweeping before the reads");
    sweep_all(bench, &url, 1).await?;
    client.batch_execute("VACUUM (ANALYZE)").await?;
    let service = bench.rig.service(PROJECTION, &url).await?;
    let mut past = Past {
        bench,
        port: service.port(),
        partition,
        client,
        section: Section::new("Reads of the past", &COLUMNS),
    };
    for (span, span_us) in SPANS {
        past.pair(span, &asks(end_us, span_us, |_| PRINCIPAL))
            .await?;
    }
    let mut section = past.section;
    section.note(format!(
        "one principal with {} events over a year, of which 1 % came late by up to {LATE_DAYS} days; \
         one rule; all swept; ranges begin and end within minutes",
        thousands(bench.preload as f64)
    ));
    drop(past.client);
    drop(service);
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

impl Past<'_> {
    /// The newest, and as of random versions.
    async fn pair(&mut self, span: &str, asks: &[Ask]) -> Result<()> {
        let events = self.bench.preload;
        let version = |n: u64| 1 + mix(n ^ 0x5EED) % events;
        let versions: Vec<u64> = (0..).zip(asks).map(|(n, _)| version(n)).collect();
        let as_of = |at: &u64| format!("&version={}:{at}", self.partition);
        let past: Vec<String> = versions.iter().map(as_of).collect();
        let newest: Vec<String> = vec![String::new(); asks.len()];
        let mut beside = None;
        for (what, more) in [("newest", newest), ("at random versions", past)] {
            let what = format!("{span}, {what}");
            eprintln!("HTTP: {what}, {} s", self.bench.seconds);
            let requests = asks.iter().zip(&more);
            let requests: Vec<_> = requests
                .map(|(ask, more)| request_with(ask, more))
                .collect();
            let (mut load, window) =
                load::read(self.port, 1, &requests, self.bench.seconds).await?;
            let p50 = load.tally.percentile(50);
            self.section.row([
                what.clone(),
                thousands(load.tally.per_second(&window)),
                ms(p50),
                ms(load.tally.percentile(99)),
                beside.map_or(String::new(), |newest| {
                    format!("p50 {}", times(p50, newest))
                }),
            ]);
            beside = Some(p50);
            let answered = load.tally.done_in_all;
            self.section
                .check(&format!("{what}: answers 200"), answered, load.sent());
        }
        self.check(span, asks, &versions).await
    }

    /// Compares the answers at versions with the raw log.
    async fn check(&mut self, span: &str, asks: &[Ask], versions: &[u64]) -> Result<()> {
        let mut connection = Connection::open(self.port).await?;
        let query = "SELECT concat(count(*), ' events, ', \
                     coalesce(sum((e.data ->> 'tokens')::int), 0), ' tokens') FROM events e \
                     WHERE e.seq <= $1 AND e.occurred_at >= $2::text::timestamptz \
                     AND e.occurred_at < $3::text::timestamptz";
        let statement = self.client.prepare(query).await?;
        let mut right = 0;
        for (ask, at) in asks.iter().zip(versions) {
            let more = format!("&version={}:{at}", self.partition);
            connection.send(&request_with(ask, &more)).await?;
            let answer = answer(connection.body())?;
            let (start, end) = (rfc3339(ask.start_us), rfc3339(ask.end_us));
            let at = i64::try_from(*at)?;
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
