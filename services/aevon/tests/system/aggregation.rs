//! Aggregators and rules as operators change them: answers stay right whatever is changed, killed,
//! frozen or rebuilt.

use crate::support::{DEADLINE, Service, apply, array, command, event, finish, rules, text};
use aevon_testkit::{TestDatabase, eventually};
use serde_json::Value;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// How soon what a dead or frozen aggregator held is swept by another. Postgres ends a transaction
/// that says nothing for 2 s.
const TAKEOVER: Duration = Duration::from_secs(10);

/// A rule `total` that sums a field.
fn total(field: &str) -> String {
    format!("name: total\nsource_event: t\noperator: sum\nfield: {field}\n")
}

const CALLS: (&str, &str) = (
    "calls.yaml",
    "name: calls\nsource_event: t\noperator: count\ngroup_by: [kind]\n",
);

/// An aggregator that sweeps without a pause, in slices of `slice` events, what rules others apply.
async fn aggregator(db: &TestDatabase, slice: &str) -> Service {
    let settings = [
        ("AEVON_AGGREGATION__APPLY_ON_START", "false"),
        ("AEVON_AGGREGATION__CRON_INTERVAL", "20ms"),
        ("AEVON_AGGREGATION__SLICE_EVENTS", slice),
    ];
    Service::start("aggregator-svc", db.url(), &settings).await
}

/// Stores events `from..to` of 40 principals, each with a = 1 and b = 1000.
async fn store(ingest: &Service, from: i64, to: i64) {
    let events: Vec<String> = (from..to)
        .map(|n| {
            let data = format!("{{\"a\":1,\"b\":1000,\"kind\":\"k{}\"}}", n % 3);
            event(&format!("p{}", n % 40), &format!("e{n}"), &data)
        })
        .collect();
    for body in events.chunks(5_000) {
        assert_eq!(ingest.post(array(body)).await.status, 202);
    }
}

fn number(value: &Value) -> i64 {
    let text = value.as_str().map(str::to_owned);
    text.unwrap_or_else(|| value.to_string()).parse().unwrap()
}

/// Waits until every rule's buckets hold everything.
async fn caught_up(projection: &Service, within: Duration, what: &str) {
    eventually(within, what, async || {
        let listed = projection.get("/v1/rules").await.body;
        let rules = listed["rules"].as_array().unwrap();
        rules
            .iter()
            .all(|rule| rule["lag_events"] == 0 && rule["status"] == "active")
    })
    .await;
}

/// The answer of one rule for p1; its buckets must answer, and add up.
async fn check_totals(projection: &Service, events: i64) {
    for principal in 0..40 {
        let path = format!("/v1/state/acme/p{principal}");
        let states = projection.get(&path).await.body;
        assert_eq!(states["meta"]["lag_events"], 0, "{states}");
        for state in states["states"].as_array().unwrap() {
            let value = &state["values"][0];
            assert_eq!(number(&value["event_count"]), events / 40, "{states}");
            assert_eq!(number(&value["value"]), events / 40, "{states}");
        }
    }
}

