//! The server behind a connection, as an operator asks about it.

use crate::database::Connection;
use crate::error::StoreError;
use crate::statement::Statement;
use crate::values::from_pg;
use aevon_core::time::Timestamp;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Bool, Text, Timestamptz};
use diesel_async::RunQueryDsl;

/// A server, and who asks it.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Of Postgres.
    pub version: String,
    /// Who asks.
    pub role: String,
    /// Whether it follows another one.
    pub is_standby: bool,
    /// Whether who asks owns the log.
    pub is_owner: bool,
    /// What time it has.
    pub clock: Timestamp,
}

/// Looks.
///
/// # Errors
/// Where the database fails.
pub async fn look(connection: &mut Connection) -> Result<Server, StoreError> {
    let query = diesel::sql_query(include_str!("sql/server_look.sql"));
    let query = Statement::<_, (Text, Text, Bool, Bool, Timestamptz)>::new(query);
    let row: (String, String, bool, bool, PgTimestamp) =
        query.get_result(&mut connection.pg).await?;
    let (version, role, is_standby, is_owner, clock) = row;
    Ok(Server {
        version,
        role,
        is_standby,
        is_owner,
        clock: from_pg(clock),
    })
}
