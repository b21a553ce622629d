//! The limit of the sweep: the same bucket rows of all grains, of principals and of their tenants'
//! totals, written by sorted SQL in one transaction on one connection; and how the buckets of two
//! databases are compared.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::rig::connect;

const DEADLINE: Duration = Duration::from_secs(1800);

/// Enough that no statement sorts or groups on disk.
const SETTINGS: &str = "SET work_mem = '512MB'; SET TIME ZONE 'UTC';
    SET hash_mem_multiplier = 2; SET statement_timeout = 0";

/// A tenant's number in each partition where it has principals.
const TENANTS: &str = "INSERT INTO tenants (tenant_id, partition)
    SELECT DISTINCT q.tenant_id, q.partition FROM principals q ORDER BY 1, 2";

/// Of the rules of the rig, for principals and for tenants, rule by rule.
const SERIES: &str = "INSERT INTO series (principal_no, rule_no, generation, partition)
    SELECT q.owner_no, r.rule_no, 1, q.partition
    FROM (SELECT principal_no AS owner_no, partition FROM principals
          UNION ALL SELECT tenant_no, partition FROM tenants) q
    CROSS JOIN (VALUES (1), (2), (3)) AS r (rule_no)
    ORDER BY r.rule_no, q.owner_no";

/// The series of a principal, and that of the total which it is a part of.
const LINKS: &str = "CREATE TEMPORARY TABLE links ON COMMIT DROP AS
    SELECT s.principal_no, s.rule_no, s.series_no, l.series_no AS total_series_no
    FROM principals q
    JOIN tenants t USING (tenant_id, partition)
    JOIN series s ON s.principal_no = q.principal_no
    JOIN series l ON l.principal_no = t.tenant_no AND l.rule_no = s.rule_no";

const COLUMNS: &str = "INSERT INTO pre_aggregates (partition, grain, series_no, operator,
        window_start, epoch, event_count, skipped_count, first_seq, last_seq, value,
        total_series_no)";

/// Rules have their numbers in the order of their names.
const MINUTES: &str = "SELECT e.partition, 1, s.series_no, r.operator,
        date_bin('1 minute', e.occurred_at, 'epoch'),
        e.ingested_at::date - date '1970-01-01', count(*), 0, min(e.seq), max(e.seq),
        coalesce(sum((e.data ->> 'tokens')::numeric) FILTER (WHERE r.operator = 2),
                 max((e.data ->> 'tokens')::numeric) FILTER (WHERE r.operator = 4)),
        s.total_series_no
    FROM events e
    JOIN (VALUES (1, 'model.call', 4::smallint), (2, 'api.request', 1), (3, 'model.call', 2))
      AS r (rule_no, type, operator) ON r.type = e.type
    JOIN links s ON s.principal_no = e.principal_no AND s.rule_no = r.rule_no
    GROUP BY 1, 3, 4, 5, 6, 12
    ORDER BY 3, 5, 6";

/// Totals from the minutes of principals, hours from minutes, days from hours: nothing is read that
/// need not be.
const FURTHER: &str = "SELECT b.partition, $grain, $series, b.operator,
        date_bin('$width', b.window_start, 'epoch'), $epoch, sum(b.event_count), 0,
        min(b.first_seq), max(b.last_seq),
        coalesce(sum(b.value) FILTER (WHERE b.operator = 2),
                 max(b.value) FILTER (WHERE b.operator = 4)), $total
    FROM pre_aggregates b WHERE b.grain = $finer
    GROUP BY 1, 3, 4, 5, 6, 12
    ORDER BY 3, 5, 6";

/// `FURTHER` with its places filled.
fn further(texts: [(&str, &str); 6]) -> String {
    let put = |sql: String, (name, text): &(&str, &str)| sql.replace(name, text);
    texts.iter().fold(FURTHER.to_owned(), put)
}

/// The statements, in their order.
fn statements() -> String {
    let coarser = |grain, width, epoch, finer| {
        further([
            ("$grain", grain),
            ("$series", "b.series_no"),
            ("$width", width),
            ("$epoch", epoch),
            ("$total", "b.total_series_no"),
            ("$finer", finer),
        ])
    };
    let totals = further([
        ("$grain", "1"),
        ("$series", "b.total_series_no"),
        ("$width", "1 minute"),
        ("$epoch", "b.epoch"),
        ("$total", "NULL::bigint"),
        ("$finer", "1"),
    ]);
    let insert = |select: &str| format!("{COLUMNS}\n    {select}");
    [
        "BEGIN",
        TENANTS,
        SERIES,
        "ANALYZE series",
        LINKS,
        "ANALYZE links",
        &insert(MINUTES),
        &insert(&totals),
        &insert(&coarser("60", "1 hour", "b.epoch", "1")),
        &insert(&coarser("1440", "1 day", "0", "60")),
        "COMMIT",
    ]
    .join(";\n")
}

/// Writes the buckets of a log where there are none; how long that took.
pub(crate) async fn write(url: &str) -> Result<Duration> {
    let client = connect(url).await?;
    client.batch_execute(SETTINGS).await?;
    let began = Instant::now();
    timeout(DEADLINE, client.batch_execute(&statements()))
        .await
        .context("SQL took too long")??;
    Ok(began.elapsed())
}

/// What stands in the buckets, for comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Buckets {
    /// Of all grains.
    pub(crate) rows: i64,
    /// Events that were counted and tokens that were summed, by [`FOLDS`].
    pub(crate) folds: Vec<String>,
    /// Of every row: whose it is, each column, and what total it is a part of.
    pub(crate) digest: String,
}

/// Grain, and whether of tenants' totals.
pub(crate) const FOLDS: [(i16, bool); 6] = [
    (1, false),
    (60, false),
    (1440, false),
    (1, true),
    (60, true),
    (1440, true),
];

/// Numbers of tenants and of series differ from one database to the next, so owners are named by what
/// they are.
const DIGEST: &str = "SELECT count(*), sum(hashtextextended(concat_ws('|',
        coalesce('tenant in ' || t.partition, s.principal_no::text), s.rule_no, b.grain,
        b.operator, b.window_start, b.epoch, b.event_count, b.skipped_count,
        b.first_seq, b.last_seq, coalesce(trim_scale(b.value)::text, '-'),
        coalesce('part of ' || l.rule_no || ' in ' || u.partition, '-')), 0)::numeric)::text
    FROM pre_aggregates b
    JOIN series s USING (series_no)
    LEFT JOIN tenants t ON t.tenant_no = s.principal_no
    LEFT JOIN series l ON l.series_no = b.total_series_no
    LEFT JOIN tenants u ON u.tenant_no = l.principal_no";

const FOLD: &str = "SELECT concat(coalesce(sum(event_count) FILTER (WHERE operator = 1), 0),
        ' events, ', coalesce(sum(trim_scale(value)) FILTER (WHERE operator = 2), 0), ' tokens')
    FROM pre_aggregates WHERE grain = $1 AND (total_series_no IS NULL) = $2";

impl Buckets {
    pub(crate) async fn read(client: &Client) -> Result<Self> {
        let row = client.query_one(DIGEST, &[]).await?;
        let mut folds = Vec::new();
        for (grain, is_total) in FOLDS {
            let fold = client.query_one(FOLD, &[&grain, &is_total]).await?;
            folds.push(fold.get(0));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_the_statements_is_filled() {
        let sql = statements();
        assert!(!sql.contains('$'), "{sql}");
        assert_eq!(sql.matches("INSERT INTO pre_aggregates").count(), 4);
    }
}