fn signal(service: &Service, name: &str) {
    let process = service.child.id().to_string();
    let told = Command::new("kill").args([name, &process]).status();
    assert!(told.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_change_under_load_and_every_answer_is_right_for_the_version_it_names() {
    let db = TestDatabase::create().await;
    apply(&db, &[("total.yaml", &total("a"))]);
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    let _aggregators = [aggregator(&db, "2000").await, aggregator(&db, "2000").await];
    store(&ingest, 0, 4_000).await;
    let (is_over, acknowledged) = (AtomicBool::new(false), AtomicI64::new(4_000));

    let write = async {
        while !is_over.load(Ordering::SeqCst) {
            let from = acknowledged.load(Ordering::SeqCst);
            store(&ingest, from, from + 200).await;
            acknowledged.store(from + 200, Ordering::SeqCst);
            // Sweeps get their part of the machine.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answers = AtomicI64::new(0);
    let read = async || {
        let mut seen = Vec::new();
        while !is_over.load(Ordering::SeqCst) {
            let known = acknowledged.load(Ordering::SeqCst) / 40;
            let answer = projection.get("/v1/state/acme/p1?rule=total").await.body;
            let version = number(&answer["rule_version"]);
            let value = &answer["values"][0];
            let count = number(&value["event_count"]);
            // What was acknowledged before the question is in the answer.
            assert!(count >= known, "{count} of {known}: {answer}");
            let each = if version % 2 == 1 { 1 } else { 1_000 };
            assert_eq!(number(&value["value"]), count * each, "{answer}");
            seen.push(version);
            answers.fetch_add(1, Ordering::SeqCst);
        }
        seen
    };
    let change = async {
        for version in 2..=5 {
            let field = if version % 2 == 1 { "a" } else { "b" };
            apply(&db, &[("total.yaml", &total(field))]);
            eventually(DEADLINE, "the new version answers", async || {
                let answer = projection.get("/v1/state/acme/p1?rule=total").await.body;
                number(&answer["rule_version"]) == version
            })
            .await;
            let more = answers.load(Ordering::SeqCst) + 20;
            eventually(DEADLINE, "readers go on", async || {
                answers.load(Ordering::SeqCst) >= more
            })
            .await;
        }
        is_over.store(true, Ordering::SeqCst);
    };
    let (_, one, other, ()) = tokio::join!(write, read(), read(), change);
    for seen in [one, other] {
        assert!(
            seen.is_sorted(),
            "a version that was replaced never answers again: {seen:?}"
        );
        assert!(seen.contains(&5), "{seen:?}");
    }
    let events = acknowledged.load(Ordering::SeqCst);
    for version in 1..=5 {
        let path = format!("/v1/state/acme/p1?rule=total:{version}");
        let answer = projection.get(&path).await.body;
        let each = if version % 2 == 1 { 1 } else { 1_000 };
        let value = number(&answer["values"][0]["value"]);
        assert_eq!(value, events / 40 * each, "{answer}");
    }
    let listed = projection.get("/v1/rules/total").await.body;
    let statuses: Vec<&str> = (0..5)
        .map(|at| listed["versions"][at]["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        ["retired", "retired", "retired", "retired", "active"]
    );
    assert!(listed["versions"][0]["retired_at"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregators_may_be_killed_at_any_moment_and_another_goes_on_at_once() {
    let db = TestDatabase::create().await;
    apply(&db, &[("total.yaml", &total("a")), CALLS]);
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    let mut stored = 0;
    for round in 0..6_u64 {
        let mut killed = aggregator(&db, "50").await;
        store(&ingest, stored, stored + 8_000).await;
        stored += 8_000;
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        killed.child.kill().unwrap();
        killed.child.wait().unwrap();
    }
    let lag = projection.get("/v1/rules").await.body["rules"][0]["lag_events"].clone();
    assert!(number(&lag) > 0, "it was killed at work");
    let _next = aggregator(&db, "5000").await;
    caught_up(&projection, TAKEOVER, "another sweeps what was left").await;
    check_totals(&projection, stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_aggregator_holds_up_no_more_than_its_slice() {
    let db = TestDatabase::create().await;
    apply(&db, &[("total.yaml", &total("a")), CALLS]);
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    let frozen = aggregator(&db, "20").await;
    let mut stored = 0;
    // Frozen until it is caught with a lease in its hands.
    let client = db.client().await;
    let holding = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'aggregator-svc' \
                   AND datname = current_database() AND backend_xid IS NOT NULL";
    let begun = Instant::now();
    loop {
        store(&ingest, stored, stored + 4_000).await;
        stored += 4_000;
        signal(&frozen, "-STOP");
        let held: i64 = client.query_one(holding, &[]).await.unwrap().get(0);
        if held > 0 {
            break;
        }
        signal(&frozen, "-CONT");
        assert!(begun.elapsed() < DEADLINE, "it was never caught at work");
    }
    let _other = aggregator(&db, "5000").await;
    caught_up(&projection, TAKEOVER, "the other sweeps everything").await;
    check_totals(&projection, stored).await;
    // It comes back to a transaction that was ended, and goes on.
    signal(&frozen, "-CONT");
    store(&ingest, stored, stored + 4_000).await;
    caught_up(&projection, TAKEOVER, "both sweep").await;
    check_totals(&projection, stored + 4_000).await;
    frozen.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_mends_buckets_beside_a_running_aggregator_and_without_one() {
    let db = TestDatabase::create().await;
    apply(&db, &[("total.yaml", &total("a")), CALLS]);
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    store(&ingest, 0, 20_000).await;
    let rebuild = |rule: &str| {
        let mut command = command("aevon", db.url());
        command.env("AEVON_AGGREGATION__SLICE_EVENTS", "700");
        finish(command.args(["rebuild", "--rule", rule]))
    };
    let early = rebuild("total");
    assert!(!early.status.success());
    assert!(
        text(&early.stderr).contains("no version of a rule named total is active"),
        "{early:?}"
    );
    let client = db.client().await;
    let mut sweeping = Some(aggregator(&db, "3000").await);
    caught_up(&projection, DEADLINE, "everything is swept").await;
    for is_alone in [false, true] {
        if is_alone {
            sweeping = None;
        }
        let planted = "UPDATE pre_aggregates SET event_count = event_count + 1 \
                       WHERE grain = 1440 AND operator = 2";
        // Of 40 principals, and of their tenant in the partitions where they are.
        let planted = client.execute(planted, &[]).await.unwrap();
        assert!(planted > 40);
        let mended = rebuild("total");
        assert!(mended.status.success(), "{}", text(&mended.stderr));
        let said = text(&mended.stdout);
        let mended = format!("{planted} were wrong and are not any more");
        assert!(said.contains(&mended), "{said}");
        assert!(
            said.contains("tenant_id \"acme\"") && said.contains("event_count was"),
            "{said}"
        );
        check_totals(&projection, 20_000).await;
    }
    drop(sweeping);
    let fine = rebuild("calls");
    assert!(text(&fine.stdout).contains("none differs"), "{fine:?}");
    // One that was broken off is seen, and can be given up.
    let begun = "UPDATE rules SET next_generation = last_generation + 1, \
                 last_generation = last_generation + 1 WHERE name = 'calls'";
    client.execute(begun, &[]).await.unwrap();
    let status = finish(command("aevon", db.url()).args(["rules", "status", "calls"]));
    assert!(
        text(&status.stdout).contains("active, rebuilding"),
        "{status:?}"
    );
    let give_up =
        || finish(command("aevon", db.url()).args(["rebuild", "--rule", "calls", "--give-up"]));
    let given_up = give_up();
    assert!(given_up.status.success(), "{given_up:?}");
    let again = give_up();
    assert!(
        text(&again.stderr).contains("no rebuild of a rule named calls was begun"),
        "{again:?}"
    );
    let left = "SELECT count(DISTINCT (rule_no, generation)) FROM sweep_checkpoints";
    for (query, expected) in [("SELECT count(*) FROM discards", 0), (left, 2)] {
        let count: i64 = client.query_one(query, &[]).await.unwrap().get(0);
        assert_eq!(count, expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_visible_by_rule_and_partition_and_what_is_retired_goes_in_time() {
    let db = TestDatabase::create().await;
    apply(&db, &[("total.yaml", &total("a")), CALLS]);
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    store(&ingest, 0, 400).await;
    let listed = projection.get("/v1/rules/total").await.body;
    let version = &listed["versions"][0];
    assert_eq!(version["lag_events"], 400);
    assert_eq!(version["last_swept_at"], Value::Null);
    let partitions = version["partitions"].as_array().unwrap();
    let lags = partitions.iter().map(|one| number(&one["lag_events"]));
    assert_eq!(lags.sum::<i64>(), 400, "{listed}");
    let folder = rules(&[CALLS]);
    let settings = [
        (
            "AEVON_AGGREGATION__CONFIG_DIR",
            folder.path().to_str().unwrap(),
        ),
        ("AEVON_AGGREGATION__CRON_INTERVAL", "20ms"),
        ("AEVON_AGGREGATION__KEEP_RETIRED", "1s"),
    ];
    let sweeping = aggregator(&db, "100").await;
    caught_up(&projection, DEADLINE, "everything is swept").await;
    let version = &projection.get("/v1/rules/total").await.body["versions"][0];
    assert!(version["last_swept_at"].is_string() && version["sweep_seconds"].is_number());
    assert_eq!(version["partitions"][0]["lag_events"], 0);
    eventually(DEADLINE, "the metrics say so", async || {
        let metrics = sweeping.get("/metrics").await.body;
        let line =
            "aevon_aggregator_rule_lag_events{partition=\"0\",rule=\"total\",version=\"1\"} 0";
        metrics.as_str().unwrap().contains(line)
    })
    .await;
    drop(sweeping);
    // The file of `total` is gone: its version is retired, and its buckets go a second later.
    let _aggregator = Service::start("aggregator-svc", db.url(), &settings).await;
    let client = db.client().await;
    eventually(
        DEADLINE,
        "the buckets of the retired version are gone",
        async || {
            let left = "SELECT count(*) FROM pre_aggregates WHERE operator = 2";
            client.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0
        },
    )
    .await;
    let answer = projection.get("/v1/state/acme/p1?rule=total:1").await.body;
    assert_eq!(answer["values"][0]["value"], "10", "{answer}");
    assert_eq!(
        projection.get("/v1/state/acme/p1?rule=total").await.status,
        404
    );
}
