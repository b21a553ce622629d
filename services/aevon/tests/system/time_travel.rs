//! Versions and corrections as callers see them: what was answered once is answered again.

use crate::answers::{System, aggregate, start, swept};
use crate::support::{Answer, array, event};
use reqwest::Method;
use serde_json::{Value, json};

const PATH: &str = "/v1/state/acme/p";

fn at(id: &str, occurred_at: &str, n: u64) -> String {
    let data = format!(r#"{{"n":{n}}}"#);
    event("p", id, &data).replace("2026-01-01T10:30:20.5+01:00", occurred_at)
}

fn void(id: &str, target: &str) -> String {
    let data = json!({"event_id": target, "reason": "counted twice"}).to_string();
    event("p", id, &data).replace(r#""type":"t""#, r#""type":"aevon.void""#)
}

fn code(answer: &Answer) -> &str {
    let problem = answer.body["type"].as_str().unwrap_or_default();
    problem.trim_start_matches("urn:aevon:problem:")
}

async fn atomic(system: &System, events: &[String]) -> Answer {
    let headers = [("content-type", "application/json")];
    let path = "/v1/events?atomic=true";
    system
        .ingest
        .send(Method::POST, path, &headers, array(events))
        .await
}

/// Everything of an answer but `meta`, as text.
fn bytes(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut body = answer.body.clone();
    body.as_object_mut().unwrap().remove("meta");
    body.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_earlier_answer_is_given_again_by_its_version() {
    let system = start().await;
    let days = "rule=total:1&granularity=1d&start=2026-01-01T00:00:20Z&end=2026-02-01T00:00:00Z";
    let mut given = Vec::new();
    let steps = [
        at("e0", "2026-01-01T09:30:20Z", 1),
        at("e1", "2026-01-31T23:59:59Z", 2),
        at("late", "2026-01-01T00:00:30Z", 4),
        void("v", "e1"),
        array(&[void("w", "e0"), at("amended", "2026-01-01T09:30:20Z", 8)]),
    ];
    let mut aggregator = None;
    for (number, step) in steps.into_iter().enumerate() {
        let sent = system.ingest.post(step).await;
        assert_eq!(sent.status, 202, "{sent:?}");
        let version = sent.body["version"].as_str().unwrap();
        let answer = system
            .projection
            .get(&format!("{PATH}?{days}&min_version={version}"))
            .await;
        assert_eq!(answer.body["version"], version);
        given.push((version.to_owned(), bytes(&answer)));
        if number == 1 {
            aggregator = Some(aggregate(&system.db).await);
            swept(&system.projection).await;
        }
    }
    let values = |answer: &str| -> Vec<Value> {
        let answer: Value = serde_json::from_str(answer).unwrap();
        let values = answer["values"].as_array().unwrap().clone();
        values
            .into_iter()
            .map(|value| value["value"].clone())
            .collect()
    };
    let shown: Vec<Vec<Value>> = given.iter().map(|(_, answer)| values(answer)).collect();
    let expected: [&[&str]; 5] = [&["1"], &["1", "2"], &["5", "2"], &["5"], &["12"]];
    assert_eq!(
        shown,
        expected.map(|values| values.iter().map(|v| json!(v)).collect::<Vec<_>>())
    );
    for again in ["as it is", "swept", "with more"] {
        match again {
            "swept" => swept(&system.projection).await,
            "with more" => {
                let more = [at("e9", "2026-01-01T10:00:00Z", 64), void("x", "late")];
                assert_eq!(system.ingest.post(array(&more)).await.status, 202);
            }
            _ => {}
        }
        for (version, answer) in &given {
            let found = system
                .projection
                .get(&format!("{PATH}?{days}&version={version}"))
                .await;
            assert_eq!(bytes(&found), *answer, "{again}, {version}");
            // By the stamp of its newest event as well.
            let stamp = found.body["as_of"].as_str().unwrap();
            let found = system
                .projection
                .get(&format!("{PATH}?{days}&as_of={stamp}"))
                .await;
            assert_eq!(bytes(&found), *answer, "{again}, {stamp}");
        }
    }
    drop(aggregator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_is_checked_and_an_amendment_is_stored_whole_or_not_at_all() {
    let system = start().await;
    let stored = [
        at("e0", "2026-01-01T00:00:00Z", 1),
        at("e1", "2026-01-01T00:00:00Z", 2),
    ];
    assert_eq!(system.ingest.post(array(&stored)).await.status, 202);
    let total = async || system.projection.get(PATH).await.body["values"][0]["value"].clone();
    // The new event is in conflict: the void comes to nothing.
    let refused = atomic(
        &system,
        &[void("v0", "e0"), at("e1", "2026-01-01T00:00:00Z", 64)],
    )
    .await;
    assert_eq!(
        (refused.status, code(&refused)),
        (422, "all-rejected"),
        "{refused:?}"
    );
    let faults = refused.body["errors"].as_array().unwrap();
    assert_eq!(faults.len(), 1, "{faults:?}");
    let (index, fault) = (&faults[0]["index"], &faults[0]["code"]);
    assert_eq!((index, fault), (&json!(1), &json!("event-conflict")));
    assert_eq!(total().await, "3");
    let amendment = [void("v0", "e0"), at("e0b", "2026-01-01T00:00:00Z", 4)];
    let sent = atomic(&system, &amendment).await;
    assert_eq!(
        (sent.status, &sent.body["accepted"]),
        (202, &json!(2)),
        "{sent:?}"
    );
    assert_eq!(total().await, "6");
    let again = atomic(&system, &amendment).await;
    assert_eq!(
        (again.status, &again.body["duplicate"]),
        (202, &json!(2)),
        "{again:?}"
    );

    let mut wrong = Vec::new();
    for (id, target) in [("v1", "e0"), ("v2", "nothing"), ("v3", "v0")] {
        let refused = system.ingest.post(void(id, target)).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        wrong.push(code(&refused).to_owned());
    }
    assert_eq!(
        wrong,
        [
            "already-voided",
            "unknown-void-target",
            "unknown-void-target"
        ]
    );
    let retried = system.ingest.post(void("v0", "e0")).await;
    assert_eq!(
        (retried.status, &retried.body["status"]),
        (200, &json!("duplicate"))
    );
    let untargeted = void("v4", "e1").replace("event_id", "id");
    let refused = system.ingest.post(untargeted).await;
    let fields = refused.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["field"].clone());
    assert_eq!(fields.collect::<Vec<_>>(), ["/data/event_id", "/data/id"]);
    let reserved = void("v5", "e1").replace("aevon.void", "aevon.avoid");
    assert_eq!(code(&system.ingest.post(reserved).await), "reserved-type");
    let mixed = [
        at("e5", "2026-01-01T00:00:00Z", 8),
        event("q", "e6", r#"{"n":16}"#),
    ];
    let refused = atomic(&system, &mixed).await;
    assert_eq!(
        (refused.status, code(&refused)),
        (400, "invalid-parameter"),
        "{refused:?}"
    );
    // One that can't be read keeps the others out, too.
    let broken = [at("e5", "2026-01-01T00:00:00Z", 8), "{}".to_owned()];
    assert_eq!(atomic(&system, &broken).await.status, 422);
    assert_eq!(total().await, "6");
}

#[tokio::test(flavor = "multi_thread")]
async fn moments_that_are_none_are_named_and_those_before_the_first_event_are_empty() {
    let system = start().await;
    let sent = system
        .ingest
        .post(at("e0", "2026-01-01T00:00:00Z", 1))
        .await;
    let version = sent.body["version"].as_str().unwrap();
    let (partition, seq) = version.split_once(':').unwrap();
    assert_eq!(seq, "1");
    let other = (partition.parse::<i32>().unwrap() + 1) % 16;
    for (query, status, expected) in [
        (format!("version={partition}:2"), 404, "unknown-version"),
        (
            format!("version={partition}:2&wait=1s"),
            404,
            "unknown-version",
        ),
        (
            format!("version={other}:1"),
            400,
            "version-of-another-partition",
        ),
        ("version=7".to_owned(), 400, "invalid-parameter"),
        (
            format!("version={version}&as_of=2026-01-01T00:00:00Z"),
            400,
            "invalid-parameter",
        ),
        (
            "as_of=2999-01-01T00:00:00Z".to_owned(),
            400,
            "as-of-in-future",
        ),
        (
            format!("min_version={partition}:2"),
            504,
            "version-not-visible",
        ),
        (
            format!("min_version={partition}:2&wait=50ms"),
            504,
            "version-not-visible",
        ),
        ("wait=1h".to_owned(), 400, "invalid-parameter"),
    ] {
        let answer = system.projection.get(&format!("{PATH}?{query}")).await;
        assert_eq!(
            (answer.status, code(&answer)),
            (status, expected),
            "{query}: {answer:?}"
        );
    }
    for query in [
        "as_of=2020-01-01T00:00:00Z",
        &format!("version={partition}:0"),
    ] {
        let answer = system.projection.get(&format!("{PATH}?{query}")).await;
        let body = &answer.body;
        assert_eq!(body["values"][0]["value"], "0", "{answer:?}");
        assert_eq!(body["version"], format!("{partition}:0"));
        assert_eq!(body["as_of"], Value::Null);
    }
    // What is not there yet is waited for; other partitions bind nothing here.
    let path = format!("{PATH}?min_version={other}:99,{partition}:2&wait=10s");
    let (waited, sent) = tokio::join!(
        system.projection.get(&path),
        system.ingest.post(at("e1", "2026-01-01T00:00:00Z", 2)),
    );
    assert_eq!(
        (sent.status, &waited.body["values"][0]["value"]),
        (202, &json!("3")),
        "{waited:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_alone_answers_for_everything_before_it() {
    let db = aevon_testkit::TestDatabase::create().await;
    let latest = "name: level\nsource_event: t\noperator: latest\nfield: n\n";
    crate::support::apply(&db, &[("latest.yaml", latest)]);
    let ingest = crate::support::Service::start("ingest-svc", db.url(), &[]).await;
    let projection = crate::support::Service::start("projection-svc", db.url(), &[]).await;
    let events = [
        at("e0", "2026-01-01T00:00:00Z", 1),
        at("e1", "2026-03-01T00:00:00Z", 2),
    ];
    assert_eq!(ingest.post(array(&events)).await.status, 202);
    for (end, expected) in [
        ("2026-01-01T00:00:00Z", Value::Null),
        ("2026-02-15T12:00:00Z", json!("1")),
        ("2026-03-01T00:00:00.000001Z", json!("2")),
    ] {
        let answer = projection.get(&format!("{PATH}?end={end}")).await;
        assert_eq!(answer.body["values"][0]["value"], expected, "{end}");
    }
}
