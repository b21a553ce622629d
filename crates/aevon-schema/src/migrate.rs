//! Bringing a database to the schema that this program knows, and telling whether it has it.
//!
//! Invariant: one migration runs at a time, in a transaction of its own; one that failed changed
//! nothing, and those before it stand.
//! Invariant: migrations only add, so that programs of the schema before go on; one that does not
//! says so in `compatibility`. A test compares the catalogs before and after.
//! Invariant: no wait is without a bound: for the server, for another migration, for locks.

use crate::database::{Connection, Database, DatabaseOptions, IDLE_IN_TRANSACTION_TIMEOUT};
use crate::error::StoreError;
use crate::partitions;
use diesel::QueryableByName;
use diesel::pg::Pg;
use diesel::sql_types::{Bool, Text};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::time::{Duration, Instant};

#[cfg(test)]
mod catalog;
mod distribute;
#[cfg(test)]
mod tests;
mod texts;
mod versions;

pub use distribute::{CITUS, distribute};
pub use texts::text;
pub(crate) use versions::ACCESS;
use versions::{CHECK_TIMEOUT, RETRY_INTERVAL};
pub use versions::{MigrationState, SchemaError, SchemaStatus, State, check, newest_known, wait};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations");

/// Partitions of a log that nobody chose a number for.
pub const DEFAULT_PARTITIONS: i32 = 16;
/// Most partitions of a log.
pub const MAX_PARTITIONS: i32 = 4096;
/// How long one statement of a migration may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3600);
/// Who holds it migrates; it goes with the connection.
const ADVISORY_LOCK: i64 = 7_308_895_148_127;

/// How to migrate.
#[derive(Clone, Copy, Debug)]
pub struct MigrateOptions {
    /// Partitions of a new log, for ever; none: [`DEFAULT_PARTITIONS`].
    pub partitions: Option<i32>,
    /// How long to wait for the server, and for another migration.
    pub wait: Duration,
    /// How long a statement may wait for a lock. While it waits, others wait behind it.
    pub lock_timeout: Duration,
}

impl Default for MigrateOptions {
    fn default() -> Self {
        Self {
            partitions: None,
            wait: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(10),
        }
    }
}

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrateReport {
    /// Migrations that ran now, in order.
    pub applied: Vec<String>,
    /// Partitions of the log.
    pub partitions: i32,
    /// The newest schema there, where it is newer than the one that this program knows, and serves it.
    pub newer: Option<String>,
}

/// Why a database could not be brought to the current schema.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was not reached in time.
    #[error("Postgres was not reached within {waited:?}: {reason}")]
    NotReached {
        /// How long it was waited for.
        waited: Duration,
        /// Why the last attempt failed.
        reason: String,
    },
    /// Another migration runs.
    #[error("another migration of this database runs for longer than {0:?}")]
    Busy(Duration),
    /// A migration failed; what ran before it stands.
    #[error("the migration {migration} failed and changed nothing: {reason}")]
    Failed {
        /// Which.
        migration: String,
        /// Why.
        reason: String,
    },
    /// A migration waited too long for a lock.
    #[error(
        "the migration {migration} waited {waited:?} for a lock, gave up and changed nothing; run it \
         again. Open for longest: {holders}"
    )]
    Locked {
        /// Which.
        migration: String,
        /// How long it waited.
        waited: Duration,
        /// Who may hold it.
        holders: String,
    },
    /// The schema does not go with this program.
    #[error(transparent)]
    Schema(SchemaError),
    /// The number of partitions is chosen once.
    #[error("the log has {existing} partitions and keeps them; {asked} were asked for")]
    PartitionsAreFixed {
        /// How many there are.
        existing: i32,
        /// How many were asked for.
        asked: i32,
    },
    /// No such number.
    #[error("partitions: {0} is not between 1 and {MAX_PARTITIONS}")]
    InvalidPartitions(i32),
    /// Text could not be kept as it is sent.
    #[error("the database has the encoding {0}; Aevon needs UTF8")]
    NotUtf8(String),
    /// No prefix for the names of roles.
    #[error("{0:?} is no prefix of roles: a to z, then a to z, 0 to 9 and _, 40 in all")]
    InvalidPrefix(String),
    /// Nothing to distribute with.
    #[error("the database has no extension citus: CREATE EXTENSION citus, as an administrator")]
    NoCitus,
    /// Roles have to be made by somebody else.
    #[error(
        "the role of database.url may not make roles, and some are missing; run as an administrator, \
         then again this: {0}"
    )]
    RolesAreMissing(String),
}

