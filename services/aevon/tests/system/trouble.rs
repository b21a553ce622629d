//! A database in trouble, and a service that is told to stop, both under load: nothing that was
//! acknowledged is lost or doubled, and what was taken in is answered.

use crate::support::{DEADLINE, SUM, Service, apply, array, event, migrate, rules, stop, text};
use aevon_postgres::{Server, ServerOptions};
use aevon_testkit::template::{connect, make_users};
use aevon_testkit::{Proxy, TestDatabase, eventually};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How soon a service works again after its database does.
const RECOVERY: Duration = Duration::from_secs(5);
/// Callers at once.
const CALLERS: usize = 12;
/// Events that callers get through before and after each trouble.
const PASSAGE: usize = 100;

/// Callers who send events one after the other, each until it is acknowledged.
#[derive(Default)]
struct Load {
    next: AtomicUsize,
    is_over: AtomicBool,
    acknowledged: Mutex<BTreeSet<String>>,
    refused: AtomicUsize,
}

impl Load {
    /// One caller, until the load is over. Single events and arrays take turns.
    async fn call(&self, service: &Service) {
        while !self.is_over.load(Ordering::SeqCst) {
            let first = self.next.fetch_add(3, Ordering::SeqCst);
            let ids: Vec<String> = match first % 2 {
                0 => vec![format!("e{first}")],
                _ => (first..first + 3).map(|n| format!("e{n}")).collect(),
            };
            let events = ids.iter().enumerate();
            let events = events.map(|(n, id)| event(&format!("p{n}{}", first % 7), id, "{}"));
            let events: Vec<String> = events.collect();
            let body = match events.as_slice() {
                [one] => one.clone(),
                many => array(many),
            };
            eventually(DEADLINE, "the body is acknowledged", async || {
                let answer = service.try_post(body.clone()).await.unwrap();
                let is_refused = answer.status == 503;
                assert!(
                    is_refused || [200, 202].contains(&answer.status),
                    "{answer:?}"
                );
                self.refused.fetch_add(is_refused.into(), Ordering::SeqCst);
                !is_refused
            })
            .await;
            self.acknowledged.lock().unwrap().extend(ids);
        }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits until some more events are acknowledged.
    async fn goes_on(&self, what: &str) {
        let before = self.count();
        eventually(RECOVERY, what, async || self.count() >= before + PASSAGE).await;
    }

    /// Waits until callers are sent away.
    async fn is_refused(&self, what: &str) {
        let before = self.refused.load(Ordering::SeqCst);
        eventually(RECOVERY, what, async || {
            self.refused.load(Ordering::SeqCst) > before
        })
        .await;
    }
}

/// The ids of the log. That seq has no gap shows that every event was numbered once.
async fn stored(url: &str) -> BTreeSet<String> {
    let client = connect(url).await.unwrap();
    let gaps = "SELECT count(*) FROM (SELECT max(seq) - count(*) AS missing FROM events \
                GROUP BY partition) p WHERE missing <> 0";
    let gaps: i64 = client.query_one(gaps, &[]).await.unwrap().get(0);
    assert_eq!(gaps, 0);
    let rows = client.query("SELECT event_id FROM events", &[]).await;
    let ids: Vec<String> = rows.unwrap().iter().map(|row| row.get(0)).collect();
    let distinct: BTreeSet<String> = ids.iter().cloned().collect();
    assert_eq!(distinct.len(), ids.len(), "an event is stored twice");
    distinct
}

fn start_server(port: Option<u16>, folder: &tempfile::TempDir) -> Server {
    let options = ServerOptions {
        data_dir: Some(folder.path().join("data")),
        port,
        durable: true,
        ..ServerOptions::default()
    };
    Server::start(&options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_under_load_costs_503s_and_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start_server(None, &folder);
    let url = server.url("postgres");
    migrate(&url).await;
    let (proxy, through) = Proxy::in_front_of(&url).await;
    let ingest = Service::start("ingest-svc", &through, &[]).await;
    let load = Load::default();
    let callers = (0..CALLERS).map(|_| load.call(&ingest));
    let troubles = async {
        load.goes_on("the system works").await;

        let client = connect(&url).await.unwrap();
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE application_name = 'ingest-svc'";
        client.batch_execute(kill).await.unwrap();
        drop(client);
        load.goes_on("after its sessions were killed").await;

        proxy.cut();
        load.is_refused("the network is gone").await;
        proxy.heal();
        load.goes_on("after the network came back").await;

        for is_killed in [false, true] {
            match is_killed {
                false => server.stop().unwrap(),
                true => server.kill().unwrap(),
            }
            load.is_refused("Postgres is gone").await;
            eventually(RECOVERY, "it says that it is not ready", async || {
                ingest.get("/readyz").await.status == 503
            })
            .await;
            server = start_server(Some(server.port()), &folder);
            let back = Instant::now();
            load.goes_on("after Postgres came back").await;
            let left = RECOVERY.saturating_sub(back.elapsed());
            eventually(left, "it says that it is ready", async || {
                ingest.get("/readyz").await.status == 200
            })
            .await;
        }
        load.is_over.store(true, Ordering::SeqCst);
    };
    tokio::join!(futures_util::future::join_all(callers), troubles);
    let acknowledged = load.acknowledged.into_inner().unwrap();
    assert_eq!(stored(&url).await, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_told_to_stop_under_load_answers_what_it_took_in_and_exits_0() {
    let db = TestDatabase::create().await;
    let mut ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let acknowledged = Mutex::new(BTreeSet::new());
    let next = AtomicUsize::new(0);
    let target = ingest.target();
    let call = async || {
        // Until the service is gone.
        loop {
            let id = format!("e{}", next.fetch_add(1, Ordering::SeqCst));
            match target.try_post(event("p", &id, "{}")).await {
                Some(answer) => assert_eq!(answer.status, 202, "{answer:?}"),
                None => return,
            }
            acknowledged.lock().unwrap().insert(id);
        }
    };
    let callers = (0..CALLERS).map(|_| call());
    let end = async {
        eventually(DEADLINE, "the load runs", async || {
            acknowledged.lock().unwrap().len() >= PASSAGE
        })
        .await;
        let begun = std::time::Instant::now();
        assert_eq!(stop(&mut ingest).await, Some(0));
        begun.elapsed()
    };
    let (_, took) = tokio::join!(futures_util::future::join_all(callers), end);
    assert!(
        took < Duration::from_secs(10),
        "callers that go on held it up: {took:?}"
    );
    assert_eq!(stored(db.url()).await, *acknowledged.lock().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_commit_is_answered_after_the_signal() {
    let db = TestDatabase::create().await;
    let mut ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let holder = db.client().await;
    holder
        .batch_execute("BEGIN; SELECT FROM partitions FOR UPDATE")
        .await
        .unwrap();
    let target = ingest.target();
    let bodies = (0..CALLERS).map(|n| event("p", &format!("e{n}"), "{}"));
    let answers = futures_util::future::join_all(bodies.map(|body| target.try_post(body)));
    let end = async {
        eventually(DEADLINE, "all of them are in the queue", async || {
            let metrics = target.try_get("/metrics").await.unwrap();
            let waiting = format!("aevon_ingest_queue_events {CALLERS}\n");
            metrics.body.as_str().unwrap().contains(&waiting)
        })
        .await;
        let release = async {
            eventually(DEADLINE, "no new connection is taken", async || {
                target.try_get("/healthz").await.is_none()
            })
            .await;
            holder.batch_execute("ROLLBACK").await.unwrap();
        };
        tokio::join!(stop(&mut ingest), release).0
    };
    let (answers, code) = tokio::join!(answers, end);
    for answer in answers {
        assert_eq!(answer.map(|answer| answer.status), Some(202));
    }
    assert_eq!(code, Some(0));
    assert_eq!(stored(db.url()).await.len(), CALLERS);
}

/// Waits until a service says why it is not ready.
async fn fails(service: &Service, reason: &str) {
    eventually(DEADLINE, reason, async || {
        service.try_get("/readyz").await.is_some_and(|answer| {
            let said = answer.body["reasons"]["database"].as_str();
            answer.status == 503 && said.is_some_and(|said| said.contains(reason))
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_its_rights_is_not_ready_until_it_has_them() {
    let db = TestDatabase::create().await;
    let client = db.client().await;
    let folder = rules(&[]);
    let folder = [(
        "AEVON_AGGREGATION__CONFIG_DIR",
        folder.path().to_str().unwrap(),
    )];
    let cases = [
        ("ingest-svc", "aevon_ingest", "INSERT ON events"),
        ("ingest-svc", "aevon_ingest", "UPDATE ON partitions"),
        ("projection-svc", "aevon_projection", "SELECT ON events"),
        (
            "aggregator-svc",
            "aevon_aggregator",
            "UPDATE ON pre_aggregates",
        ),
        (
            "aggregator-svc",
            "aevon_aggregator",
            "UPDATE ON sweep_leases",
        ),
        (
            "projection-svc",
            "aevon_projection",
            "SELECT ON __diesel_schema_migrations",
        ),
    ];
    for (name, role, right) in cases {
        let revoke = format!("REVOKE {right} FROM {role}");
        client.batch_execute(&revoke).await.unwrap();
        let service = Service::spawn(name, db.url(), &folder);
        fails(&service, &format!("lacks {}", right.replace("ON", "on"))).await;
        make_users(db.url()).await.unwrap();
        service.ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_writes_is_no_place_for_ingest_and_a_fine_one_for_reads() {
    let db = TestDatabase::create().await;
    apply(&db, &[SUM]);
    let client = db.client().await;
    let set = |value: &str| {
        format!(
            "ALTER DATABASE {} SET default_transaction_read_only = {value}",
            db.name()
        )
    };
    client.batch_execute(&set("on")).await.unwrap();
    let ingest = Service::spawn("ingest-svc", db.url(), &[]);
    fails(&ingest, "takes no writes").await;
    let answer = ingest.post(event("p", "a", "{}")).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    assert_eq!(projection.get("/v1/state/acme/p").await.status, 200);
    client.batch_execute(&set("off")).await.unwrap();
    ingest.ready().await;
    let answer = ingest.post(event("p", "a", "{}")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_fail_make_ingest_not_ready_and_a_rehearsal_finds_that_they_would_succeed() {
    let db = TestDatabase::create().await;
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    assert_eq!(ingest.post(event("p", "a", "{}")).await.status, 202);
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION 'could not extend file \"base/1/2\": No space left on device' \
             USING ERRCODE = 'disk_full'; END $$; \
             CREATE TRIGGER no_room BEFORE INSERT ON events EXECUTE FUNCTION no_room()",
        )
        .await
        .unwrap();
    for n in 0..3 {
        let answer = ingest.post(event("p", &format!("b{n}"), "{}")).await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    fails(&ingest, "appends fail").await;
    let said = text(ingest.get("/readyz").await.body.to_string().as_bytes());
    assert!(!said.contains("base/"), "no path for the public: {said}");
    client
        .batch_execute("DROP TRIGGER no_room ON events")
        .await
        .unwrap();
    // Without another event.
    ingest.ready().await;
    assert_eq!(ingest.post(event("p", "b0", "{}")).await.status, 202);
    let ids: Vec<String> = stored(db.url()).await.into_iter().collect();
    assert_eq!(ids, ["a", "b0"], "nothing of the rehearsals");
}
