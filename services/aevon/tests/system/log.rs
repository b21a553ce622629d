//! The log as callers read it: the feed, lists, one event, principals.

use crate::support::{Service, array, event};
use aevon_testkit::TestDatabase;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

struct World {
    ingest: Service,
    projection: Service,
    _db: TestDatabase,
}

impl World {
    async fn new() -> Self {
        let db = TestDatabase::create().await;
        Self {
            ingest: Service::start("ingest-svc", db.url(), &[]).await,
            projection: Service::start("projection-svc", db.url(), &[]).await,
            _db: db,
        }
    }

    /// Stores events `from..to` of five principals, each a minute after the other, the last first.
    async fn store(&self, from: i64, to: i64) {
        let events: Vec<String> = (from..to)
            .map(|n| {
                let event = event(&format!("p{}", n % 5), &format!("e{n}"), "{\"n\":1.50}");
                let minute = format!("T{:02}:{:02}:20.5", 23 - n / 60, 59 - n % 60);
                let kind = if n % 3 == 0 { "rare" } else { "t" };
                event
                    .replace("T10:30:20.5", &minute)
                    .replace("\"type\":\"t\"", &format!("\"type\":\"{kind}\""))
            })
            .collect();
        assert_eq!(self.ingest.post(array(&events)).await.status, 202);
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.projection.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    async fn refused(&self, path: &str) -> (u16, String) {
        let answer = self.projection.get(path).await;
        let code = answer.body["type"].as_str().unwrap_or_default();
        (answer.status, code.replace("urn:aevon:problem:", ""))
    }

    /// Every page of a list.
    async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}{cursor}")).await;
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                None => return items,
                Some(next) => cursor = format!("&cursor={next}"),
            }
        }
    }
}

fn field<'a>(items: &'a [Value], name: &str) -> Vec<&'a str> {
    items
        .iter()
        .map(|item| item[name].as_str().unwrap())
        .collect()
}

