//! `GET /api/v1/meters/{meter}/query`, as OpenMeter's SDKs call it: the state, in other words.

use crate::answers::{System, aggregate_rules, swept};
use crate::support::{Answer, Service, apply, array};
use aevon_testkit::TestDatabase;
use reqwest::Method;
use serde_json::{Value, json};

const RULES: [(&str, &str); 3] = [
    (
        "tokens.yaml",
        "name: tokens\nsource_event: call\noperator: sum\nfield: tokens\ngroup_by: [model, kind]\n",
    ),
    (
        "mean.yaml",
        "name: mean\nsource_event: call\noperator: avg\nfield: tokens\n",
    ),
    (
        "seats.yaml",
        "name: seats\nsource_event: call\noperator: weighted_sum\nfield: tokens\n",
    ),
];

fn call(subject: &str, id: &str, time: &str, data: &Value) -> String {
    json!({
        "specversion": "1.0", "id": id, "source": "gateway", "type": "call", "tenantid": "acme",
        "subject": subject, "time": time, "data": data
    })
    .to_string()
}

async fn send(system: &System, events: &[String]) {
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let path = "/api/v1/events";
    let body = array(events);
    let sent = system.ingest.send(Method::POST, path, &headers, body).await;
    assert_eq!(sent.status, 204, "{sent:?}");
}

async fn start() -> System {
    let db = TestDatabase::create().await;
    apply(&db, &RULES);
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    let system = System {
        db,
        ingest,
        projection,
    };
    let data = |tokens: Value, model: &str| json!({"tokens": tokens, "model": model, "kind": "x"});
    let events = [
        call("a", "1", "2026-02-10T23:59:59.5Z", &data(json!(1), "m1")),
        call("a", "2", "2026-02-11T10:30:00Z", &data(json!("2.50"), "m2")),
        call(
            "b",
            "3",
            "2026-02-11T10:59:59.999999Z",
            &data(json!(4), "m1"),
        ),
        call("b", "4", "2026-02-11T22:30:30Z", &data(json!(8), "m1")),
        call("c", "5", "2026-02-12T00:00:00Z", &json!({"tokens": 16})),
        // Enters no sum, and makes no row.
        call("d", "6", "2026-02-20T00:00:00Z", &data(json!("many"), "m9")),
    ];
    send(&system, &events).await;
    system
}

async fn ask(system: &System, meter: &str, query: &str) -> Answer {
    let path = format!("/api/v1/meters/{meter}/query?tenant_id=acme&{query}");
    system.projection.get(&path).await
}

