//! `many`: the total of a tenant with 100,000 principals, and the largest of them, over HTTP.

use aevon_core::identity::partition_of;
use anyhow::{Context, Result};
use serde_json::Value;
use tokio_postgres::Client;

use crate::bench::Bench;
use crate::http::{Connection, get};
use crate::load;
use crate::report::{Section, ms, thousands};
use crate::rig::connect;
use crate::service::PROJECTION;
use crate::sweep::sweep_all;
use crate::workload::{HOUR_US, MODEL_CALL, TENANT, TYPES, principal_name, rfc3339};

const PRINCIPALS: u32 = 100_000;
const DAY_US: i64 = 24 * HOUR_US;
const DAYS: i64 = 30;
const COLUMNS: [&str; 5] = ["what", "p50 ms", "p99 ms", "goal ms", "reads"];

/// One to three events of each principal each day, in the order in which they occurred.
const FILL: &str = "
    INSERT INTO events
    SELECT row_number() OVER (PARTITION BY e.partition ORDER BY e.at, e.principal_no, e.n),
           e.principal_no, e.at, e.at, e.partition, 0, concat('e', e.day, '-', e.n), $1,
           jsonb_build_object('tokens', (e.principal_no * 7919 + e.day * 31 + e.n) % 1000,
                              'model', 'm' || e.n), '{}'
    FROM (
        SELECT p.principal_no, p.partition, d.day, n.n,
               $2::text::timestamptz + d.day * interval '1 day'
                 + ((p.principal_no * 104729 + d.day * 1299709 + n.n * 15485863) % 86400000)
                 * interval '1 millisecond' AS at
        FROM principals p
        CROSS JOIN generate_series(0, $3::bigint - 1) AS d (day)
        CROSS JOIN LATERAL generate_series(
            1, CASE (p.principal_no + d.day) % 6 WHEN 0 THEN 3 WHEN 1 THEN 2 ELSE 1 END) AS n (n)
    ) e";
/// One more event of each principal in a day, stored behind all others.
const LATE: &str = "
    INSERT INTO events
    SELECT h.seq + row_number() OVER (PARTITION BY p.partition ORDER BY p.principal_no),
           p.principal_no,
           $2::text::timestamptz + (p.principal_no * 15485863 % 86400000) * interval '1 millisecond',
           $3::text::timestamptz, p.partition, 0, 'late', $1,
           jsonb_build_object('tokens', p.principal_no % 1000, 'model', 'm1'), '{}'
    FROM principals p
    JOIN (SELECT e.partition, max(e.seq) AS seq FROM events e GROUP BY e.partition) h USING (partition)";
const INSERT: &str = "
    INSERT INTO principals (tenant_id, principal_id, partition)
    SELECT $1, u.principal_id, u.partition FROM unnest($2::text[], $3::int[]) AS u (principal_id, partition)";

/// Reads of everybody at once.
pub(crate) async fn measure(bench: &Bench) -> Result<bool> {
    let name = "bench_many";
    let url = bench.rig.empty_database(name).await?;
    let client = connect(&url).await?;
    // Whole days.
    let end_us = bench.base_shape().end_us / DAY_US * DAY_US;
    let begin_us = end_us - DAYS * DAY_US;
    let events = fill(&client, begin_us).await?;
    eprintln!("sweeping before the reads");
    sweep_all(bench, &url, 1).await?;
    client.batch_execute("VACUUM (ANALYZE)").await?;
    let service = bench.rig.service(PROJECTION, &url).await?;
    let mut section = Section::new("A tenant of 100,000 principals", &COLUMNS);
    let day = (begin_us + 14 * DAY_US, begin_us + 15 * DAY_US);
    let month = (begin_us, end_us);
    let cut = (begin_us + 1_234_567_891, end_us - 2_345_678_912);
    for (what, query, range, goal) in [
        ("total of 30 days", "scope=tenant", month, "50"),
        (
            "total of 30 days by day",
            "scope=tenant&granularity=1d",
            month,
            "",
        ),
        (
            "total of 30 days, cut within minutes",
            "scope=tenant",
            cut,
            "",
        ),
        ("top 10 of a day", "order_by=value&limit=10", day, "300"),
        (
            "top 10 of 30 days",
            "order_by=value&limit=10",
            month,
            "2,000",
        ),
        (
            "top 10 of 30 days, cut within minutes",
            "order_by=value&limit=10",
            cut,
            "",
        ),
        (
            "a page of 100 by identifier, 30 days",
            "limit=100",
            month,
            "",
        ),
    ] {
        let path = path_of(query, range);
        let expected = expected(&client, query, range).await?;
        let case = (what, path.as_str(), expected.as_str(), goal);
        ask(bench, service.port(), case, &mut section).await?;
    }
    let of_day_before = expected(&client, "order_by", day).await?;
    // What was asked above, when every principal has got an event since: of the day, late.
    let first = path_of("order_by=value&limit=10", month);
    let before = body_of(service.port(), &first).await?;
    let version = before["version"].as_str().context("no version")?.to_owned();
    let (kind, end) = (TYPES[MODEL_CALL], rfc3339(month.1));
    let events = events
        + client
            .execute(LATE, &[&kind, &rfc3339(day.0), &end])
            .await?;
    eprintln!("sweeping what came late");
    sweep_all(bench, &url, 1).await?;
    client.batch_execute("VACUUM (ANALYZE)").await?;
    let now = body_of(service.port(), &first).await?;
    let next = now["next"].as_str().context("no second page")?;
    let of_day = path_of("order_by=value&limit=10", day);
    let second = expected(&client, "order_by=value&offset", month).await?;
    for (what, path, expected) in [
        (
            "top 10 of the day, as of before all of it changed",
            format!("{of_day}&version={version}"),
            of_day_before,
        ),
        (
            "top 10 of 30 days, as of before a day of each changed",
            format!("{first}&version={version}"),
            shown(&before),
        ),
        (
            "the 10 behind the top 10 of 30 days",
            format!("{first}&cursor={next}"),
            second,
        ),
    ] {
        let case = (what, path.as_str(), expected.as_str(), "");
        ask(bench, service.port(), case, &mut section).await?;
    }
    section.note(format!(
        "{} events of 30 days, 1 to 3 of each principal each day, and one of each that came late, \
         before the last three rows; one rule, a sum; all swept",
        thousands(events as f64)
    ));
    drop(client);
    drop(service);
    bench.rig.drop_database(name).await?;
    Ok(section.print())
}