fn seq(item: &Value) -> (i64, i64) {
    let (partition, seq) = item["position"].as_str().unwrap().split_once(':').unwrap();
    (partition.parse().unwrap(), seq.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_gives_every_event_once_each_principals_in_order_while_more_come_in() {
    let world = World::new().await;
    world.store(0, 40).await;
    let stranger = event("p0", "strange", "{}").replace("acme", "other");
    assert_eq!(world.ingest.post(stranger).await.status, 202);
    let (mut seen, mut after) = (Vec::new(), String::new());
    let mut rounds = 0;
    while seen.len() < 100 {
        let page = world.get(&format!("/v1/events/acme?limit=7{after}")).await;
        let items = page["items"].as_array().unwrap().clone();
        assert!(items.len() <= 7);
        seen.extend(items);
        after = format!("&after={}", page["next"].as_str().unwrap());
        rounds += 1;
        if rounds <= 3 {
            world.store(20 + 20 * rounds, 40 + 20 * rounds).await;
        }
    }
    let ids = field(&seen, "id");
    let mut sorted: Vec<i64> = ids.iter().map(|id| id[1..].parse().unwrap()).collect();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    for partition in 0..16 {
        let ours: Vec<_> = seen.iter().map(seq).filter(|p| p.0 == partition).collect();
        assert!(ours.is_sorted(), "{ours:?}");
    }
    // Whoever asks again with an older token gets the same again.
    let again = world.get("/v1/events/acme?limit=1000&type=rare").await;
    assert_eq!(again["items"].as_array().unwrap().len(), 34);
    assert_eq!(again["items"][0]["data"].to_string(), "{\"n\":1.50}");
    let nothing = world.get(&format!("/v1/events/acme?{}", &after[1..])).await;
    assert_eq!(nothing["items"], json!([]));
    for wrong in [
        "after=x",
        "after=99:1",
        "wait=31s",
        "wait=x",
        "limit=0",
        "cursor=x",
        "end=1",
    ] {
        let refused = world.refused(&format!("/v1/events/acme?{wrong}")).await;
        assert_eq!(refused, (400, "invalid-parameter".to_owned()), "{wrong}");
    }
    // Of a log that was longer: what came instead is not passed over in silence.
    let refused = world.refused("/v1/events/acme?after=0:1,3:999999").await;
    assert_eq!(refused, (404, "unknown-version".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_waits_for_what_comes_next_and_no_longer_than_it_is_told() {
    let world = World::new().await;
    world.store(0, 10).await;
    let newest = world.get("/v1/events/acme?after=newest").await;
    assert_eq!(newest["items"], json!([]));
    let after = newest["next"].as_str().unwrap();
    let began = Instant::now();
    let path = format!("/v1/events/acme?after={after}&wait=400ms");
    assert_eq!(world.get(&path).await["items"], json!([]));
    assert!(began.elapsed() >= Duration::from_millis(400));
    let path = format!("/v1/events/acme?after={after}&wait=20s");
    let later = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.store(10, 11).await;
    };
    let (page, ()) = tokio::join!(world.get(&path), later);
    assert_eq!(page["items"][0]["id"], "e10");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_one_version_on_all_its_pages_in_either_order() {
    let world = World::new().await;
    world.store(0, 100).await;
    let path = "/v1/events/acme/p1?limit=6";
    let first = world.get(path).await;
    world.store(100, 150).await;
    let (mut pages, mut next) = (vec![first.clone()], first["next"].clone());
    while let Some(cursor) = next.as_str() {
        let page = world.get(&format!("{path}&cursor={cursor}")).await;
        next = page["next"].clone();
        pages.push(page);
    }
    let lengths = pages
        .iter()
        .map(|page| page["items"].as_array().unwrap().len());
    assert_eq!(lengths.collect::<Vec<_>>(), [6, 6, 6, 2]);
    assert!(pages.iter().all(|page| page["version"] == first["version"]));
    for (order, name) in [("position", "position"), ("occurred_at", "occurred_at")] {
        let path = |sign: &str| format!("/v1/events/acme/p1?limit=7&order={sign}{order}");
        let mut forth = world.all(&path("")).await;
        let back = world.all(&path("-")).await;
        assert_eq!(forth.len(), 30, "{order}");
        match name {
            "position" => assert!(forth.iter().map(seq).is_sorted()),
            _ => assert!(field(&forth, name).is_sorted()),
        }
        forth.reverse();
        assert_eq!(forth, back, "{order}");
    }
    let between = "start=2026-01-01T22:40:00Z&end=2026-01-01T22:50:00Z";
    let some = world
        .all(&format!("/v1/events/acme/p1?{between}&limit=1&type=t"))
        .await;
    let expected = (0..100).filter(|n| n % 5 == 1 && n % 3 != 0);
    let expected: Vec<String> = expected
        .filter(|n| (22, 40) <= (23 - n / 60 - 1, 59 - n % 60) && n / 60 == 0 && 59 - n % 60 < 50)
        .map(|n| format!("e{n}"))
        .collect();
    assert_eq!(field(&some, "id"), expected, "{some:?}");
    let nobody = world.get("/v1/events/acme/nobody").await;
    assert_eq!(
        (&nobody["items"], &nobody["next"]),
        (&json!([]), &Value::Null)
    );
    let cursor = first["next"].as_str().unwrap();
    for wrong in [
        "order=x",
        &format!("order=-position&cursor={cursor}"),
        "after=1:1",
        "wait=1s",
    ] {
        let refused = world.refused(&format!("/v1/events/acme/p1?{wrong}")).await;
        assert_eq!(refused, (400, "invalid-parameter".to_owned()), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_is_found_by_its_identity_whatever_it_is_called() {
    let world = World::new().await;
    let odd = json!({"tenant_id": "acme", "principal_id": "a/b", "id": "../é", "source": "gw/1",
        "type": "t", "occurred_at": "2026-01-01T00:00:00Z", "schema_version": 0,
        "data": {"n": 1}, "metadata": {"region": "eu"}});
    assert_eq!(world.ingest.post(odd.to_string()).await.status, 202);
    let path = "/v1/events/acme/a%2Fb/..%2F%C3%A9?source=gw%2F1";
    let by_parameter = "/v1/events/acme?principal_id=a/b&id=../%C3%A9&source=gw/1";
    let found = world.get(path).await;
    assert_eq!(found, world.get(by_parameter).await);
    for (name, value) in odd.as_object().unwrap() {
        if name != "occurred_at" {
            assert_eq!(&found[name], value, "{name}");
        }
    }
    assert!(found["position"].is_string() && found["ingested_at"].is_string());
    let listed = world.get("/v1/events/acme?principal_id=a/b").await;
    assert_eq!(listed["items"], json!([found]));
    let void = json!({"tenant_id": "acme", "principal_id": "a/b", "id": "v", "type": "aevon.void",
        "occurred_at": "2026-01-01T00:00:00Z",
        "data": {"event_id": "../é", "source": "gw/1", "reason": "a mistake"}});
    assert_eq!(world.ingest.post(void.to_string()).await.status, 202);
    let (voided, listed) = (
        world.get(path).await,
        world.get("/v1/events/acme?principal_id=a/b").await,
    );
    assert_eq!(voided["voided_by"], listed["items"][1]["position"]);
    assert_eq!(listed["items"][0]["voided_by"], voided["voided_by"]);
    assert_eq!(listed["items"][1].get("voided_by"), None);
    for other in [
        "/v1/events/acme/a%2Fb/..%2F%C3%A9",
        "/v1/events/acme/a/..%2F%C3%A9?source=gw%2F1",
        "/v1/events/other/a%2Fb/..%2F%C3%A9?source=gw%2F1",
    ] {
        assert_eq!(
            world.refused(other).await,
            (404, "unknown-event".to_owned()),
            "{other}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn principals_are_listed_by_name_and_by_prefix() {
    let world = World::new().await;
    let names = ["a", "b1", "b2", "b3", "bé", "c\u{10ffff}", "c"];
    let events: Vec<String> = names.iter().map(|name| event(name, "e", "{}")).collect();
    assert_eq!(world.ingest.post(array(&events)).await.status, 202);
    let stranger = event("b9", "e", "{}").replace("acme", "other");
    assert_eq!(world.ingest.post(stranger).await.status, 202);
    let all = world.all("/v1/principals/acme?limit=2").await;
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(field(&all, "principal_id"), sorted);
    let some = world.all("/v1/principals/acme?prefix=b&limit=3").await;
    assert_eq!(field(&some, "principal_id"), ["b1", "b2", "b3", "bé"]);
    let none = world.all("/v1/principals/acme?prefix=d").await;
    assert!(none.is_empty());
    assert_eq!(world.refused("/v1/principals/acme?prefix=%00").await.0, 400);
}
