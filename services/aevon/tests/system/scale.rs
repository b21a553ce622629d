//! More of each: two of every service share a database, directly and through a pooler, and the
//! connections that they open are counted beforehand.

use crate::support::{DEADLINE, Service, apply, array, command, event, finish, text};
use aevon_testkit::{Pooler, TestDatabase, eventually};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const TOTAL: (&str, &str) = (
    "total.yaml",
    "name: total\nsource_event: t\noperator: sum\nfield: n\n",
);
const LARGEST: (&str, &str) = (
    "largest.yaml",
    "name: largest\nsource_event: t\noperator: max\nfield: n\n",
);
/// Callers at once, half of them at each ingest-svc.
const CALLERS: usize = 8;
/// Bodies of each caller.
const BODIES: usize = 40;
/// Events of a body.
const EVENTS: usize = 5;
const PRINCIPALS: usize = 7;

/// Two of every service.
struct Pairs {
    ingest: [Service; 2],
    projection: [Service; 2],
    aggregator: [Service; 2],
}

impl Pairs {
    async fn start(url: &str) -> Self {
        let settings = [
            ("AEVON_AGGREGATION__APPLY_ON_START", "false"),
            ("AEVON_AGGREGATION__CRON_INTERVAL", "20ms"),
            // Slices so small that the two take turns.
            ("AEVON_AGGREGATION__SLICE_EVENTS", "7"),
            ("AEVON_AGGREGATION__MAX_BACKLOG", "1"),
        ];
        let start = async |name: &str| Service::start(name, url, &settings).await;
        Self {
            ingest: [start("ingest-svc").await, start("ingest-svc").await],
            projection: [start("projection-svc").await, start("projection-svc").await],
            aggregator: [start("aggregator-svc").await, start("aggregator-svc").await],
        }
    }

    /// One caller: bodies of its own, and each body of its neighbour's as well, whose other copy may be
    /// under way at the other ingest-svc.
    async fn call(&self, caller: usize, stored: &AtomicUsize) {
        for body in 0..BODIES {
            for of in [caller, caller ^ 1] {
                let events: Vec<String> = (0..EVENTS)
                    .map(|n| {
                        let number = (of * BODIES + body) * EVENTS + n;
                        let data = format!("{{\"n\":{}}}", value(number));
                        event(&principal(number), &format!("e{number}"), &data)
                    })
                    .collect();
                let answer = self.ingest[caller % 2].post(array(&events)).await;
                assert!([200, 202].contains(&answer.status), "{answer:?}");
                let accepted = answer.body["accepted"].as_u64().unwrap();
                stored.fetch_add(accepted as usize, Ordering::SeqCst);
            }
        }
    }

