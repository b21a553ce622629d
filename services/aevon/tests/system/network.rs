//! A bad line to Postgres, and a Postgres that takes nobody in, under load: callers are told to come
//! later, within their time; nothing that was acknowledged is lost or doubled; and when the trouble is
//! over, everything serves again by itself.

use crate::audit;
use crate::fleet::{Fleet, RECOVERY};
use crate::load::{LATEST, Load};
use crate::support::DEADLINE;
use aevon_postgres::{Server, ServerOptions};
use aevon_testkit::template::connect;
use aevon_testkit::{Proxy, TestDatabase, eventually};
use futures_util::future::join_all;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Callers at once.
const CALLERS: u64 = 8;
/// Events that callers get through before and after each trouble.
const PASSAGE: usize = 50;
/// Answers of each kind that are torn.
const TIMES: usize = 5;
/// How long a group may wait for an answer, and some.
const HALF_OPEN: Duration = Duration::from_secs(20);
/// How much later everything arrives on a slow line.
const SLOW: Duration = Duration::from_millis(20);

/// Plays troubles under load, and looks at everything when they are over.
async fn under_load(fleet: &Fleet, url: &str, troubles: impl AsyncFnOnce(&Load)) {
    let load = Load::new("n");
    let callers = (0..CALLERS).map(|seed| load.call(fleet, seed));
    let troubles = async {
        load.goes_on(PASSAGE, DEADLINE, "the load runs").await;
        troubles(&load).await;
        fleet.serves(Instant::now()).await;
        load.goes_on(PASSAGE, RECOVERY, "callers are served again")
            .await;
        load.end();
    };
    tokio::join!(join_all(callers), troubles);
    let mut wrong = load.violations(url).await;
    wrong.extend(audit::violations(fleet, url, &load.lists()).await);
    eprintln!("{}, {} violations", load.tally, wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    let unanswered = load.tally.broken.load(Ordering::SeqCst);
    assert_eq!(unanswered, 0, "no process was killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_break_off_and_connections_that_are_forgotten_cost_no_event() {
    let db = TestDatabase::create().await;
    let (proxy, through) = Proxy::in_front_of(db.url()).await;
    let fleet = Fleet::start(db.url(), [&through, &through], &[]).await;
    under_load(&fleet, db.url(), async |load| {
        let needles: [&[u8]; 3] = [b"COMMIT\0", b"READ COMMITTED\0", b"REPEATABLE READ"];
        for needle in needles {
            for _ in 0..TIMES {
                proxy.reset_within_answer(needle);
                load.fault("an answer is torn");
                load.goes_on(PASSAGE / 5, RECOVERY, "after a torn answer")
                    .await;
            }
            proxy.swallow_after(needle);
            load.fault("an answer is lost");
            load.goes_on(PASSAGE / 5, RECOVERY, "after a lost answer")
                .await;
        }
        let torn = needles.len() * (TIMES + 1);
        assert_eq!(proxy.sprung(), torn as u64, "each was met");
        proxy.forget();
        load.fault("connections are forgotten");
        // Who had asked before that waits for an answer that nobody owes any more.
        load.goes_on(PASSAGE, HALF_OPEN, "after connections were forgotten")
            .await;
        proxy.slow_down(SLOW);
        load.fault("the line is slow");
        load.goes_on(PASSAGE, DEADLINE, "on a slow line").await;
        // A sweep that waits on a connection which was forgotten, by a line that confirms what it is sent,
        // does so until the deadline of its step, 90 s: here whoever has forgotten says so.
        proxy.cut();
        proxy.heal();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_cut_or_stalls_is_told_to_callers_in_time() {
    let db = TestDatabase::create().await;
    let (proxy, through) = Proxy::in_front_of(db.url()).await;
    let fleet = Fleet::start(db.url(), [&through, &through], &[]).await;
    under_load(&fleet, db.url(), async |load| {
        proxy.cut();
        load.fault("the line is cut");
        load.is_refused(RECOVERY, "the line is cut").await;
        proxy.heal();
        fleet.serves(Instant::now()).await;
        load.goes_on(PASSAGE, RECOVERY, "after the line was cut")
            .await;
        proxy.stall();
        load.fault("the line stalls");
        load.is_refused(LATEST, "nothing gets through").await;
        proxy.heal();
    })
    .await;
}

const OURS: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%-svc'";
const END_OURS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                        WHERE application_name LIKE '%-svc'";

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_others_have_filled_with_connections_is_told_to_callers_and_used_again() {
    let most = 90;
    let options = ServerOptions {
        settings: vec![("max_connections".to_owned(), most.to_string())],
        ..ServerOptions::default()
    };
    let server = Server::start(&options).unwrap();
    let url = server.url("postgres");
    let fleet = Fleet::start(&url, [&url, &url], &[]).await;
    under_load(&fleet, &url, async |load| {
        let mut strangers = vec![connect(&url).await.unwrap()];
        // Sessions of ours end, and before they are opened again, strangers have taken their places.
        eventually(DEADLINE, "strangers have all places", async || {
            strangers[0].batch_execute(END_OURS).await.unwrap();
            while let Ok(stranger) = connect(&url).await {
                strangers.push(stranger);
            }
            let ours = strangers[0].query_one(OURS, &[]).await.unwrap();
            ours.get::<_, i64>(0) == 0
        })
        .await;
        load.fault("strangers have all places");
        load.is_refused(RECOVERY, "nobody is let in").await;
        drop(strangers);
    })
    .await;
}
