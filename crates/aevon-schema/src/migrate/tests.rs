//! Migrations lead to one schema, whichever way, add to the one before, and are what the crate says.

use super::catalog::{self, Catalog, contractions};
use super::{MIGRATIONS, text, versions};
use crate::database::{Connection, Database, DatabaseOptions};
use aevon_testkit::TestDatabase;
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection};
use diesel_migrations::MigrationHarness;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_postgres::Client;

/// The schema from which on a database says which programs it serves.
const FIRST_THAT_SAYS: &str = "20261128000010";

/// What a migration changed without programs before it noticing, and why they don't.
const HARMLESS: [(&str, &str, &str); 1] = [(
    "20261128000011",
    "function refuse_change() was",
    "it refuses programs what it refused them before; what it lets pass is an erasure, which they see \
     by `partitions.erasures`",
)];

/// What a migration changes.
#[derive(Debug, PartialEq)]
struct Standing {
    catalog: Catalog,
    /// The oldest schema whose programs it serves, where it says so.
    oldest: Option<String>,
}

/// A database that is migrated step by step, and a client that looks.
struct World {
    pg: Option<AsyncPgConnection>,
    client: Client,
    _db: TestDatabase,
}

impl World {
    async fn empty() -> Self {
        let db = TestDatabase::empty().await;
        let options = DatabaseOptions {
            url: db.url().to_owned(),
            max_connections: 1,
            application_name: "migrations",
            statement_timeout: Duration::from_secs(30),
        };
        let database = Database::new(options).unwrap();
        let Connection { pg, .. } = database.connect().await.unwrap();
        Self {
            pg: Some(pg),
            client: db.client().await,
            _db: db,
        }
    }

    /// The next migration, or the last one undone: its version.
    async fn step(&mut self, is_up: bool) -> String {
        let pg = self.pg.take().unwrap();
        let stepped = tokio::task::spawn_blocking(move || {
            let mut harness = AsyncMigrationHarness::new(pg);
            let done = match is_up {
                true => harness.run_next_migration(MIGRATIONS),
                false => harness.revert_last_migration(MIGRATIONS),
            };
            let version = done.unwrap().to_string();
            (harness.into_inner(), version)
        });
        let (pg, version) = stepped.await.unwrap();
        self.pg = Some(pg);
        version
    }

