//! Processes that are killed under load, of ours and of Postgres, again and again: what was
//! acknowledged is stored once, every answer is right, and everything serves again by itself.
//!
//! `make crashes ROUNDS=100` plays more of the same; `SEED=7` the same deaths in the same order.

use crate::audit;
use crate::fleet::{Durable, End, Fleet, RECOVERY, signal};
use crate::load::Load;
use crate::support::{DEADLINE, Service, command, event};
use aevon_core::identity::partition_of;
use aevon_schema::migrate::DEFAULT_PARTITIONS as PARTITIONS;
use aevon_testkit::oracle::OracleEvent;
use aevon_testkit::template::connect;
use aevon_testkit::{TestDatabase, eventually};
use fastrand::Rng;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Callers at once.
const CALLERS: u64 = 8;
/// Rounds of every run of the tests: each way of Postgres to end, and one of services alone.
const ROUNDS: usize = 4;
/// Events that callers get through between two deaths.
const PASSAGE: std::ops::Range<usize> = 20..200;
/// Longer than what an aggregator that doubles its waits would sleep through.
const OUTAGE: Duration = Duration::from_secs(8);
/// How soon others store what is sent, when a writer that holds locks does nothing any more: Postgres
/// ends its transaction after two seconds.
const STOPPED: Duration = Duration::from_secs(3);

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// What all rounds came to.
#[derive(Default)]
struct Sum {
    rounds: usize,
    /// How often each kind of process was killed.
    deaths: BTreeMap<&'static str, usize>,
    events: usize,
    reads: usize,
    refused: usize,
    broken: usize,
    slowest: Duration,
    violations: Vec<String>,
    lists: Vec<(String, Vec<OracleEvent>)>,
}

impl Sum {
    fn died(&mut self, what: &'static str) {
        *self.deaths.entry(what).or_default() += 1;
    }

    fn add(&mut self, load: &Load) {
        let count = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::SeqCst);
        self.rounds += 1;
        self.events += count(&load.tally.acknowledged);
        self.reads += count(&load.tally.read);
        self.refused += count(&load.tally.refused);
        self.broken += count(&load.tally.broken);
        self.lists.extend(load.lists());
    }

    fn line(&self, seed: u64, begun: Instant) -> String {
        let deaths: Vec<String> = (self.deaths.iter())
            .map(|(what, times)| format!("{what} {times}"))
            .collect();
        format!(
            "{} rounds, seed {seed}, killed: {}; {} events acknowledged, {} states read, {} refused, \
             {} unanswered, everything served again within {:.1} s, {} violations, {:.0} s",
            self.rounds,
            deaths.join(", "),
            self.events,
            self.reads,
            self.refused,
            self.broken,
            self.slowest.as_secs_f64(),
            self.violations.len(),
            begun.elapsed().as_secs_f64()
        )
    }
}

/// Who dies in a round.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Pod(usize),
    Postgres(End),
}

impl Victim {
    const ENDS: [Option<End>; ROUNDS] = [Some(End::Whole), Some(End::First), Some(End::One), None];

    /// Some processes of ours, and Postgres in most rounds.
    fn draw(round: usize, pods: usize, rng: &mut Rng) -> Vec<Self> {
        let mut victims: Vec<Self> = (0..pods)
            .filter(|_| rng.u8(..3) == 0)
            .map(Self::Pod)
            .collect();
        match Self::ENDS[round % ROUNDS] {
            Some(end) => victims.push(Self::Postgres(end)),
            None => victims.push(Self::Pod(rng.usize(..pods))),
        }
        rng.shuffle(&mut victims);
        victims
    }