/// Rows as `start end subject labels value`, with times cut short.
fn rows(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let rows = answer.body["data"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let row = |row: &Value| {
        let labels = row["groupBy"].as_object().unwrap();
        let labels: Vec<String> = labels.values().map(text).collect();
        assert!(row["value"].is_number(), "{row}");
        format!(
            "{} {} {} [{}] {}",
            text(&row["windowStart"]),
            text(&row["windowEnd"]),
            text(&row["subject"]),
            labels.join(","),
            row["value"]
        )
        .replace("2026-02-", "")
        .replace(":00Z", "")
    };
    rows.iter().map(row).collect()
}

/// What is asked, and its rows.
const ANSWERS: [(&str, &[&str]); 10] = [
    // Bounds of what was counted, in whole minutes.
    ("", &["10T23:59 12T00:01 - [] 31.5"]),
    (
        "to=2026-02-11T22:30:30Z",
        &["10T23:59 11T22:30:30Z - [] 7.5"],
    ),
    (
        "from=2026-02-11T00:00:00Z&to=2026-02-12T00:00:00Z",
        &["11T00:00 12T00:00 - [] 14.5"],
    ),
    ("subject=a", &["10T23:59 11T10:31 a [] 3.5"]),
    (
        "subject=b&subject=a&subject=nobody&from=2026-02-11T00:00:00Z",
        &["11T00:00 11T22:31 a [] 2.5", "11T00:00 11T22:31 b [] 12"],
    ),
    (
        "groupBy=subject&groupBy=model&windowSize=DAY",
        &[
            "10T00:00 11T00:00 a [m1] 1",
            "11T00:00 12T00:00 a [m2] 2.5",
            "11T00:00 12T00:00 b [m1] 12",
            "12T00:00 13T00:00 c [-] 16",
        ],
    ),
    (
        "windowSize=DAY&windowTimeZone=Europe%2FBerlin&filterGroupBy%5Bmodel%5D=m1",
        &["10T23:00 11T23:00 - [] 13"],
    ),
    (
        "windowSize=HOUR&from=2026-02-11T10:30:00Z&to=2026-02-11T12:00:00Z&groupBy=model",
        &["11T10:30 11T11:00 - [m1] 4", "11T10:30 11T11:00 - [m2] 2.5"],
    ),
    (
        "windowSize=MONTH&advancedMeterGroupByFilters=%7B%22model%22:%7B%22$in%22:[%22m1%22,%22m2%22]%7D%7D",
        &["01T00:00 2026-03-01T00:00 - [] 15.5"],
    ),
    ("filterGroupBy[model]=m9", &[]),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_answers_what_the_state_is_whatever_is_swept() {
    let system = start().await;
    let mut sweeping = None;
    for _ in 0..2 {
        for (query, expected) in ANSWERS {
            assert_eq!(
                rows(&ask(&system, "tokens", query).await),
                expected,
                "{query}"
            );
        }
        let mean = ask(&system, "mean", "subject=b&groupBy=subject").await;
        assert_eq!(rows(&mean), ["11T10:59 11T22:31 b [] 6"]);
        let until = "from=2026-02-11T10:00:00Z&to=2026-02-11T11:00:00Z&subject=a";
        let seats = ask(&system, "seats", until).await;
        // One from the start on, 2.5 more for the second half of the hour.
        assert_eq!(rows(&seats), ["11T10:00 11T11:00 a [] 8100"]);
        sweeping = Some(aggregate_rules(&system.db, &RULES).await);
        swept(&system.projection).await;
    }
    drop(sweeping);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_is_asked_by_pages_of_its_version_as_csv_and_with_clear_refusals() {
    let system = start().await;
    let path =
        "/api/v1/meters/tokens:1/query?tenant_id=acme&subject=b&groupBy=model&windowSize=HOUR";
    let json = system.projection.get(path).await;
    assert_eq!(json.body["windowSize"], "HOUR");
    assert!(json.body.get("from").is_none() && json.headers.contains_key("aevon-version"));
    let csv = [("accept", "text/csv")];
    let csv = system
        .projection
        .send(Method::GET, path, &csv, String::new())
        .await;
    assert_eq!(
        csv.body,
        "window_start,window_end,subject,model,value\r\n\
         2026-02-11T10:00:00Z,2026-02-11T11:00:00Z,b,m1,4\r\n\
         2026-02-11T22:00:00Z,2026-02-11T23:00:00Z,b,m1,8\r\n"
    );
    // More principals than a page has, each with a row.
    let many: Vec<String> = (0..1_200)
        .map(|n| {
            let time = "2026-03-01T00:00:00Z";
            call(
                &format!("s{n:04}"),
                "x",
                time,
                &json!({"tokens": n, "model": "m1"}),
            )
        })
        .collect();
    send(&system, &many).await;
    let range = "groupBy=subject&from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z";
    let everybody = rows(&ask(&system, "tokens", range).await);
    assert_eq!(everybody.len(), 1_200);
    assert_eq!(
        everybody[1_111],
        "2026-03-01T00:00 2026-03-02T00:00 s1111 [] 1111"
    );
    // A level from long ago is one row too.
    let old = call("old", "o", "1960-01-01T00:00:00Z", &json!({"tokens": 1}));
    send(&system, &[old]).await;
    let seats = ask(&system, "seats", "subject=old&to=2026-01-01T00:00:00Z").await;
    assert_eq!(
        rows(&seats),
        ["1960-01-01T00:00 2026-01-01T00:00 old [] 2082844800"]
    );
    // Who has nothing in the range makes no row, and nothing that is too much.
    let silent = "INSERT INTO principals (tenant_id, principal_id, partition)
                  SELECT 'acme', 'silent' || n, 0 FROM generate_series(1, 10001) n";
    system.db.client().await.execute(silent, &[]).await.unwrap();
    for window in ["", "&windowSize=DAY", "&groupBy=model"] {
        let everybody = rows(&ask(&system, "tokens", &format!("{range}{window}")).await);
        assert_eq!(everybody.len(), 1_200, "{window}");
    }
    let none = "/api/v1/meters/tokens/query?tenant_id=nobody&groupBy=model";
    let none = system
        .projection
        .send(Method::GET, none, &[("accept", "text/csv")], "")
        .await;
    assert_eq!(none.body, "window_start,window_end,subject,model,value\r\n");
    for (meter, query, status, says) in [
        ("nothing", "", 404, "nothing"),
        ("tokens", "windowSize=WEEK", 400, "windowSize"),
        ("tokens", "groupBy=region", 400, "region"),
        ("tokens", "filterCustomerId=c", 400, "filterCustomerId"),
        ("seats", "", 400, "to is required"),
    ] {
        let refused = ask(&system, meter, query).await;
        assert_eq!(refused.status, status, "{query}: {refused:?}");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{query}: {detail}");
    }
    let nobodys = system.projection.get("/api/v1/meters/tokens/query").await;
    assert_eq!(nobodys.status, 400);
}
