//! Cursors of lists that nobody gave: refused, or taken as a place of the list; never more than that.

use crate::answers::start;
use crate::support::{DEADLINE, SUM, Service, apply, array, event};
use aevon_testkit::eventually;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Lists with several pages, each of one item.
const LISTS: [&str; 6] = [
    "/v1/principals/acme?limit=1",
    "/v1/events/acme/p0?limit=1",
    "/v1/events/acme?principal_id=p0&order=-occurred_at&limit=1",
    "/v1/state/acme?limit=1",
    "/v1/state/acme?order_by=value&rule=total&limit=1",
    "/v1/state/acme/p0/explain?rule=total&limit=1",
];
const REJECTED: &str = "/v1/rejected/acme?limit=1";

/// Stands in everything of another tenant.
const ELSEWHERE: &str = "elsewhere";
/// The same of another principal.
const BESIDE: &str = "beside";

/// What nobody would put into a cursor.
fn rubbish() -> Vec<Value> {
    vec![
        json!(null),
        json!(""),
        json!("\0"),
        json!("p\0q"),
        json!("\u{1}\u{ffff}"),
        json!("x".repeat(4_000)),
        json!("0:-1,99:1"),
        json!("0:9223372036854775807"),
        json!("-"),
        json!("9".repeat(200)),
        json!(-1),
        json!(0),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(i32::MIN),
        json!(1e300),
        json!(true),
        json!([]),
        json!([["\0", 1]]),
        json!({}),
    ]
}

fn written(made_of: &Value) -> String {
    URL_SAFE_NO_PAD.encode(made_of.to_string())
}

/// A cursor with rubbish in place of each of its parts, and of all of it.
fn forged(made_of: &Value) -> Vec<Value> {
    let mut forged = rubbish();
    match made_of {
        Value::Object(fields) => {
            for (name, value) in fields {
                for value in self::forged(value) {
                    let mut fields = fields.clone();
                    fields[name] = value;
                    forged.push(Value::Object(fields));
                }
                let mut fields = fields.clone();
                fields.remove(name);
                forged.push(Value::Object(fields));
            }
        }
        Value::Array(items) => {
            for (nth, item) in items.iter().enumerate() {
                for value in self::forged(item) {
                    let mut items = items.clone();
                    items[nth] = value;
                    forged.push(Value::Array(items));
                }
            }
        }
        _ => {}
    }
    forged
}

/// Sends each of the cursors for a list: how many were refused. What is answered otherwise is wrong.
async fn try_all(service: &Service, list: &str, wrong: &mut Vec<String>) -> usize {
    let first = service.get(list).await;
    let next = first.body["next"].as_str();
    let next = next.unwrap_or_else(|| panic!("{list} has one page: {first:?}"));
    let made_of: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(next).unwrap()).unwrap();
    for good in [next, &written(&made_of)] {
        let second = service.get(&format!("{list}&cursor={good}")).await;
        assert_eq!(second.status, 200, "{list}: {second:?}");
    }
    let mut cursors: Vec<String> = forged(&made_of).iter().map(written).collect();
    let cut = (1..next.len()).map(|length| next[..length].to_owned());
    cursors.extend(cut.step_by(5));
    cursors.extend(["x", "%00", "%ff", "====", "bnVsbA", "%F0%9F%98%80"].map(str::to_owned));
    let mut refused = 0;
    for cursor in cursors {
        let answer = service.get(&format!("{list}&cursor={cursor}")).await;
        let made_of = URL_SAFE_NO_PAD.decode(&cursor).unwrap_or_default();
        let made_of = String::from_utf8_lossy(&made_of);
        let is_refused = [400, 404].contains(&answer.status) && answer.body["detail"].is_string();
        let body = answer.body.to_string();
        let is_of_list =
            !body.contains(ELSEWHERE) && (!list.contains("p0") || !body.contains(BESIDE));
        if answer.status == 200 && !is_of_list {
            wrong.push(format!(
                "{list} with {made_of:.200} gives what is not its own: {answer:?}"
            ));
        }
        if answer.status != 200 && !is_refused {
            wrong.push(format!("{list} with {made_of:.200}: {answer:?}"));
        }
        refused += usize::from(is_refused);
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_no_list_gave_is_refused_or_a_place_of_the_list() {
    let system = start().await;
    apply(&system.db, &[SUM]);
    let mut events: Vec<String> = (0..12)
        .map(|n| {
            let day = format!("2026-01-0{}", 1 + n / 3);
            let text = event(&format!("p{}", n % 3), &format!("e{n}"), r#"{"n":1}"#);
            text.replace("2026-01-01", &day)
        })
        .collect();
    events.extend(["x", "y"].map(|id| event("p", id, "{}").replace(r#""t""#, r#""aevon.x""#)));
    for n in 0..12 {
        let of = |marked: &str| event(&format!("{marked}_{n}"), marked, r#"{"n":1}"#);
        events.push(of(BESIDE));
        events.push(of(ELSEWHERE).replace(r#""acme""#, &format!(r#""{ELSEWHERE}""#)));
    }
    assert_eq!(system.ingest.post(array(&events)).await.status, 207);
    let mut wrong = Vec::new();
    for list in LISTS {
        let refused = try_all(&system.projection, list, &mut wrong).await;
        assert!(refused > 20, "{list}: {refused} are refused");
    }
    eventually(DEADLINE, "what was refused is listed", async || {
        let listed = system.ingest.get("/v1/rejected/acme").await;
        listed.body["items"]
            .as_array()
            .is_some_and(|items| items.len() == 2)
    })
    .await;
    assert!(try_all(&system.ingest, REJECTED, &mut wrong).await > 10);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
