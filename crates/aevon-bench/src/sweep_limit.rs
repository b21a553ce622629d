//! The limit of the sweep: the same bucket rows of all grains, written by sorted SQL in one
//! transaction on one connection; and how the buckets of two databases are compared.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::rig::connect;

const DEADLINE: Duration = Duration::from_secs(1800);

/// Enough that no statement sorts or groups on disk.
const SETTINGS: &str = "SET work_mem = '512MB'; SET TIME ZONE 'UTC';
    SET hash_mem_multiplier = 2; SET statement_timeout = 0";

/// The rules of the rig: number, type of events, operator.
const SERIES: &str = "INSERT INTO series (principal_no, rule_no, generation, partition)
    SELECT q.principal_no, r.rule_no, 1, q.partition FROM principals q
    CROSS JOIN (VALUES (1), (2), (3)) AS r (rule_no)
    ORDER BY q.principal_no, r.rule_no";

const MINUTES: &str = "INSERT INTO pre_aggregates (partition, grain, series_no, operator,
        window_start, epoch, event_count, skipped_count, first_seq, last_seq, value)
    SELECT e.partition, 1, s.series_no, r.operator, date_bin('1 minute', e.occurred_at, 'epoch'),
        e.ingested_at::date - date '1970-01-01', count(*), 0, min(e.seq), max(e.seq),
        coalesce(sum((e.data ->> 'tokens')::numeric) FILTER (WHERE r.operator = 2),
                 max((e.data ->> 'tokens')::numeric) FILTER (WHERE r.operator = 4))
    FROM events e
    JOIN (VALUES (1, 'api.request', 1::smallint), (2, 'model.call', 2), (3, 'model.call', 4))
      AS r (rule_no, type, operator) ON r.type = e.type
    JOIN series s ON s.principal_no = e.principal_no AND s.rule_no = r.rule_no
    GROUP BY 1, 3, 4, 5, 6
    ORDER BY 3, 5, 6";

/// Hours from minutes, days from hours: nothing is read that need not be.
const COARSER: &str = "INSERT INTO pre_aggregates (partition, grain, series_no, operator,
        window_start, epoch, event_count, skipped_count, first_seq, last_seq, value)
    SELECT b.partition, $grain, b.series_no, b.operator,
        date_bin('$width', b.window_start, 'epoch'), $epoch, sum(b.event_count), 0,
        min(b.first_seq), max(b.last_seq),
        coalesce(sum(b.value) FILTER (WHERE b.operator = 2),
                 max(b.value) FILTER (WHERE b.operator = 4))
    FROM pre_aggregates b WHERE b.grain = $finer
    GROUP BY 1, 3, 4, 5, 6
    ORDER BY 3, 5, 6";

/// Writes the buckets of a log where there are none; how long that took.
pub(crate) async fn write(url: &str) -> Result<Duration> {
    let coarser = |grain: &str, width: &str, epoch: &str, finer: &str| {
        let texts = [
            ("$grain", grain),
            ("$width", width),
            ("$epoch", epoch),
            ("$finer", finer),
        ];
        texts.iter().fold(COARSER.to_owned(), |sql, (name, text)| {
            sql.replace(name, text)
        })
    };
    let hours = coarser("60", "1 hour", "b.epoch", "1");
    let days = coarser("1440", "1 day", "0", "60");
    let client = connect(url).await?;
    client.batch_execute(SETTINGS).await?;
    let began = Instant::now();
    let statements = [
        "BEGIN",
        SERIES,
        "ANALYZE series",
        MINUTES,
        &hours,
        &days,
        "COMMIT",
    ]
    .join(";");
    timeout(DEADLINE, client.batch_execute(&statements))
        .await
        .context("SQL took too long")??;
    Ok(began.elapsed())
}

/// What stands in the buckets, for comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Buckets {
    /// Of all grains.
    pub(crate) rows: i64,
    /// Events that were counted and tokens that were summed, from minutes, hours, days.
    pub(crate) folds: [String; 3],
    /// Of every column of every row.
    pub(crate) digest: String,
}

impl Buckets {
    pub(crate) async fn read(client: &Client) -> Result<Self> {
        let query = "SELECT count(*), sum(hashtextextended(concat_ws('|', s.principal_no, b.grain, \
                     b.operator, b.window_start, b.epoch, b.event_count, b.skipped_count, \
                     b.first_seq, b.last_seq, trim_scale(b.value)), 0)::numeric)::text \
                     FROM pre_aggregates b JOIN series s USING (series_no)";
        let row = client.query_one(query, &[]).await?;
        let mut folds = [const { String::new() }; 3];
        for (fold, grain) in folds.iter_mut().zip([1i16, 60, 1440]) {
            let query = "SELECT concat(coalesce(sum(event_count) FILTER (WHERE operator = 1), 0), \
                         ' events, ', coalesce(sum(trim_scale(value)) FILTER (WHERE operator = 2), \
                         0), ' tokens') FROM pre_aggregates WHERE grain = $1";
            *fold = client.query_one(query, &[&grain]).await?.get(0);
        }
        let digest = row.get::<_, Option<String>>(1).unwrap_or_default();
        Ok(Self {
            rows: row.get(0),
            folds,
            digest,
        })
    }

    /// What the log says that the folds have to be.
    pub(crate) async fn expected_fold(client: &Client) -> Result<String> {
        let query = "SELECT concat(count(*) FILTER (WHERE type = 'api.request'), ' events, ', \
                     coalesce(sum((data ->> 'tokens')::numeric) FILTER (WHERE type = \
                     'model.call'), 0), ' tokens') FROM events";
        Ok(client.query_one(query, &[]).await?.get(0))
    }
}
