//! Writing to the log without the services: binary COPY, for filling it and as the limit.
//!
//! Invariant: rows that are kept obey the log's order: within a partition `seq` has no gap, and
//! `ingested_at` does not go back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aevon_core::identity::partition_of;
use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tokio::time::timeout;
use tokio_postgres::{Client, CopyInSink};

use crate::rig::connect;
use crate::workload::{Event, Shape, TENANT, TYPES, now_us, principal_name, write_id};

const COPY: &str = "COPY events (seq, principal_no, occurred_at, ingested_at, partition, \
                    schema_version, event_id, type, data, metadata) FROM STDIN (FORMAT binary)";
const COLUMNS: i16 = 10;
/// 2000-01-01 in microseconds since 1970: where Postgres begins to count.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// Sent at once.
const CHUNK_BYTES: usize = 128 << 10;
/// Rows of one COPY while a log is filled.
const FILL_ROWS: usize = 50_000;
/// So many events a second are filled in at the least.
const FILL_RATE: u64 = 5000;
const FILL_DEADLINE: Duration = Duration::from_secs(600);

/// Where the next events of a log go.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Number and partition of each principal, by its index.
    principals: Arc<Vec<(i64, i32)>>,
    /// The newest seq of each partition.
    heads: Arc<Vec<AtomicI64>>,
}

impl Places {
    /// Makes `count` principals where there are none, and reads the heads.
    pub(crate) async fn prepare(client: &Client, count: u32) -> Result<Self> {
        let row = client
            .query_one("SELECT count(*)::int FROM partitions", &[])
            .await?;
        let partitions: i32 = row.get(0);
        let names: Vec<String> = (0..count).map(principal_name).collect();
        let of: Vec<i32> = names
            .iter()
            .map(|name| partition_of(TENANT, name, partitions))
            .collect();
        let insert = "INSERT INTO principals (tenant_id, principal_id, partition) \
                      SELECT $1, u.name, u.partition FROM unnest($2::text[], $3::int[]) \
                      AS u (name, partition) ON CONFLICT DO NOTHING";
        client.execute(insert, &[&TENANT, &names, &of]).await?;
        let select = "SELECT q.principal_no, q.partition FROM principals q \
                      WHERE q.tenant_id = $1 AND q.principal_id = ANY ($2) ORDER BY q.principal_id";
        let rows = client.query(select, &[&TENANT, &names]).await?;
        let principals = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let heads = "SELECT coalesce((SELECT max(seq) FROM events e \
                     WHERE e.partition = p.partition), 0) FROM partitions p ORDER BY p.partition";
        let rows = client.query(heads, &[]).await?;
        let heads = rows.iter().map(|row| AtomicI64::new(row.get(0))).collect();
        Ok(Self {
            principals: Arc::new(principals),
            heads: Arc::new(heads),
        })
    }

    /// Number and partition of a principal.
    pub(crate) fn of(&self, principal: u32) -> (i64, i32) {
        self.principals[principal as usize]
    }

