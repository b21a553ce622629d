//! What was refused can be found and sent again; rates have bounds.

use crate::support::{Answer, DEADLINE, Service, array, command, event, finish, text};
use aevon_testkit::{TestDatabase, eventually};
use reqwest::Method;
use serde_json::{Value, json};

fn code(answer: &Answer) -> (u16, &str) {
    let code = answer.body["type"].as_str().unwrap_or_default();
    (
        answer.status,
        code.strip_prefix("urn:aevon:problem:").unwrap_or(code),
    )
}

/// The items of a tenant's list once there are so many; they are written after the answer.
async fn rejected(
    ingest: &Service,
    path: &str,
    headers: &[(&str, &str)],
    count: usize,
) -> Vec<Value> {
    let mut found = Vec::new();
    eventually(DEADLINE, "what was refused is listed", async || {
        let answer = ingest.send(Method::GET, path, headers, "").await;
        found = answer.body["items"].as_array().cloned().unwrap_or_default();
        found.len() >= count
    })
    .await;
    assert_eq!(found.len(), count, "{found:?}");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_is_kept_with_its_reason_and_can_be_sent_again() {
    let db = TestDatabase::create().await;
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let good = event("p", "e1", r#"{"n":1.50}"#);
    let unknown = good.replacen('{', r#"{"colour":"red","#, 1);
    let posted = ingest
        .post(array(&[unknown.clone(), good.clone(), "7".to_owned()]))
        .await;
    assert_eq!(posted.status, 207);
    assert_eq!(ingest.post(good.replace("1.50", "2")).await.status, 409);
    let late = good.replace("e1", "e2").replace("2026-01", "9999-01");
    assert_eq!(
        code(&ingest.post(late).await),
        (422, "occurred-at-in-future")
    );

    let path = "/v1/rejected/acme";
    let items = rejected(&ingest, path, &[], 3).await;
    let codes: Vec<&str> = items
        .iter()
        .map(|item| item["code"].as_str().unwrap())
        .collect();
    // `7` names no tenant, and a caller who is nobody's can't stand in for one.
    assert_eq!(
        codes,
        ["occurred-at-in-future", "event-conflict", "unknown-field"]
    );
    let [future, conflict, field] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(field["body"], json!(unknown));
    assert_eq!((&field["index"], &field["id"]), (&json!(0), &json!("e1")));
    assert_eq!(field["errors"][0]["field"], "colour");
    assert_eq!(field["is_body_whole"], json!(true));
    assert_eq!(
        field["request_id"],
        json!(posted.headers["x-request-id"].to_str().unwrap())
    );
    assert_eq!(conflict["errors"][0]["field"], "data");
    assert_eq!(conflict["index"], Value::Null);
    // Mended and sent again, it is an event like any other.
    let again = conflict["body"].as_str().unwrap().replace("e1", "e3");
    assert_eq!(ingest.post(again).await.status, 202);
    assert!(future["body"].as_str().unwrap().contains("9999-01"));

    let only = rejected(&ingest, "/v1/rejected/acme?code=event-conflict", &[], 1).await;
    assert_eq!(only[0]["code"], "event-conflict");
    let page = ingest.get("/v1/rejected/acme?limit=2").await;
    let next = page.body["next"].as_str().unwrap();
    let rest = ingest.get(&format!("{path}?limit=2&cursor={next}")).await;
    assert_eq!(rest.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(rest.body["next"], Value::Null);
    assert_eq!(
        code(&ingest.get("/v1/rejected/acme?code=x").await),
        (400, "invalid-parameter")
    );
    let empty = ingest.get("/v1/rejected/other").await;
    assert_eq!((empty.status, &empty.body["items"]), (200, &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_sent_is_kept_for_its_tenant_alone_even_if_nothing_in_it_can_be_read() {
    let db = TestDatabase::create().await;
    let settings = [
        ("AEVON_AUTH__MODE", "api_key"),
        ("AEVON_SERVER__HOST", "127.0.0.1"),
    ];
    let ingest = Service::start("ingest-svc", db.url(), &settings).await;
    let key = |tenant: &str| {
        let arguments = [
            "key",
            "create",
            "--tenant",
            tenant,
            "--scope",
            "ingest,read",
        ];
        let output = finish(command("aevon", db.url()).args(arguments));
        assert!(output.status.success(), "{}", text(&output.stderr));
        format!("Bearer {}", text(&output.stdout).trim())
    };
    let (acme, other) = (key("acme"), key("other"));
    let send = async |key: &str, content_type: &str, body: Vec<u8>| {
        let headers = [("authorization", key), ("content-type", content_type)];
        let sent = ingest
            .send(Method::POST, "/v1/events", &headers, body)
            .await;
        code(&sent).1.to_owned()
    };
    let json = "application/json";
    assert_eq!(
        send(&acme, json, b"{\"id\": \"a\xff".to_vec()).await,
        "malformed-body"
    );
    assert_eq!(
        send(&acme, "text/csv", b"a,b".to_vec()).await,
        "unsupported-media-type"
    );
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(300 << 10));
    assert_eq!(
        send(&acme, json, large.clone().into_bytes()).await,
        "event-too-large"
    );
    let foreign = event("p", "secret", "{}").replace("acme", "other");
    assert_eq!(send(&acme, json, foreign.into_bytes()).await, "forbidden");
    assert_eq!(
        send("Bearer aevon_9_x", json, b"{".to_vec()).await,
        "unauthenticated"
    );

    let metrics = ingest.get("/metrics").await;
    let metrics = metrics.body.as_str().unwrap();
    for code in [
        "malformed-body",
        "unsupported-media-type",
        "event-too-large",
    ] {
        let line = format!("aevon_ingest_rejected_total{{code=\"{code}\"}} 1");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }

    let of_acme = [("authorization", acme.as_str())];
    let items = rejected(&ingest, "/v1/rejected/acme", &of_acme, 3).await;
    assert_eq!(items[0]["code"], "event-too-large");
    assert_eq!(items[0]["body_bytes"], json!(large.len()));
    assert_eq!(items[0]["is_body_whole"], json!(false));
    assert_eq!(items[1]["code"], "unsupported-media-type");
    assert_eq!(items[1]["body"], "a,b");
    assert_eq!(items[1]["is_body_whole"], json!(true));
    assert_eq!(items[2]["code"], "malformed-body");
    assert_eq!(items[2]["body_base64"], json!("eyJpZCI6ICJh/w=="));
    let of_other = [("authorization", other.as_str())];
    let own = ingest
        .send(Method::GET, "/v1/rejected/other", &of_other, "")
        .await;
    assert_eq!((own.status, &own.body["items"]), (200, &json!([])));
    let foreign = ingest
        .send(Method::GET, "/v1/rejected/acme", &of_other, "")
        .await;
    assert_eq!(code(&foreign), (403, "forbidden"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_fills_neither_memory_nor_the_table_with_what_was_refused() {
    let db = TestDatabase::create().await;
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let wrong = |id: usize| event("p", &id.to_string(), r#"{"n":1e99}"#);
    let many: Vec<String> = (0..5_000).map(wrong).collect();
    assert_eq!(
        code(&ingest.post(array(&many)).await),
        (422, "all-rejected")
    );
    let items = rejected(&ingest, "/v1/rejected/acme?limit=1000", &[], 100).await;
    assert_eq!(items[99]["id"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_last_is_kept_through_the_end_of_the_process() {
    let db = TestDatabase::create().await;
    let mut ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let refused = ingest.post(event("p", "e", r#"{"n":1e99}"#)).await;
    assert_eq!(refused.status, 422);
    ingest.terminate();
    assert!(ingest.child.wait().unwrap().success());
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    rejected(&ingest, "/v1/rejected/acme", &[], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_sends_more_than_its_rate_is_told_when_to_come_back() {
    let db = TestDatabase::create().await;
    let settings = [
        ("AEVON_INGEST__TENANT_EVENTS_PER_SECOND", "1"),
        ("AEVON_INGEST__TENANT_BURST_EVENTS", "5"),
    ];
    let ingest = Service::start("ingest-svc", db.url(), &settings).await;
    let batch = |tenant: &str, ids: std::ops::Range<usize>| {
        let events = ids.map(|id| event("p", &id.to_string(), "{}").replace("acme", tenant));
        array(&events.collect::<Vec<_>>())
    };
    assert_eq!(ingest.post(batch("acme", 0..5)).await.status, 202);
    let refused = ingest.post(batch("acme", 5..9)).await;
    assert_eq!(code(&refused), (429, "rate-limited"), "{refused:?}");
    let after: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=4).contains(&after), "{after}");
    assert_eq!(ingest.post(batch("other", 0..5)).await.status, 202);
    // More than a burst never fits, however long it waits.
    let never = ingest.post(batch("third", 0..6)).await;
    assert_eq!(code(&never), (413, "too-many-events"), "{never:?}");
    eventually(DEADLINE, "the rate lets the tenant in again", async || {
        ingest.post(batch("acme", 5..6)).await.status == 202
    })
    .await;
}
