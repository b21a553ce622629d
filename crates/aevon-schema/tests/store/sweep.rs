//! The sweep: exactly once, whoever dies and whoever races.

use crate::support::{COUNT, MAX, MIN, SUM, World, at, event};
use aevon_core::event::NewEvent;
use aevon_schema::sweep::{Sweep, Whose, sweep_once};

/// A world with one swept rule and 10 unswept events of powers of two, in one partition.
async fn world() -> (World, i32) {
    let world = World::new().await;
    world.apply(&[SUM]).await;
    let events: Vec<NewEvent> = (0..10)
        .map(|n| {
            let n_text = (1_i64 << n).to_string();
            event("p", &format!("e{n}"), at("2026-01-01T00:00:30Z"), &n_text)
        })
        .collect();
    let positions = world.store(&events).await;
    (world, positions[0].partition)
}

const ALL_TEN: Option<&str> = Some("1023");

/// Whether nobody holds the lease of a partition.
async fn is_free(world: &World, partition: i32) -> bool {
    let lease = "SELECT FROM sweep_leases WHERE partition = $1 FOR UPDATE SKIP LOCKED";
    let client = world.db.client().await;
    !client.query(lease, &[&partition]).await.unwrap().is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_killed_between_fold_and_commit_leaves_nothing_behind() {
    let (world, partition) = world().await;
    for stage in 0..3 {
        let mut connection = world.connection().await;
        // The server notices a closed connection when it next reads from it.
        while !is_free(&world, partition).await {
            tokio::task::yield_now().await;
        }
        let sweep = Sweep::open(&mut connection, partition, 100, Whose::Front)
            .await
            .unwrap();
        let sweep = sweep.unwrap();
        if stage >= 1 {
            let folded = sweep.fold().await.unwrap();
            if stage == 2 {
                drop(folded.write().await.unwrap());
            }
        }
        // The process dies here: its connection goes, and the lease with it.
        drop(connection);
        assert_eq!(
            world.total("p").await.as_deref(),
            ALL_TEN,
            "killed at {stage}"
        );
        assert_eq!(world.count("pre_aggregates").await, 0);
    }
    let mut connection = world.connection().await;
    let swept = loop {
        // The server notices a closed connection when it next reads from it.
        if let Some(swept) = sweep_once(&mut connection, partition, 100, Whose::Front)
            .await
            .unwrap()
        {
            break swept;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((swept.from, swept.to), (0, 10));
    assert_eq!(world.total("p").await.as_deref(), ALL_TEN);
    assert_eq!(
        world.count("pre_aggregates").await,
        6,
        "one a grain, of the principal and of its tenant"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sweepers_at_once_count_nothing_twice() {
    let (world, partition) = world().await;
    let (mut one, mut other) = (world.connection().await, world.connection().await);
    let held = Sweep::open(&mut one, partition, 100, Whose::Front)
        .await
        .unwrap()
        .unwrap();
    let held = held.fold().await.unwrap();
    // While one holds the lease the other goes away empty-handed, at once.
    let second = sweep_once(&mut other, partition, 100, Whose::Front)
        .await
        .unwrap();
    assert_eq!(second, None);
    held.write().await.unwrap().commit().await.unwrap();
    let third = sweep_once(&mut other, partition, 100, Whose::Front)
        .await
        .unwrap();
    assert_eq!(third, None, "nothing is left");
    assert_eq!(world.total("p").await.as_deref(), ALL_TEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_moved_under_a_sweep_refuses_it() {
    let (world, partition) = world().await;
    let mut connection = world.connection().await;
    let first = sweep_once(&mut connection, partition, 4, Whose::Front)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.to, 4);
    let stale = Sweep::open(&mut connection, partition, 4, Whose::Front)
        .await
        .unwrap()
        .unwrap();
    let stale = stale.fold().await.unwrap();
    // Somebody without the lease moves it: an operator, or a lease that was thought lost.
    let client = world.db.client().await;
    client
        .batch_execute("UPDATE sweep_checkpoints SET seq = 5")
        .await
        .unwrap();
    let error = stale.write().await.unwrap_err();
    assert!(error.to_string().contains("not at 4 any more"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_that_are_dropped_under_a_sweep_are_rebuilt_from_the_first_event() {
    let (world, partition) = world().await;
    let mut connection = world.connection().await;
    sweep_once(&mut connection, partition, 4, Whose::Front)
        .await
        .unwrap();
    let running = Sweep::open(&mut connection, partition, 4, Whose::Front)
        .await
        .unwrap()
        .unwrap();
    let running = running.fold().await.unwrap();
    let client = world.db.client().await;
    client
        .batch_execute("BEGIN; DELETE FROM sweep_checkpoints; DELETE FROM pre_aggregates; COMMIT")
        .await
        .unwrap();
    let error = running.write().await.unwrap_err();
    assert!(error.to_string().contains("not at 4 any more"), "{error}");
    drop(connection);
    assert_eq!(world.total("p").await.as_deref(), ALL_TEN);
    world.sweep(4).await;
    assert_eq!(world.total("p").await.as_deref(), ALL_TEN);
    assert_eq!(
        world.count("pre_aggregates").await,
        6,
        "one a grain, of the principal and of its tenant"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sweepers_and_writers_at_once_end_at_the_fold_of_the_log() {
    let world = std::sync::Arc::new(World::new().await);
    world.apply(&[SUM, COUNT]).await;
    let mut tasks = Vec::new();
    for writer in 0..2_i64 {
        let world = std::sync::Arc::clone(&world);
        tasks.push(tokio::spawn(async move {
            for round in 0..20_i64 {
                let n = (1_i64 << (round + 20 * writer)).to_string();
                let id = format!("e{writer}-{round}");
                let occurred_at = at("2026-01-01T00:00:00Z").plus_micros(round * 7_000_000_000);
                world.store(&[event("p", &id, occurred_at, &n)]).await;
            }
        }));
    }
    for _ in 0..3 {
        let world = std::sync::Arc::clone(&world);
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                world.sweep(3).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    world.sweep(3).await;
    let range = aevon_core::state::Range::default();
    let state = world
        .state("p", range, aevon_core::state::Granularity::Total)
        .await;
    let answers: Vec<_> = state
        .states
        .iter()
        .map(|s| s.values[0].shown(s.rule.operator).value)
        .collect();
    let all = (1_i64 << 40) - 1;
    assert_eq!(answers, [Some("40".to_owned()), Some(all.to_string())]);
    assert!(state.states.iter().all(|s| s.lag_events == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_digit_is_kept_and_what_is_no_number_is_counted_as_skipped() {
    let world = World::new().await;
    world.apply(&[SUM, MIN, MAX]).await;
    let big = "99999999999999999999999999999999999999";
    let values = [
        big, "1", "\"0.1\"", "0.2", "null", "\"many\"", "1e-30", "{}", "\"1e99\"", "-5e3",
    ];
    let events: Vec<NewEvent> = values
        .iter()
        .enumerate()
        .map(|(n, value)| event("p", &format!("e{n}"), at("2026-01-01T00:00:00Z"), value))
        .collect();
    world.store(&events[..5]).await;
    world.sweep(2).await;
    world.store(&events[5..]).await;
    for _ in 0..2 {
        let range = aevon_core::state::Range::default();
        let state = world
            .state("p", range, aevon_core::state::Granularity::Total)
            .await;
        let answers: Vec<_> = state
            .states
            .iter()
            .map(|s| s.values[0].shown(s.rule.operator).value.unwrap())
            .collect();
        let sum = "99999999999999999999999999999999995000.300000000000000000000000000001";
        assert_eq!(answers, [sum, "-5000", big]);
        let counts = |s: &aevon_schema::state::RuleState| {
            (
                s.values[0].partial.event_count,
                s.values[0].partial.skipped_count,
            )
        };
        assert!(
            state.states.iter().all(|s| counts(s) == (6, 4)),
            "{state:?}"
        );
        world.sweep(3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenth_twenty_thousand_times_is_two_thousand() {
    let world = World::new().await;
    world.apply(&[SUM]).await;
    for round in 0..4 {
        let events: Vec<NewEvent> = (0..5_000)
            .map(|n| {
                let occurred_at = at("2026-01-01T00:00:00Z").plus_micros(n * 1_000_003);
                event("p", &format!("e{round}-{n}"), occurred_at, "0.1")
            })
            .collect();
        world.store(&events).await;
        if round < 3 {
            world.sweep(1_700).await;
        }
    }
    assert_eq!(world.total("p").await.as_deref(), Some("2000"));
}
