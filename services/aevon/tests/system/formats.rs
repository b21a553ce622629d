//! Answers as rows, and answers that the caller has already.

use crate::answers::start;
use crate::support::{Answer, Service, apply, array, event};
use reqwest::Method;
use serde_json::{Value, json};

const GROUPED: (&str, &str) = (
    "calls.yaml",
    "name: calls\nsource_event: t\noperator: count\ngroup_by: [model]\n",
);
const PATH: &str = "/v1/state/acme/p?rule=calls&group_by=model&granularity=1h";

async fn get(service: &Service, path: &str, headers: &[(&str, &str)]) -> Answer {
    service.send(Method::GET, path, headers, "").await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers[name].to_str().unwrap()
}

/// The body as it came.
fn rows(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    match &answer.body {
        Value::String(text) => text.clone(),
        // One line of NDJSON is JSON as well.
        one => format!("{one}\n"),
    }
}

async fn store(service: &Service) {
    let labelled = [r#"{"model":"a, \"b\""}"#, r#"{"model":"=1\n2"}"#, "{}"];
    let events: Vec<String> = labelled
        .iter()
        .enumerate()
        .map(|(n, data)| event("p", &format!("e{n}"), data))
        .collect();
    assert_eq!(service.post(array(&events)).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_say_what_the_whole_answer_says() {
    let system = start().await;
    apply(&system.db, &[GROUPED]);
    store(&system.ingest).await;
    let whole = get(&system.projection, PATH, &[]).await;
    assert_eq!(header(&whole, "vary"), "accept");
    let values = whole.body["values"].as_array().unwrap();
    assert_eq!(values.len(), 3);

    let lines = get(
        &system.projection,
        PATH,
        &[("accept", "application/x-ndjson")],
    )
    .await;
    assert_eq!(header(&lines, "content-type"), "application/x-ndjson");
    assert_eq!(header(&lines, "aevon-version"), whole.body["version"]);
    let text = rows(&lines);
    for (line, value) in text.lines().zip(values) {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let line = line.as_object_mut().unwrap();
        let named = ["principal_id", "rule", "rule_version", "operator"].map(|n| line.remove(n));
        assert_eq!(json!(named), json!(["p", "calls", 1, "count"]));
        assert_eq!(&Value::Object(line.clone()), value);
    }
    assert_eq!(text.lines().count(), 3);

    let table = get(&system.projection, PATH, &[("accept", "text/csv")]).await;
    assert!(header(&table, "content-type").starts_with("text/csv; charset=utf-8"));
    let row = |label: &str| {
        format!("p,calls,1,count,,2026-01-01T09:00:00Z,2026-01-01T10:00:00Z,{label},1,1,0,\r\n")
    };
    let titles = "principal_id,rule,rule_version,operator,unit,window_start,window_end,group.model,\
                  value,event_count,skipped_count,relative_error\r\n";
    let expected = [
        titles,
        &row(""),
        &row("\"=1\n2\""),
        &row("\"a, \"\"b\"\"\""),
    ]
    .concat();
    assert_eq!(rows(&table), expected);

    // Titles are of what was asked, also where nobody is there to be listed.
    let nobody = "/v1/state/nobody?rule=calls&group_by=model&granularity=1h";
    let nobody = get(&system.projection, nobody, &[("accept", "text/csv")]).await;
    assert_eq!(rows(&nobody), titles);

    let refused = get(
        &system.projection,
        "/v1/state/acme/p?rule=x",
        &[("accept", "text/csv")],
    )
    .await;
    assert_eq!(header(&refused, "content-type"), "application/problem+json");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_caller_has_is_not_sent_again_and_no_other_is_taken_for_it() {
    let system = start().await;
    apply(&system.db, &[GROUPED]);
    store(&system.ingest).await;
    let first = get(&system.projection, PATH, &[]).await;
    let tag = header(&first, "etag").to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    let known = [("if-none-match", tag.as_str())];
    let again = get(&system.projection, PATH, &known).await;
    assert_eq!((again.status, &again.body), (304, &json!("")));
    assert_eq!(header(&again, "etag"), tag);
    assert_eq!(header(&again, "aevon-version"), first.body["version"]);
    // The same state, asked for in other words.
    let pinned = format!("{PATH}&version={}", first.body["version"].as_str().unwrap());
    assert_eq!(get(&system.projection, &pinned, &known).await.status, 304);

    let as_rows = [("if-none-match", tag.as_str()), ("accept", "text/csv")];
    assert_eq!(get(&system.projection, PATH, &as_rows).await.status, 200);
    for other in [
        PATH.replace("1h", "1d"),
        PATH.replace("&group_by=model", ""),
        format!("{PATH}&start=2020-01-01T00:00:00Z"),
        format!("{PATH}&filter[model]=x"),
        PATH.replace("/p?", "/q?"),
    ] {
        assert_eq!(
            get(&system.projection, &other, &known).await.status,
            200,
            "{other}"
        );
    }
    // Another meaning of the rule, at the same version of the log.
    let (name, text) = GROUPED;
    let narrowed = text.replace("count\n", "count\nfilter: data.model != 'x'\n");
    apply(&system.db, &[(name, &narrowed)]);
    let mut switched = get(&system.projection, PATH, &known).await;
    if switched.status == 304 {
        // Until the new version answers, the old one does.
        let pinned = PATH.replace("rule=calls", "rule=calls:2");
        switched = get(&system.projection, &pinned, &known).await;
    }
    assert_eq!(switched.status, 200);
    assert_eq!(switched.body["version"], first.body["version"]);
    // What has come in since.
    assert_eq!(
        system.ingest.post(event("p", "late", "{}")).await.status,
        202
    );
    let pinned = PATH.replace("rule=calls", "rule=calls:1");
    assert_eq!(get(&system.projection, &pinned, &known).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_events_come_as_rows_and_name_the_next_one_beside_them() {
    let system = start().await;
    store(&system.ingest).await;
    let all = get(&system.projection, "/v1/events/acme/p", &[]).await;
    let items = all.body["items"].as_array().unwrap();
    let accept = [("accept", "application/x-ndjson")];
    let mut path = "/v1/events/acme/p?limit=1".to_owned();
    for (at, item) in items.iter().enumerate() {
        let page = get(&system.projection, &path, &accept).await;
        assert_eq!(&page.body, item);
        let next = page.headers.get("aevon-next");
        assert_eq!(next.is_none(), at + 1 == items.len());
        let next = next.map_or("", |next| next.to_str().unwrap());
        path = format!("/v1/events/acme/p?limit=1&cursor={next}");
    }
    let feed = get(&system.projection, "/v1/events/acme", &accept).await;
    assert_eq!(rows(&feed).lines().count(), 3);
    let next = header(&feed, "aevon-next");
    let behind = format!("/v1/events/acme?after={next}");
    let nothing = get(&system.projection, &behind, &accept).await;
    assert_eq!((nothing.status, nothing.body), (200, json!("")));
    let one = get(
        &system.projection,
        "/v1/events/acme/p/e0",
        &[("accept", "text/csv")],
    )
    .await;
    let text = rows(&one);
    let (titles, row) = text.split_once("\r\n").unwrap();
    assert!(titles.starts_with("position,ingested_at,tenant_id,principal_id,id,source,type"));
    assert!(row.contains(r#""{""model"": ""a, \""b\""""}""#), "{row}");
}
