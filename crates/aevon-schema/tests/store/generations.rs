//! Generations of buckets: rebuilt beside the live one, switched, deleted.

use crate::support::{BUDGET, SUM, World, at, event};
use aevon_core::event::NewEvent;
use aevon_core::state::Question;
use aevon_core::time::MINUTE_US;
use aevon_schema::rebuild::{self, Compared, Rebuild};
use aevon_schema::state::{self, Selection, StateQuery};
use aevon_schema::sweep::{Sweep, Whose};
use aevon_schema::{Connection, discards, rules};
use std::time::Duration;

const BY_KIND: &str =
    "name: c_kinds\nsource_event: t\noperator: unique_count\nfield: n\ngroup_by: [n]";

/// Events of four principals, a few in each hour, from one number on.
fn events(from: i64, to: i64) -> Vec<NewEvent> {
    (from..to)
        .map(|n| {
            let occurred_at = at("2026-01-01T00:00:00Z").plus_micros(n % 50 * 17 * MINUTE_US);
            let principal = format!("p{}", n % 4);
            event(
                &principal,
                &format!("e{n}"),
                occurred_at,
                &(n % 7).to_string(),
            )
        })
        .collect()
}

async fn begin(connection: &mut Connection, name: &str) -> Rebuild {
    let begun = rebuild::begin(connection, name).await.unwrap();
    begun.unwrap_or_else(|| panic!("{name} is active"))
}

/// The sum of what was found in all partitions; all must be level.
async fn compare(rebuild: &Rebuild, connection: &mut Connection) -> Compared {
    let mut all = Compared::default();
    for standing in rebuild.standing(connection).await.unwrap() {
        assert_eq!(standing.live, standing.built, "{standing:?}");
        let found = rebuild
            .compare(connection, standing.partition)
            .await
            .unwrap();
        let found = found.unwrap();
        all.buckets += found.buckets;
        all.different += found.different;
        all.first = all.first.or(found.first);
    }
    all
}

/// Deletes everything that is due; says in how many steps.
async fn discard(connection: &mut Connection, keep_retired: Option<Duration>) -> usize {
    let mut steps = 0;
    loop {
        let due = discards::due(connection, keep_retired).await.unwrap();
        if due.is_empty() {
            return steps;
        }
        for discard in due {
            steps += 1;
            discards::delete_some(connection, &discard)
                .await
                .unwrap()
                .unwrap();
        }
    }
}