impl From<SchemaError> for MigrateError {
    fn from(error: SchemaError) -> Self {
        match error {
            SchemaError::Store(error) => Self::Store(error),
            error => Self::Schema(error),
        }
    }
}

/// Brings the database to the current schema. Safe to run again, and by several at once. `tell` hears
/// what is waited for, and what was done before something failed.
///
/// Needs a multi-threaded runtime: migrations run on a blocking thread.
///
/// # Errors
/// See [`MigrateError`].
pub async fn run(
    url: &str,
    options: &MigrateOptions,
    tell: impl Fn(String),
) -> Result<MigrateReport, MigrateError> {
    let asked = options.partitions;
    if let Some(asked) = asked.filter(|asked| !(1..=MAX_PARTITIONS).contains(asked)) {
        return Err(MigrateError::InvalidPartitions(asked));
    }
    let session = Session::begin(url, options, &tell).await?;
    let (mut pg, applied) = apply_pending(session, options, &tell).await?;
    let existing = partitions::create(&mut pg, asked.unwrap_or(DEFAULT_PARTITIONS)).await?;
    if let Some(asked) = asked.filter(|asked| *asked != existing) {
        return Err(MigrateError::PartitionsAreFixed { existing, asked });
    }
    let status = versions::read(&mut pg).await?;
    unlock(&mut pg).await?;
    Ok(MigrateReport {
        applied,
        partitions: existing,
        newer: status
            .found()
            .filter(|_| status.is_newer())
            .map(str::to_owned),
    })
}

/// What [`run`] would find; changes nothing.
///
/// # Errors
/// See [`MigrateError`].
pub async fn status(
    url: &str,
    options: &MigrateOptions,
    tell: impl Fn(String),
) -> Result<SchemaStatus, MigrateError> {
    let mut pg = reach(url, options, &tell).await?;
    Ok(versions::read(&mut pg).await?)
}

/// That the schema is one that this program can work with.
pub(crate) async fn check_current(pg: &mut AsyncPgConnection) -> Result<(), MigrateError> {
    Ok(versions::read(pg).await?.check()?)
}

/// Runs what is pending; which that was.
async fn apply_pending(
    session: Session,
    options: &MigrateOptions,
    tell: &impl Fn(String),
) -> Result<(AsyncPgConnection, Vec<String>), MigrateError> {
    let Session { mut pg } = session;
    let status = versions::read(&mut pg).await?;
    status.check_known()?;
    if status.pending().next().is_none() {
        return Ok((pg, Vec::new()));
    }
    let done = tokio::task::spawn_blocking(move || {
        let mut harness = AsyncMigrationHarness::new(pg);
        let mut applied = Vec::new();
        let failed = run_all(&mut harness, &mut applied).err();
        (harness.into_inner(), applied, failed)
    });
    let (mut pg, applied, failed) = done.await.map_err(|error| MigrateError::Failed {
        migration: "that was under way".to_owned(),
        reason: error.to_string(),
    })?;
    let Some((migration, reason)) = failed else {
        return Ok((pg, applied));
    };
    for name in applied {
        tell(format!("applied {name}"));
    }
    Err(match reason.contains("lock timeout") {
        true => MigrateError::Locked {
            migration,
            waited: options.lock_timeout,
            holders: holders(&mut pg).await?,
        },
        false => MigrateError::Failed { migration, reason },
    })
}

/// Which failed, and why.
type Failure = (String, String);

fn run_all(
    harness: &mut impl MigrationHarness<Pg>,
    applied: &mut Vec<String>,
) -> Result<(), Failure> {
    let pending = harness.pending_migrations(MIGRATIONS);
    let unknown = |error: Box<dyn std::error::Error + Send + Sync>| {
        ("that comes first".to_owned(), error.to_string())
    };
    for migration in pending.map_err(unknown)? {
        let name = migration.name().to_string();
        match harness.run_migration(&*migration) {
            Ok(_) => applied.push(name),
            Err(error) => return Err((name, error.to_string())),
        }
    }
    Ok(())
}

