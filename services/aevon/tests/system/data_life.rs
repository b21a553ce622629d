//! What becomes of data: exported and imported, erased, backed up and put back, by the programs that an
//! operator uses.

use crate::support::{
    Answer, DEADLINE, Service, apply_to, array, command, event, finish, migrate, rules, text,
};
use aevon_postgres::{Server, ServerOptions};
use aevon_testkit::{TestDatabase, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use tokio_postgres::{Client, NoTls};

const GROUPED: (&str, &str) = (
    "calls.yaml",
    "name: calls\nsource_event: t\noperator: count\ngroup_by: [mail]\n",
);

/// An aggregator that takes the rules that stand.
const SWEEPING: [(&str, &str); 2] = [
    ("AEVON_AGGREGATION__APPLY_ON_START", "false"),
    ("AEVON_AGGREGATION__CRON_INTERVAL", "20ms"),
];

fn sum(operator: &str) -> (&'static str, String) {
    let text = format!("name: total\nsource_event: t\noperator: {operator}\nfield: n\n");
    ("sum.yaml", text)
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) fn ok(output: &Output) -> &Output {
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

/// Stores events of a principal in one body; the version that has them.
async fn store(ingest: &Service, principal: &str, numbers: std::ops::Range<u32>) -> String {
    let one = |n| {
        event(
            principal,
            &format!("e{n}"),
            &format!("{{\"n\":{n}.50,\"mail\":\"{principal}\"}}"),
        )
    };
    let events: Vec<String> = numbers.map(one).collect();
    let sent = ingest.post(array(&events)).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    sent.body["version"].as_str().unwrap().to_owned()
}

/// What is answered, but for how.
async fn answers(projection: &Service, paths: &[String]) -> Vec<String> {
    let mut answers = Vec::new();
    for path in paths {
        let answer = projection.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let mut body = answer.body;
        body.as_object_mut().unwrap().remove("meta");
        answers.push(body.to_string());
    }
    answers
}

/// A log of three principals, with a void, and a rule that changed its meaning; every question about it.
pub(crate) async fn history(url: &str) -> Vec<String> {
    let ingest = Service::start("ingest-svc", url, &[]).await;
    let (first, second) = (sum("sum"), sum("max"));
    apply_to(url, rules(&[("sum.yaml", &first.1), GROUPED]).path());
    let mut versions = Vec::new();
    for principal in ["p", "q", "ann@example.org"] {
        for step in 0..3 {
            let version = store(&ingest, principal, step * 40..step * 40 + 40).await;
            versions.push((principal, version));
        }
    }
    let void = event("p", "v1", r#"{"event_id":"e7","reason":"a test"}"#);
    let voided = ingest.post(void.replace("\"t\"", "\"aevon.void\"")).await;
    assert_eq!(voided.status, 202, "{voided:?}");
    versions.push(("p", voided.body["version"].as_str().unwrap().to_owned()));
    apply_to(url, rules(&[("sum.yaml", &second.1), GROUPED]).path());
    let path = |(principal, version): &(&str, String)| {
        let of = format!("/v1/state/acme/{principal}?version={version}");
        ["total:1", "total:2", "calls:1"].map(|rule| format!("{of}&rule={rule}&granularity=1h"))
    };
    versions.iter().flat_map(path).collect()
}

pub(crate) fn export(url: &str, to: &Path, more: &[&str]) -> Output {
    let mut export = command("aevon", url);
    export.args(["export", "--output"]).arg(to).args(more);
    finish(&mut export)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_begins_another_database_that_gives_every_old_answer() {
    let (here, there) = (TestDatabase::create().await, TestDatabase::create().await);
    let paths = history(here.url()).await;
    let projection = Service::start("projection-svc", here.url(), &[]).await;
    let before = answers(&projection, &paths).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.ndjson");
    ok(&export(here.url(), &file, &[]));
    let whole = fs::read(&file).unwrap();
    assert_eq!(
        export(here.url(), &file, &[]).status.code(),
        Some(1),
        "nothing is overwritten"
    );

    // Broken off anywhere, it goes on; broken off, it is not imported; changed, neither.
    let import = |file: &Path| finish(command("aevon", there.url()).arg("import").arg(file));
    for part in [whole.len() / 9, whole.len() / 2, whole.len() - 3] {
        fs::write(&file, &whole[..part]).unwrap();
        let refused = import(&file);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains("breaks off behind line"));
        ok(&export(here.url(), &file, &["--resume"]));
        assert!(fs::read(&file).unwrap() == whole, "cut at {part}");
    }
    let damaged = folder.path().join("damaged.ndjson");
    let changed = text(&whole).replacen("\"n\": 3.50", "\"n\": 3.51", 1);
    fs::write(&damaged, changed).unwrap();
    let refused = text(&import(&damaged).stderr);
    assert!(refused.contains("something was changed"), "{refused}");
    let lines = text(&whole);
    let missing: Vec<&str> = lines
        .lines()
        .enumerate()
        .filter(|(at, _)| *at != 9)
        .map(|(_, l)| l)
        .collect();
    fs::write(&damaged, missing.join("\n") + "\n").unwrap();
    let refused = text(&import(&damaged).stderr);
    assert!(refused.contains(", line 10: is event"), "{refused}");

    // Killed in the middle, it goes on as well.
    let holder = there.client().await;
    let hold = "BEGIN; LOCK TABLE voids IN ACCESS EXCLUSIVE MODE";
    holder.batch_execute(hold).await.unwrap();
    let mut killed = command("aevon", there.url())
        .arg("import")
        .arg(&file)
        .spawn()
        .unwrap();
    let begun = "SELECT count(*) FROM principals";
    let other = there.client().await;
    eventually(DEADLINE, "it has begun", async || {
        other.query_one(begun, &[]).await.unwrap().get::<_, i64>(0) == 3
    })
    .await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    holder.batch_execute("COMMIT").await.unwrap();
    // Not with another export, though its log is as long.
    let twin = TestDatabase::create().await;
    history(twin.url()).await;
    let other_file = folder.path().join("twin.ndjson");
    ok(&export(twin.url(), &other_file, &[]));
    let refused = import(&other_file);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("is not empty"),
        "{refused:?}"
    );
    ok(&import(&file));
    assert!(text(&ok(&import(&file)).stderr).contains("there already"));

    let again = folder.path().join("again.ndjson");
    ok(&export(there.url(), &again, &[]));
    assert!(fs::read(&again).unwrap() == whole, "the same to the byte");
    let second = Service::start("projection-svc", there.url(), &[]).await;
    assert_eq!(answers(&second, &paths).await, before);
    // Both logs go on: numbers are given behind those that were.
    let ingest = Service::start("ingest-svc", there.url(), &[]).await;
    store(&ingest, "p", 200..203).await;
    store(&ingest, "somebody new", 0..3).await;
    apply_to(
        there.url(),
        rules(&[
            GROUPED,
            ("new.yaml", "name: new\nsource_event: t\noperator: count\n"),
        ])
        .path(),
    );
    assert_eq!(answers(&second, &paths).await, before);
    let folded = Service::start("aggregator-svc", there.url(), &SWEEPING).await;
    eventually(DEADLINE, "buckets are made", async || {
        let swept = "SELECT count(*) FROM sweep_checkpoints";
        other.query_one(swept, &[]).await.unwrap().get::<_, i64>(0) > 3
    })
    .await;
    assert_eq!(answers(&second, &paths).await, before);
    drop(folded);
    // What holds something else takes no import.
    let elsewhere = finish(command("aevon", here.url()).arg("import").arg(&file));
    assert!(
        text(&elsewhere.stderr).contains("is not empty"),
        "{elsewhere:?}"
    );
}

pub(crate) fn erase(url: &str, more: &[&str]) -> Output {
    let who = [
        "erase",
        "--tenant",
        "acme",
        "--principal",
        "ann@example.org",
    ];
    finish(command("aevon", url).args(who).args(more))
}

/// An answer, unless it is the one that is known.
async fn unless(projection: &Service, path: &str, tag: &str) -> Answer {
    let known = [("if-none-match", tag)];
    projection.send(Method::GET, path, &known, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_principal_is_somebody_new_to_services_that_knew_it() {
    let db = TestDatabase::create().await;
    let paths = history(db.url()).await;
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    store(&ingest, "ann@example.org", 120..123).await;
    let others: Vec<String> = paths
        .iter()
        .filter(|path| !path.contains("ann"))
        .cloned()
        .collect();
    let its: Vec<String> = paths
        .iter()
        .filter(|path| path.contains("ann") && !path.contains("calls"))
        .cloned()
        .collect();
    let (of_others, of_it) = (
        answers(&projection, &others).await,
        answers(&projection, &its).await,
    );

    let refused = erase(db.url(), &[]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("data.mail: calls:1 (the label of a group)"),
        "{said}"
    );
    assert!(!said.contains("ann@"), "{said}");
    ok(&erase(db.url(), &["--force", "--dry-run"]));
    assert_eq!(answers(&projection, &its).await, of_it);
    let listed = its[0]
        .replace("/ann@example.org", "")
        .replace("?", "?principal_id=ann@example.org&");
    let (mut known, asked) = (Vec::new(), [its[0].clone(), listed]);
    for path in &asked {
        let tag = projection.get(path).await.headers["etag"].clone();
        let tag = tag.to_str().unwrap().to_owned();
        assert_eq!(unless(&projection, path, &tag).await.status, 304, "{path}");
        known.push(tag);
    }
    let erased = erase(db.url(), &["--force"]);
    let said = text(&ok(&erased).stdout);
    let pseudonym = said
        .split_whitespace()
        .find(|word| word.starts_with("erased-"));
    let pseudonym = pseudonym.unwrap().trim_end_matches(',').to_owned();
    assert!(said.starts_with("123 events were blanked"), "{said}");
    for (path, tag) in asked.iter().zip(&known) {
        let now = unless(&projection, path, tag).await;
        assert_eq!(now.status, 200, "{path}");
        assert_ne!(now.headers["etag"], tag.as_str(), "{path}");
    }

    assert_eq!(answers(&projection, &others).await, of_others);
    let renamed: Vec<String> = its
        .iter()
        .map(|path| path.replace("ann@example.org", &pseudonym))
        .collect();
    let under_its_new_name = answers(&projection, &renamed).await;
    let expected: Vec<String> = of_it
        .iter()
        .map(|body| body.replace("ann@example.org", &pseudonym))
        .collect();
    assert_eq!(under_its_new_name, expected, "sums stay");
    let events = projection
        .get(&format!("/v1/events/acme/{pseudonym}?limit=1000"))
        .await;
    assert!(
        events.status == 200 && !events.body.to_string().contains("ann@"),
        "{events:?}"
    );
    // The writer of ingest-svc had its number.
    let again: Answer = ingest
        .post(event("ann@example.org", "e1", "{\"n\":7}"))
        .await;
    assert_eq!(again.status, 202, "{again:?}");
    let state = projection
        .get("/v1/state/acme/ann@example.org?rule=total")
        .await;
    assert_eq!(state.body["values"][0]["value"], json!("7"), "{state:?}");
    assert_eq!(
        erase(db.url(), &["--principal", "nobody"]).status.code(),
        Some(2)
    );
    let nobody = finish(command("aevon", db.url()).args([
        "erase",
        "--tenant",
        "acme",
        "--principal",
        "nobody",
    ]));
    assert!(
        text(&nobody.stderr).contains("no principal of that name"),
        "{nobody:?}"
    );
}

/// A program of Postgres's; where the server was installed without them there is nothing to try.
fn tool(server: &Server, name: &str) -> Option<Command> {
    let path = server.programs().bin.join(name);
    path.exists().then(|| Command::new(path))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_restored_serves_without_help() {
    let mut server = Server::start(&ServerOptions::default()).unwrap();
    let admin = connect(&server.url("postgres")).await;
    for name in ["here", "there"] {
        let create = format!("CREATE DATABASE {name}");
        admin.batch_execute(&create).await.unwrap();
    }
    let (here, there) = (server.url("here"), server.url("there"));
    migrate(&here).await;
    let paths = history(&here).await;
    let (Some(mut dump), Some(mut restore)) =
        (tool(&server, "pg_dump"), tool(&server, "pg_restore"))
    else {
        eprintln!("this Postgres came without pg_dump");
        return;
    };
    let aggregator = Service::start("aggregator-svc", &here, &SWEEPING).await;
    let client = connect(&here).await;
    eventually(DEADLINE, "buckets are made", async || {
        let swept = "SELECT count(*) FROM pre_aggregates WHERE grain = 1440";
        client.query_one(swept, &[]).await.unwrap().get::<_, i64>(0) > 3
    })
    .await;
    drop(aggregator);
    let before = {
        let projection = Service::start("projection-svc", &here, &[]).await;
        answers(&projection, &paths).await
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("aevon.dump");
    ok(&dump
        .args(["--format=custom", "--file"])
        .arg(&file)
        .arg(&here)
        .output()
        .unwrap());
    ok(&restore
        .args(["--exit-on-error", "--dbname", &there])
        .arg(&file)
        .output()
        .unwrap());

    let ingest = Service::start("ingest-svc", &there, &[]).await;
    let projection = Service::start("projection-svc", &there, &[]).await;
    assert_eq!(answers(&projection, &paths).await, before);
    // A retry of what the dump has is a duplicate; the log goes on, and is as final as it was.
    let again = ingest
        .post(event("p", "e1", r#"{"n":1.50,"mail":"p"}"#))
        .await;
    assert_eq!(again.status, 200, "{again:?}");
    store(&ingest, "p", 300..303).await;
    assert_eq!(answers(&projection, &paths).await, before);
    let client = connect(&there).await;
    assert!(
        client
            .batch_execute("UPDATE events SET seq = 7")
            .await
            .is_err()
    );
    let verified = finish(command("aevon", &there).arg("verify"));
    ok(&verified);
    server.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_to_a_point_in_time_has_all_that_was_acknowledged_before_it_and_nothing_after() {
    let archive = tempfile::tempdir().unwrap();
    fs::set_permissions(archive.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let at = archive.path().display();
    let setting = |name: &str, value: String| (name.to_owned(), value);
    let mut primary = Server::start(&ServerOptions {
        durable: true,
        settings: vec![
            setting("archive_mode", "on".to_owned()),
            setting("archive_command", format!("cp %p {at}/%f")),
        ],
        ..ServerOptions::default()
    })
    .unwrap();
    let Some(mut backup) = tool(&primary, "pg_basebackup") else {
        eprintln!("this Postgres came without pg_basebackup");
        return;
    };
    let admin = connect(&primary.url("postgres")).await;
    admin.batch_execute("CREATE DATABASE aevon").await.unwrap();
    let url = primary.url("aevon");
    migrate(&url).await;
    let paths = history(&url).await;
    let base = primary.data_dir().with_file_name("restored");
    ok(&backup
        .args([
            "--checkpoint=fast",
            "--no-sync",
            "--dbname",
            &primary.url("postgres"),
            "-D",
        ])
        .arg(&base)
        .output()
        .unwrap());
    // What is acknowledged behind the backup, before and after the point.
    let ingest = Service::start("ingest-svc", &url, &[]).await;
    let within = store(&ingest, "p", 500..510).await;
    let point = admin
        .query_one("SELECT pg_current_wal_lsn()::text", &[])
        .await
        .unwrap();
    let point: String = point.get(0);
    let beyond = store(&ingest, "p", 600..605).await;
    let all = |version: &str| format!("/v1/state/acme/p?rule=total:1&version={version}");
    let projection = Service::start("projection-svc", &url, &[]).await;
    let mut asked = paths.clone();
    asked.push(all(&within));
    let before = answers(&projection, &asked).await;
    let switched = admin
        .query_one("SELECT pg_walfile_name(pg_switch_wal())", &[])
        .await
        .unwrap();
    let file = archive.path().join(switched.get::<_, String>(0));
    eventually(DEADLINE, "the log is archived", async || file.exists()).await;
    drop((ingest, projection));
    primary.kill().unwrap();

    fs::write(base.join("recovery.signal"), "").unwrap();
    let owner = format!("--reference={}", primary.data_dir().display());
    ok(&Command::new("chown")
        .arg("-R")
        .arg(owner)
        .arg(&base)
        .output()
        .unwrap());
    let restored = Server::start(&ServerOptions {
        data_dir: Some(base),
        durable: true,
        settings: vec![
            setting("restore_command", format!("cp {at}/%f %p")),
            setting("recovery_target_lsn", point),
            setting("recovery_target_action", "promote".to_owned()),
        ],
        ..ServerOptions::default()
    })
    .unwrap();
    let url = restored.url("aevon");
    let client = connect(&url).await;
    eventually(DEADLINE, "it takes writes", async || {
        let row = client
            .query_one("SELECT pg_is_in_recovery()", &[])
            .await
            .unwrap();
        !row.get::<_, bool>(0)
    })
    .await;
    let ingest = Service::start("ingest-svc", &url, &[]).await;
    let projection = Service::start("projection-svc", &url, &[]).await;
    assert_eq!(answers(&projection, &asked).await, before);
    let ahead = projection.get(&all(&beyond)).await;
    let code = ahead.body["type"].as_str().unwrap_or_default();
    assert_eq!(
        (ahead.status, code),
        (404, "urn:aevon:problem:unknown-version")
    );
    // Producers send again what is missing.
    let again = store(&ingest, "p", 600..605).await;
    assert_eq!(again, beyond);
    assert_eq!(projection.get(&all(&again)).await.status, 200);
    let _: Value = projection.get("/v1/rules").await.body;
}
