//! `api_keys`: who may call. Written by `aevon key` alone.
//!
//! Invariant: the secret of a key never comes here, only its SHA-256.

use crate::access::Access;
use crate::database::{Connection, Database};
use crate::error::StoreError;
use crate::statement::Statement;
use crate::values::{from_pg, to_pg};
use aevon_core::time::Timestamp;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, Binary, Bool, Integer, Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl;
use std::time::Duration;

/// What making, listing and revoking keys needs of the database.
pub(crate) const ACCESS: Access = Access {
    is_writing: true,
    privileges: &[
        ("api_keys", "SELECT"),
        ("api_keys", "INSERT"),
        ("api_keys", "UPDATE"),
    ],
};

/// How long a look-up may take.
const FIND_TIMEOUT: Duration = Duration::from_secs(5);

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its number.
    pub key_no: i32,
    /// SHA-256 of its secret.
    pub secret_hash: Vec<u8>,
    /// Whose it is; `None` is the platform's.
    pub tenant_id: Option<String>,
    /// What it allows.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused; may lie ahead.
    pub revoked_at: Option<Timestamp>,
    /// Whether it is refused now, by the database's clock.
    pub is_revoked: bool,
}

type Columns = (
    Integer,
    Binary,
    Nullable<Text>,
    Array<Text>,
    Timestamptz,
    Nullable<Timestamptz>,
    Bool,
);
type Row = (
    i32,
    Vec<u8>,
    Option<String>,
    Vec<String>,
    PgTimestamp,
    Option<PgTimestamp>,
    bool,
);

fn api_key(row: Row) -> ApiKey {
    let (key_no, secret_hash, tenant_id, scopes, created_at, revoked_at, is_revoked) = row;
    ApiKey {
        key_no,
        secret_hash,
        tenant_id,
        scopes,
        created_at: from_pg(created_at),
        revoked_at: revoked_at.map(from_pg),
        is_revoked,
    }
}

/// Adds a key; its number.
///
/// # Errors
/// [`StoreError`].
pub async fn create(
    connection: &mut Connection,
    secret_hash: &[u8],
    tenant_id: Option<&str>,
    scopes: &[&str],
) -> Result<i32, StoreError> {
    let query = diesel::sql_query(include_str!("sql/api_keys_create.sql"))
        .bind::<Binary, _>(secret_hash)
        .bind::<Nullable<Text>, _>(tenant_id)
        .bind::<Array<Text>, _>(scopes);
    connection.begin_use();
    let (key_no,) = Statement::<_, (Integer,)>::new(query)
        .get_result(&mut connection.pg)
        .await?;
    connection.end_use();
    Ok(key_no)
}

/// The key of a number, or every key; by number.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    connection: &mut Connection,
    key_no: Option<i32>,
) -> Result<Vec<ApiKey>, StoreError> {
    let query = diesel::sql_query(include_str!("sql/api_keys_list.sql"))
        .bind::<Nullable<Integer>, _>(key_no);
    connection.begin_use();
    let rows: Vec<Row> = Statement::<_, Columns>::new(query)
        .load(&mut connection.pg)
        .await?;
    connection.end_use();
    Ok(rows.into_iter().map(api_key).collect())
}

/// The key of a number, where it is good.
///
/// # Errors
/// [`StoreError`].
pub async fn find(database: &Database, key_no: i32) -> Result<Option<ApiKey>, StoreError> {
    let finding = async {
        let mut connection = database.get().await?;
        list(&mut connection, Some(key_no)).await
    };
    let found = tokio::time::timeout(FIND_TIMEOUT, finding).await;
    let found = found.unwrap_or(Err(StoreError::DeadlineExceeded("looking a key up")))?;
    Ok(found.into_iter().find(|key| !key.is_revoked))
}

/// Refuses a key from `at` on, or from now on; false where no key that is still good has this
/// number. A revocation never moves back.
///
/// # Errors
/// [`StoreError`].
pub async fn revoke(
    connection: &mut Connection,
    key_no: i32,
    at: Option<Timestamp>,
) -> Result<bool, StoreError> {
    let query = diesel::sql_query(include_str!("sql/api_keys_revoke.sql"))
        .bind::<Integer, _>(key_no)
        .bind::<Nullable<Timestamptz>, _>(at.map(to_pg));
    connection.begin_use();
    let revoked = Statement::<_, ()>::new(query)
        .execute(&mut connection.pg)
        .await?;
    connection.end_use();
    Ok(revoked == 1)
}
