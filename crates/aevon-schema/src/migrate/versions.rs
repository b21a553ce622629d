//! Which migrations a database has, which this program knows, and whether they go together.
//!
//! Invariant: a program works with a schema that it knows, or with a newer one that says that it
//! serves programs as old as this one; with no other.

use super::MIGRATIONS;
use crate::access::Access;
use crate::database::Database;
use crate::error::StoreError;
use crate::partitions;
use diesel::QueryableByName;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::sql_types::{Bool, Double, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use std::time::Duration;

/// Between two attempts to reach a database that is away.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// How long an attempt may take.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// What looking at the schema needs of the database.
pub(crate) const ACCESS: Access = Access {
    is_writing: false,
    privileges: &[
        ("__diesel_schema_migrations", "SELECT"),
        ("compatibility", "SELECT"),
        ("partitions", "SELECT"),
    ],
};

/// Whether a database has a schema that this program can work with.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The database failed: nothing is known.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It has a schema, and the role may not look which.
    #[error("the role of database.url lacks SELECT on {0}")]
    Lacks(&'static str),
    /// Nobody migrated it.
    #[error("the database has no schema of Aevon's: run `aevon migrate`")]
    Missing,
    /// An older program migrated it.
    #[error("the database has schema {found}, this program needs {needed}: run `aevon migrate`")]
    Old {
        /// The newest migration there.
        found: String,
        /// The newest that is missing there.
        needed: String,
    },
    /// A newer program migrated it, for programs that are newer than this one.
    #[error(
        "the database has schema {found}, which this program does not know: it knows {known}, and \
         that schema serves programs that know {oldest} or newer"
    )]
    Unknown {
        /// The newest migration there.
        found: String,
        /// The newest migration here.
        known: String,
        /// The oldest schema whose programs it serves.
        oldest: String,
    },
}

/// Where a migration is in its life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// It ran, at this second since 1970.
    Applied(f64),
    /// It has not run.
    Pending,
    /// It ran, and this program does not know it.
    Unknown(f64),
}

/// A migration.
#[derive(Clone, Debug, PartialEq)]
pub struct MigrationState {
    /// Its version; later ones are larger.
    pub version: String,
    /// Its name, which begins with its version; the version alone where this program does not know it.
    pub name: String,
    /// Where it is in its life.
    pub state: State,
}

/// The schema of a database beside the one that this program knows.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaStatus {
    /// Every migration of either, in order.
    pub migrations: Vec<MigrationState>,
    /// The oldest schema whose programs this database serves; none where it does not say yet.
    pub oldest: Option<String>,
    /// Partitions of the log; 0 before there is one.
    pub partitions: i32,
}

impl SchemaStatus {
    /// The newest migration of the database.
    #[must_use]
    pub fn found(&self) -> Option<&str> {
        let ran = |one: &&MigrationState| one.state != State::Pending;
        let ran = self.migrations.iter().filter(ran);
        ran.map(|one| one.version.as_str()).next_back()
    }

    /// Migrations that have not run, in order.
    pub fn pending(&self) -> impl Iterator<Item = &MigrationState> {
        let is_pending = |one: &&MigrationState| one.state == State::Pending;
        self.migrations.iter().filter(is_pending)
    }

    /// Whether this program can work with it.
    ///
    /// # Errors
    /// Why it can't.
    pub fn check(&self) -> Result<(), SchemaError> {
        let Some(found) = self.found() else {
            return Err(SchemaError::Missing);
        };
        self.check_known()?;
        if let Some(needed) = self.pending().last() {
            return Err(SchemaError::Old {
                found: found.to_owned(),
                needed: needed.version.clone(),
            });
        }
        match self.partitions {
            0 => Err(SchemaError::Missing),
            _ => Ok(()),
        }
    }

    /// That nothing ran there that programs like this one can't work with.
    ///
    /// # Errors
    /// [`SchemaError::Unknown`].
    pub(super) fn check_known(&self) -> Result<(), SchemaError> {
        let known = newest_known();
        let (Some(found), true) = (self.found(), self.is_newer()) else {
            return Ok(());
        };
        match &self.oldest {
            Some(oldest) if *oldest <= known => Ok(()),
            oldest => Err(SchemaError::Unknown {
                found: found.to_owned(),
                oldest: oldest.clone().unwrap_or_else(|| found.to_owned()),
                known,
            }),
        }
    }

