//! The log: order, idempotency, immutability, neighbours.

use crate::support::{World, at, event, position};
use aevon_core::append::Verdict;
use aevon_core::event::NewEvent;
use aevon_testkit::{Proxy, eventually};
use std::collections::BTreeMap;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_retry_is_a_duplicate_and_another_content_a_conflict() {
    let world = World::new().await;
    let mut appender = world.appender();
    let first = event("p", "e1", at("2026-01-01T00:00:00Z"), "1");
    let stored = appender.append(&[&first]).await.unwrap();
    let mut same = first.clone();
    same.data = "{ \"n\" : 1.0 }".to_owned();
    let mut other = first.clone();
    other.data = "{\"n\": 2}".to_owned();
    other.event_type = "u".to_owned();
    let verdicts = appender.append(&[&same, &other]).await.unwrap();
    let Verdict::Accepted {
        position,
        ingested_at,
    } = stored[0].clone()
    else {
        panic!()
    };
    assert_eq!(
        verdicts[0],
        Verdict::Duplicate {
            position,
            ingested_at
        }
    );
    assert_eq!(verdicts[1], Verdict::Conflict(vec!["type", "data"]));
    // Another appender, which has nothing in its cache, says the same.
    assert_eq!(
        world.appender().append(&[&same, &other]).await.unwrap(),
        verdicts
    );
    assert_eq!(world.count("events").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_ids_in_two_tenants_are_two_things() {
    let world = World::new().await;
    let ours = event("p", "e", at("2026-01-01T00:00:00Z"), "1");
    let mut theirs = event("p", "e", at("2026-01-02T00:00:00Z"), "2");
    theirs.tenant_id = "other".to_owned();
    let verdicts = world.appender().append(&[&ours, &theirs]).await.unwrap();
    assert!(verdicts.iter().all(|verdict| position(verdict).seq == 1));
    assert_eq!(world.count("events").await, 2);
    assert_eq!(world.count("principals").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_was_cached_before_an_erasure_is_not_used_after_it() {
    let world = World::new().await;
    let mut appender = world.appender();
    let first = event("p", "e1", at("2026-01-01T00:00:00Z"), "1");
    appender.append(&[&first]).await.unwrap();
    let client = world.db.client().await;
    client
        .batch_execute(
            "BEGIN; UPDATE partitions SET erasures = erasures + 1;
             UPDATE principals SET principal_id = 'somebody else'; COMMIT",
        )
        .await
        .unwrap();
    let kept = event("q", "e1", at("2026-01-01T00:00:00Z"), "1");
    for _ in 0..2 {
        appender.append(&[&first, &kept]).await.unwrap();
    }
    let owners = "SELECT string_agg(q.principal_id, ',' ORDER BY q.principal_id)
                  FROM events e JOIN principals q USING (principal_no, partition)";
    let owners: String = client.query_one(owners, &[]).await.unwrap().get(0);
    assert_eq!(owners, "p,q,somebody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_itself_refuses_to_change_the_log() {
    let world = World::new().await;
    world
        .store(&[event("p", "e", at("2026-01-01T00:00:00Z"), "1")])
        .await;
    let client = world.db.client().await;
    for statement in [
        "UPDATE events SET type = 'x'",
        "DELETE FROM events",
        "TRUNCATE events",
        "SET session_replication_role = replica; DELETE FROM events",
    ] {
        let error = client.batch_execute(statement).await.unwrap_err();
        let message = error.as_db_error().unwrap().message().to_owned();
        assert!(message.contains("append-only"), "{statement}: {message}");
    }
    assert_eq!(world.count("events").await, 1);
}

/// Per partition: seq without a gap from 1, and `ingested_at` rising from commit to commit.
async fn check_order(world: &World) {
    let client = world.db.client().await;
    let broken: i64 = client
        .query_one(
            "SELECT count(*) FROM (
                SELECT seq - lag(seq, 1, 0::bigint) OVER w AS step,
                       ingested_at < lag(ingested_at) OVER w AS back
                FROM events WINDOW w AS (PARTITION BY partition ORDER BY seq)) o
             WHERE step <> 1 OR back",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(broken, 0);
    // Commits are told apart by their transaction: no stamp belongs to two of them.
    let shared: i64 = client
        .query_one(
            "SELECT count(*) FROM (
                SELECT FROM events GROUP BY partition, ingested_at
                HAVING count(DISTINCT xmin::text) > 1) s",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(shared, 0, "a stamp is shared by two commits");
}

#[tokio::test(flavor = "multi_thread")]
async fn seq_has_no_gap_and_stamps_rise_whatever_writers_race_and_clocks_do() {
    let world = World::new().await;
    let mut tasks = Vec::new();
    for number in 0..4 {
        let mut appender = world.appender();
        if number == 3 {
            // A clock that stands still, far in the past.
            appender = appender.with_clock(at("2001-01-01T00:00:00Z"));
        }
        tasks.push(tokio::spawn(async move {
            for round in 0..25 {
                let events: Vec<NewEvent> = (0..8)
                    .map(|n| {
                        // Ids collide between appenders on purpose.
                        let id = format!("e{}", (round * 8 + n) * 2 / (1 + number % 2));
                        event(&format!("p{n}"), &id, at("2026-01-01T00:00:00Z"), "1")
                    })
                    .collect();
                let group: Vec<&NewEvent> = events.iter().collect();
                appender.append(&group).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    check_order(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_locked_early_and_commits_late_loses_nothing() {
    let world = World::new().await;
    world.apply(&[crate::support::SUM]).await;
    let slow = event("p", "slow", at("2026-01-01T00:00:00Z"), "1");
    let quick = event("p", "quick", at("2026-01-01T00:00:00Z"), "2");
    let partition = world.appender().partition(&slow);
    // The slow one has its lock and its number, and has written its row; it has not committed.
    let client = world.db.client().await;
    client
        .batch_execute(&format!(
            "BEGIN; SELECT FROM partitions WHERE partition = {partition} FOR UPDATE;
             INSERT INTO principals (tenant_id, principal_id, partition)
             VALUES ('acme', 'p', {partition});
             INSERT INTO events SELECT 1, principal_no, '2026-01-01Z', now(), {partition}, 0,
                 'slow', 't', '{{\"n\": 1}}', '{{}}' FROM principals"
        ))
        .await
        .unwrap();
    let mut appender = world.appender();
    let racing = tokio::spawn(async move { appender.append(&[&quick]).await });
    let watcher = world.db.client().await;
    eventually(
        Duration::from_secs(10),
        "the quick append waits for the lock",
        async || {
            let waiting: i64 = watcher
                .query_one(
                    "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'",
                    &[],
                )
                .await
                .unwrap()
                .get(0);
            waiting == 1
        },
    )
    .await;
    // Whoever reads and sweeps now passes nobody.
    world.sweep(100).await;
    assert_eq!(world.total("p").await.as_deref(), Some("0"));
    client.batch_execute("COMMIT").await.unwrap();
    let verdicts = racing.await.unwrap().unwrap();
    assert_eq!(position(&verdicts[0]).seq, 2);
    assert_eq!(world.total("p").await.as_deref(), Some("3"));
    world.sweep(100).await;
    assert_eq!(world.total("p").await.as_deref(), Some("3"));
    let again = world.appender().append(&[&slow]).await.unwrap();
    assert!(matches!(again[0], Verdict::Duplicate { .. }), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_postgres_cannot_read_is_refused_without_its_neighbours() {
    let world = World::new().await;
    let mut events: Vec<NewEvent> = (0..9)
        .map(|n| event("p", &format!("e{n}"), at("2026-01-01T00:00:00Z"), "1"))
        .collect();
    // Past the core's checks, which would have refused both.
    events[3].data = "{\"n\": \"\\u0000\"}".to_owned();
    events[7].event_id = "a\0b".to_owned();
    let group: Vec<&NewEvent> = events.iter().collect();
    let mut appender = world.appender();
    for _ in 0..2 {
        let verdicts = appender.append(&group).await.unwrap();
        for (index, verdict) in verdicts.iter().enumerate() {
            let refused = matches!(verdict, Verdict::Refused(_));
            assert_eq!(refused, index == 3 || index == 7, "{index}: {verdict:?}");
        }
    }
    assert_eq!(world.count("events").await, 7);
    check_order(&world).await;
}

// One thread: what is sent without waiting then reaches the wire in one piece, and can be counted.
#[tokio::test]
async fn a_batch_costs_two_round_trips_and_each_statement_once() {
    let world = World::new().await;
    let (proxy, url) = Proxy::in_front_of(world.db.url()).await;
    let database = crate::support::open(&url);
    let mut appender = aevon_schema::append::Appender::new(database, world.partitions);
    let batch = |round: usize| -> Vec<NewEvent> {
        (0..500)
            .map(|n| {
                let id = format!("e{round}-{n}");
                event(
                    &format!("p{}", n % 50),
                    &id,
                    at("2026-01-01T00:00:00Z"),
                    "1",
                )
            })
            .collect()
    };
    // The first opens the connection, prepares the statements and learns the principals; the second
    // prepares the look-up by their numbers.
    for events in [batch(0), batch(11)] {
        appender
            .append(&events.iter().collect::<Vec<_>>())
            .await
            .unwrap();
    }
    let statistics = world.db.client().await;
    statistics
        .batch_execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        .await
        .unwrap();
    proxy.reset_round_trips();
    let calls = || async {
        let rows = statistics
            .query(
                "SELECT s.query, sum(s.calls)::bigint FROM pg_stat_statements s
                 JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database()
                   AND (s.query LIKE '%partitions%' OR s.query LIKE '%FROM events%'
                        OR s.query LIKE 'BEGIN%' OR s.query = 'COMMIT')
                   AND s.query NOT LIKE '%pg_stat_statements%'
                 GROUP BY s.query",
                &[],
            )
            .await
            .unwrap();
        rows.iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect::<BTreeMap<String, i64>>()
    };
    let before = calls().await;
    for round in 1..=10 {
        let events = batch(round);
        appender
            .append(&events.iter().collect::<Vec<_>>())
            .await
            .unwrap();
    }
    assert_eq!(proxy.round_trips(), 20, "two round trips a batch");
    let after = calls().await;
    let mut grown: Vec<i64> = Vec::new();
    for (query, calls) in &after {
        let more = calls - before.get(query).unwrap_or(&0);
        if more > 0 {
            assert_eq!(more, 10, "{query}");
            grown.push(more);
        }
    }
    // begin, lock, heads, what stands, insert, commit
    assert_eq!(grown.len(), 6, "{after:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_snapshot_elsewhere_grows_nothing_that_appends_touch() {
    let world = World::new().await;
    let mut appender = world.appender();
    let mut dump = world.db.client().await;
    let snapshot = dump.transaction().await.unwrap();
    snapshot
        .batch_execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM partitions",
        )
        .await
        .unwrap();
    let client = world.db.client().await;
    let rows = || async {
        let row = client
            .query_one(
                "SELECT array_agg(ctid::text ORDER BY partition)::text,
                        pg_relation_size('partitions') FROM partitions",
                &[],
            )
            .await
            .unwrap();
        (row.get::<_, String>(0), row.get::<_, i64>(1))
    };
    let before = rows().await;
    for round in 0..300 {
        let events: Vec<NewEvent> = (0..16)
            .map(|n| {
                let id = format!("e{round}-{n}");
                event(&format!("p{n}"), &id, at("2026-01-01T00:00:00Z"), "1")
            })
            .collect();
        appender
            .append(&events.iter().collect::<Vec<_>>())
            .await
            .unwrap();
    }
    // No new row versions: the 300th commit found its locks exactly where the first one did.
    assert_eq!(rows().await, before);
    drop(snapshot);
}