    /// While events come in: whoever is asked, an answer never goes back.
    async fn watch(&self, stored: &AtomicUsize) {
        let mut seen = BTreeMap::<String, u64>::new();
        let mut turn = 0;
        while stored.load(Ordering::SeqCst) < CALLERS * BODIES * EVENTS {
            let who = principal(turn % PRINCIPALS);
            let path = format!("/v1/state/acme/{who}?rule=total");
            let answer = self.projection[turn % 2].get(&path).await;
            let value = answer.body["values"][0]["value"].as_str();
            let value: u64 = value.and_then(|value| value.parse().ok()).unwrap_or(0);
            let before = seen.insert(who, value).unwrap_or(0);
            assert!(value >= before, "{answer:?}");
            turn += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(turn > 20, "it was watched");
    }
}

/// Distinct, so that what is lost and what is counted twice differ.
fn value(number: usize) -> u64 {
    (number as u64 + 1) * 1_000_003 % 999_999_937
}

fn principal(number: usize) -> String {
    format!("p{}", number % PRINCIPALS)
}

/// A load over two of each: stored once each, swept by both, the same and right everywhere.
async fn one_load(db: &TestDatabase, url: &str) {
    apply(db, &[TOTAL, LARGEST]);
    let pairs = Pairs::start(url).await;
    let stored = AtomicUsize::new(0);
    let callers = (0..CALLERS).map(|caller| pairs.call(caller, &stored));
    tokio::join!(
        futures_util::future::join_all(callers),
        pairs.watch(&stored)
    );
    let all = CALLERS * BODIES * EVENTS;
    assert_eq!(
        stored.load(Ordering::SeqCst),
        all,
        "each event is accepted once"
    );
    for projection in &pairs.projection {
        eventually(DEADLINE, "everything is swept", async || {
            let rules = projection.get("/v1/rules").await;
            let rules = rules.body["rules"].as_array().unwrap().clone();
            rules
                .iter()
                .all(|rule| rule["lag_events"] == json!(0) && rule["status"] == json!("active"))
        })
        .await;
        for who in 0..PRINCIPALS {
            let values = (0..all)
                .filter(|number| number % PRINCIPALS == who)
                .map(value);
            let sum = values.clone().sum::<u64>().to_string();
            let largest = values.max().unwrap().to_string();
            for (rule, value) in [("total", sum), ("largest", largest)] {
                let path = format!("/v1/state/acme/p{who}?rule={rule}");
                let state = projection.get(&path).await;
                assert_eq!(state.body["values"][0]["value"], json!(value), "{state:?}");
            }
        }
    }
    let proved = finish(command("aevon", url).arg("verify"));
    assert!(proved.status.success(), "{}", text(&proved.stderr));
    for aggregator in &pairs.aggregator {
        let metrics = aggregator.get("/metrics").await;
        let metrics = metrics.body.as_str().unwrap();
        let counted = |line: &str| {
            let count = line.strip_prefix("aevon_aggregator_events_total ")?;
            count.parse::<f64>().ok()
        };
        let swept = metrics
            .lines()
            .find_map(counted)
            .unwrap_or_else(|| panic!("{metrics}"));
        assert!(swept > 0.0, "both sweep");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_each_service_share_a_load_exactly() {
    let db = TestDatabase::create().await;
    one_load(&db, db.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_each_service_share_a_load_through_a_pooler_of_sessions() {
    let db = TestDatabase::create().await;
    let (_pooler, url) = Pooler::in_front_of(db.url()).unwrap();
    let migrated = finish(command("aevon", &url).args(["migrate", "--roles"]));
    assert!(migrated.status.success(), "{}", text(&migrated.stderr));
    one_load(&db, &url).await;
}

/// The line of a service's log about its connections.
async fn said_of_connections(db: &TestDatabase, name: &str, replicas: &str) -> serde_json::Value {
    let file = tempfile::NamedTempFile::new().unwrap();
    let settings = [
        ("AEVON_DATABASE__REPLICAS", replicas),
        ("AEVON_DATABASE__MAX_CONNECTIONS", "20"),
        ("AEVON_INGEST__WRITERS", "3"),
        ("AEVON_AGGREGATION__APPLY_ON_START", "false"),
        ("AEVON_LOG__LEVEL", "info"),
    ];
    let log = file.reopen().unwrap();
    let service = Service::spawn_with_log(name, db.url(), &settings, log);
    service.ready().await;
    let text = std::fs::read_to_string(file.path()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut lines =
        lines.filter(|line: &serde_json::Value| line.to_string().contains("\"wanted\""));
    let line = lines.next().unwrap_or_else(|| panic!("{text}"));
    assert_eq!(lines.next(), None, "once");
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_says_how_many_connections_it_opens_and_warns_where_they_can_not_be_had() {
    let db = TestDatabase::create().await;
    // Of the test's server: max_connections 200, of which 3 are for superusers.
    let row = db.client().await;
    let row = row.query_one("SELECT current_setting('max_connections')::int", &[]);
    let most = row.await.unwrap().get::<_, i32>(0) - 3;
    for (name, of_process) in [
        ("ingest-svc", 7),
        ("projection-svc", 20),
        ("aggregator-svc", 2),
    ] {
        let fits = said_of_connections(&db, name, "2").await;
        let number = |line: &serde_json::Value, key: &str| line[key].clone();
        assert_eq!(fits["level"], json!("INFO"), "{fits}");
        assert_eq!(number(&fits, "of_process"), json!(of_process), "{fits}");
        assert_eq!(number(&fits, "wanted"), json!(2 * of_process), "{fits}");
        assert_eq!(number(&fits, "allowed"), json!(most), "{fits}");
        let excess = said_of_connections(&db, name, "200").await;
        assert_eq!(excess["level"], json!("WARN"), "{excess}");
        assert_eq!(
            number(&excess, "wanted"),
            json!(200 * of_process),
            "{excess}"
        );
    }
}