    async fn standing(&self) -> Standing {
        let catalog = catalog::read(&self.client).await;
        let says = "SELECT to_regclass('compatibility') IS NOT NULL";
        let oldest = match self.client.query_one(says, &[]).await.unwrap().get(0) {
            true => {
                let oldest = "SELECT oldest_schema FROM compatibility";
                self.client.query_one(oldest, &[]).await.unwrap().get(0)
            }
            false => None,
        };
        Standing { catalog, oldest }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn up_down_up_is_one_schema_and_each_step_only_adds_or_says_that_it_does_not() {
    let mut world = World::empty().await;
    let mut before = world.standing().await;
    for (version, _) in versions::known() {
        assert_eq!(world.step(true).await, version);
        let after = world.standing().await;
        assert_ne!(after, before, "{version} does nothing");
        if *version > *FIRST_THAT_SAYS {
            let is_harmless = |what: &String| {
                let mut known = HARMLESS.iter();
                known.any(|(of, begins, _)| *of == version && what.starts_with(begins))
            };
            let mut breaks = contractions(&before.catalog, &after.catalog);
            breaks.retain(|what| !is_harmless(what));
            assert!(
                breaks.is_empty() || after.oldest.as_deref() == Some(&version),
                "programs that don't know {version} can't go on, and it does not say so: {breaks:#?}"
            );
        }
        assert_eq!(world.step(false).await, version);
        assert_eq!(world.standing().await, before, "{version}, down");
        assert_eq!(world.step(true).await, version);
        assert_eq!(world.standing().await, after, "{version}, up again");
        before = after;
    }
    for _ in versions::known() {
        world.step(false).await;
    }
    let left = world.standing().await.catalog;
    assert_eq!(left, Catalog::new(), "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_old_programs_can_not_work_with_is_noticed() {
    let db = TestDatabase::create().await;
    let client = db.client().await;
    let before = catalog::read(&client).await;
    let changes = [
        (true, "ALTER TABLE events ADD COLUMN note text"),
        (
            true,
            "ALTER TABLE events ADD COLUMN n integer NOT NULL DEFAULT 0",
        ),
        (
            true,
            "CREATE TABLE more (n integer PRIMARY KEY); CREATE INDEX ON more (n)",
        ),
        (true, "CREATE INDEX ON rejected_events (request_id)"),
        (true, "ALTER TABLE rules SET (fillfactor = 50)"),
        (false, "ALTER TABLE events ADD COLUMN note text NOT NULL"),
        (false, "ALTER TABLE events RENAME COLUMN type TO kind"),
        (false, "ALTER TABLE series DROP COLUMN labels"),
        (
            false,
            "ALTER TABLE events ALTER COLUMN schema_version TYPE bigint",
        ),
        (false, "ALTER TABLE voids ADD CHECK (void_seq > 7)"),
        (false, "CREATE UNIQUE INDEX ON rules (fingerprint)"),
        (
            false,
            "ALTER TABLE rejected_events ALTER COLUMN event_id SET NOT NULL",
        ),
        (false, "DROP INDEX events_by_principal"),
        (false, "ALTER TABLE events DROP CONSTRAINT events_identity"),
        (
            false,
            "CREATE OR REPLACE VIEW swept_generations AS \
                 SELECT rule_no, generation, definition FROM rules",
        ),
        (false, "DROP TABLE discards"),
        (
            false,
            "CREATE TRIGGER no_more BEFORE INSERT ON series EXECUTE FUNCTION refuse_change()",
        ),
        (
            false,
            "ALTER TABLE api_keys ALTER COLUMN created_at DROP DEFAULT",
        ),
    ];
    for (is_fine, change) in changes {
        let undone = format!("BEGIN; {change}");
        client.batch_execute(&undone).await.unwrap();
        let found = contractions(&before, &catalog::read(&client).await);
        client.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(found.is_empty(), is_fine, "{change}: {found:?}");
    }
}

#[test]
fn every_migration_can_be_read_before_it_runs() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let says = std::fs::read_to_string(path.join("up.sql")).unwrap();
        assert_eq!(text(&name), Some(says.as_str()), "{name}");
        found.insert(name);
    }
    let known: BTreeSet<String> = versions::known()
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(found, known);
}

/// The tables of diesel's query builder: their columns with the types that are written there.
fn declared() -> BTreeMap<String, BTreeMap<String, String>> {
    let source = include_str!("../lib.rs");
    let mut tables = BTreeMap::new();
    for block in source.split("diesel::table! {").skip(1) {
        let mut lines = block.lines().map(str::trim).filter(|line| !line.is_empty());
        let name = lines.next().unwrap().split(' ').next().unwrap().to_owned();
        let columns = lines
            .take_while(|line| *line != "}")
            .map(|line| line.trim_end_matches(',').split_once(" -> ").unwrap())
            .map(|(column, kind)| (column.to_owned(), kind.to_owned()));
        tables.insert(name, columns.collect());
    }
    assert!(tables.len() >= 4, "the tables are found");
    tables
}

/// What diesel calls a type of Postgres's.
fn as_diesel(kind: &str, is_nullable: bool) -> String {
    let name = match kind {
        "integer" => "Integer",
        "bigint" => "BigInt",
        "text" => "Text",
        "boolean" => "Bool",
        "jsonb" => "Jsonb",
        "timestamp with time zone" => "Timestamptz",
        other => panic!("{other} has no line here"),
    };
    match is_nullable {
        true => format!("Nullable<{name}>"),
        false => name.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_of_the_query_builder_are_those_of_the_database() {
    let db = TestDatabase::create().await;
    let client = db.client().await;
    for (table, columns) in declared() {
        let query = "SELECT column_name::text, data_type::text, is_nullable = 'YES' \
                     FROM information_schema.columns WHERE table_name = $1";
        let rows = client.query(query, &[&table]).await.unwrap();
        let real: BTreeMap<String, String> = rows
            .iter()
            .map(|row| (row.get(0), as_diesel(row.get(1), row.get(2))))
            .collect();
        assert_eq!(columns, real, "{table}");
    }
}
