//! Upgrades and their undoing: what `aevon migrate` does and says, which schema a program works with,
//! and which it refuses.

use crate::support::{DEADLINE, SUM, Service, apply, command, event, finish, rules, text};
use aevon_testkit::{Proxy, TestDatabase, eventually};
use serde_json::{Value, json};
use std::process::Output;
use tokio_postgres::Client;

const SERVICES: [&str; 3] = ["ingest-svc", "projection-svc", "aggregator-svc"];
/// A schema of the far future.
const FUTURE: &str = "99990101000000";

fn migrate(url: &str, arguments: &[&str]) -> Output {
    finish(command("aevon", url).arg("migrate").args(arguments))
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Starts what can't start: the one line that it says.
fn refusal(name: &str, db: &TestDatabase) -> String {
    let folder = rules(&[]);
    let mut command = command(name, db.url());
    command
        .env("AEVON_AGGREGATION__CONFIG_DIR", folder.path())
        .env("AEVON_SERVER__PORT", "0");
    if name == "aevon" {
        command.args(["key", "list"]);
    }
    let output = finish(&mut command);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{name}: {said}");
    assert_eq!(said.trim().lines().count(), 1, "{name}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_planned_applied_and_shown() {
    let db = TestDatabase::empty().await;
    let plan = text(&migrate(db.url(), &["plan"]).stdout);
    assert!(
        plan.starts_with("-- 2026-11-24-000001_log\nBEGIN;\n"),
        "{plan}"
    );
    let planned = json_of(&migrate(db.url(), &["plan", "--format", "json"]));
    let names: Vec<&Value> = planned["pending"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    let before = json_of(&migrate(db.url(), &["status", "--format", "json"]));
    assert_eq!(before["schema"], Value::Null);
    assert!(
        before["trouble"]
            .as_str()
            .unwrap()
            .contains("run `aevon migrate`")
    );

    // What was planned does what applying does.
    let done = json_of(&migrate(
        db.url(),
        &["--partitions", "3", "--format", "json"],
    ));
    assert_eq!(done["applied"], json!(names));
    assert_eq!(done["partitions"], json!(3));
    let other = TestDatabase::empty().await;
    other.client().await.batch_execute(&plan).await.unwrap();
    let table = "SELECT string_agg(table_name || column_name || data_type, ',' ORDER BY 1) \
                 FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\\_%'";
    let shape = async |client: &Client| -> String {
        let order = table.replace("ORDER BY 1", "ORDER BY table_name, column_name");
        client.query_one(&order, &[]).await.unwrap().get(0)
    };
    let shapes = (
        shape(&db.client().await).await,
        shape(&other.client().await).await,
    );
    assert_eq!(shapes.0, shapes.1);

    let after = json_of(&migrate(db.url(), &["status", "--format", "json"]));
    assert_eq!(after["schema"], after["known"]);
    assert_eq!(after["trouble"], Value::Null);
    let ran = after["migrations"].as_array().unwrap();
    assert!(
        ran.iter()
            .all(|one| one["is_applied"] == json!(true) && one["ran_at"].is_string())
    );
    let shown = text(&migrate(db.url(), &["status"]).stdout);
    assert!(shown.contains("the log has 3 partitions"), "{shown}");
    assert!(
        shown.contains("it serves programs that know schema"),
        "{shown}"
    );
    assert_eq!(
        text(&migrate(db.url(), &["plan"]).stdout),
        "-- nothing is pending\n"
    );
    assert_eq!(
        json_of(&migrate(db.url(), &["--format", "json"]))["applied"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_migrations_at_once_are_one_after_the_other() {
    let db = TestDatabase::empty().await;
    let mut children: Vec<_> = (0..4)
        .map(|_| command("aevon", db.url()).arg("migrate").spawn().unwrap())
        .collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let holder = db.client().await;
    let lock = "SELECT pg_advisory_lock(7308895148127)";
    holder.batch_execute(lock).await.unwrap();
    let output = migrate(db.url(), &["--wait", "500ms"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("another migration of this database runs; waiting"),
        "{said}"
    );
    assert!(said.contains("runs for longer than 500ms"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_for_and_not_for_ever() {
    let db = TestDatabase::empty().await;
    let (proxy, url) = Proxy::in_front_of(db.url()).await;
    proxy.cut();
    let output = migrate(&url, &["--wait", "600ms"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("waiting for Postgres: "), "{said}");
    assert!(
        said.contains("Postgres was not reached within 600ms: "),
        "{said}"
    );
    let mut waiting = command("aevon", &url).arg("migrate").spawn().unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    proxy.heal();
    eventually(DEADLINE, "it migrates", async || {
        waiting
            .try_wait()
            .unwrap()
            .is_some_and(|status| status.success())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_can_not_have_a_lock_gives_up_and_says_who_may_have_it() {
    let db = TestDatabase::create().await;
    let holder = db.client().await;
    // One migration is made pending, and waits for a table that somebody looks at.
    let pending = "20261128000010";
    let undo = format!(
        "DELETE FROM __diesel_schema_migrations WHERE version = '{pending}';
         ALTER TABLE partitions DROP COLUMN row_lock;
         ALTER TABLE sweep_leases DROP COLUMN row_lock;
         DROP TABLE compatibility"
    );
    holder.batch_execute(&undo).await.unwrap();
    let hold = "SET application_name = 'somebody'";
    holder.batch_execute(hold).await.unwrap();
    let hold = "BEGIN; LOCK TABLE partitions IN ACCESS SHARE MODE";
    holder.batch_execute(hold).await.unwrap();
    let output = migrate(db.url(), &["--lock-timeout", "300ms"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("waited 300ms for a lock"), "{said}");
    assert!(said.contains("(somebody, open for"), "{said}");
    for name in SERVICES.into_iter().chain(["aevon"]) {
        let said = refusal(name, &db);
        assert!(
            said.contains(&format!("this program needs {pending}")),
            "{said}"
        );
    }
    holder.batch_execute("COMMIT").await.unwrap();
    assert!(migrate(db.url(), &["--roles"]).status.success());
}

/// Every table as a newer schema may have it: with columns that this program doesn't know.
async fn expand(client: &Client) {
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace \
                  AND relkind IN ('r', 'p') AND NOT relispartition AND relname NOT LIKE '\\_%'";
    for row in client.query(tables, &[]).await.unwrap() {
        let table: String = row.get(0);
        let add = format!(
            "ALTER TABLE {table} ADD COLUMN new_text text, \
             ADD COLUMN new_number bigint NOT NULL DEFAULT 7"
        );
        client.batch_execute(&add).await.unwrap();
    }
    let more = format!(
        "CREATE TABLE new_table (n integer PRIMARY KEY);
         INSERT INTO __diesel_schema_migrations (version) VALUES ('{FUTURE}')"
    );
    client.batch_execute(&more).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_that_only_adds_is_worked_with_until_it_serves_newer_programs_alone() {
    let db = TestDatabase::create().await;
    let client = db.client().await;
    expand(&client).await;
    let known = json_of(&migrate(db.url(), &["status", "--format", "json"]));
    assert_eq!(known["schema"], json!(FUTURE));
    assert_eq!(known["trouble"], Value::Null);
    let known = known["known"].as_str().unwrap().to_owned();
    let again = text(&migrate(db.url(), &[]).stdout);
    assert!(
        again.contains("newer than this program, and serves it"),
        "{again}"
    );

    apply(&db, &[SUM]);
    let folder = rules(&[SUM]);
    let settings = [
        (
            "AEVON_AGGREGATION__CONFIG_DIR",
            folder.path().to_str().unwrap(),
        ),
        ("AEVON_AGGREGATION__CRON_INTERVAL", "20ms"),
    ];
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    let _aggregator = Service::start("aggregator-svc", db.url(), &settings).await;
    for n in 0..10 {
        let sent = event("p", &format!("e{n}"), &format!("{{\"n\":{}}}", 1 << n));
        assert_eq!(ingest.post(sent).await.status, 202);
    }
    let void = event("p", "v", r#"{"event_id":"e3"}"#);
    let voided = ingest
        .post(void.replace(r#""type":"t""#, r#""type":"aevon.void""#))
        .await;
    assert_eq!(voided.status, 202, "{voided:?}");
    assert_eq!(
        ingest.post("[]x").await.status,
        400,
        "and what was refused is kept"
    );
    let path = "/v1/state/acme/p?rule=total";
    eventually(DEADLINE, "it is swept", async || {
        let read = projection.get(path).await;
        assert_eq!(read.body["values"][0]["value"], json!("1015"), "{read:?}");
        read.body["meta"]["lag_events"] == json!(0)
    })
    .await;
    let proved = finish(command("aevon", db.url()).arg("verify"));
    assert!(proved.status.success(), "{}", text(&proved.stderr));
    let rebuilt = finish(command("aevon", db.url()).args(["rebuild", "--rule", "total"]));
    assert!(rebuilt.status.success(), "{}", text(&rebuilt.stderr));

    let only_new = format!("UPDATE compatibility SET oldest_schema = '{FUTURE}'");
    client.batch_execute(&only_new).await.unwrap();
    for name in SERVICES.into_iter().chain(["aevon"]) {
        let said = refusal(name, &db);
        for wanted in [FUTURE, &known, "does not know"] {
            assert!(said.contains(wanted), "{name}: {said}");
        }
    }
    let refused = migrate(db.url(), &[]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("does not know") && said.contains(&known),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_distributes_the_tables_is_shown_and_wants_its_extension() {
    let shown = finish(command("aevon", "postgres://nobody@nowhere/nothing").args([
        "migrate",
        "--distribute",
        "citus",
        "--dry-run",
    ]));
    let said = text(&shown.stdout);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    assert!(
        said.starts_with("BEGIN;\n") && said.ends_with("COMMIT;\n"),
        "{said}"
    );
    assert!(
        said.contains("create_distributed_table('events', 'partition'"),
        "{said}"
    );
    let db = TestDatabase::empty().await;
    let refused = migrate(db.url(), &["--distribute", "citus"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("no extension citus"), "{said}");
    let status = json_of(&migrate(db.url(), &["status", "--format", "json"]));
    assert_eq!(status["trouble"], Value::Null, "the plain schema stands");
}
