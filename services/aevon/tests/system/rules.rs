//! Operators, filters and groups as callers see them: by HTTP, from the raw log and from buckets.

use crate::support::{DEADLINE, Service, apply, array, command, event, finish, rules, text};
use aevon_testkit::{TestDatabase, eventually};
use serde_json::{Value, json};

const RULES: [(&str, &str); 6] = [
    (
        "avg.yaml",
        "name: mean\nsource_event: t\noperator: avg\nfield: n\ngroup_by: [model]\n",
    ),
    (
        "latest.yaml",
        "name: last\nsource_event: t\noperator: latest\nfield: n\n",
    ),
    (
        "unique.yaml",
        "name: users\nsource_event: t\noperator: unique_count\nfield: user\n",
    ),
    (
        "level.yaml",
        "name: level\nsource_event: t\noperator: weighted_sum\nfield: n\nunit: seat-seconds\n",
    ),
    (
        "filtered.yaml",
        "name: large\nsource_event: t\noperator: count\nfilter: data.n > 2\ngroup_by: [model, a.b]\n",
    ),
    (
        "count.yaml",
        "name: calls\nsource_event: t\noperator: count\n",
    ),
];

/// What happened, all of it at 09:30:20.5Z.
const DATA: [&str; 5] = [
    r#"{"n":1,"model":"m1","user":"a","a":{"b":1}}"#,
    r#"{"n":2,"model":"m1","user":"b","a":{"b":1.0}}"#,
    r#"{"n":"4","model":"m2","user":"a"}"#,
    r#"{"n":7,"model":null,"user":7}"#,
    r#"{"model":"m2"}"#,
];

/// An aggregator that sweeps without a pause, and nothing left to sweep.
async fn swept(db: &TestDatabase, projection: &Service) -> Service {
    let folder = rules(&RULES);
    let settings = [
        (
            "AEVON_AGGREGATION__CONFIG_DIR",
            folder.path().to_str().unwrap(),
        ),
        ("AEVON_AGGREGATION__CRON_INTERVAL", "20ms"),
    ];
    let aggregator = Service::start("aggregator-svc", db.url(), &settings).await;
    eventually(DEADLINE, "everything is swept", async || {
        let rules = projection.get("/v1/rules").await.body;
        let rules = rules["rules"].as_array().unwrap();
        rules
            .iter()
            .all(|rule| rule["lag_events"] == 0 && rule["status"] == "active")
    })
    .await;
    aggregator
}