    /// Whether something ran there that this program does not know.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        let is_unknown = |one: &MigrationState| matches!(one.state, State::Unknown(_));
        self.migrations.iter().any(is_unknown)
    }
}

#[derive(QueryableByName)]
struct Ran {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Double)]
    at: f64,
}

/// Where migrations that ran are noted.
const RAN: &str = "__diesel_schema_migrations";

#[derive(QueryableByName)]
struct Presence {
    #[diesel(sql_type = Bool)]
    is_migrated: bool,
    #[diesel(sql_type = Bool)]
    is_readable: bool,
    #[diesel(sql_type = Bool)]
    says_whom_it_serves: bool,
    #[diesel(sql_type = Bool)]
    has_partitions: bool,
}

#[derive(QueryableByName)]
struct Oldest {
    #[diesel(sql_type = Nullable<Text>)]
    oldest: Option<String>,
}

/// Looks at a database; changes nothing.
///
/// # Errors
/// [`SchemaError::Store`], [`SchemaError::Lacks`].
pub(crate) async fn read(pg: &mut AsyncPgConnection) -> Result<SchemaStatus, SchemaError> {
    let query = diesel::sql_query(include_str!("../sql/schema_presence.sql"));
    let present: Presence = query.get_result(pg).await.map_err(StoreError::from)?;
    let ran: Vec<Ran> = match (present.is_migrated, present.is_readable) {
        (false, _) => Vec::new(),
        (true, false) => return Err(SchemaError::Lacks(RAN)),
        (true, true) => {
            let query = diesel::sql_query(include_str!("../sql/schema_ran.sql"));
            query.load(pg).await.map_err(StoreError::from)?
        }
    };
    let mut status = SchemaStatus {
        migrations: merged(&ran),
        oldest: None,
        partitions: match present.has_partitions {
            true => partitions::count(pg).await?,
            false => 0,
        },
    };
    if present.says_whom_it_serves {
        status.oldest = oldest(pg).await?;
    }
    Ok(status)
}

/// The oldest schema whose programs this database serves.
async fn oldest(pg: &mut AsyncPgConnection) -> Result<Option<String>, StoreError> {
    let query = "SELECT max(oldest_schema) AS oldest FROM compatibility";
    let found: Oldest = diesel::sql_query(query).get_result(pg).await?;
    Ok(found.oldest)
}

fn merged(ran: &[Ran]) -> Vec<MigrationState> {
    let mut migrations: Vec<MigrationState> = known()
        .into_iter()
        .map(|(version, name)| {
            let at = ran.iter().find(|one| one.version == version);
            let state = at.map_or(State::Pending, |one| State::Applied(one.at));
            MigrationState {
                version,
                name,
                state,
            }
        })
        .collect();
    for one in ran {
        if !migrations.iter().any(|known| known.version == one.version) {
            migrations.push(MigrationState {
                version: one.version.clone(),
                name: one.version.clone(),
                state: State::Unknown(one.at),
            });
        }
    }
    migrations.sort_by(|a, b| a.version.cmp(&b.version));
    migrations
}

/// The versions and names of all migrations that this program knows, in order.
pub(super) fn known() -> Vec<(String, String)> {
    let migrations: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations().unwrap_or_default();
    let mut known: Vec<(String, String)> = migrations
        .iter()
        .map(|one| (one.name().version().to_string(), one.name().to_string()))
        .collect();
    known.sort();
    known
}

/// The newest schema that this program knows.
#[must_use]
pub fn newest_known() -> String {
    let newest = known().pop();
    newest.map(|(version, _)| version).unwrap_or_default()
}

/// The number of partitions of a database whose schema this program can work with.
///
/// # Errors
/// See [`SchemaError`].
pub async fn check(database: &Database) -> Result<i32, SchemaError> {
    let mut connection = database.get().await?;
    let status = read(&mut connection.pg).await?;
    status.check()?;
    if status.is_newer() {
        tracing::warn!(
            found = status.found(),
            known = newest_known(),
            "the database has a newer schema than this program, and serves it"
        );
    }
    Ok(status.partitions)
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
            Err(error @ (SchemaError::Store(_) | SchemaError::Lacks(_))) => {
                trouble(error.to_string());
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            checked => return checked,
        }
    }
}
