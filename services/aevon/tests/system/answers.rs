//! `GET /v1/state` as its callers see it: at once, exact, whatever the aggregator does.

use crate::support::{DEADLINE, SUM, Service, apply, array, event, rules};
use aevon_testkit::{TestDatabase, eventually};
use serde_json::{Value, json};
use std::time::Instant;

pub(crate) struct System {
    pub(crate) db: TestDatabase,
    pub(crate) ingest: Service,
    pub(crate) projection: Service,
}

pub(crate) async fn start() -> System {
    let db = TestDatabase::create().await;
    apply(&db, &[SUM]);
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    System {
        db,
        ingest,
        projection,
    }
}

/// An aggregator that sweeps without a pause.
pub(crate) async fn aggregate(db: &TestDatabase) -> Service {
    aggregate_rules(db, &[SUM]).await
}

/// The same for these rules.
pub(crate) async fn aggregate_rules(db: &TestDatabase, texts: &[(&str, &str)]) -> Service {
    let folder = rules(texts);
    let settings = [
        (
            "AEVON_AGGREGATION__CONFIG_DIR",
            folder.path().to_str().unwrap(),
        ),
        ("AEVON_AGGREGATION__CRON_INTERVAL", "20ms"),
    ];
    Service::start("aggregator-svc", db.url(), &settings).await
}

