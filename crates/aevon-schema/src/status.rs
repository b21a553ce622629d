//! Where the buckets of every rule version stand in every partition, for an operator.
//!
//! Invariant: one statement, hence one snapshot; reads only.

use crate::database::Connection;
use crate::error::StoreError;
use crate::rules::Status;
use crate::statement::Statement;
use crate::values::from_pg;
use aevon_core::time::Timestamp;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{BigInt, Bool, Double, Integer, Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl;

/// A version of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionStatus {
    /// The rule's name.
    pub name: String,
    /// The version.
    pub version: i32,
    /// Where it is in its life.
    pub status: Status,
    /// Whether its buckets are being made anew, beside those that answer.
    pub is_rebuilding: bool,
    /// Every partition, ascending.
    pub partitions: Vec<Progress>,
}

/// How far the buckets of a version are in a partition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The partition.
    pub partition: i32,
    /// They are complete up to here; 0 where no sweep has begun.
    pub checkpoint: i64,
    /// The newest seq.
    pub head: i64,
    /// Age in seconds of the oldest event that they don't hold; 0 where there is none.
    pub age_seconds: f64,
    /// When they were written last.
    pub swept_at: Option<Timestamp>,
    /// How long that slice took.
    pub sweep_seconds: Option<f64>,
}

impl Progress {
    /// Events that the buckets don't hold.
    pub const fn lag_events(&self) -> i64 {
        if self.head > self.checkpoint {
            self.head - self.checkpoint
        } else {
            0
        }
    }
}

type Columns = (
    Integer,
    Text,
    Integer,
    Text,
    Integer,
    BigInt,
    BigInt,
    Double,
    Nullable<Timestamptz>,
    Nullable<Double>,
    Bool,
);
type Row = (
    i32,
    String,
    i32,
    String,
    i32,
    i64,
    i64,
    f64,
    Option<PgTimestamp>,
    Option<f64>,
    bool,
);

/// Every version of every name, or of one, by name and version.
///
/// # Errors
/// [`StoreError`].
pub async fn read(
    connection: &mut Connection,
    name: Option<&str>,
) -> Result<Vec<VersionStatus>, StoreError> {
    let query =
        diesel::sql_query(include_str!("sql/status_lag.sql")).bind::<Nullable<Text>, _>(name);
    connection.begin_use();
    let rows: Vec<Row> = Statement::<_, Columns>::new(query)
        .load(&mut connection.pg)
        .await?;
    connection.end_use();
    let version = |rows: &[Row]| {
        let (_, name, version, status, ..) = &rows[0];
        Ok(VersionStatus {
            name: name.clone(),
            version: *version,
            status: Status::parse(status)?,
            is_rebuilding: rows[0].10,
            partitions: rows.iter().map(progress).collect(),
        })
    };
    rows.chunk_by(|a, b| a.0 == b.0).map(version).collect()
}

fn progress(row: &Row) -> Progress {
    Progress {
        partition: row.4,
        checkpoint: row.5,
        head: row.6,
        // Stamps may run ahead of the clock for a moment.
        age_seconds: row.7.max(0.0),
        swept_at: row.8.map(from_pg),
        sweep_seconds: row.9,
    }
}