async fn generations(world: &World, table: &str) -> Vec<i32> {
    let client = world.db.client().await;
    let query = format!("SELECT DISTINCT generation FROM {table} ORDER BY 1");
    let rows = client.query(&query, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_finds_what_was_wrong_and_takes_its_place() {
    let world = World::new().await;
    world.apply(&[SUM, BY_KIND]).await;
    world.store(&events(0, 300)).await;
    world.sweep(100).await;
    let connection = &mut world.connection().await;
    let totals = || async { world.ask("p1", Question::default()).await.unwrap().states };
    let values = |states: &[state::RuleState]| -> Vec<_> {
        let shown = |s: &state::RuleState| s.values[0].shown(s.rule.operator).value;
        states.iter().map(shown).collect()
    };
    let right = values(&totals().await);
    let buckets = world.count("pre_aggregates").await;

    for name in ["b_sum", "c_kinds"] {
        let rebuild = begin(connection, name).await;
        assert!(
            !rebuild.switch(connection).await.unwrap(),
            "nothing is built yet"
        );
        let again = begin(connection, name).await;
        assert_eq!(
            (again.live, again.built),
            (rebuild.live, rebuild.built),
            "it goes on"
        );
    }
    let client = world.db.client().await;
    let planted = "UPDATE pre_aggregates SET value = value + 1000 \
                   WHERE grain = 1440 AND operator = 2";
    let planted = client.execute(planted, &[]).await.unwrap();
    assert!(planted > 4, "of four principals, and totals: {planted}");
    assert_ne!(values(&totals().await), right);
    world.store(&events(300, 400)).await;
    world.sweep(30).await;

    let rebuild = begin(connection, "b_sum").await;
    let found = compare(&rebuild, connection).await;
    assert_eq!(found.different.unsigned_abs(), planted);
    let first = found.first.unwrap();
    assert!(first.live.unwrap().contains("\"grain\": 1440"));
    assert!(first.built.is_some());
    assert!(rebuild.switch(connection).await.unwrap());
    assert!(!rebuild.switch(connection).await.unwrap(), "only once");
    let kinds = begin(connection, "c_kinds").await;
    let found = compare(&kinds, connection).await;
    assert!(found.buckets > 100, "{found:?}");
    assert_eq!((found.different, found.first), (0, None));
    assert!(kinds.switch(connection).await.unwrap());

    let expected: i64 = (0..400).filter(|n| n % 4 == 1).map(|n| n % 7).sum();
    let now = totals().await;
    assert_eq!(
        values(&now),
        [Some(expected.to_string()), Some("7".to_owned())]
    );
    assert!(
        now.iter().all(|state| state.lag_events == 0),
        "from buckets"
    );
    // What was replaced goes, and nothing else.
    let with_both = world.count("pre_aggregates").await;
    assert!(discard(connection, None).await > 0);
    let left = world.count("pre_aggregates").await;
    assert!(
        left >= buckets && left * 2 == with_both,
        "{left} of {with_both}"
    );
    for table in ["series", "sweep_checkpoints"] {
        assert_eq!(generations(&world, table).await, [2], "{table}");
    }
    assert_eq!(world.count("discards").await, 0);
    assert_eq!(values(&totals().await), values(&now));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_retired_ends_its_rebuild_and_a_number_is_never_used_twice() {
    let world = World::new().await;
    world.apply(&[SUM]).await;
    world.store(&events(0, 100)).await;
    let connection = &mut world.connection().await;
    let unknown = rebuild::begin(connection, "b_sum").await.unwrap();
    assert!(
        unknown.is_none(),
        "a version that builds has nothing to rebuild"
    );
    world.sweep(100).await;
    let rebuild = begin(connection, "b_sum").await;
    world.sweep(10).await;
    world.apply(&[]).await;
    assert!(!rebuild.switch(connection).await.unwrap());
    discard(connection, None).await;
    assert_eq!(
        generations(&world, "series").await,
        [1],
        "what was built is given up"
    );
    // The same file again is another version; its rebuilds count for themselves.
    world.apply(&[SUM]).await;
    world.sweep(100).await;
    let rebuild = begin(connection, "b_sum").await;
    assert_eq!((rebuild.version, rebuild.live, rebuild.built), (2, 1, 2));
    world.sweep(100).await;
    assert!(rebuild.switch(connection).await.unwrap());
    let rebuild = begin(connection, "b_sum").await;
    assert_eq!((rebuild.live, rebuild.built), (2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_version_keeps_its_buckets_as_long_as_it_is_told_and_answers_without_them() {
    let world = World::new().await;
    world.apply(&[SUM]).await;
    // One principal with a bucket in each of many minutes, more than one step deletes.
    for from in (0..21_000).step_by(7_000) {
        let some: Vec<NewEvent> = (from..from + 7_000)
            .map(|n| {
                let occurred_at = at("2026-01-01T00:00:00Z").plus_micros(n * MINUTE_US);
                event("p", &format!("e{n}"), occurred_at, "1")
            })
            .collect();
        world.store(&some).await;
    }
    world.sweep(21_000).await;
    world.apply(&[]).await;
    let connection = &mut world.connection().await;
    let query = StateQuery {
        tenant_id: "acme".to_owned(),
        principal_id: "p".to_owned(),
        selection: Selection {
            names: Vec::new(),
            pinned: vec![("b_sum".to_owned(), 1)],
        },
        question: Question::default(),
        at: None,
        min_seq: 0,
        wait: Duration::ZERO,
    };
    let read = async || {
        state::read(&world.database, world.partitions, &query, BUDGET)
            .await
            .unwrap()
    };
    assert_eq!(discard(connection, None).await, 0, "for ever is for ever");
    assert_eq!(discard(connection, Some(Duration::from_secs(60))).await, 0);
    assert_eq!(read().await.raw_events, 0, "frozen buckets answer");

    // A sweeper that has the partition is not disturbed.
    world.apply(&[SUM]).await;
    let mut other = world.connection().await;
    let due = discards::due(connection, Some(Duration::ZERO))
        .await
        .unwrap();
    let [due] = due.as_slice() else {
        panic!("one partition, not {due:?}")
    };
    let partition = read().await.position.partition;
    let held = Sweep::open(&mut other, partition, 100, Whose::Front)
        .await
        .unwrap();
    assert!(held.is_some());
    assert_eq!(discards::delete_some(connection, due).await.unwrap(), None);
    drop(other);

    while discards::delete_some(connection, due)
        .await
        .unwrap()
        .is_none()
    {
        tokio::task::yield_now().await;
    }
    let half_way = read().await;
    assert_eq!(half_way.raw_events, 21_000, "no licence, no bucket");
    let shown = half_way.states[0].values[0].shown(half_way.states[0].rule.operator);
    assert_eq!(shown.value.as_deref(), Some("21000"));
    assert!(world.count("pre_aggregates").await > 0, "some are left");
    assert!(discard(connection, Some(Duration::ZERO)).await >= 2);
    assert_eq!(world.count("pre_aggregates").await, 0);
    assert_eq!(world.count("series").await, 0);
    let listed = rules::list(connection, Some("b_sum")).await.unwrap();
    assert_eq!(listed.len(), 2, "the version itself stays");
}