#[derive(QueryableByName)]
struct Holder {
    #[diesel(sql_type = Text)]
    holder: String,
}

async fn holders(pg: &mut AsyncPgConnection) -> Result<String, StoreError> {
    let query = diesel::sql_query(include_str!("sql/schema_holders.sql"));
    let found: Vec<Holder> = query.load(pg).await?;
    let found: Vec<String> = found.into_iter().map(|one| one.holder).collect();
    Ok(match found.is_empty() {
        true => "nothing any more".to_owned(),
        false => found.join(", "),
    })
}

/// A connection that has the database for itself, as far as migrations go.
pub(crate) struct Session {
    pub(crate) pg: AsyncPgConnection,
}

impl Session {
    /// Reaches the server and waits until nobody else migrates.
    pub(crate) async fn begin(
        url: &str,
        options: &MigrateOptions,
        tell: &impl Fn(String),
    ) -> Result<Self, MigrateError> {
        let mut pg = reach(url, options, tell).await?;
        check_encoding(&mut pg).await?;
        pg.batch_execute(&format!(
            "SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}",
            options.lock_timeout.as_millis(),
            IDLE_IN_TRANSACTION_TIMEOUT.as_millis(),
        ))
        .await
        .map_err(StoreError::from)?;
        let end = Instant::now() + options.wait;
        let mut is_told = false;
        while !try_lock(&mut pg).await? {
            if Instant::now() > end {
                return Err(MigrateError::Busy(options.wait));
            }
            if !std::mem::replace(&mut is_told, true) {
                tell("another migration of this database runs; waiting for it".to_owned());
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        Ok(Self { pg })
    }
}

/// A connection; goes on trying while there is none, telling why whenever that changes.
pub(crate) async fn reach(
    url: &str,
    options: &MigrateOptions,
    tell: &impl Fn(String),
) -> Result<AsyncPgConnection, MigrateError> {
    let database = Database::new(DatabaseOptions {
        url: url.to_owned(),
        max_connections: 1,
        application_name: "aevon migrate",
        statement_timeout: STATEMENT_TIMEOUT,
    })?;
    let end = Instant::now() + options.wait;
    let mut told = String::new();
    loop {
        let opened = tokio::time::timeout(CHECK_TIMEOUT, database.connect()).await;
        let late = |_| Err(StoreError::DeadlineExceeded("connecting to Postgres"));
        let reason = match opened.unwrap_or_else(late) {
            Ok(Connection { pg, .. }) => return Ok(pg),
            Err(error) => error.to_string(),
        };
        if Instant::now() + RETRY_INTERVAL > end {
            let waited = options.wait;
            return Err(MigrateError::NotReached { waited, reason });
        }
        if reason != told {
            tell(format!("waiting for Postgres: {reason}"));
            told = reason;
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

#[derive(QueryableByName)]
struct Lock {
    #[diesel(sql_type = Bool)]
    is_held: bool,
}

/// For whoever waits; a connection that is dropped may take a moment to end.
pub(crate) async fn unlock(pg: &mut AsyncPgConnection) -> Result<(), StoreError> {
    let query = format!("SELECT pg_advisory_unlock({ADVISORY_LOCK})");
    Ok(pg.batch_execute(&query).await?)
}

async fn try_lock(pg: &mut AsyncPgConnection) -> Result<bool, StoreError> {
    let query = format!("SELECT pg_try_advisory_lock({ADVISORY_LOCK}) AS is_held");
    let lock: Lock = diesel::sql_query(query).get_result(pg).await?;
    Ok(lock.is_held)
}

#[derive(QueryableByName)]
struct Encoding {
    #[diesel(sql_type = Text)]
    name: String,
}

async fn check_encoding(pg: &mut AsyncPgConnection) -> Result<(), MigrateError> {
    let found: Encoding = diesel::sql_query("SELECT current_setting('server_encoding') AS name")
        .get_result(pg)
        .await
        .map_err(StoreError::from)?;
    if found.name == "UTF8" {
        Ok(())
    } else {
        Err(MigrateError::NotUtf8(found.name))
    }
}
