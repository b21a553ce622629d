//! A primary that dies, and a standby that takes over. With synchronous replication nothing that was
//! acknowledged is lost, whoever of the two answered.

use crate::audit;
use crate::fleet::{Durable, End, Fleet, RECOVERY, signal};
use crate::load::Load;
use crate::support::{DEADLINE, event};
use aevon_postgres::Server;
use aevon_testkit::template::connect;
use aevon_testkit::{Proxy, eventually};
use fastrand::Rng;
use futures_util::future::join_all;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

/// Callers at once.
const CALLERS: u64 = 8;
/// Events that callers get through before and after.
const PASSAGE: usize = 100;

/// A standby that has everything before anybody is told of it.
async fn follow(primary: &mut Durable) -> Server {
    let standby = tokio::task::block_in_place(|| primary.standby());
    let client = connect(&primary.url()).await.unwrap();
    for statement in [
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
        "SELECT pg_reload_conf()",
    ] {
        client.batch_execute(statement).await.unwrap();
    }
    let follows = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    eventually(DEADLINE, "the standby follows", async || {
        client
            .query_one(follows, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 1
    })
    .await;
    standby
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_takes_over_under_load_has_all_that_was_acknowledged() {
    let mut primary = Durable::start();
    let standby = follow(&mut primary).await;
    let (proxy, through) = Proxy::in_front_of(&primary.url()).await;
    let fleet = Fleet::start(&primary.url(), [&through, &through], &[]).await;
    let load = Load::new("f");
    let url = standby.url("postgres");
    let callers = (0..CALLERS).map(|seed| load.call(&fleet, seed));
    let failover = async {
        load.goes_on(PASSAGE, DEADLINE, "the load runs").await;
        primary.ends();
        load.fault("the primary dies");
        let client = connect(&url).await.unwrap();
        client.batch_execute("SELECT pg_promote()").await.unwrap();
        proxy.lead_to(SocketAddr::from((Ipv4Addr::LOCALHOST, standby.port())));
        fleet.serves(Instant::now()).await;
        load.goes_on(PASSAGE, RECOVERY, "the standby serves").await;
        load.end();
    };
    tokio::join!(join_all(callers), failover);
    let mut wrong = load.violations(&url).await;
    wrong.extend(audit::violations(&fleet, &url, &load.lists()).await);
    wrong.extend(audit::verify(&url));
    eprintln!("{}, {} violations", load.tally, wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An event whose commit waits for the standby stands in the log of a primary that was killed and has
/// recovered, though nobody else has it. To call it a duplicate would be to acknowledge it.
#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_acknowledged_only_when_the_standby_has_it() {
    let mut primary = Durable::start();
    let standby = follow(&mut primary).await;
    let url = primary.url();
    let settings = [("AEVON_INGEST__REQUEST_TIMEOUT", "1s")];
    let fleet = Fleet::start(&url, [&url, &url], &settings).await;
    let ingest = fleet.all("ingest-svc").next().unwrap().target();
    assert_eq!(ingest.post(event("p", "first", "{}")).await.status, 202);

    let follower = connect(&standby.url("postgres")).await.unwrap();
    let receiver = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'";
    let receiver: i32 = follower.query_one(receiver, &[]).await.unwrap().get(0);
    let receiver = u32::try_from(receiver).unwrap();
    signal("STOP", receiver);
    let answer = ingest.post(event("p", "e", "{}")).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    primary.kill(End::Whole, &mut Rng::new()).await;
    let client = connect(&url).await.unwrap();
    let stored = "SELECT count(*) FROM events WHERE event_id = 'e'";
    let stored: i64 = client.query_one(stored, &[]).await.unwrap().get(0);
    assert_eq!(stored, 1, "it stands, though nobody was told");
    for pod in fleet.all("ingest-svc") {
        eventually(DEADLINE, "it is ready again", async || {
            let answer = pod.target().try_get("/readyz").await;
            answer.is_some_and(|answer| answer.status == 200)
        })
        .await;
        let answer = pod.target().post(event("p", "e", "{}")).await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }

    signal("CONT", receiver);
    eventually(DEADLINE, "it is acknowledged", async || {
        let answer = ingest.post(event("p", "e", "{}")).await;
        answer.status == 200
    })
    .await;
    let has = "SELECT count(*) FROM events WHERE event_id = 'e'";
    eventually(RECOVERY, "the standby has it", async || {
        follower.query_one(has, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
}
