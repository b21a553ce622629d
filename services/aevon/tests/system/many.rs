//! A tenant's total and lists of its principals, over HTTP: one state, whatever is swept and comes in.

use crate::answers::{System, aggregate, start, swept};
use crate::support::{Answer, array, event};
use aevon_core::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

const TOTAL: &str = "/v1/state/acme?scope=tenant&rule=total";

fn of_tenant(tenant: &str, principal: &str, id: &str, n: u64) -> String {
    let event = event(principal, id, &format!(r#"{{"n":{n}}}"#));
    event.replace(
        r#""tenant_id":"acme""#,
        &format!(r#""tenant_id":"{tenant}""#),
    )
}

fn code(answer: &Answer) -> &str {
    let problem = answer.body["type"].as_str().unwrap_or_default();
    problem.trim_start_matches("urn:aevon:problem:")
}

fn names(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap();
    let name = |item: &Value| item["principal_id"].as_str().map(str::len);
    assert!(items.iter().all(|item| name(item).is_some()));
    items
        .iter()
        .filter_map(|item| item["principal_id"].as_str())
        .collect()
}

/// All pages of a list, with new events between them.
async fn pages(system: &System, query: &str) -> (Vec<String>, Vec<String>) {
    let (mut listed, mut values, mut cursor, mut version) =
        (Vec::new(), Vec::new(), String::new(), Value::Null);
    for page in 0.. {
        let path = format!("/v1/state/acme?rule=total&{query}{cursor}");
        let answer = system.projection.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = &answer.body;
        if page > 0 {
            assert_eq!(body["version"], version, "all pages are of one version");
        }
        version = body["version"].clone();
        assert_eq!(answer.headers["aevon-version"], version.as_str().unwrap());
        listed.extend(names(body).into_iter().map(str::to_owned));
        for item in body["items"].as_array().unwrap() {
            let value = &item["states"][0]["values"][0]["value"];
            values.push(value.as_str().unwrap().to_owned());
        }
        let more = [
            of_tenant("acme", "p1", &format!("{query}-{page}"), 1_000_000),
            of_tenant(
                "acme",
                &format!("new-{page}"),
                &format!("{query}-{page}"),
                7,
            ),
        ];
        assert_eq!(system.ingest.post(array(&more)).await.status, 202);
        match body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    (listed, values)
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_and_lists_are_one_state_of_one_tenant() {
    let system = start().await;
    let mut events: Vec<String> = (0..9)
        .map(|n| of_tenant("acme", &format!("p{n}"), &format!("e{n}"), 1 << n))
        .collect();
    events.push(of_tenant("other", "p1", "e1", 1 << 20));
    assert_eq!(system.ingest.post(array(&events)).await.status, 202);
    let total = async || system.projection.get(TOTAL).await;
    let before = total().await;
    assert_eq!(before.status, 200, "{before:?}");
    assert_eq!(before.body["values"][0]["value"], "511");
    assert_eq!(before.body["scope"], "tenant");
    assert_eq!(before.body.get("principal_id"), None);
    let _aggregator = aggregate(&system.db).await;
    swept(&system.projection).await;
    let after = total().await;
    for field in ["version", "as_of", "states", "values", "rule_version"] {
        assert_eq!(after.body[field], before.body[field], "{field}");
    }
    assert_eq!(after.body["meta"]["lag_events"], 0);

    let (listed, values) = pages(&system, "limit=4").await;
    assert_eq!(listed, (0..9).map(|n| format!("p{n}")).collect::<Vec<_>>());
    assert_eq!(
        values,
        (0..9).map(|n| (1 << n).to_string()).collect::<Vec<_>>()
    );
    let (listed, values) = pages(&system, "limit=4&order_by=value").await;
    // What came in between the pages of the first list: three of p1, and one each of three others.
    assert_eq!(listed[..3], ["p1", "p8", "p7"]);
    assert_eq!(values[..3], ["3000002", "256", "128"]);
    assert_eq!(listed.len(), 12);
    assert_eq!(values.last().map(String::as_str), Some("1"));

    let version = before.body["version"].as_str().unwrap();
    let then = system
        .projection
        .get(&format!("{TOTAL}&version={version}"))
        .await;
    assert_eq!(then.body["states"], before.body["states"]);
    let named = "/v1/state/acme?rule=total&principal_id=p3&principal_id=nobody";
    let named = system.projection.get(named).await;
    assert_eq!(names(&named.body), ["nobody", "p3"]);
    assert_eq!(named.body["next"], Value::Null);
    let of_p3 = named.body["version"].as_str().unwrap();
    let one = system
        .projection
        .get("/v1/state/acme?principal_id=p3&rule=total")
        .await;
    assert_eq!(one.body["values"][0]["value"], "8");
    let nobody = system
        .projection
        .get("/v1/state/nobody?scope=tenant&rule=total")
        .await;
    assert_eq!(nobody.body["values"][0]["value"], "0");
    let empty = system
        .projection
        .get("/v1/state/nobody?rule=total&order_by=value")
        .await;
    assert_eq!(
        (&empty.body["items"], &empty.body["next"]),
        (&json!([]), &Value::Null)
    );

    // Rows have the next page in a header, and a cursor is good for its own list only.
    let path = "/v1/state/acme?rule=total&limit=2&as_of=2030-01-01T00:00:00Z";
    let refused = system.projection.get(path).await;
    assert_eq!(code(&refused), "as-of-in-future");
    let path = "/v1/state/acme?rule=total&limit=2";
    let csv = [("accept", "text/csv")];
    let page = system.projection.send(Method::GET, path, &csv, "").await;
    let next = page.headers["aevon-next"].to_str().unwrap();
    let second = format!("{path}&cursor={next}");
    let second = system.projection.get(&second).await;
    assert_eq!(names(&second.body).len(), 2);
    let at = &second.body["version"].as_str().unwrap();
    let pinned = format!("/v1/state/acme?rule=total:1&limit=2&version={at}");
    let pinned = system.projection.get(&pinned).await;
    assert_eq!(pinned.body["next"], next, "{pinned:?}");
    for other in [
        "/v1/state/acme?rule=other&limit=2",
        "/v1/state/acme?rule=total:2&limit=2",
        "/v1/state/other?rule=total&limit=2",
        "/v1/state/acme?rule=total&limit=2&start=2026-01-01T00:00:00Z",
        "/v1/state/acme?rule=total&order_by=value&limit=2",
    ] {
        let refused = system
            .projection
            .get(&format!("{other}&cursor={next}"))
            .await;
        assert_eq!(code(&refused), "invalid-parameter", "{other}");
    }
    let newer = format!("/v1/state/acme?rule=total&limit=2&min_version=0:99&cursor={next}");
    let refused = system.projection.get(&newer).await;
    assert_eq!(code(&refused), "invalid-parameter");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("min_version 0:99"), "{detail}");

    for (query, says) in [
        (
            format!("scope=tenant&version={of_p3}"),
            "incomplete-version",
        ),
        ("scope=all".to_owned(), "invalid-parameter"),
        (
            "scope=tenant&principal_id=p1".to_owned(),
            "invalid-parameter",
        ),
        ("scope=tenant&limit=3".to_owned(), "invalid-parameter"),
        ("order_by=name".to_owned(), "invalid-parameter"),
        (
            "order_by=value&granularity=1h&rule=total".to_owned(),
            "invalid-parameter",
        ),
        ("order_by=value".to_owned(), "invalid-parameter"),
        (
            "order_by=value&rule=total&rule=total:1".to_owned(),
            "invalid-parameter",
        ),
        (
            "principal_id=p1&principal_id=p2&limit=3".to_owned(),
            "invalid-parameter",
        ),
        ("limit=1001".to_owned(), "invalid-parameter"),
        ("cursor=x".to_owned(), "invalid-parameter"),
        ("order_by=value&rule=nothing".to_owned(), "unknown-rule"),
        (
            "scope=tenant&rule=total&group_by=x".to_owned(),
            "invalid-parameter",
        ),
    ] {
        let refused = system
            .projection
            .get(&format!("/v1/state/acme?{query}"))
            .await;
        assert_eq!(code(&refused), says, "{query}: {refused:?}");
    }
    let above = version.replace(':', ":9");
    let unknown = system
        .projection
        .get(&format!("{TOTAL}&version={above}"))
        .await;
    assert_eq!(code(&unknown), "unknown-version");
    let unseen = system
        .projection
        .get(&format!("{TOTAL}&min_version={above}"))
        .await;
    assert_eq!(code(&unseen), "version-not-visible");
}

/// A body without what may differ between equal answers.
fn outside_meta(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut body = answer.body.clone();
    assert!(body.as_object_mut().unwrap().remove("meta").is_some());
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_and_the_version_that_it_comes_down_to_are_one_answer() {
    let system = start().await;
    let events: Vec<String> = (0..5)
        .map(|n| of_tenant("acme", &format!("p{n}"), "e", 1 << n))
        .collect();
    assert_eq!(system.ingest.post(array(&events)).await.status, 202);
    let stamp = system.projection.get(TOTAL).await.body["as_of"].clone();
    let stamp = Timestamp::parse(stamp.as_str().unwrap()).unwrap();
    // Behind all that it knows, so that it is no stamp itself.
    let instant = stamp.plus_micros(1);
    let more = of_tenant("acme", "p0", "late", 1_000);
    assert_eq!(system.ingest.post(more).await.status, 202);
    for list in [
        "scope=tenant",
        "limit=2",
        "limit=2&order_by=value",
        "principal_id=p1&principal_id=p2",
    ] {
        let mut cursor = String::new();
        for page in 0.. {
            let asked = |rule: &str, moment: &str| {
                format!("/v1/state/acme?rule={rule}&{list}&{moment}{cursor}")
            };
            let by_instant = asked("total", &format!("as_of={instant}"));
            let by_instant = outside_meta(&system.projection.get(&by_instant).await);
            let version = by_instant["version"].as_str().unwrap();
            let by_version = asked("total:1", &format!("version={version}"));
            let by_version = system.projection.get(&by_version).await;
            assert_eq!(
                by_instant,
                outside_meta(&by_version),
                "page {page} of {list}"
            );
            match by_instant["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
    }
}
