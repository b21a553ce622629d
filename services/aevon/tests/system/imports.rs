//! An import that was broken off: what every command says of half a log, and who may still write to it.

use crate::data_life::{erase, export, history, ok};
use crate::support::{DEADLINE, Service, apply_to, command, event, finish, rules, text};
use aevon_testkit::{TestDatabase, eventually};
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

fn import(url: &str) -> Command {
    let mut command = command("aevon", url);
    command.arg("import");
    command
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    text(&output.stderr)
}

async fn count(db: &TestDatabase, table: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {table}");
    let client = db.client().await;
    client.query_one(&query, &[]).await.unwrap().get(0)
}

/// Imports, and kills it when principals are there and no event is.
async fn break_off(db: &TestDatabase, file: &Path) {
    let holder = db.client().await;
    let hold = "BEGIN; LOCK TABLE voids IN ACCESS EXCLUSIVE MODE";
    holder.batch_execute(hold).await.unwrap();
    let mut importing = import(db.url()).arg(file).spawn().unwrap();
    eventually(DEADLINE, "it has begun", async || {
        count(db, "principals").await == 3
    })
    .await;
    importing.kill().unwrap();
    importing.wait().unwrap();
    holder.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_import_is_told_and_goes_on_only_where_nobody_has_written() {
    let (here, there) = (TestDatabase::create().await, TestDatabase::create().await);
    history(here.url()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.ndjson");
    ok(&export(here.url(), &file, &[]));
    let rehearsed = finish(import(there.url()).arg(&file).arg("--dry-run"));
    let said = text(&ok(&rehearsed).stdout);
    assert!(
        said.starts_with("361 events of 3 principals in ") && said.contains("would be taken; 0 of"),
        "{said}"
    );
    assert_eq!(count(&there, "imports").await, 0);
    break_off(&there, &file).await;

    let begun = "isn't finished, so that a part of the log is missing";
    let again = folder.path().join("again.ndjson");
    let said = refused(&export(there.url(), &again, &[]));
    assert!(said.contains(begun) && !again.exists(), "{said}");
    let verified = finish(command("aevon", there.url()).arg("verify"));
    let said = text(&ok(&verified).stderr);
    assert!(
        said.starts_with("warning: ") && said.contains(begun),
        "{said}"
    );
    let looked = finish(command("aevon", there.url()).args(["doctor", "-o", "json"]));
    assert_eq!(looked.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&looked.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["check"] == "import");
    let found = check.unwrap();
    assert!(found["ok"] == false && found["found"].as_str().unwrap().contains(begun));
    let rehearsed = erase(there.url(), &["--dry-run"]);
    let said = refused(&rehearsed);
    assert!(said.contains("undone by the rest of an import"), "{said}");
    let said = text(&rehearsed.stdout);
    assert!(said.starts_with("0 events would be blanked"), "{said}");

    // Somebody is too early.
    let ingest = Service::start("ingest-svc", there.url(), &[]).await;
    let sent = ingest.post(event("p", "early", "{\"n\":1}")).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let client = there.client().await;
    let stored = client.query_one("SELECT partition FROM events", &[]);
    let partition: i32 = stored.await.unwrap().get(0);
    let place = format!("partition {partition}, position 1: another event stands there");
    for more in [&[][..], &["--dry-run"]] {
        let said = refused(&finish(import(there.url()).arg(&file).args(more)));
        assert!(
            said.contains(&place) && said.contains("Import into an empty database"),
            "{said}"
        );
    }
    assert_eq!(count(&there, "events").await, 1);

    // Nothing of the kind is said where it was finished.
    let well = TestDatabase::create().await;
    break_off(&well, &file).await;
    ok(&finish(import(well.url()).arg(&file)));
    ok(&export(well.url(), &again, &[]));
    assert!(fs::read(&again).unwrap() == fs::read(&file).unwrap());
    let verified = finish(command("aevon", well.url()).arg("verify"));
    assert!(!text(&ok(&verified).stderr).contains("warning"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_refused_before_anything_is_written_and_says_what_there_is() {
    let (here, there) = (TestDatabase::create().await, TestDatabase::create().await);
    history(here.url()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.ndjson");
    ok(&export(here.url(), &file, &[]));
    // A pipe can't be read twice.
    let mut cat = Command::new("cat");
    let cat = cat.arg(&file).stdout(std::process::Stdio::piped());
    let mut cat = cat.spawn().unwrap();
    let pipe = cat.stdout.take().unwrap();
    let said = refused(&finish(import(there.url()).arg("/dev/stdin").stdin(pipe)));
    assert!(said.contains("/dev/stdin is no regular file"), "{said}");
    cat.wait().unwrap();
    for table in ["imports", "rules", "principals", "events"] {
        assert_eq!(count(&there, table).await, 0, "{table}");
    }
    // A file can, by whatever name.
    let stdin = File::open(&file).unwrap();
    ok(&finish(import(there.url()).arg("/dev/stdin").stdin(stdin)));
    assert_eq!(count(&there, "events").await, 361);

    let rehearsed = finish(import(here.url()).arg(&file).arg("--dry-run"));
    assert!(
        refused(&rehearsed).contains("is not empty"),
        "{rehearsed:?}"
    );
    let said = text(&rehearsed.stdout);
    assert!(said.starts_with("361 events of 3 principals"), "{said}");

    let naming = "name: others\nsource_event: t\noperator: count\nfilter: principal_id != \
                  'ann@example.org'\n";
    apply_to(there.url(), rules(&[("others.yaml", naming)]).path());
    let rehearsed = erase(there.url(), &["--dry-run"]);
    let said = refused(&rehearsed);
    assert!(
        said.contains("warning: rule others:1 has the name in its filter")
            && said.contains("data.mail: calls:1 (the label of a group)"),
        "{said}"
    );
    assert!(!said.contains("ann@"), "{said}");
    let said = text(&rehearsed.stdout);
    assert!(
        said.starts_with("120 events would be blanked; 0 rejected events would be deleted"),
        "{said}"
    );
    let erased = erase(there.url(), &["--force"]);
    let said = text(&ok(&erased).stderr);
    assert!(
        said.contains("warning: rule others:1 has the name"),
        "{said}"
    );
}
