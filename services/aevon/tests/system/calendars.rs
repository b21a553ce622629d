//! Windows of clocks, what stands where nothing happened, and running values, as callers see them.

use crate::answers::{System, aggregate_rules, start, swept};
use crate::support::{Answer, SUM, apply, array};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const LATEST: (&str, &str) = (
    "latest.yaml",
    "name: level\nsource_event: t\noperator: latest\nfield: n\n",
);
const RANGE: &str = "start=2026-03-27T23:00:00Z&end=2026-03-30T22:00:00Z";

fn event(id: &str, occurred_at: &str, n: u32) -> String {
    json!({"tenant_id": "acme", "principal_id": "p", "id": id, "type": "t",
           "occurred_at": occurred_at, "data": {"n": n}})
    .to_string()
}

/// About the 29th of March 2026, which has 23 hours in Berlin.
async fn stored() -> System {
    let system = start().await;
    apply(&system.db, &[SUM, LATEST]);
    let events = [
        event("before", "2026-03-20T12:00:00Z", 1),
        event("saturday", "2026-03-28T22:59:59.999999Z", 2),
        event("sunday", "2026-03-28T23:00:00Z", 4),
        event("late on sunday", "2026-03-29T21:59:59.999999Z", 8),
    ];
    let sent = system.ingest.post(array(&events)).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    system
}

async fn ask(system: &System, query: &str) -> Answer {
    let path = format!("/v1/state/acme/p?{query}");
    system.projection.get(&path).await
}

/// Starts, values and counts.
fn shown(answer: &Answer) -> Value {
    let values = answer.body["values"].as_array();
    let values = values.unwrap_or_else(|| panic!("{answer:?}"));
    let shown = values
        .iter()
        .map(|v| json!([v["window_start"], v["value"], v["event_count"]]));
    shown.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn days_of_a_clock_are_filled_and_run_and_name_the_release_of_its_rules() {
    let system = stored().await;
    let days = format!("granularity=1d&timezone=europe/berlin&{RANGE}");
    let ask_all = async || {
        let sum = ask(&system, &format!("rule=total&{days}")).await;
        assert_eq!(sum.body["timezone"], "Europe/Berlin");
        assert_eq!(sum.body["tzdb"], aevon_core::calendar::tzdb());
        let (saturday, sunday) = ("2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z");
        let monday = "2026-03-29T22:00:00Z";
        let expected = json!([[saturday, "2", 1], [sunday, "12", 2]]);
        assert_eq!(shown(&sum), expected);
        assert_eq!(sum.body["values"][1]["window_end"], monday);
        let zero = ask(&system, &format!("rule=total&fill=zero&{days}")).await;
        let expected = json!([[saturday, "2", 1], [sunday, "12", 2], [monday, "0", 0]]);
        assert_eq!(shown(&zero), expected);
        let running = format!("rule=total&fill=zero&cumulative=true&{days}");
        let expected = json!([[saturday, "2", 1], [sunday, "14", 3], [monday, "14", 3]]);
        assert_eq!(shown(&ask(&system, &running).await), expected);
        let previous = "rule=level&fill=previous&granularity=1d&timezone=Europe/Berlin\
             &start=2026-03-26T23:00:00Z&end=2026-03-30T22:00:00Z";
        let friday = "2026-03-26T23:00:00Z";
        let expected = json!([
            [friday, "1", 0],
            [saturday, "2", 1],
            [sunday, "8", 2],
            [monday, "8", 0]
        ]);
        assert_eq!(shown(&ask(&system, previous).await), expected);
    };
    ask_all().await;
    let _aggregator = aggregate_rules(&system.db, &[SUM, LATEST]).await;
    swept(&system.projection).await;
    ask_all().await;
    let utc = ask(&system, "rule=total&granularity=1mo").await;
    assert_eq!(shown(&utc), json!([["2026-03-01T00:00:00Z", "15", 4]]));
    assert_eq!(utc.body.get("tzdb"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_calendars_and_fills_are_named() {
    let system = stored().await;
    let cases = [
        (
            "timezone=Europe/Atlantis",
            "invalid-parameter",
            "Europe/Atlantis",
        ),
        ("timezone=", "invalid-parameter", "timezone"),
        ("granularity=1y", "invalid-parameter", "1mo"),
        ("cumulative=yes", "invalid-parameter", "cumulative"),
        (
            "granularity=1d&fill=linear",
            "invalid-parameter",
            "previous",
        ),
        ("granularity=1d&fill=zero", "range-required", "start"),
        (
            "granularity=1d&fill=zero&start=2026-03-01T00:00:00Z",
            "range-required",
            "end",
        ),
        (&format!("fill=zero&{RANGE}"), "invalid-parameter", "total"),
        (
            &format!("granularity=1d&fill=previous&{RANGE}"),
            "invalid-parameter",
            "total is sum",
        ),
    ];
    for (query, code, says) in cases {
        let answer = ask(&system, query).await;
        let found = answer.body["type"].as_str().unwrap_or_default();
        assert_eq!(found, format!("urn:aevon:problem:{code}"), "{query}");
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(says), "{query}: {detail}");
    }
    for (query, is_refused) in [
        ("start=2026-01-01T00:00:00Z&end=2026-01-07T22:40:00Z", false),
        (
            "start=2026-01-01T00:00:00Z&end=2026-01-07T22:40:00.000001Z",
            true,
        ),
        (
            "start=0001-01-01T00:00:00Z&end=9999-12-31T23:59:59.999999Z",
            true,
        ),
        (
            "granularity=1h&timezone=Asia/Kathmandu&start=0001-01-01T00:00:00Z&end=9999-12-31T00:00:00Z",
            true,
        ),
    ] {
        let granularity = if query.starts_with("granularity") {
            ""
        } else {
            "&granularity=1m"
        };
        let began = Instant::now();
        let answer = ask(
            &system,
            &format!("rule=total&fill=zero&{query}{granularity}"),
        )
        .await;
        assert!(began.elapsed() < Duration::from_secs(5), "{query}");
        match is_refused {
            true => assert_eq!(answer.body["type"], "urn:aevon:problem:too-many-windows"),
            false => assert_eq!(answer.body["values"].as_array().unwrap().len(), 10_000),
        }
    }
}