/// The fields of the values that matter here.
fn brief(body: &Value) -> Value {
    let values = body["values"].as_array().unwrap();
    let brief = |value: &Value| match value.get("group") {
        Some(group) => json!([
            group,
            value["value"],
            value["event_count"],
            value["skipped_count"]
        ]),
        None => json!([value["value"], value["event_count"], value["skipped_count"]]),
    };
    values.iter().map(brief).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_filters_and_groups_answer_alike_from_the_log_and_from_buckets() {
    let db = TestDatabase::create().await;
    apply(&db, &RULES);
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    let events: Vec<String> = (0..)
        .zip(DATA)
        .map(|(n, data)| event("p", &format!("e{n}"), data))
        .collect();
    assert_eq!(ingest.post(array(&events)).await.status, 202);
    let cases = [
        ("rule=mean", json!([["3.5", 4, 1]])),
        (
            "rule=mean&group_by=model",
            json!([
                [{"model": null}, "7", 1, 0],
                [{"model": "m1"}, "1.5", 2, 0],
                [{"model": "m2"}, "4", 1, 1],
            ]),
        ),
        (
            "rule=mean&filter[model]=m1&filter[model]=m2",
            json!([["2.333333333333333333333333333333333", 3, 1]]),
        ),
        ("rule=mean&filter[model]", json!([["7", 1, 0]])),
        ("rule=mean&filter[model]=nothing", json!([[null, 0, 0]])),
        ("rule=mean&filter[model]=nothing&group_by=model", json!([])),
        ("rule=last", json!([["7", 4, 1]])),
        ("rule=users", json!([["3", 4, 1]])),
        ("rule=level", json!([[null, 4, 1]])),
        (
            "rule=level&end=2026-01-01T09:30:30Z",
            json!([["133", 4, 1]]),
        ),
        (
            "rule=level&start=2026-01-01T09:30:29Z&end=2026-01-01T09:30:30Z",
            json!([["14", 4, 1]]),
        ),
        (
            "rule=level&start=2026-01-01T10:00:00Z&end=2026-01-01T12:00:00Z&granularity=1h",
            json!([["50400", 4, 1], ["50400", 4, 1]]),
        ),
        (
            "rule=large&group_by=a.b,model",
            json!([
                [{"a.b": null, "model": null}, "1", 1, 0],
                [{"a.b": null, "model": "m2"}, "0", 0, 2],
            ]),
        ),
        ("rule=large", json!([["1", 1, 2]])),
        ("rule=calls&granularity=1h", json!([["5", 5, 0]])),
    ];
    let mut aggregator = None;
    for _ in 0..2 {
        for (query, expected) in &cases {
            let answer = projection.get(&format!("/v1/state/acme/p?{query}")).await;
            assert_eq!(answer.status, 200, "{query}: {answer:?}");
            let found = brief(&answer.body);
            assert_eq!(found, *expected, "{query}, swept: {}", aggregator.is_some());
        }
        aggregator = Some(swept(&db, &projection).await);
    }
    let listed = projection.get("/v1/rules/large").await.body;
    let version = &listed["versions"][0];
    assert_eq!(version["filter"], "data.n > 2");
    assert_eq!(version["group_by"], json!(["a.b", "model"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_a_count_says_that_it_is_an_estimate_and_groups_are_refused() {
    let db = TestDatabase::create().await;
    let by_user = "name: users\nsource_event: t\noperator: unique_count\nfield: u\ngroup_by: [u]\n";
    apply(&db, &[("users.yaml", by_user)]);
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    let ask = async |query: &str| projection.get(&format!("/v1/state/acme/p{query}")).await;
    for (from, to) in [(0, 1024), (1024, 6000), (6000, 10_001)] {
        let events: Vec<String> = (from..to)
            .map(|n| event("p", &format!("e{n}"), &format!(r#"{{"u":"user{n}"}}"#)))
            .collect();
        assert_eq!(ingest.post(array(&events)).await.status, 202);
        let answer = ask("").await.body;
        let value = &answer["values"][0];
        if to == 1024 {
            assert_eq!(value["value"], "1024");
            assert_eq!(value.get("approximate"), None);
        } else {
            let count: f64 = value["value"].as_str().unwrap().parse().unwrap();
            assert!(
                (count / f64::from(to) - 1.0).abs() < 0.04,
                "{count} of {to}"
            );
            assert_eq!(value["approximate"], true);
            assert_eq!(value["relative_error"], json!(0.0081));
        }
    }
    let refused = ask("?group_by=u").await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.body["type"], "urn:aevon:problem:too-many-groups");
    let one = ask("?group_by=u&filter[u]=user9999").await.body;
    assert_eq!(brief(&one), json!([[{"u": "user9999"}, "1", 1, 0]]));
    for query in [
        "?group_by=nothing",
        "?filter[nothing]=1",
        "?group_by=",
        "?filter[]=1",
        "?filter=1",
    ] {
        let refused = ask(query).await;
        let code = refused.body["type"].as_str().unwrap_or_default();
        assert_eq!(code, "urn:aevon:problem:invalid-parameter", "{query}");
    }
}

#[test]
fn a_rule_that_cannot_be_used_is_refused_with_file_field_and_reason() {
    let folder = rules(&[
        (
            "a.yaml",
            "name: a\nsource_event: t\noperator: count\nfilter: data.n >\n",
        ),
        ("b.yaml", "name: b\nsource_event: t\noperator: avg\n"),
        (
            "c.yaml",
            "name: c\nsource_event: t\noperator: count\ngroup_by: model\n",
        ),
        (
            "d.yaml",
            "name: d\nsource_event: t\noperator: count\nfilter: now() > occurred_at\n",
        ),
    ]);
    let check = finish(
        command("aevon", "")
            .args(["rules", "check"])
            .arg(folder.path()),
    );
    assert!(!check.status.success());
    let said = text(&check.stderr);
    for expected in [
        "a.yaml: filter: is no CEL expression",
        "b.yaml: field: is required by avg",
        "c.yaml: group_by: must be a list of 1 to 8 paths",
        "d.yaml: filter: there is no function now",
    ] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
}
