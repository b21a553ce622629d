//! The client and the commands that are made of it, against real services and a real Postgres.

use crate::fleet::signal;
use crate::support::{DEADLINE, SUM, Service, apply, command, finish, text};
use aevon_client::{Client, Event, Outcome};
use aevon_testkit::{TestDatabase, eventually};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const AT: &str = "2026-01-01T00:00:00Z";
const PRINCIPALS: u64 = 7;

fn sent(number: u64) -> Event {
    let principal = format!("p{}", number % PRINCIPALS);
    let event = Event::new(principal, "t", json!({"n": number}));
    event
        .tenant("acme")
        .id(format!("e{number}"))
        .occurred_at(AT)
}

fn line(number: u64) -> String {
    let principal = format!("p{}", number % PRINCIPALS);
    let event = json!({"tenant_id": "acme", "principal_id": principal, "id": format!("e{number}"), "type": "t",
                       "occurred_at": AT, "data": {"n": number}});
    format!("{event}\n")
}

fn client(service: &Service) -> Client {
    let client = Client::builder(service.base()).patience(DEADLINE);
    client.build().unwrap()
}

/// Starts a service where another one was.
async fn restart(name: &str, db: &TestDatabase, base: &str) -> Service {
    let port = base.rsplit_once(':').unwrap().1;
    let service = Service::spawn(name, db.url(), &[("AEVON_SERVER__PORT", port)]);
    let client = Client::builder(base).patience(DEADLINE).build().unwrap();
    client.get("/readyz", &[]).await.unwrap();
    service
}

/// The numbers of each principal's events, in the order of the log.
async fn logged(projection: &Service) -> BTreeMap<String, Vec<u64>> {
    let mut feed = client(projection).feed("acme").wait(Duration::ZERO);
    let mut found = BTreeMap::<String, Vec<u64>>::new();
    loop {
        let place = feed.place().map(str::to_owned);
        let items = feed.next().await.unwrap();
        if items.is_empty() && feed.place() == place.as_deref() {
            return found;
        }
        for item in items {
            let principal = item["principal_id"].as_str().unwrap().to_owned();
            let number = item["data"]["n"].as_u64().unwrap();
            found.entry(principal).or_default().push(number);
        }
    }
}