    /// Its name; and when Postgres was back, where it was that one.
    async fn dies(
        self,
        fleet: &Fleet,
        postgres: &mut Durable,
        rng: &mut Rng,
    ) -> (&'static str, Option<Instant>) {
        match self {
            Self::Pod(nth) => {
                let pod = &fleet.pods[nth];
                tokio::task::block_in_place(|| pod.kill());
                (pod.name, None)
            }
            Self::Postgres(end) => {
                let back = postgres.kill(end, rng).await;
                let name = match end {
                    End::Whole => "Postgres",
                    End::First => "postmaster",
                    End::One => "one of its processes",
                };
                (name, Some(back))
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_or_doubled_and_no_answer_wrong_whoever_is_killed() {
    let rounds = number("AEVON_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("AEVON_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let begun = Instant::now();
    let mut rng = Rng::with_seed(seed);
    let mut postgres = Durable::start();
    let url = postgres.url();
    let fleet = Fleet::start(&url, [&url, &url], &[]).await;
    let mut sum = Sum::default();
    eprintln!("{rounds} rounds from seed {seed}");
    for round in 0..rounds {
        play(round, &mut rng, &fleet, &mut postgres, &mut sum).await;
        eprintln!("{}", sum.line(seed, begun));
        assert!(sum.violations.is_empty(), "{:#?}", sum.violations);
    }
    end(&fleet, &url, &mut sum).await;
    eprintln!("{}", sum.line(seed, begun));
    assert!(sum.violations.is_empty(), "{:#?}", sum.violations);
}

/// One round: load, deaths, recovery, and a look at everything.
async fn play(round: usize, rng: &mut Rng, fleet: &Fleet, postgres: &mut Durable, sum: &mut Sum) {
    let load = Load::new(&format!("r{round}"));
    let seeds: Vec<u64> = (0..CALLERS).map(|_| rng.u64(..)).collect();
    let callers = seeds.iter().map(|seed| load.call(fleet, *seed));
    let deaths = async {
        // Since when those serve again that were not killed themselves; none where they do.
        let mut back = None;
        for victim in Victim::draw(round, fleet.pods.len(), rng) {
            // Some die while others are not back yet; who is given the time is back within it.
            if rng.u8(..3) > 0 {
                if let Some(back) = back.take() {
                    sum.slowest = fleet.serves(back).await.max(sum.slowest);
                }
                load.goes_on(rng.usize(PASSAGE), DEADLINE, "the load runs")
                    .await;
            }
            let (name, came_back) = victim.dies(fleet, postgres, rng).await;
            sum.died(name);
            back = came_back.or(back).or_else(|| Some(Instant::now()));
        }
        if let Some(back) = back {
            sum.slowest = fleet.serves(back).await.max(sum.slowest);
        }
        load.goes_on(PASSAGE.start, RECOVERY, "callers are served again")
            .await;
        load.end();
    };
    tokio::join!(join_all(callers), deaths);
    let url = postgres.url();
    sum.violations.extend(load.violations(&url).await);
    sum.add(&load);
    sum.violations
        .extend(audit::violations(fleet, &url, &load.lists()).await);
}

/// When everything is swept: all states of all rounds, the total of the tenant, and the buckets.
async fn end(fleet: &Fleet, url: &str, sum: &mut Sum) {
    fleet.is_swept().await;
    eprintln!(
        "{} principals are read again, and verified",
        sum.lists.len()
    );
    let lists = std::mem::take(&mut sum.lists);
    sum.violations
        .extend(audit::violations(fleet, url, &lists).await);
    sum.violations.extend(audit::verify(url));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_away_for_long_is_used_again_at_once() {
    let mut postgres = Durable::start();
    let url = postgres.url();
    let fleet = Fleet::start(&url, [&url, &url], &[]).await;
    let load = Load::new("a");
    let callers = (0..CALLERS).map(|seed| load.call(&fleet, seed));
    let outage = async {
        load.goes_on(PASSAGE.start, DEADLINE, "the load runs").await;
        let back = postgres.is_away(OUTAGE).await;
        fleet.serves(back).await;
        load.goes_on(PASSAGE.start, RECOVERY, "callers are served again")
            .await;
        load.end();
    };
    tokio::join!(join_all(callers), outage);
    let mut wrong = load.violations(&url).await;
    wrong.extend(audit::violations(&fleet, &url, &load.lists()).await);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(
        load.tally.broken.load(Ordering::SeqCst),
        0,
        "nobody was killed"
    );
}

/// Sessions of ingest that hold what they have locked and say nothing.
const IDLE: &str = "
    SELECT pid, xact_start::text FROM pg_stat_activity
    WHERE application_name = 'ingest-svc' AND state = 'idle in transaction'";

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_stops_with_its_locks_holds_others_up_for_three_seconds_at_most() {
    let postgres = Durable::start();
    let url = postgres.url();
    let fleet = Fleet::start(&url, [&url, &url], &[]).await;
    let client = connect(&url).await.unwrap();
    let [stopped, other] = fleet.all("ingest-svc").collect::<Vec<_>>()[..] else {
        panic!("there are two");
    };
    let mut rng = Rng::new();
    let load = Load::new("s");
    let callers = (0..CALLERS).map(|seed| load.call(&fleet, seed));
    let stops = async {
        load.goes_on(PASSAGE.start, DEADLINE, "the load runs").await;
        // Until it is met between its lock and its commit; when it was stopped.
        let since = loop {
            let since = Instant::now();
            signal("STOP", stopped.pid());
            if holds(&client).await {
                break since;
            }
            signal("CONT", stopped.pid());
            load.goes_on(rng.usize(1..20), DEADLINE, "the load goes on")
                .await;
        };
        // An event of each partition, whichever it holds.
        let names: Vec<String> = (0..64).map(|n| format!("one{n}")).collect();
        let partitions = names
            .iter()
            .map(|name| partition_of("acme", name, PARTITIONS));
        assert_eq!(
            partitions.collect::<BTreeSet<i32>>(),
            (0..PARTITIONS).collect()
        );
        let bodies = names.iter().map(|name| event(name, "e", "{}"));
        let all = crate::support::array(&bodies.collect::<Vec<_>>());
        let target = other.target();
        eventually(
            STOPPED.saturating_sub(since.elapsed()),
            "others store events of all partitions",
            async || {
                let sent = target.try_post(all.clone()).await;
                sent.is_some_and(|answer| answer.status == 202)
            },
        )
        .await;
        eprintln!("others stored {:?} after it was stopped", since.elapsed());
        signal("CONT", stopped.pid());
        fleet.serves(Instant::now()).await;
        load.end();
    };
    tokio::join!(join_all(callers), stops);
    let mut wrong = load.violations(&url).await;
    wrong.extend(audit::violations(&fleet, &url, &load.lists()).await);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An erasure takes the same lock, and is stopped when it has just got it.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_stopped_with_the_lock_of_a_partition_holds_others_up_for_seconds() {
    let db = TestDatabase::create().await;
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let of_it = |id: &str| event("p", id, r#"{"note":"n"}"#);
    assert_eq!(ingest.post(of_it("before")).await.status, 202);
    let (mut holder, observer) = (db.client().await, db.client().await);
    let held = holder.transaction().await.unwrap();
    held.query("SELECT FROM partitions FOR UPDATE", &[])
        .await
        .unwrap();
    let mut erasing = command("aevon", db.url())
        .args(["erase", "--tenant", "acme", "--principal", "p"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let looked = async |what: &str| -> i64 {
        let look = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'aevon erase' AND {what}"
        );
        observer.query_one(&look, &[]).await.unwrap().get(0)
    };
    eventually(DEADLINE, "it waits for the partition", async || {
        looked("wait_event_type = 'Lock'").await == 1
    })
    .await;
    signal("STOP", erasing.id());
    held.rollback().await.unwrap();
    eventually(DEADLINE, "it has the lock", async || {
        looked("state = 'idle in transaction'").await == 1
    })
    .await;
    eventually(
        STOPPED,
        "others store an event of the partition",
        async || {
            let sent = ingest.try_post(of_it("after")).await;
            sent.is_some_and(|answer| answer.status == 202)
        },
    )
    .await;
    signal("CONT", erasing.id());
    assert!(!erasing.wait().unwrap().success(), "it was undone");
    let its = "SELECT count(*) FROM events JOIN principals USING (principal_no, partition) WHERE principal_id = 'p'";
    assert_eq!(
        observer.query_one(its, &[]).await.unwrap().get::<_, i64>(0),
        2
    );
}

/// Whether a transaction stays as it is.
async fn holds(client: &tokio_postgres::Client) -> bool {
    let look = async || {
        let rows = client.query(IDLE, &[]).await.unwrap();
        let held = rows.iter().map(|row| (row.get::<_, i32>(0), row.get(1)));
        held.collect::<std::collections::BTreeSet<(i32, String)>>()
    };
    let before = look().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    look().await.intersection(&before).next().is_some()
}
