//! Reads from a hot standby: a real one, streaming, by the role of projection, which may only read.

use crate::support::{DEADLINE, SUM, Service, event, migrate, rules};
use aevon_client::Event;
use aevon_postgres::{Server, ServerOptions};
use aevon_testkit::eventually;
use serde_json::{Value, json};
use std::time::Duration;
use tokio_postgres::{Client, NoTls};

const PATH: &str = "/v1/state/acme/p?rule=total";

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

struct World {
    ingest: Service,
    /// Reads the primary.
    near: Service,
    /// Reads the standby.
    far: Service,
    standby: Client,
    _aggregator: Service,
    _servers: [Server; 2],
}

/// A primary with a schema, rules and roles, a standby of it, and services on both.
async fn start() -> World {
    let mut primary = Server::start(&ServerOptions::default()).unwrap();
    let standby = primary.standby().unwrap();
    let admin = connect(&primary.url("postgres")).await;
    admin.batch_execute("CREATE DATABASE aevon").await.unwrap();
    let url = primary.url("aevon");
    migrate(&url).await;
    let folder = rules(&[SUM]);
    let settings = [
        (
            "AEVON_AGGREGATION__CONFIG_DIR",
            folder.path().to_str().unwrap(),
        ),
        ("AEVON_AGGREGATION__CRON_INTERVAL", "20ms"),
    ];
    let aggregator = Service::start("aggregator-svc", &url, &settings).await;
    World {
        ingest: Service::start("ingest-svc", &url, &[]).await,
        near: Service::start("projection-svc", &url, &[]).await,
        far: Service::start("projection-svc", &standby.url("aevon"), &[]).await,
        standby: connect(&standby.url("aevon")).await,
        _aggregator: aggregator,
        _servers: [primary, standby],
    }
}

impl World {
    /// Stores an event of a principal; the version that has it.
    async fn store(&self, id: &str, n: u32) -> String {
        let sent = self
            .ingest
            .post(event("p", id, &format!("{{\"n\":{n}}}")))
            .await;
        assert_eq!(sent.status, 202, "{sent:?}");
        sent.body["version"].as_str().unwrap().to_owned()
    }
}

async fn read(service: &Service, path: &str) -> Value {
    let answer = service.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body
}

fn without_meta(mut body: Value) -> String {
    body.as_object_mut().unwrap().remove("meta");
    body.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_gives_the_primarys_answers_and_says_what_it_does_not_see_yet() {
    let world = start().await;
    let mut versions = Vec::new();
    for n in 0..20 {
        let version = world.store(&format!("e{n}"), 1 << n).await;
        let least = format!("{PATH}&min_version={version}&wait=10s");
        let state = read(&world.far, &least).await;
        assert_eq!(
            state["values"][0]["value"],
            json!(((1 << (n + 1)) - 1).to_string())
        );
        versions.push(version);
    }
    // What it sees now it gives again, after everything that came since, as the primary does.
    for version in &versions {
        for more in ["&granularity=1h", "&end=2027-01-01T00:00:00Z"] {
            let path = format!("{PATH}:1&version={version}{more}");
            let far = without_meta(read(&world.far, &path).await);
            assert_eq!(far, without_meta(read(&world.near, &path).await), "{path}");
        }
    }

    world
        .standby
        .batch_execute("SELECT pg_wal_replay_pause()")
        .await
        .unwrap();
    let paused = "SELECT pg_get_wal_replay_pause_state() = 'paused'";
    eventually(DEADLINE, "nothing is replayed", async || {
        let row = world.standby.query_one(paused, &[]).await.unwrap();
        row.get::<_, bool>(0)
    })
    .await;
    let unseen = world.store("late", 1 << 20).await;
    let old = read(&world.far, PATH).await;
    assert_eq!(
        old["version"],
        json!(versions[19]),
        "what it has, it answers"
    );
    eventually(DEADLINE, "it says that it is behind", async || {
        read(&world.far, PATH).await["meta"]["staleness_seconds"].as_f64() > Some(0.0)
    })
    .await;
    assert_eq!(
        read(&world.near, PATH).await["meta"]["staleness_seconds"],
        json!(0)
    );
    let reader = aevon_client::Client::builder(world.ingest.base()).read_url(world.far.base());
    let reader = reader.patience(DEADLINE).build().unwrap();
    let mine = Event::new("p", "t", json!({"n": 0})).tenant("acme");
    assert!(reader.send(mine).await.is_stored());
    let states = reader.states("acme").wait(Duration::from_millis(50));
    let reading = tokio::spawn(async move { states.of("p").rule("total").read().await.unwrap() });

    for asked in ["min_version", "version"] {
        let answer = world
            .far
            .get(&format!("{PATH}&{asked}={unseen}&wait=50ms"))
            .await;
        assert_eq!(answer.status, 504, "{answer:?}");
        assert_eq!(answer.body["type"], "urn:aevon:problem:version-not-visible");
    }
    // Above the head of the primary there is nothing to wait for.
    let beyond = format!("{PATH}&version={unseen}0");
    assert_eq!(world.near.get(&beyond).await.status, 404);

    let resume = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world
            .standby
            .batch_execute("SELECT pg_wal_replay_resume()")
            .await
            .unwrap();
    };
    let path = format!("{PATH}&version={unseen}&wait=10s");
    assert!(!reading.is_finished(), "it would not have what was sent");
    let (seen, ()) = tokio::join!(read(&world.far, &path), resume);
    let mine = tokio::time::timeout(DEADLINE, reading)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(mine.states[0].values[0].event_count, 22);
    assert_eq!(
        seen["values"][0]["value"],
        json!(((1 << 21) - 1).to_string())
    );
    for path in [
        "/v1/rules",
        "/v1/events/acme",
        "/v1/events/acme/p",
        "/v1/principals/acme",
    ] {
        read(&world.far, path).await;
    }
}
