//! The proof of the buckets: what stands, against what the log says ought to.
//!
//! Invariant: reads only, locks nothing; works on a hot standby, and with no more rights than reads
//! have.
//! Invariant: all of a batch comes from one repeatable-read snapshot: checkpoints, events, buckets.
//! A batch is some principals of one partition, so no snapshot is held longer than these take.
//! Invariant: memory is bounded by [`aevon_core::verify`]; Postgres puts events in the order in which
//! they occurred, on disk where they are many.

mod batch;

use crate::access::Access;
use crate::database::Connection;
use crate::error::StoreError;
use crate::principals::{self, Unknown};
use crate::statement::Statement;
use aevon_core::position::Position;
use aevon_core::time::{Grain, Timestamp};
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel_async::RunQueryDsl;

pub use batch::{check, check_totals};

/// What this, previews and the status of rules need of the database.
pub(crate) const ACCESS: Access = Access {
    is_writing: false,
    privileges: &[
        ("principals", "SELECT"),
        ("tenants", "SELECT"),
        ("events", "SELECT"),
        ("voids", "SELECT"),
        ("rules", "SELECT"),
        ("series", "SELECT"),
        ("pre_aggregates", "SELECT"),
        ("sweep_checkpoints", "SELECT"),
        ("imports", "SELECT"),
    ],
};

/// A principal to be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Its number.
    pub principal_no: i64,
    /// Whose it is.
    pub tenant_id: String,
    /// Its name.
    pub principal_id: String,
}

/// A tenant whose totals in a partition are to be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its number there; 0 where it has none, as nothing of it was folded.
    pub tenant_no: i64,
    /// Its name.
    pub tenant_id: String,
}

/// Which rule versions to verify.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// All of this name; all there are, without one.
    pub name: Option<String>,
    /// Only this one of the name.
    pub version: Option<i32>,
}

/// What the verification of a batch found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// Events that were folded.
    pub events: u64,
    /// Rows that stand.
    pub buckets: u64,
    /// Rows that differ, are missing, or ought not to stand.
    pub differences: u64,
    /// The first of them.
    pub first: Option<Difference>,
    /// Rule versions that have a checkpoint in the partition: `name:version`.
    pub swept: Vec<String>,
    /// Those that have none: whatever stands of them is used by nobody.
    pub unswept: Vec<String>,
    /// Those whose checkpoint lies ahead of the log: events that come will never be in their buckets.
    pub ahead: Vec<Ahead>,
}

/// A checkpoint ahead of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// `name:version`.
    pub rule: String,
    /// Where its buckets are said to be complete up to.
    pub checkpoint: Position,
    /// The newest seq of that partition.
    pub head: i64,
}

/// A row that is not what it ought to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whose; the tenant's total, where it has no name.
    pub principal: Principal,
    /// `name:version`.
    pub rule: String,
    /// Labels of its group, as they are stored; none for the ungrouped series.
    pub labels: Option<String>,
    /// Width of the window.
    pub grain: Grain,
    /// Start of the window.
    pub window_start: Timestamp,
    /// UTC day of ingestion; 0 for days.
    pub epoch: i32,
    /// The first column that differs; `row` where there is none, or ought to be none.
    pub column: &'static str,
    /// What stands there.
    pub stored: String,
    /// What ought to.
    pub folded: String,
}

/// How many principals there are, of a tenant or of all.
///
/// # Errors
/// [`StoreError`].
pub async fn count(connection: &mut Connection, tenant: Option<&str>) -> Result<i64, StoreError> {
    let query =
        diesel::sql_query(include_str!("sql/verify_count.sql")).bind::<Nullable<Text>, _>(tenant);
    let rows: Vec<(i64,)> = Statement::<_, (BigInt,)>::new(query)
        .load(&mut connection.pg)
        .await?;
    Ok(rows.into_iter().next().map_or(0, |row| row.0))
}

/// A page of the principals of a partition, by tenant and principal: the first of them that come
/// behind `after`.
///
/// # Errors
/// [`StoreError`].
pub async fn principals(
    connection: &mut Connection,
    partition: i32,
    (tenant, principal): (&str, &str),
    limit: i64,
) -> Result<Vec<Principal>, StoreError> {
    let query = diesel::sql_query(include_str!("sql/verify_principals.sql"))
        .bind::<Integer, _>(partition)
        .bind::<Text, _>(tenant)
        .bind::<Text, _>(principal)
        .bind::<BigInt, _>(limit);
    let rows: Vec<(i64, String, String)> = Statement::<_, (BigInt, Text, Text)>::new(query)
        .load(&mut connection.pg)
        .await?;
    let principal = |(principal_no, tenant_id, principal_id)| Principal {
        principal_no,
        tenant_id,
        principal_id,
    };
    Ok(rows.into_iter().map(principal).collect())
}

/// A page of the tenants that have principals in a partition: the first of them behind `after`.
///
/// # Errors
/// [`StoreError`].
pub async fn tenants(
    connection: &mut Connection,
    partition: i32,
    after: &str,
    limit: i64,
) -> Result<Vec<Tenant>, StoreError> {
    let query = diesel::sql_query(include_str!("sql/verify_tenants.sql"))
        .bind::<Integer, _>(partition)
        .bind::<Text, _>(after)
        .bind::<BigInt, _>(limit);
    let rows: Vec<(String, i64)> = Statement::<_, (Text, BigInt)>::new(query)
        .load(&mut connection.pg)
        .await?;
    let tenant = |(tenant_id, tenant_no)| Tenant {
        tenant_no,
        tenant_id,
    };
    Ok(rows.into_iter().map(tenant).collect())
}

/// One principal, if the log knows it.
///
/// # Errors
/// [`StoreError`].
pub async fn principal(
    connection: &mut Connection,
    partition: i32,
    (tenant, principal): (&str, &str),
) -> Result<Option<Principal>, StoreError> {
    let mut asked = Unknown::default();
    asked.push(tenant, principal, partition);
    let found = principals::find(&connection.pg, &[partition], &asked).await?;
    let principal = |(tenant_id, principal_id, principal_no)| Principal {
        principal_no,
        tenant_id,
        principal_id,
    };
    Ok(found.into_iter().next().map(principal))
}
