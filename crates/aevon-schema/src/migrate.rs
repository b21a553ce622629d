//! Bringing a database to the schema that this program knows, and telling whether it has it.

use crate::database::{Connection, Database, DatabaseOptions};
use crate::error::StoreError;
use crate::partitions;
use diesel::QueryableByName;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::sql_types::{Bool, Nullable, Text};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::time::Duration;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations");

/// Partitions of a log that nobody chose a number for.
pub const DEFAULT_PARTITIONS: i32 = 16;
/// Most partitions of a log.
pub const MAX_PARTITIONS: i32 = 4096;
/// How long one statement of a migration may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Between two attempts to reach a database that is away.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// How long an attempt may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrateReport {
    /// Migrations that ran now, in order.
    pub applied: Vec<String>,
    /// Partitions of the log.
    pub partitions: i32,
}

/// Why a database could not be brought to the current schema.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A migration failed; what ran before it stands.
    #[error("a migration failed: {0}")]
    Failed(String),
    /// A newer program migrated it.
    #[error("the database has schema {found}, which this program does not know; it knows {known}")]
    Unknown {
        /// The newest migration there.
        found: String,
        /// The newest migration here.
        known: String,
    },
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
}

/// Whether a database has the schema that this program knows.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The database failed: nothing is known.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody migrated it.
    #[error("the database has no schema of Aevon's: run `aevon migrate`")]
    Missing,
    /// An older program migrated it.
    #[error("the database has schema {found}, this program needs {needed}: run `aevon migrate`")]
    Old {
        /// The newest migration there.
        found: String,
        /// The newest migration here.
        needed: String,
    },
    /// A newer program migrated it.
    #[error("the database has schema {found}, which this program does not know; it knows {known}")]
    Unknown {
        /// The newest migration there.
        found: String,
        /// The newest migration here.
        known: String,
    },
}

/// Brings the database to the current schema. Safe to run again, and by several at once.
///
/// Needs a multi-threaded runtime: migrations run on a blocking thread.
///
/// # Errors
/// See [`MigrateError`].
pub async fn run(url: &str, partitions: Option<i32>) -> Result<MigrateReport, MigrateError> {
    if let Some(asked) = partitions.filter(|asked| !(1..=MAX_PARTITIONS).contains(asked)) {
        return Err(MigrateError::InvalidPartitions(asked));
    }
    let database = Database::new(DatabaseOptions {
        url: url.to_owned(),
        max_connections: 1,
        application_name: "aevon migrate",
        statement_timeout: STATEMENT_TIMEOUT,
    })?;
    let Connection { mut pg, .. } = database.connect().await?;
    check_encoding(&mut pg).await?;
    // Held until the connection ends: two migrations at once run one after the other.
    pg.batch_execute(
        "SET lock_timeout = '60s'; SET idle_in_transaction_session_timeout = 0; \
         SELECT pg_advisory_lock(7308895148127)",
    )
    .await
    .map_err(StoreError::from)?;
    let (applied, mut pg) = tokio::task::spawn_blocking(move || {
        let mut harness = AsyncMigrationHarness::new(pg);
        let applied = harness
            .run_pending_migrations(MIGRATIONS)
            .map(|versions| versions.iter().map(ToString::to_string).collect::<Vec<_>>())
            .map_err(|error| MigrateError::Failed(error.to_string()));
        applied.map(|applied| (applied, harness.into_inner()))
    })
    .await
    .map_err(|error| MigrateError::Failed(error.to_string()))??;
    let known = newest_known();
    if let Some(found) = newest(&mut pg).await?.filter(|found| *found > known) {
        return Err(MigrateError::Unknown { found, known });
    }
    let wanted = partitions.unwrap_or(DEFAULT_PARTITIONS);
    let existing = partitions::create(&mut pg, wanted).await?;
    match partitions {
        Some(asked) if asked != existing => {
            Err(MigrateError::PartitionsAreFixed { existing, asked })
        }
        _ => Ok(MigrateReport {
            applied,
            partitions: existing,
        }),
    }
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

#[derive(QueryableByName)]
struct Presence {
    #[diesel(sql_type = Bool)]
    migrated: bool,
}

#[derive(QueryableByName)]
struct Newest {
    #[diesel(sql_type = Nullable<Text>)]
    version: Option<String>,
}

/// The number of partitions of a database whose schema is the one that this program knows.
///
/// # Errors
/// See [`SchemaError`].
pub async fn check(database: &Database) -> Result<i32, SchemaError> {
    let mut connection = database.get().await?;
    let pg = &mut connection.pg;
    let present: Presence = diesel::sql_query(
        "SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS migrated",
    )
    .get_result(pg)
    .await
    .map_err(StoreError::from)?;
    if !present.migrated {
        return Err(SchemaError::Missing);
    }
    let known = newest_known();
    match newest(pg).await? {
        None => Err(SchemaError::Missing),
        Some(found) if found < known => Err(SchemaError::Old {
            found,
            needed: known,
        }),
        Some(found) if found > known => Err(SchemaError::Unknown { found, known }),
        Some(_) => match partitions::count(pg).await? {
            0 => Err(SchemaError::Missing),
            count => Ok(count),
        },
    }
}

/// The newest migration that ran.
async fn newest(pg: &mut AsyncPgConnection) -> Result<Option<String>, StoreError> {
    let newest: Newest =
        diesel::sql_query("SELECT max(version)::text AS version FROM __diesel_schema_migrations")
            .get_result(pg)
            .await?;
    Ok(newest.version)
}

/// Like [`check`], and goes on trying while Postgres is away, telling `trouble` why each time.
///
/// # Errors
/// What [`check`] finds wrong once it has reached the database.
pub async fn wait(database: &Database, trouble: impl Fn(String)) -> Result<i32, SchemaError> {
    loop {
        let checked = tokio::time::timeout(CHECK_TIMEOUT, check(database)).await;
        let late = || Err(StoreError::DeadlineExceeded("looking at the schema").into());
        match checked.unwrap_or_else(|_| late()) {
            Err(SchemaError::Store(error)) => {
                trouble(error.to_string());
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            checked => return checked,
        }
    }
}

fn newest_known() -> String {
    let migrations: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations().unwrap_or_default();
    migrations
        .iter()
        .map(|m| m.name().version().to_string())
        .max()
        .unwrap_or_default()
}