/// Every event up to a number once, those of each principal in the order in which they were sent.
fn all_in_order(count: u64) -> BTreeMap<String, Vec<u64>> {
    let mut all = BTreeMap::<String, Vec<u64>>::new();
    for number in 0..count {
        let principal = format!("p{}", number % PRINCIPALS);
        all.entry(principal).or_default().push(number);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_while_a_service_is_killed_is_there_once_and_in_order() {
    const EVENTS: u64 = 3_000;
    let db = TestDatabase::create().await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    let mut ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let base = ingest.base().to_owned();
    let producer = client(&ingest)
        .producer()
        .max_batch_events(50)
        .queue_events(200);
    let producer = producer.start().await.unwrap();
    let sending = {
        let producer = producer.clone();
        tokio::spawn(async move {
            let mut deliveries = Vec::new();
            for number in 0..EVENTS {
                deliveries.push(producer.send(sent(number)).await.unwrap());
            }
            deliveries
        })
    };
    for part in 1..=3 {
        let enough = EVENTS / 4 * part;
        eventually(DEADLINE, "events are stored", async || {
            producer.stats().stored > enough
        })
        .await;
        signal("KILL", ingest.child.id());
        ingest.child.wait().unwrap();
        ingest = restart("ingest-svc", &db, &base).await;
    }
    for delivery in sending.await.unwrap() {
        let outcome = delivery.await;
        assert!(outcome.is_stored(), "{outcome:?}");
    }
    let stats = producer.shutdown(DEADLINE).await;
    assert!(stats.retries >= 3, "{stats:?}");
    assert_eq!(stats.stored + stats.duplicates, EVENTS, "{stats:?}");
    assert_eq!(logged(&projection).await, all_in_order(EVENTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_nothing_holds_callers_back_and_loses_none_of_theirs() {
    let db = TestDatabase::create().await;
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    let producer = client(&ingest)
        .producer()
        .queue_events(100)
        .start()
        .await
        .unwrap();
    signal("STOP", ingest.child.id());
    let mut taken = 0;
    while producer.try_send(sent(taken)).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 100);
    let waiting = {
        let producer = producer.clone();
        tokio::spawn(async move { producer.send(sent(100)).await.unwrap().await })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "there is no room");
    assert_eq!(producer.stats().pending, 100);
    signal("CONT", ingest.child.id());
    assert!(waiting.await.unwrap().is_stored());
    producer.flush(DEADLINE).await.unwrap();
    assert_eq!(logged(&projection).await, all_in_order(101));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_a_batch_has_its_own_outcome() {
    let db = TestDatabase::create().await;
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let client = client(&ingest);
    assert!(matches!(client.send(sent(1)).await, Outcome::Stored));
    let other = sent(1).metadata(json!({"other": true}));
    let outcomes = client
        .send_all([sent(1), other.clone(), sent(2).id(""), sent(3)])
        .await;
    let texts: Vec<String> = outcomes.iter().map(ToString::to_string).collect();
    assert_eq!(
        (texts[0].as_str(), texts[3].as_str()),
        ("duplicate", "stored")
    );
    assert!(matches!(outcomes[1], Outcome::Conflict(_)), "{texts:?}");
    assert!(texts[1].contains("metadata"), "{texts:?}");
    assert!(matches!(outcomes[2], Outcome::Rejected(_)), "{texts:?}");
    // Where all are refused, each knows why all the same.
    let outcomes = client.send_all([sent(2).id(""), other]).await;
    assert!(matches!(outcomes[0], Outcome::Rejected(_)), "{outcomes:?}");
    assert!(matches!(outcomes[1], Outcome::Conflict(_)), "{outcomes:?}");
    // What has no id is the same again.
    let nameless = || {
        Event::new("p", "t", json!({"n": 1}))
            .tenant("acme")
            .occurred_at(AT)
    };
    assert!(matches!(client.send(nameless()).await, Outcome::Stored));
    assert!(matches!(client.send(nameless()).await, Outcome::Duplicate));
    assert!(matches!(
        client.send(nameless().key("2")).await,
        Outcome::Stored
    ));
}

/// `aevon` as a caller uses it, who has no database.
fn aevon(base: &str, args: &[&str]) -> Command {
    let mut command = command("aevon", "");
    command
        .env_remove("AEVON_DATABASE__URL")
        .env("AEVON_URL", base)
        .args(args);
    command
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn spooled_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.metadata().map_or(0, |data| data.len()))
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spool_survives_a_kill_and_goes_first() {
    let db = TestDatabase::create().await;
    let mut ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    let base = ingest.base().to_owned();
    signal("KILL", ingest.child.id());
    ingest.child.wait().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().to_str().unwrap();

    // A sender that nobody listens to is killed when its events are spooled.
    let mut sender = aevon(
        &base,
        &[
            "send",
            "--file",
            "-",
            "--spool",
            spool,
            "--patience",
            "300ms",
        ],
    );
    let mut sender = sender
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let first: String = (0..500).map(line).collect();
    sender
        .stdin
        .as_mut()
        .unwrap()
        .write_all(first.as_bytes())
        .unwrap();
    eventually(DEADLINE, "events are spooled", async || {
        spooled_bytes(folder.path()) as usize > first.len()
    })
    .await;
    sender.kill().unwrap();
    sender.wait().unwrap();

    // What comes later goes behind them: refused events are told where nobody waits for them any more.
    let file = folder.path().join("later");
    let refused = r#"{"tenant_id":"acme","principal_id":"p0","id":"bad","occurred_at":"2026-01-01T00:00:00Z"}"#;
    let later: String = (500..600)
        .map(line)
        .chain([format!("{refused}\n")])
        .collect();
    std::fs::write(&file, later).unwrap();
    let file = file.to_str().unwrap();
    let args = [
        "send",
        "--file",
        file,
        "--spool",
        spool,
        "--patience",
        "300ms",
        "-o",
        "json",
    ];
    let output = finish(&mut aevon(&base, &args));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(json_of(&output)["spooled"], 601, "{output:?}");

    let _ingest = restart("ingest-svc", &db, &base).await;
    let output = finish(&mut aevon(&base, &["send", "--spool", spool, "-o", "json"]));
    let counts = json_of(&output);
    assert_eq!(
        (&counts["stored"], &counts["rejected"]),
        (&json!(600), &json!(1)),
        "{output:?}"
    );
    assert_eq!(
        (&counts["spooled"], output.status.code()),
        (&json!(0), Some(1))
    );
    let told = std::fs::read_to_string(folder.path().join("refused.ndjson")).unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["event"]["id"], told["code"].is_string()),
        (&json!("bad"), true),
        "{told}"
    );
    assert_eq!(logged(&projection).await, all_in_order(600));
    // There is nothing left.
    let output = finish(&mut aevon(&base, &["send", "--spool", spool, "-o", "json"]));
    assert_eq!(
        (&json_of(&output)["stored"], output.status.code()),
        (&json!(0), Some(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_sends_asks_and_follows() {
    let db = TestDatabase::create().await;
    apply(&db, &[SUM]);
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    let (to, from) = (ingest.base(), projection.base());
    let run = |base: &str, args: &[&str]| {
        let output = finish(&mut aevon(base, args));
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };

    let one = [
        "send",
        "--tenant",
        "acme",
        "--principal",
        "u",
        "--type",
        "t",
        "--data",
        r#"{"n":5}"#,
        "--id",
        "one",
        "--at",
        AT,
    ];
    let (code, out, err) = run(to, &one);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("STORED  DUPLICATE  CONFLICT"), "{out}");
    assert!(
        run(to, &one).1.contains("\n0       1 "),
        "again it is a duplicate"
    );
    let (code, _, err) = run(to, &[&one[..8], &[r#"{"n":6}"#], &one[9..]].concat());
    assert_eq!(code, 1);
    assert!(err.starts_with("one: event-conflict: "), "{err}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events");
    std::fs::write(
        &file,
        format!("{}{{\n{{\"id\":\"x\"}}\n{}", line(1), line(2)),
    )
    .unwrap();
    let (code, out, err) = run(
        to,
        &["send", "--file", file.to_str().unwrap(), "-o", "json"],
    );
    let counts: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &counts["stored"], &counts["unreadable"]),
        (1, &json!(2), &json!(2)),
        "{err}"
    );
    assert!(err.contains("line 2: the event is no JSON object"), "{err}");
    assert!(
        err.contains("line 3: does not say when it happened"),
        "{err}"
    );

    let (code, out, err) = run(from, &["state", "acme", "u", "--rule", "total"]);
    assert_eq!(code, 0, "{err}");
    let row = "RULE     FROM  TO  GROUP  VALUE  UNIT    EVENTS  SKIPPED\n\
               total:1  -     -   -      5      tokens  1       0\n";
    assert!(out.starts_with(row), "{out}");
    let (_, out, _) = run(from, &["state", "acme", "--rule", "total", "-o", "json"]);
    let total: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&total["scope"], &total["values"][0]["value"]),
        (&json!("tenant"), &json!("8"))
    );
    let (_, out, err) = run(from, &["explain", "acme", "u", "--rule", "total"]);
    assert!(
        out.contains("total:1 (sum) of u is 5 at version"),
        "{out}{err}"
    );
    assert!(out.contains("counted"), "{out}");
    let (code, _, err) = run(from, &["state", "acme", "u", "--rule", "nothing"]);
    assert_eq!(code, 1);
    assert!(
        err.starts_with("aevon: error: unknown-rule (404): "),
        "{err}"
    );

    let (code, out, err) = run(
        from,
        &[
            "tail",
            "acme",
            "--from",
            "beginning",
            "--once",
            "-o",
            "json",
        ],
    );
    assert_eq!((code, out.lines().count()), (0, 3), "{err}");
    let place = err
        .trim()
        .strip_prefix("to go on: --from ")
        .unwrap()
        .to_owned();
    assert_eq!(
        run(from, &["tail", "acme", "--from", &place, "--once"]).1,
        ""
    );
    // It waits for what comes in.
    let mut tail = aevon(from, &["tail", "acme", "--from", &place]);
    let mut tail = tail
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(client(&ingest).send(sent(9)).await.is_stored());
    let mut out = std::io::BufReader::new(tail.stdout.take().unwrap());
    let shown = tokio::task::spawn_blocking(move || {
        let mut shown = String::new();
        std::io::BufRead::read_line(&mut out, &mut shown).unwrap();
        shown
    });
    let shown = tokio::time::timeout(DEADLINE, shown)
        .await
        .unwrap()
        .unwrap();
    assert!(shown.contains("  e9  {\"n\":9}"), "{shown}");
    signal("INT", tail.id());
    let output = tail.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stderr).contains("to go on: --from "),
        "{output:?}"
    );
    assert!(!shown.contains('\u{1b}'), "there is no terminal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_says_what_is_wrong_and_what_to_do() {
    let db = TestDatabase::create().await;
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let look = |url: &str, args: &[&str]| {
        let output = finish(
            command("aevon", url)
                .args(["doctor", "-o", "json"])
                .args(args),
        );
        let report = json_of(&output);
        let bad = report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|check| check["ok"] == false);
        let bad: Vec<String> = bad
            .map(|check| format!("{} | {} | {}", check["check"], check["found"], check["do"]))
            .collect();
        assert_eq!(
            output.status.code(),
            Some(i32::from(!bad.is_empty())),
            "{output:?}"
        );
        assert_eq!(report["ok"], bad.is_empty());
        (bad, report)
    };
    let (bad, _) = look(db.url(), &[]);
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(
        bad[0].contains("none is registered") && bad[0].contains("aevon rules apply"),
        "{bad:?}"
    );
    apply(&db, &[SUM]);
    let (bad, report) = look(db.url(), &[ingest.base()]);
    assert!(bad.is_empty(), "{bad:?}");
    assert!(report["checks"].as_array().unwrap().len() >= 6, "{report}");

    let (bad, _) = look(
        &db.url().replace("127.0.0.1", "127.0.0.2"),
        &["http://127.0.0.1:9"],
    );
    assert!(
        bad.iter().any(|line| line.contains("pg_hba.conf")),
        "{bad:?}"
    );
    let (bad, _) = look(db.url(), &["--patience", "1s", "http://127.0.0.1:9"]);
    assert!(bad[0].contains("is it running"), "{bad:?}");
    let empty = db.url().rsplit_once('/').unwrap().0.to_owned() + "/postgres";
    let (bad, _) = look(&empty, &[]);
    assert!(
        bad.iter()
            .any(|line| line.contains("aevon migrate --partitions")),
        "{bad:?}"
    );
    let mut wrong = command("aevon", db.url());
    let output = finish(wrong.env("AEVON_INGEST__WRITERS", "many").arg("doctor"));
    let shown = text(&output.stdout);
    assert!(
        shown.starts_with("✗ settings: ") && shown.contains(" → "),
        "{shown}"
    );
}
