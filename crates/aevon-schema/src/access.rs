//! Whether the database grants a service what it needs. A server that answers may still refuse
//! everything: a standby, a role without rights.

use crate::database::Connection;
use crate::error::StoreError;
use crate::statement::Statement;
use diesel::sql_types::{Array, Bool, Text};
use diesel_async::RunQueryDsl;

/// What a service needs.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Whether it writes.
    pub(crate) is_writing: bool,
    /// Relations, and what it does with each: a privilege of Postgres's, or [`LOCK`].
    pub(crate) privileges: &'static [(&'static str, &'static str)],
}

/// Locks rows and changes none. Postgres asks for `UPDATE` on some column then; [`crate::roles`]
/// grants it on one that can't be changed.
pub(crate) const LOCK: &str = "LOCK";

/// Why a service can't work with its database.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It takes no writes.
    #[error("Postgres takes no writes here: it is a standby, or read-only")]
    ReadOnly,
    /// It knows the role and does not let it.
    #[error("the role of database.url lacks {0}")]
    Lacks(String),
}

/// Looks whether a session has an access.
///
/// # Errors
/// See [`Unfit`].
pub(crate) async fn check(connection: &mut Connection, access: &Access) -> Result<(), Unfit> {
    let (relations, privileges): (Vec<&str>, Vec<&str>) = access.privileges.iter().copied().unzip();
    let query = diesel::sql_query(include_str!("sql/access_check.sql"))
        .bind::<Array<Text>, _>(relations)
        .bind::<Array<Text>, _>(privileges);
    let rows: Vec<(bool, Vec<String>)> = Statement::<_, (Bool, Array<Text>)>::new(query)
        .load(&mut connection.pg)
        .await
        .map_err(StoreError::from)?;
    let (is_read_only, lacking) = rows.into_iter().next().unwrap_or_default();
    if access.is_writing && is_read_only {
        return Err(Unfit::ReadOnly);
    }
    if !lacking.is_empty() {
        return Err(Unfit::Lacks(lacking.join(", ")));
    }
    Ok(())
}
