//! What Postgres alone does with the same rows in the same tables: the numbers that ours are held
//! against. No HTTP, no verdicts on duplicates, no order of commits.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::{Client, Statement};

use crate::log::{Copy, Places};
use crate::rig::connect;
use crate::tally::{Span, Tally, Window};
use crate::workload::{Event, Numbers, PRINCIPALS, TYPES, now_us, write_id};

const INSERT: &str = "INSERT INTO events (seq, principal_no, occurred_at, ingested_at, partition, \
                      schema_version, event_id, type, data, metadata) \
                      VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8::text::jsonb, '{}')";
/// Rows of one COPY: enough that its commit costs nothing.
const COPY_ROWS: u64 = 10_000;

/// A row to insert, without its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) principal: u32,
    pub(crate) id: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) occurred_at: SystemTime,
    pub(crate) data: &'a str,
}

/// A connection with a prepared INSERT.
pub(crate) struct Inserter {
    client: Client,
    insert: Statement,
}

impl Inserter {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let client = connect(url).await?;
        let insert = client.prepare(INSERT).await?;
        Ok(Self { client, insert })
    }

    /// Inserts a row and commits it; its place.
    pub(crate) async fn insert(&self, places: &Places, row: Row<'_>) -> Result<(i32, i64)> {
        let Row {
            principal,
            id,
            kind,
            occurred_at,
            data,
        } = row;
        let (principal_no, partition) = places.of(principal);
        let (seq, ingested_at) = (places.next_seq(partition), SystemTime::now());
        self.client
            .execute(
                &self.insert,
                &[
                    &seq,
                    &principal_no,
                    &occurred_at,
                    &ingested_at,
                    &partition,
                    &id,
                    &kind,
                    &data,
                ],
            )
            .await?;
        Ok((partition, seq))
    }
}

/// What a limit is taken with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Means {
    /// One prepared INSERT, and so one commit, per event.
    Insert,
    /// Binary COPY.
    Copy,
}

/// Writes events to a log by `connections` connections, and counts them.
pub(crate) async fn measure(
    means: Means,
    url: &str,
    connections: u64,
    span: Span,
    numbers: &Numbers,
) -> Result<(Tally, Window)> {
    let places = Places::prepare(&connect(url).await?, PRINCIPALS).await?;
    let window = Window::open(span);
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (url, places, numbers) = (url.to_owned(), places.clone(), numbers.clone());
        tasks.spawn(async move {
            match means {
                Means::Insert => inserts(&url, places, window, numbers).await,
                Means::Copy => copies(&url, places, window, numbers).await,
            }
        });
    }
    let merged = async {
        let mut tally = Tally::default();
        while let Some(done) = tasks.join_next().await {
            tally.merge(done??);
        }
        anyhow::Ok(tally)
    };
    let tally = timeout(window.bound(), merged)
        .await
        .context("a limit took too long")??;
    Ok((tally, window))
}

/// An event of the last hour.
fn recent(number: u64, now_us: i64) -> Event {
    const HOUR_US: u64 = 3_600_000_000;
    let age = i64::try_from(crate::workload::mix(!number) % HOUR_US).unwrap_or(0);
    Event::of(number, PRINCIPALS, now_us - age)
}

async fn inserts(url: &str, places: Places, window: Window, numbers: Numbers) -> Result<Tally> {
    let inserter = Inserter::open(url).await?;
    let mut tally = Tally::default();
    let mut id = [0; 36];
    while !window.is_over() {
        let began = Instant::now();
        let event = recent(numbers.take(1), now_us());
        write_id(
            &mut id,
            numbers.stamp(numbers.now_ms(), event.number),
            event.number,
        );
        let micros = Duration::from_micros(u64::try_from(event.occurred_us)?);
        let row = Row {
            principal: event.principal,
            id: std::str::from_utf8(&id)?,
            kind: TYPES[event.kind],
            occurred_at: SystemTime::UNIX_EPOCH + micros,
            data: &event.data(),
        };
        inserter.insert(&places, row).await?;
        tally.count(&window, began, 1);
    }
    Ok(tally)
}

async fn copies(url: &str, places: Places, window: Window, numbers: Numbers) -> Result<Tally> {
    let client = connect(url).await?;
    let mut tally = Tally::default();
    while !window.is_over() {
        let (began, now, ms) = (Instant::now(), now_us(), numbers.now_ms());
        let mut copy = Copy::begin(&client).await?;
        let first = numbers.take(COPY_ROWS);
        for number in first..first + COPY_ROWS {
            let stamp = numbers.stamp(ms, number);
            copy.row(&places, &recent(number, now), stamp, now).await?;
        }
        let rows = copy.end().await?;
        tally.count(&window, began, rows);
    }
    Ok(tally)
}