fn path_of(query: &str, (start, end): (i64, i64)) -> String {
    let (start, end) = (rfc3339(start), rfc3339(end));
    format!("/v1/state/{TENANT}?rule=tokens&start={start}&end={end}&{query}")
}

async fn body_of(port: u16, path: &str) -> Result<Value> {
    let mut connection = Connection::open(port).await?;
    connection.send(&get(path)).await?;
    serde_json::from_slice(connection.body()).context("no JSON")
}

/// Asks for a while, and holds the answer to what is expected.
async fn ask(
    bench: &Bench,
    port: u16,
    (what, path, expected, goal): (&str, &str, &str, &str),
    section: &mut Section,
) -> Result<()> {
    eprintln!("HTTP: {what}, {}", bench.span);
    let requests = [get(path)];
    let (mut load, _) = load::read(port, 1, &requests, bench.span).await?;
    let answered = load.tally.done_in_all;
    section.row([
        what.to_owned(),
        ms(load.tally.percentile(50)),
        ms(load.tally.percentile(99)),
        goal.to_owned(),
        thousands(answered as f64),
    ]);
    section.check(&format!("{what}: answers 200"), answered, load.sent());
    let found = shown(&body_of(port, path).await?);
    let what = format!("{what}: the answer is that of the raw log");
    section.check(&what, found == expected, true);
    Ok(())
}

async fn fill(client: &Client, begin_us: i64) -> Result<u64> {
    let query = "SELECT count(*)::int FROM partitions";
    let partitions: i32 = client.query_one(query, &[]).await?.get(0);
    let names: Vec<String> = (0..PRINCIPALS).map(principal_name).collect();
    let places = names
        .iter()
        .map(|name| partition_of(TENANT, name, partitions));
    let places: Vec<i32> = places.collect();
    client.execute(INSERT, &[&TENANT, &names, &places]).await?;
    client.batch_execute("ANALYZE principals").await?;
    eprintln!("filling a log of {PRINCIPALS} principals");
    let (kind, begin) = (TYPES[MODEL_CALL], rfc3339(begin_us));
    let events = client.execute(FILL, &[&kind, &begin, &DAYS]).await?;
    client.batch_execute("VACUUM (ANALYZE) events").await?;
    Ok(events)
}

/// What an answer says, in a line: a total, or names and values.
fn shown(body: &Value) -> String {
    let value = |states: &Value| -> i64 {
        let values = states[0]["values"].as_array().cloned().unwrap_or_default();
        let values = values.iter().filter_map(|value| value["value"].as_str());
        values.filter_map(|value| value.parse::<i64>().ok()).sum()
    };
    match body["items"].as_array() {
        None => value(&body["states"]).to_string(),
        Some(items) => {
            let item = |item: &Value| {
                let name = item["principal_id"].as_str().unwrap_or_default();
                format!("{name} {}", value(&item["states"]))
            };
            items.iter().map(item).collect::<Vec<_>>().join(", ")
        }
    }
}

/// The same from the raw log.
async fn expected(client: &Client, query: &str, range: (i64, i64)) -> Result<String> {
    let sums = "SELECT q.principal_id, sum((e.data ->> 'tokens')::bigint)::bigint AS tokens \
                FROM events e JOIN principals q USING (principal_no) \
                WHERE e.occurred_at >= $1::text::timestamptz AND e.occurred_at < $2::text::timestamptz \
                GROUP BY q.principal_id";
    let list = "string_agg(concat(principal_id, ' ', tokens), ', '";
    let sql = match query {
        _ if query.starts_with("scope") => format!("SELECT sum(tokens)::text FROM ({sums}) s"),
        _ if query.starts_with("order_by") => format!(
            "SELECT {list} ORDER BY tokens DESC, principal_id) FROM (SELECT * FROM ({sums}) s \
             ORDER BY tokens DESC, principal_id OFFSET {} LIMIT 10) t",
            if query.ends_with("offset") { 10 } else { 0 }
        ),
        _ => format!(
            "SELECT {list} ORDER BY principal_id) FROM (SELECT * FROM ({sums}) s \
             ORDER BY principal_id LIMIT 100) t"
        ),
    };
    let (start, end) = (rfc3339(range.0), rfc3339(range.1));
    Ok(client.query_one(&sql, &[&start, &end]).await?.get(0))
}