    /// The next place in a partition.
    pub(crate) fn next_seq(&self, partition: i32) -> i64 {
        let head = usize::try_from(partition)
            .ok()
            .and_then(|at| self.heads.get(at));
        head.map_or(0, |head| head.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// One COPY.
pub(crate) struct Copy {
    sink: std::pin::Pin<Box<CopyInSink<Bytes>>>,
    buffer: BytesMut,
}

impl Copy {
    pub(crate) async fn begin(client: &Client) -> Result<Self> {
        let sink = Box::pin(client.copy_in(COPY).await?);
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES + 1024);
        buffer.put_slice(b"PGCOPY\n\xff\r\n\0");
        buffer.put_i64(0); // No flags, no extension.
        Ok(Self { sink, buffer })
    }

    /// Adds an event at its place.
    pub(crate) async fn row(
        &mut self,
        places: &Places,
        event: &Event,
        id_ms: u64,
        ingested_us: i64,
    ) -> Result<()> {
        let (principal_no, partition) = places.of(event.principal);
        let seq = places.next_seq(partition);
        let out = &mut self.buffer;
        out.put_i16(COLUMNS);
        let times = [event.occurred_us, ingested_us].map(|us| us - POSTGRES_EPOCH_US);
        for number in [seq, principal_no, times[0], times[1]] {
            out.put_i32(8);
            out.put_i64(number);
        }
        for number in [partition, 0] {
            out.put_i32(4);
            out.put_i32(number);
        }
        let mut id = [0; 36];
        write_id(&mut id, id_ms, event.number);
        put_text(out, &id);
        put_text(out, TYPES[event.kind].as_bytes());
        put_json(out, event.data().as_bytes());
        put_json(out, b"{}");
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Commits; how many rows that were.
    pub(crate) async fn end(mut self) -> Result<u64> {
        self.buffer.put_i16(-1);
        self.flush().await?;
        Ok(self.sink.as_mut().finish().await?)
    }

    async fn flush(&mut self) -> Result<()> {
        let chunk = self.buffer.split().freeze();
        self.buffer.reserve(CHUNK_BYTES + 1024);
        Ok(self.sink.send(chunk).await?)
    }
}

fn put_text(out: &mut BytesMut, text: &[u8]) {
    out.put_i32(i32::try_from(text.len()).unwrap_or(0));
    out.put_slice(text);
}

/// Binary jsonb is its version, 1, and the text.
fn put_json(out: &mut BytesMut, text: &[u8]) {
    out.put_i32(i32::try_from(text.len() + 1).unwrap_or(0));
    out.put_u8(1);
    out.put_slice(text);
}

/// Adds events to a log, over two connections that own the even and the odd partitions, and leaves
/// it vacuumed and with statistics; how many events that were.
pub(crate) async fn fill(url: &str, shape: Shape) -> Result<u64> {
    let filling = async {
        let client = connect(url).await?;
        let places = Places::prepare(&client, shape.all_principals()).await?;
        let (even, odd) = tokio::try_join!(
            fill_half(url, shape, &places, 0),
            fill_half(url, shape, &places, 1)
        )?;
        client.batch_execute("VACUUM (ANALYZE)").await?;
        anyhow::Ok(even + odd)
    };
    let deadline = FILL_DEADLINE + Duration::from_secs(shape.events / FILL_RATE);
    timeout(deadline, filling)
        .await
        .context("filling the log took too long")?
}

async fn fill_half(url: &str, shape: Shape, places: &Places, half: i32) -> Result<u64> {
    let client = connect(url).await?;
    let mut rows = 0;
    let is_mine = |event: &Event| places.of(event.principal).1 % 2 == half;
    let mut events = shape.events().filter(is_mine).peekable();
    let mut stamp_us = now_us();
    while events.peek().is_some() {
        stamp_us = now_us().max(stamp_us + 1);
        let mut copy = Copy::begin(&client).await?;
        for event in events.by_ref().take(FILL_ROWS) {
            let ms = shape.id_ms(event.number);
            copy.row(places, &event, ms, stamp_us).await?;
        }
        rows += copy.end().await?;
    }
    Ok(rows)
}

/// The newest seq of each partition.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    partitions: Vec<i32>,
    seqs: Vec<i64>,
}

impl Heads {
    pub(crate) async fn read(client: &Client) -> Result<Self> {
        let query = "SELECT p.partition, coalesce((SELECT max(e.seq) FROM events e \
                     WHERE e.partition = p.partition), 0) FROM partitions p ORDER BY 1";
        let rows = client.query(query, &[]).await?;
        Ok(Self {
            partitions: rows.iter().map(|row| row.get(0)).collect(),
            seqs: rows.iter().map(|row| row.get(1)).collect(),
        })
    }
}

impl Heads {
    /// How many events there are, as no seq is left out.
    pub(crate) fn events(&self) -> u64 {
        self.seqs
            .iter()
            .filter_map(|seq| u64::try_from(*seq).ok())
            .sum()
    }

    /// Before the first event.
    pub(crate) async fn nowhere(client: &Client) -> Result<Self> {
        let mut heads = Self::read(client).await?;
        heads.seqs.fill(0);
        Ok(heads)
    }
}

/// Events and tokens of a part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) events: i64,
    pub(crate) tokens: i64,
}

impl Totals {
    /// Of what lies behind these heads.
    pub(crate) async fn behind(client: &Client, heads: &Heads) -> Result<Self> {
        // What lies behind is a small part: the planner is not to read the whole log for it.
        client
            .batch_execute(
                "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off",
            )
            .await?;
        let query = "SELECT count(*), coalesce(sum((e.data ->> 'tokens')::bigint), 0)::bigint \
                     FROM unnest($1::int[], $2::bigint[]) AS h (partition, seq) \
                     CROSS JOIN LATERAL (SELECT n.data FROM events n \
                     WHERE n.partition = h.partition AND n.seq > h.seq OFFSET 0) e";
        let row = client
            .query_one(query, &[&heads.partitions, &heads.seqs])
            .await?;
        client.batch_execute("COMMIT").await?;
        Ok(Self {
            events: row.get(0),
            tokens: row.get(1),
        })
    }
}
