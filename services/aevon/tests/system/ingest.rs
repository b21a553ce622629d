//! `POST /v1/events` as its callers see it.

use crate::support::{Answer, Service, array, event};
use aevon_testkit::{TestDatabase, eventually};
use reqwest::Method;
use serde_json::json;

async fn start(settings: &[(&str, &str)]) -> (TestDatabase, Service) {
    let db = TestDatabase::create().await;
    let service = Service::start("ingest-svc", db.url(), settings).await;
    (db, service)
}

async fn stored(db: &TestDatabase) -> i64 {
    db.client()
        .await
        .query_one("SELECT count(*) FROM events", &[])
        .await
        .unwrap()
        .get(0)
}

fn code(answer: &Answer) -> &str {
    let code = answer.body["type"].as_str().unwrap_or_default();
    code.strip_prefix("urn:aevon:problem:").unwrap_or(code)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_is_accepted_then_a_duplicate_and_another_content_a_conflict() {
    let (db, ingest) = start(&[]).await;
    let first = ingest.post(event("p", "e1", r#"{"n":1,"m":[1]}"#)).await;
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.body["status"], "accepted");
    assert_eq!(first.body["id"], "e1");
    assert_eq!(first.body["position"], first.body["version"]);
    assert!(
        first.body["ingested_at"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z'))
    );
    assert_eq!(
        first.headers["aevon-version"],
        first.body["version"].as_str().unwrap()
    );
    let again = ingest
        .post(event("p", "e1", r#"{"m":[1.0], "n":1.00}"#))
        .await;
    assert_eq!(again.status, 200);
    assert_eq!(again.body["status"], "duplicate");
    for field in ["position", "ingested_at"] {
        assert_eq!(again.body[field], first.body[field]);
    }
    let other = ingest.post(event("p", "e1", r#"{"n":"1","m":[1]}"#)).await;
    assert_eq!(
        (other.status, code(&other)),
        (409, "event-conflict"),
        "{other:?}"
    );
    assert_eq!(other.body["errors"][0]["field"], "data");
    assert_eq!(other.headers["content-type"], "application/problem+json");
    assert_eq!(stored(&db).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_says_what_became_of_each_event() {
    let (db, ingest) = start(&[]).await;
    ingest.post(event("p", "old", r#"{"n":1}"#)).await;
    let good = array(&[
        event("p", "a", "{}"),
        event("q", "b", "{}"),
        event("p", "old", r#"{"n":1}"#),
    ]);
    let answer = ingest.post(good).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let counts = |answer: &Answer| {
        ["accepted", "duplicate", "rejected"].map(|field| answer.body[field].as_u64().unwrap())
    };
    assert_eq!(counts(&answer), [2, 1, 0]);
    assert_eq!(answer.body["results"].as_array().unwrap().len(), 1);
    assert_eq!(answer.body["results"][0]["index"], 2);
    assert_eq!(answer.body["results"][0]["status"], "duplicate");

    let mixed = array(&[
        event("p", "c", "{}"),
        event("p", "old", r#"{"n":2}"#),
        "7".to_owned(),
        event("p", "d", r#"{"n":1e999}"#),
        r#"{"id":"f","colour":1}"#.to_owned(),
    ]);
    let answer = ingest.post(mixed).await;
    assert_eq!(answer.status, 207, "{answer:?}");
    assert_eq!(counts(&answer), [1, 0, 4]);
    let results = answer.body["results"].as_array().unwrap();
    let codes: Vec<&str> = results
        .iter()
        .map(|item| item["error"]["code"].as_str().unwrap())
        .collect();
    let expected = [
        "event-conflict",
        "malformed-body",
        "number-out-of-bounds",
        "invalid-event",
    ];
    assert_eq!(codes, expected);
    assert_eq!(results[3]["id"], "f");
    assert_eq!(
        results[3]["error"]["errors"].as_array().unwrap().len(),
        6,
        "{answer:?}"
    );

    let none = ingest
        .post(array(&["{}".to_owned(), event("p", "old", "{}")]))
        .await;
    assert_eq!(
        (none.status, code(&none)),
        (422, "all-rejected"),
        "{none:?}"
    );
    assert_eq!(none.body["errors"][0]["index"], 0);
    let one = ingest
        .post(array(&[event("p", "d", r#"{"n":1e999}"#)]))
        .await;
    assert_eq!((one.status, code(&one)), (422, "number-out-of-bounds"));
    let empty = ingest.post("[]").await;
    assert_eq!(
        (empty.status, &empty.body["version"]),
        (202, &serde_json::Value::Null)
    );
    assert_eq!(stored(&db).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_problems_that_list_every_fault() {
    let (db, ingest) = start(&[]).await;
    let all = ingest
        .post(r#"{"tenant_id":"","id":7,"colour":1,"data":[],"type":"aevon.x"}"#)
        .await;
    assert_eq!((all.status, code(&all)), (422, "invalid-event"));
    let fields: Vec<&str> = all.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["field"].as_str().unwrap())
        .collect();
    let expected = [
        "tenant_id",
        "principal_id",
        "id",
        "type",
        "occurred_at",
        "data",
        "colour",
    ];
    assert_eq!(fields, expected);

    for broken in ["", "  ", "{", "7", "\"x\"", "[1,", "nonsense", "{} {}"] {
        let answer = ingest.post(broken).await;
        assert_eq!(
            (answer.status, code(&answer)),
            (400, "malformed-body"),
            "{broken:?}"
        );
    }
    let not_utf8 = ingest.post(b"{\"id\":\"\xff\"}".to_vec()).await;
    assert_eq!((not_utf8.status, code(&not_utf8)), (400, "malformed-body"));

    let large = ingest
        .post(event(
            "p",
            "e",
            &format!(r#"{{"x":"{}"}}"#, "x".repeat(256 << 10)),
        ))
        .await;
    assert_eq!((large.status, code(&large)), (413, "event-too-large"));
    let huge = ingest.post(format!("[{}]", " ".repeat(10 << 20))).await;
    assert_eq!((huge.status, code(&huge)), (413, "body-too-large"));
    let many = ingest
        .post(format!("[{}]", vec!["{}"; 10_001].join(",")))
        .await;
    assert_eq!((many.status, code(&many)), (413, "too-many-events"));

    let xml = [("content-type", "text/xml")];
    let xml = ingest.send(Method::POST, "/v1/events", &xml, "<a/>").await;
    assert_eq!((xml.status, code(&xml)), (415, "unsupported-media-type"));
    let json = [("content-type", "Application/JSON; charset=utf-8")];
    let json = ingest
        .send(Method::POST, "/v1/events", &json, event("p", "ok", "{}"))
        .await;
    assert_eq!(json.status, 202);
    let untyped = ingest
        .send(Method::POST, "/v1/events", &[], event("p", "ok", "{}"))
        .await;
    assert_eq!(untyped.status, 200);
    for query in ["atomic=yes", "atomic", "dry_run=true"] {
        let path = format!("/v1/events?{query}");
        let refused = ingest.send(Method::POST, &path, &[], "[]").await;
        let found = (refused.status, code(&refused));
        assert_eq!(found, (400, "invalid-parameter"), "{query}");
    }
    let get = ingest.get("/v1/events").await;
    assert_eq!((get.status, code(&get)), (405, "method-not-allowed"));
    let nowhere = ingest.get("/v1/nowhere").await;
    assert_eq!((nowhere.status, code(&nowhere)), (404, "not-found"));
    assert!(nowhere.headers.contains_key("x-request-id"));
    let skewed = event("p", "f", "{}").replace("2026-01-01", "2999-01-01");
    let skewed = ingest.post(skewed).await;
    assert_eq!(
        (skewed.status, code(&skewed)),
        (422, "occurred-at-in-future")
    );
    assert_eq!(stored(&db).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_digits_or_a_nul_refuse_one_event_alone() {
    let (db, ingest) = start(&[]).await;
    let long = format!(r#"{{"n":{}}}"#, "9".repeat(10_000));
    let nul = r#"{"n":"a\u0000b"}"#;
    let body = array(&[
        event("p", "a", "{}"),
        event("p", "b", &long),
        event("p", "c", nul),
        event("p\0", "d", "{}"),
        event("p", "e\0", "{}"),
        event("p", "f", r#"{"n":"\ud800"}"#),
        event("p", "g", "{}"),
    ]);
    let answer = ingest.post(body).await;
    assert_eq!(answer.status, 207, "{answer:?}");
    assert_eq!(
        (&answer.body["accepted"], &answer.body["rejected"]),
        (&json!(2), &json!(5))
    );
    for alone in [
        event("p", "b", &long),
        event("p", "c", nul),
        event("p\0", "d", "{}"),
    ] {
        assert_eq!(ingest.post(alone).await.status, 422);
    }
    assert_eq!(stored(&db).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_and_a_late_commit_are_503_and_sending_again_is_safe() {
    let settings = [
        ("AEVON_INGEST__QUEUE_EVENTS", "2"),
        ("AEVON_INGEST__REQUEST_TIMEOUT", "1s"),
        ("AEVON_INGEST__WRITERS", "1"),
    ];
    let (db, ingest) = start(&settings).await;
    // Somebody holds every partition: the writer waits, the queue fills.
    let holder = db.client().await;
    holder
        .batch_execute("BEGIN; SELECT FROM partitions FOR UPDATE")
        .await
        .unwrap();
    let bodies: Vec<String> = (0..6).map(|n| event("p", &format!("e{n}"), "{}")).collect();
    let answers =
        futures_util::future::join_all(bodies.iter().map(|body| ingest.post(body.clone()))).await;
    assert!(
        answers.iter().all(|answer| answer.status == 503),
        "{answers:?}"
    );
    assert!(answers.iter().all(|answer| code(answer) == "overloaded"));
    assert!(
        answers
            .iter()
            .all(|answer| answer.headers.contains_key("retry-after"))
    );
    holder.batch_execute("ROLLBACK").await.unwrap();
    for body in bodies {
        eventually(
            crate::support::DEADLINE,
            "the event is stored",
            async || {
                let status = ingest.post(body.clone()).await.status;
                assert!([202, 200, 503].contains(&status), "{status}");
                status != 503
            },
        )
        .await;
    }
    assert_eq!(stored(&db).await, 6);
}

/// A CloudEvent in structured mode.
fn cloud_event(id: &str, time: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/gw","type":"t","subject":"p",
            "tenantid":"acme","region":"eu"{time},"data":{{"n":1}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_json_are_stored_one_by_one() {
    let (db, ingest) = start(&[]).await;
    let ndjson = [("content-type", "application/x-ndjson; charset=utf-8")];
    let one_line = |id: &str| event("p", id, "{}").replace('\n', "");
    let body = format!(
        "{}\r\n\n{{\"id\":\n{}\n{}",
        one_line("a"),
        one_line("b"),
        one_line("a")
    );
    let answer = ingest.send(Method::POST, "/v1/events", &ndjson, body).await;
    assert_eq!(answer.status, 207, "{answer:?}");
    assert_eq!(
        (
            &answer.body["accepted"],
            &answer.body["duplicate"],
            &answer.body["rejected"]
        ),
        (&json!(2), &json!(1), &json!(1))
    );
    assert_eq!(answer.body["results"][0]["index"], 1);
    assert_eq!(answer.body["results"][0]["error"]["code"], "malformed-body");
    let alone = ingest
        .send(Method::POST, "/v1/events", &ndjson, one_line("c"))
        .await;
    assert_eq!((alone.status, &alone.body["accepted"]), (202, &json!(1)));
    assert_eq!(stored(&db).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn cloud_events_are_taken_in_every_mode_and_without_a_time_retried_honestly() {
    let (db, ingest) = start(&[]).await;
    let time = r#","time":"2026-02-11T10:30:00Z""#;
    let structured = [(
        "content-type",
        "application/cloudevents+json; charset=utf-8",
    )];
    let send = async |headers: &[(&str, &str)], body: String| {
        ingest.send(Method::POST, "/v1/events", headers, body).await
    };
    let first = send(&structured, cloud_event("a", time)).await;
    assert_eq!(
        (first.status, &first.body["id"]),
        (202, &json!("a")),
        "{first:?}"
    );
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "a"),
        ("ce-source", "/gw"),
        ("ce-type", "t"),
        ("ce-subject", "p"),
        ("ce-tenantid", "acme"),
        ("ce-region", "e%75"),
        ("ce-time", "2026-02-11T11:30:00+01:00"),
    ];
    // The same event in the other mode is the same event.
    let again = send(&binary, r#"{"n":1.0}"#.to_owned()).await;
    assert_eq!(
        (again.status, &again.body["position"]),
        (200, &first.body["position"]),
        "{again:?}"
    );

    let batch = [("content-type", "application/cloudevents-batch+json")];
    let events = array(&[
        cloud_event("b", ""),
        cloud_event("c", time),
        "{}".to_owned(),
    ]);
    let answer = send(&batch, events).await;
    assert_eq!(
        (answer.status, &answer.body["accepted"]),
        (207, &json!(2)),
        "{answer:?}"
    );
    // What had no time occurred when it was received; a retry is received later, and is a duplicate.
    let retried = send(&structured, cloud_event("b", "")).await;
    assert_eq!(retried.status, 200, "{retried:?}");
    let other = send(&structured, cloud_event("b", time)).await;
    assert_eq!(
        (other.status, code(&other)),
        (409, "event-conflict"),
        "{other:?}"
    );

    let text = send(&structured, "[]".to_owned()).await;
    assert_eq!((text.status, code(&text)), (400, "malformed-body"));
    let mut plain = binary.to_vec();
    plain.push(("content-type", "text/plain"));
    let plain = send(&plain, r#"{"n":1}"#.to_owned()).await;
    assert_eq!(
        (plain.status, code(&plain)),
        (422, "invalid-field"),
        "{plain:?}"
    );
    assert_eq!(stored(&db).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_bodies_are_unpacked_within_their_bounds() {
    let (db, ingest) = start(&[]).await;
    let pack = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    };
    let send = async |coding: &str, body: Vec<u8>| {
        let headers = [("content-encoding", coding)];
        ingest
            .send(Method::POST, "/v1/events", &headers, body)
            .await
    };
    let gzip = pack(event("p", "a", "{}").as_bytes());
    assert_eq!(send("gzip", gzip.clone()).await.status, 202);
    let zstd = zstd::encode_all(event("p", "b", "{}").as_bytes(), 3).unwrap();
    assert_eq!(send("zstd", zstd).await.status, 202);
    let cut = send("gzip", gzip[..gzip.len() - 4].to_vec()).await;
    assert_eq!((cut.status, code(&cut)), (400, "malformed-body"));
    let bomb = send("gzip", pack(&vec![b' '; 64 << 20])).await;
    assert_eq!((bomb.status, code(&bomb)), (413, "body-too-large"));
    let other = send("br", gzip).await;
    assert_eq!(
        (other.status, code(&other)),
        (415, "unsupported-media-type")
    );
    assert_eq!(stored(&db).await, 2);
}
