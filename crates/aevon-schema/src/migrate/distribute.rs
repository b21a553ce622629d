//! The plain schema as co-located distributed tables, for a Postgres of several nodes.
//!
//! Invariant: an optional step after the migrations; nothing else of this program knows of it. Statements
//! keep to the rules of such a Postgres everywhere, which a test holds (`distribution.rs`).

use super::{MigrateError, MigrateOptions, Session, check_current, unlock};
use crate::error::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::Bool;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

/// What Citus is told.
pub const CITUS: &str = include_str!("../sql/distribute_citus.sql");

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Bool)]
    is_there: bool,
}

/// Distributes the tables of a migrated database; false where they are distributed already.
///
/// # Errors
/// See [`MigrateError`]; nothing was changed then.
pub async fn distribute(
    url: &str,
    options: &MigrateOptions,
    tell: impl Fn(String),
) -> Result<bool, MigrateError> {
    let Session { mut pg } = Session::begin(url, options, &tell).await?;
    check_current(&mut pg).await?;
    let extension = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') AS is_there";
    if !found(&mut pg, extension).await? {
        return Err(MigrateError::NoCitus);
    }
    let before = "SELECT EXISTS (SELECT FROM pg_dist_partition \
                  WHERE logicalrelid = 'partitions'::regclass) AS is_there";
    let is_done = found(&mut pg, before).await?;
    if !is_done {
        let done = pg.batch_execute(&format!("BEGIN; {CITUS}; COMMIT")).await;
        done.map_err(StoreError::from)?;
    }
    unlock(&mut pg).await?;
    Ok(!is_done)
}

async fn found(pg: &mut AsyncPgConnection, query: &str) -> Result<bool, StoreError> {
    let found: Found = diesel::sql_query(query).get_result(pg).await?;
    Ok(found.is_there)
}