/// Waits until the buckets hold the whole log.
pub(crate) async fn swept(projection: &Service) {
    eventually(DEADLINE, "everything is swept", async || {
        let rules = projection.get("/v1/rules").await.body;
        let mut rules = rules["rules"].as_array().unwrap().iter();
        rules.all(|rule| rule["lag_events"] == 0 && rule["status"] == "active")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_in_the_next_read_without_any_aggregator() {
    let system = start().await;
    for n in 0..12 {
        let sent = system.ingest.post(event(
            "p",
            &format!("e{n}"),
            &format!(r#"{{"n":{}}}"#, 1 << n),
        ));
        let version = sent.await.body["version"].clone();
        let state = system.projection.get("/v1/state/acme/p?rule=total").await;
        assert_eq!(state.status, 200, "{state:?}");
        assert_eq!(state.body["value"], Value::Null);
        assert_eq!(
            state.body["values"][0]["value"],
            json!(((1 << (n + 1)) - 1).to_string())
        );
        assert_eq!(state.body["version"], version);
        assert_eq!(state.body["meta"]["lag_events"], json!(n + 1));
        assert_eq!(state.body["meta"]["staleness_seconds"], json!(0));
    }
    let rules = system.projection.get("/v1/rules").await;
    assert_eq!(rules.body["rules"][0]["name"], "total");
    assert_eq!(rules.body["rules"][0]["version"], 1);
    assert_eq!(rules.body["rules"][0]["lag_events"], 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_changes_lag_and_nothing_else() {
    let System {
        db,
        ingest,
        projection,
    } = start().await;
    let events: Vec<String> = (0..30)
        .map(|n| {
            event(
                "p",
                &format!("e{n}"),
                &format!(r#"{{"n":"{}.5"}}"#, 1_u64 << n),
            )
        })
        .collect();
    ingest.post(array(&events)).await;
    let path = "/v1/state/acme/p?rule=total&granularity=1h&start=2026-01-01T09:30:20Z";
    let before = projection.get(path).await.body;
    assert_eq!(before["values"][0]["window_start"], "2026-01-01T09:30:20Z");
    assert_eq!(before["values"][0]["window_end"], "2026-01-01T10:00:00Z");
    assert_eq!(before["values"][0]["value"], "1073741838");
    let (_one, mut other) = (aggregate(&db).await, aggregate(&db).await);
    other.child.kill().unwrap();
    swept(&projection).await;
    let after = projection.get(path).await.body;
    for field in ["version", "values", "states", "as_of", "start", "end"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(
        (&before["meta"]["lag_events"], &after["meta"]["lag_events"]),
        (&json!(30), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_identifiers_are_kept_byte_by_byte() {
    let system = start().await;
    let long = "x".repeat(512);
    let odd = [
        "a/b",
        "50%",
        "%2F",
        "it's \"quoted\"",
        "😀 ключ",
        "a b+c",
        "..",
        "?&=#;",
        &long,
    ];
    for (n, name) in odd.iter().enumerate() {
        let sent = system
            .ingest
            .post(event(name, name, &format!(r#"{{"n":{}}}"#, 1 << n)))
            .await;
        assert_eq!(sent.status, 202, "{name}: {sent:?}");
        assert_eq!(sent.body["id"], json!(name));
        let again = system
            .ingest
            .post(event(name, name, &format!(r#"{{"n":{}}}"#, 1 << n)))
            .await;
        assert_eq!(again.status, 200, "{name}");
    }
    for (n, name) in odd.iter().enumerate() {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut paths = vec![format!("/v1/state/acme?principal_id={encoded}&rule=total")];
        if *name != ".." {
            // Clients fold `..` away before it is sent; that is what the parameter is for.
            paths.push(format!("/v1/state/acme/{encoded}?rule=total"));
        }
        for path in paths {
            let state = system.projection.get(&path).await;
            assert_eq!(state.body["principal_id"], json!(name), "{path}");
            assert_eq!(
                state.body["values"][0]["value"],
                json!((1 << n).to_string()),
                "{path}"
            );
        }
    }
    let refused = system.ingest.post(event(&"x".repeat(513), "e", "{}")).await;
    assert_eq!(refused.status, 422);
    let refused = system.projection.get("/v1/state/acme/a%00b").await;
    assert_eq!(refused.status, 400, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_are_named() {
    let system = start().await;
    let cases = [
        ("rule=nothing", 404, "unknown-rule"),
        ("rule=total:7", 404, "unknown-rule"),
        (
            "start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z",
            400,
            "range-reversed",
        ),
        ("start=yesterday", 400, "invalid-parameter"),
        ("granularity=5m", 400, "invalid-parameter"),
        ("colour=red", 400, "invalid-parameter"),
        (
            "start=2026-01-01T00:00:00Z&start=2026-01-01T00:00:00Z",
            400,
            "invalid-parameter",
        ),
    ];
    for (query, status, code) in cases {
        let answer = system
            .projection
            .get(&format!("/v1/state/acme/p?{query}"))
            .await;
        let found = answer.body["type"].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (answer.status, found),
            (status, format!("urn:aevon:problem:{code}")),
            "{query}"
        );
    }
    let nobody = system.projection.get("/v1/state/acme/nobody").await;
    assert_eq!(nobody.status, 200);
    assert_eq!(nobody.body["values"][0]["value"], "0");
    assert_eq!(nobody.body["values"][0]["event_count"], 0);
}

/// Half a million unswept events, without waiting for half a million requests.
const TAIL: &str = "
    WITH who AS (
        INSERT INTO principals (tenant_id, principal_id, partition) VALUES ('acme', 'whale', $1)
        RETURNING principal_no, partition)
    INSERT INTO events
    SELECT n, principal_no, '2026-01-01Z'::timestamptz + n * interval '37 seconds', now(), partition,
           0, 'e' || n, 't', '{\"n\": 0.1, \"model\": \"m1\", \"padding\": \"some more text\"}', '{}'
    FROM who, generate_series(1, 500000) n";

#[tokio::test(flavor = "multi_thread")]
async fn half_a_million_unswept_events_of_one_principal_answer_within_budget_and_memory() {
    let System { db, projection, .. } = start().await;
    let partition = aevon_core::identity::partition_of("acme", "whale", 16);
    db.client()
        .await
        .execute(TAIL, &[&partition])
        .await
        .unwrap();
    let queries = [
        ("", 500_000, Some("50000")),
        ("?granularity=1h", 500_000, None),
        (
            "?start=2026-02-01T00:00:20Z&end=2026-05-01T00:00:40Z",
            207_828,
            Some("20782.8"),
        ),
    ];
    let ask = async || {
        for (query, count, value) in queries {
            let began = Instant::now();
            let path = format!("/v1/state/acme/whale{query}");
            let state = projection.get(&path).await;
            assert_eq!(state.status, 200, "{state:?}");
            let took = began.elapsed();
            assert!(took.as_secs() < 10, "{query} took {took:?}");
            let values = state.body["values"].as_array().unwrap();
            let counts = values.iter().map(|v| v["event_count"].as_i64().unwrap());
            assert_eq!(counts.sum::<i64>(), count, "{query}");
            if let Some(value) = value {
                assert_eq!(values[0]["value"], value, "{query}");
            }
        }
    };
    ask().await;
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", projection.child.id())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib <= 64 * 1024, "the peak was {peak_kib} KiB");
    let _aggregator = aggregate(&db).await;
    swept(&projection).await;
    ask().await;
}
