//! Why a number is what it is, as a support tool asks: explained page by page, compared with the log.

use crate::support::{Answer, DEADLINE, Service, apply, array, event};
use aevon_testkit::{TestDatabase, eventually};
use serde_json::{Value, json};

const GROUPED: (&str, &str) = (
    "sum.yaml",
    "name: total\nsource_event: t\noperator: sum\nfield: n\ngroup_by: [model]\nunit: tokens\n",
);
const LAST: (&str, &str) = (
    "last.yaml",
    "name: last\nsource_event: t\noperator: latest\nfield: n\n",
);
const PATH: &str = "/v1/state/acme/p/explain?rule=total";

struct System {
    db: TestDatabase,
    ingest: Service,
    projection: Service,
}

async fn start() -> System {
    let db = TestDatabase::create().await;
    apply(&db, &[GROUPED, LAST]);
    System {
        ingest: Service::start("ingest-svc", db.url(), &[]).await,
        projection: Service::start("projection-svc", db.url(), &[]).await,
        db,
    }
}

impl System {
    async fn store(&self, events: &[String]) -> String {
        let sent = self.ingest.post(array(events)).await;
        assert_eq!(sent.status, 202, "{sent:?}");
        sent.body["version"].as_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.projection.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    /// An aggregator that sweeps without a pause, by the rules that stand.
    async fn aggregate(&self) -> Service {
        let settings = [
            ("AEVON_AGGREGATION__APPLY_ON_START", "false"),
            ("AEVON_AGGREGATION__CRON_INTERVAL", "20ms"),
        ];
        Service::start("aggregator-svc", self.db.url(), &settings).await
    }

    /// Waits until the buckets hold the whole log.
    async fn swept(&self) {
        eventually(DEADLINE, "everything is swept", async || {
            let rules = self.projection.get("/v1/rules").await.body;
            let mut rules = rules["rules"].as_array().unwrap().iter();
            rules.all(|rule| rule["lag_events"] == 0 && rule["status"] == "active")
        })
        .await;
    }

    async fn refused(&self, path: &str) -> (u16, String, String) {
        let Answer { status, body, .. } = self.projection.get(path).await;
        let code = body["type"].as_str().unwrap_or_default();
        let code = code.replace("urn:aevon:problem:", "");
        (status, code, body["detail"].to_string())
    }
}

fn at(id: &str, occurred_at: &str, n: u64) -> String {
    let data = format!(r#"{{"n":{n},"model":"m{}"}}"#, n % 3);
    event("p", id, &data).replace("2026-01-01T10:30:20.5+01:00", occurred_at)
}

fn void(id: &str, target: &str) -> String {
    let data = json!({"event_id": target}).to_string();
    event("p", id, &data).replace(r#""type":"t""#, r#""type":"aevon.void""#)
}

fn fields(items: &[Value], name: &str) -> Vec<Value> {
    items.iter().map(|item| item[name].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_explained_page_by_page_as_of_one_version() {
    let system = start().await;
    let events: Vec<String> = (0..10)
        .map(|n| at(&format!("e{n}"), "2026-01-01T09:30:20Z", 1 << n))
        .collect();
    system.store(&events).await;
    let broken = at("skipped", "2026-01-01T09:30:21Z", 0).replace(r#""n":0"#, r#""n":"x""#);
    let version = system.store(&[broken, void("v", "e3")]).await;
    let state = system.get("/v1/state/acme/p?rule=total").await;
    let mut path = format!("{PATH}&limit=4");
    let (mut items, mut pages) = (Vec::new(), 0);
    loop {
        let page = system.get(&path).await;
        for field in [
            "rule",
            "rule_version",
            "operator",
            "unit",
            "start",
            "end",
            "as_of",
        ] {
            assert_eq!(page[field], state[field], "{field}");
        }
        let value = &state["values"][0];
        for field in ["value", "event_count", "skipped_count"] {
            assert_eq!(page[field], value[field], "{field}");
        }
        assert_eq!(
            (&page["version"], &page["voids"]),
            (&json!(version), &json!(1))
        );
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        pages += 1;
        // What comes in meanwhile is on no page.
        let more = at(&format!("more{pages}"), "2026-01-01T09:30:20Z", 4096);
        system.store(&[more]).await;
        match page["next"].as_str() {
            None => break,
            Some(next) => path = format!("{PATH}&limit=4&cursor={next}"),
        }
    }
    assert_eq!(pages, 3);
    let ids = fields(&items, "id");
    let expected: Vec<String> = (0..10)
        .filter(|n| *n != 3)
        .map(|n| format!("e{n}"))
        .collect();
    assert_eq!(
        ids[..9],
        expected.iter().map(|id| json!(id)).collect::<Vec<_>>()
    );
    let (first, skipped) = (&items[0], &items[9]);
    assert_eq!(
        (
            &first["contribution"],
            &first["adds"],
            &first["verdict"],
            &first["group"]
        ),
        (
            &json!("1"),
            &json!("1"),
            &json!("counted"),
            &json!({"model": "m1"})
        )
    );
    assert_eq!((&first["late"], first.get("decides")), (&json!(true), None));
    let reason = json!("no usable value: a text that holds no number within the bounds");
    assert_eq!(
        (&skipped["verdict"], &skipped["reason"]),
        (&json!("skipped"), &reason)
    );
    assert_eq!(
        (&skipped["contribution"], &skipped["adds"]),
        (&Value::Null, &json!("0"))
    );

    let group = system
        .get(&format!("{PATH}&filter[model]=m1&version={version}"))
        .await;
    assert_eq!(
        (&group["value"], &group["event_count"]),
        (&json!("341"), &json!(5))
    );
    assert_eq!(
        fields(group["items"].as_array().unwrap(), "id"),
        ["e0", "e2", "e4", "e6", "e8"]
    );
    let last = system.get("/v1/state/acme/p/explain?rule=last").await;
    let deciding: Vec<&Value> = last["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["decides"] == true)
        .collect();
    assert_eq!((deciding.len(), &deciding[0]["id"]), (1, &json!("more3")));
    assert_eq!(last["decided_by"], deciding[0]["position"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_a_value_since_a_version_adds_up_to_the_change() {
    let system = start().await;
    let day = "&start=2026-01-01T00:00:00Z&end=2026-01-02T00:00:00Z";
    let before = system
        .store(&[
            at("e0", "2026-01-01T09:30:20Z", 1),
            at("e1", "2026-01-01T23:59:59Z", 2),
            at("e2", "2026-01-02T00:00:00Z", 4),
        ])
        .await;
    let _aggregator = system.aggregate().await;
    system
        .store(&[
            at("late", "2026-01-01T00:00:30Z", 8),
            at("fleeting", "2026-01-01T00:00:30Z", 16),
            at("elsewhere", "2026-01-03T00:00:30Z", 32),
            void("v0", "e1"),
            void("v1", "fleeting"),
            void("v2", "e2"),
        ])
        .await;
    let told = system
        .get(&format!("{PATH}{day}&from_version={before}"))
        .await;
    let items = told["items"].as_array().unwrap();
    assert_eq!(
        (&told["value"], &told["from"]["value"]),
        (&json!("9"), &json!("3"))
    );
    assert_eq!(
        (&told["change"], &told["from"]["version"]),
        (&json!("6"), &json!(before))
    );
    assert_eq!(fields(items, "id"), ["late", "e1"]);
    assert_eq!(fields(items, "adds"), ["8", "-2"]);
    assert_eq!(fields(items, "effect"), ["added", "removed"]);
    let void = system.get("/v1/events/acme/p/v0").await;
    assert_eq!(items[1]["voided_by"], void["position"]);
    // It is the same once it is swept, and nothing since the version itself.
    system.swept().await;
    let again = system
        .get(&format!("{PATH}{day}&from_version={before}"))
        .await;
    assert_eq!(again["items"], told["items"]);
    assert_eq!(
        (&again["voids"], &again["late_events"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(again["checkpoint"], again["version"]);
    let days = &again["sources"]["buckets"][0];
    assert_eq!(*days, json!({"grain": "1d", "rows": 1, "events": 2}));
    let version = told["version"].as_str().unwrap();
    let nothing = system
        .get(&format!("{PATH}{day}&from_version={version}"))
        .await;
    assert_eq!(
        (&nothing["items"], &nothing["change"]),
        (&json!([]), &json!("0"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_verified_and_a_bucket_that_lies_is_found() {
    let system = start().await;
    let events: Vec<String> = (0..8)
        .map(|n| {
            at(
                &format!("e{n}"),
                &format!("2026-01-0{}T09:30:20Z", n + 1),
                1 << n,
            )
        })
        .collect();
    system.store(&events).await;
    let aggregator = system.aggregate().await;
    system.swept().await;
    drop(aggregator);
    let path = "/v1/state/acme/p/verify?rule=total&granularity=1d&group_by=model";
    let agreed = system.get(path).await;
    assert_eq!(
        (&agreed["agrees"], &agreed["items"]),
        (&json!(true), &json!([])),
        "{agreed}"
    );
    let counts = [
        "values",
        "buckets_read",
        "raw_events_read",
        "events_read",
        "difference_count",
    ];
    let counted: Vec<u64> = counts
        .iter()
        .map(|name| agreed[name].as_u64().unwrap())
        .collect();
    assert_eq!(counted, [8, 8, 0, 8, 0]);
    let client = system.db.client().await;
    let change = "UPDATE pre_aggregates SET value = value + 1 WHERE grain = 1440";
    client.execute(change, &[]).await.unwrap();
    let found = system.get(&format!("{path}&limit=5")).await;
    assert_eq!(
        (&found["agrees"], &found["difference_count"]),
        (&json!(false), &json!(8))
    );
    let first = json!({"window_start": "2026-01-01T00:00:00Z", "window_end": "2026-01-02T00:00:00Z",
        "group": {"model": "m1"},
        "from_buckets": {"value": "2", "event_count": 1, "skipped_count": 0},
        "from_log": {"value": "1", "event_count": 1, "skipped_count": 0}});
    assert_eq!(found["items"][0], first);
    let next = found["next"].as_str().unwrap();
    let rest = system.get(&format!("{path}&limit=5&cursor={next}")).await;
    assert_eq!(
        (rest["items"].as_array().unwrap().len(), &rest["next"]),
        (3, &Value::Null)
    );
    // Minutes and raw events are not touched, so a part of the first day agrees.
    let range = "start=2026-01-01T09:30:00Z&end=2026-01-01T12:00:00Z";
    let part = system
        .get(&format!("/v1/state/acme/p/verify?rule=total&{range}"))
        .await;
    assert_eq!(
        (&part["agrees"], &part["values"]),
        (&json!(true), &json!(1))
    );
    let broken = "UPDATE pre_aggregates SET value = 'NaN' WHERE grain = 1440";
    client.execute(broken, &[]).await.unwrap();
    let broken = system.get(path).await;
    assert_eq!(
        (&broken["agrees"], &broken["difference_count"]),
        (&json!(false), &json!(8))
    );
    assert!(broken["unreadable"].is_string(), "{broken}");
    let metrics = system.projection.get("/metrics").await.body;
    let metrics = metrics.as_str().unwrap();
    for line in [
        "aevon_projection_comparisons_total{outcome=\"agrees\"} 2",
        "aevon_projection_comparisons_total{outcome=\"differs\"} 3",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_explained_and_verified_of_whom_is_said() {
    let system = start().await;
    let version = system.store(&[at("e0", "2026-01-01T09:30:20Z", 1)]).await;
    let (partition, _) = version.split_once(':').unwrap();
    let other = (partition.parse::<i32>().unwrap() + 1) % 16;
    let both = |query: &str| ["explain", "verify"].map(|view| (view, query.to_owned()));
    for (view, query) in [
        both(""),
        both("rule=total&rule=last"),
        both("rule=total&x=1"),
    ]
    .concat()
    {
        let (status, code, detail) = system
            .refused(&format!("/v1/state/acme/p/{view}?{query}"))
            .await;
        assert_eq!(
            (status, &*code),
            (400, "invalid-parameter"),
            "{view} {query}"
        );
        let named = if query.ends_with("x=1") {
            "x: "
        } else {
            "rule: "
        };
        assert!(detail.contains(named), "{detail}");
    }
    for (query, status, expected) in [
        ("rule=nothing", 404, "unknown-rule"),
        ("rule=total:2", 404, "unknown-rule"),
        ("rule=total&granularity=1d", 400, "invalid-parameter"),
        ("rule=total&group_by=model", 400, "invalid-parameter"),
        ("rule=total&cumulative=true", 400, "invalid-parameter"),
        (
            "rule=total&timezone=Asia/Kathmandu",
            400,
            "invalid-parameter",
        ),
        ("rule=total&filter[x]=1", 400, "invalid-parameter"),
        ("rule=total&limit=0", 400, "invalid-parameter"),
        ("rule=total&cursor=x", 400, "invalid-parameter"),
        ("rule=total&from_version=x", 400, "invalid-parameter"),
        (
            &format!("rule=total&from_version={partition}:2"),
            400,
            "invalid-parameter",
        ),
        (
            &format!("rule=total&from_version={other}:1"),
            400,
            "version-of-another-partition",
        ),
        (
            &format!("rule=total&version={partition}:2"),
            404,
            "unknown-version",
        ),
        (
            &format!("rule=total&min_version={partition}:2"),
            504,
            "version-not-visible",
        ),
        (
            "rule=total&start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z",
            400,
            "range-reversed",
        ),
    ] {
        let (found, code, _) = system
            .refused(&format!("/v1/state/acme/p/explain?{query}"))
            .await;
        assert_eq!((found, &*code), (status, expected), "{query}");
    }
    // Principals by any name, and by the names of the views.
    for name in ["explain", "a/b", "..", "100%"] {
        let stored = event(name, "e", r#"{"n":2}"#);
        system.store(&[stored]).await;
        let encoded = name.replace('%', "%25").replace('/', "%2F");
        for view in ["explain", "verify"] {
            let path = format!("/v1/{view}/acme?principal_id={encoded}&rule=total");
            let told = system.get(&path).await;
            assert_eq!(told["principal_id"], name);
            if name != ".." {
                let by_path = format!("/v1/state/acme/{encoded}/{view}?rule=total");
                assert_eq!(system.get(&by_path).await, told);
            }
        }
    }
    let state = system.get("/v1/state/acme/explain?rule=total").await;
    assert_eq!(state["values"][0]["value"], "2");
    let (status, code, _) = system.refused("/v1/explain/acme?rule=total").await;
    assert_eq!((status, &*code), (400, "invalid-parameter"));
    let nobody = system.get("/v1/state/acme/nobody/explain?rule=total").await;
    assert_eq!(
        (&nobody["value"], &nobody["items"]),
        (&json!("0"), &json!([]))
    );
}
