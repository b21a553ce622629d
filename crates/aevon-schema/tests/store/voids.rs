//! Corrections: voids and atomic bodies, and what answers make of them.

use crate::support::{BUDGET, COUNT, MAX, SUM, World, at, event, open, position, void};
use aevon_core::append::Verdict;
use aevon_core::event::{FaultCode, NewEvent};
use aevon_core::state::Question;
use aevon_schema::append::Appender;
use aevon_schema::state::{At, Selection, State, StateError, StateQuery, read};
use aevon_testkit::Proxy;
use std::time::{Duration, Instant};

fn one(id: &str, n: u32) -> NewEvent {
    event(
        "p",
        id,
        at("2026-01-01T00:00:30Z"),
        &(1_u32 << n).to_string(),
    )
}

fn values(state: &State) -> Vec<Option<String>> {
    let states = state.states.iter();
    states
        .map(|s| s.values[0].shown(s.rule.operator).value)
        .collect()
}

fn newest() -> StateQuery {
    StateQuery::newest("acme", "p", Selection::default(), Question::default())
}

async fn ask(world: &World, at: Option<At>) -> Result<State, StateError> {
    let query = StateQuery { at, ..newest() };
    read(&world.database, world.partitions, &query, BUDGET).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_counts_from_its_own_position_on_before_and_long_after_a_sweep() {
    let world = World::new().await;
    world.apply(&[COUNT, SUM, MAX]).await;
    world
        .store(&[one("e0", 0), one("e1", 1), one("e2", 2), one("e3", 3)])
        .await;
    world.sweep(100).await;
    // Of what is swept, of what is not, and of what comes with it.
    world.store(&[void("p", "v4", "e3"), one("e5", 5)]).await;
    world.store(&[void("p", "v6", "e5")]).await;
    let at_end = ["3", "7", "4"].map(|v| Some(v.to_owned()));
    let expected = [
        (0, [Some("0"), Some("0"), None]),
        (3, [Some("3"), Some("7"), Some("4")]),
        (4, [Some("4"), Some("15"), Some("8")]),
        (5, [Some("3"), Some("7"), Some("4")]),
        (6, [Some("4"), Some("39"), Some("32")]),
        (7, [Some("3"), Some("7"), Some("4")]),
    ];
    for swept in [false, true] {
        for (seq, expected) in &expected {
            let state = ask(&world, Some(At::Version(*seq))).await.unwrap();
            let expected = expected.map(|value| value.map(str::to_owned));
            assert_eq!(values(&state), expected, "at {seq}, swept: {swept}");
        }
        let state = ask(&world, None).await.unwrap();
        assert_eq!(values(&state), at_end, "swept: {swept}");
        world.sweep(2).await;
    }
    assert_eq!(ask(&world, None).await.unwrap().raw_events, 0);
    // Nothing is left, and the buckets stay, so that earlier versions can be told.
    let voids = ["e0", "e1", "e2"].map(|id| void("p", &format!("v-{id}"), id));
    world.store(&voids).await;
    let rows = world.count("pre_aggregates").await;
    for _ in 0..2 {
        let state = ask(&world, None).await.unwrap();
        assert_eq!(
            values(&state),
            [Some("0".to_owned()), Some("0".to_owned()), None]
        );
        let state = ask(&world, Some(At::Version(4))).await.unwrap();
        assert_eq!(values(&state), ["4", "15", "8"].map(|v| Some(v.to_owned())));
        world.sweep(100).await;
    }
    assert_eq!(world.count("pre_aggregates").await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn voids_are_checked_against_the_log_and_against_their_group() {
    let world = World::new().await;
    let mut appender = world.appender();
    let mut of_a_source = one("e0", 0);
    of_a_source.event_id = "gw\u{1f}e0".to_owned();
    let mut its_void = void("p", "v2", "e0");
    its_void.data = r#"{"event_id": "e0", "source": "gw"}"#.to_owned();
    let refusals = |verdicts: &[Verdict]| -> Vec<Option<FaultCode>> {
        let code = |verdict: &Verdict| match verdict {
            Verdict::Refused(faults) => Some(faults[0].code),
            _ => None,
        };
        verdicts.iter().map(code).collect()
    };
    // The first group of a principal that nobody knows, then one of a cached principal.
    let group = [
        one("e0", 0),
        of_a_source,
        void("p", "v1", "e0"),
        void("p", "v1b", "e0"),
        its_void,
        void("q", "v1", "e0"),
    ];
    let group: Vec<&NewEvent> = group.iter().collect();
    let verdicts = appender.append(&group).await.unwrap();
    let (already, unknown) = (FaultCode::AlreadyVoided, FaultCode::UnknownVoidTarget);
    let expected = [None, None, None, Some(already), None, Some(unknown)];
    assert_eq!(refusals(&verdicts), expected);
    for mut appender in [appender, world.appender()] {
        let group = [
            void("p", "v3", "e0"),
            void("p", "v1", "e0"),
            void("p", "v4", "v1"),
            void("p", "v5", "e9"),
        ];
        let group: Vec<&NewEvent> = group.iter().collect();
        let verdicts = appender.append(&group).await.unwrap();
        assert_eq!(
            refusals(&verdicts),
            [Some(already), None, Some(unknown), Some(unknown)]
        );
        assert!(matches!(verdicts[1], Verdict::Duplicate { .. }));
    }
    assert_eq!(
        (world.count("voids").await, world.count("events").await),
        (2, 4)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_body_is_stored_whole_or_not_at_all() {
    let world = World::new().await;
    world.apply(&[SUM]).await;
    world.store(&[one("e0", 0), one("taken", 1)]).await;
    let body = [
        void("p", "v", "e0"),
        one("e2", 2),
        // In conflict with what stands.
        one("taken", 3),
        // Another body, which is not.
        void("p", "v", "e0"),
        one("e4", 4),
        // A third one comes too late.
        void("p", "w", "e0"),
        one("e5", 5),
        one("e6", 6),
    ];
    let group: Vec<&NewEvent> = body.iter().collect();
    let bodies = [0..3, 3..5, 5..7];
    let verdicts = world
        .appender()
        .append_bodies(&group, &bodies)
        .await
        .unwrap();
    assert_eq!(verdicts[..2], [Verdict::Withheld, Verdict::Withheld]);
    let positions = [3, 4, 7].map(|at| position(&verdicts[at]).seq);
    assert_eq!((positions, &verdicts[6]), ([3, 4, 5], &Verdict::Withheld));
    assert_eq!(world.total("p").await.as_deref(), Some("82"));
    // One that Postgres can't read takes its body with it, and nothing else.
    let mut unreadable = one("e7", 7);
    unreadable.data = r#"{"n": "\u0000"}"#.to_owned();
    let body = [
        one("e8", 8),
        one("e9", 9),
        unreadable,
        one("e10", 10),
        one("e11", 11),
    ];
    let group: Vec<&NewEvent> = body.iter().collect();
    let bodies = [1..3, 3..5];
    let verdicts = world
        .appender()
        .append_bodies(&group, &bodies)
        .await
        .unwrap();
    assert_eq!(verdicts[1], Verdict::Withheld);
    assert!(matches!(verdicts[2], Verdict::Refused(_)));
    assert_eq!([0, 3, 4].map(|at| position(&verdicts[at]).seq), [6, 7, 8]);
}

// One thread: what is sent without waiting then reaches the wire in one piece, and can be counted.
#[tokio::test]
async fn a_warm_append_with_voids_takes_two_round_trips_and_so_does_a_read_of_the_past() {
    let world = World::new().await;
    world.apply(&[SUM, MAX]).await;
    let (proxy, url) = Proxy::in_front_of(world.db.url()).await;
    let database = open(&url);
    let mut appender = Appender::new(database.clone(), world.partitions);
    let mut append = async |n: u32| {
        let (id, of) = (format!("v{n}"), format!("e{n}"));
        let pair = [one(&of, n), void("p", &id, &of)];
        let group: Vec<&NewEvent> = pair.iter().collect();
        appender.append(&group).await.unwrap();
    };
    for n in 0..3 {
        append(n).await;
    }
    proxy.reset_round_trips();
    append(3).await;
    assert_eq!(proxy.round_trips(), 2);
    world.sweep(3).await;
    let past = async |seq: i64| {
        let at = Some(At::Version(seq));
        let query = StateQuery { at, ..newest() };
        let state = read(&database, world.partitions, &query, BUDGET)
            .await
            .unwrap();
        assert_eq!(values(&state).len(), 2);
        state.raw_events
    };
    for _ in 0..2 {
        assert!(past(3).await > 0);
    }
    proxy.reset_round_trips();
    past(3).await;
    assert_eq!(proxy.round_trips(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_not_there_yet_is_waited_for_and_one_above_the_head_is_unknown() {
    let world = std::sync::Arc::new(World::new().await);
    world.apply(&[SUM]).await;
    world.store(&[one("e0", 0)]).await;
    let unknown = ask(&world, Some(At::Version(2))).await.unwrap_err();
    assert!(
        matches!(unknown, StateError::UnknownVersion { head: 1, .. }),
        "{unknown}"
    );
    let waiting = |wait: Duration| StateQuery {
        min_seq: 2,
        wait,
        ..newest()
    };
    let late = |query: StateQuery| {
        let world = std::sync::Arc::clone(&world);
        tokio::spawn(async move { read(&world.database, world.partitions, &query, BUDGET).await })
    };
    let began = Instant::now();
    let refused = late(waiting(Duration::from_millis(120)))
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(refused, StateError::NotVisible { head: 1, .. }),
        "{refused}"
    );
    assert!(began.elapsed() >= Duration::from_millis(120));
    let reader = late(waiting(Duration::from_secs(10)));
    world.store(&[one("e1", 1)]).await;
    assert_eq!(
        values(&reader.await.unwrap().unwrap()),
        [Some("3".to_owned())]
    );
    // What is to be known need not be what is asked for.
    let at = Some(At::Version(1));
    let query = StateQuery {
        at,
        ..waiting(Duration::ZERO)
    };
    assert_eq!(
        values(&late(query).await.unwrap().unwrap()),
        [Some("1".to_owned())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_comes_down_to_the_newest_event_that_was_ingested_by_it() {
    let world = World::new().await;
    world.apply(&[SUM]).await;
    let begun = at("2026-03-01T00:00:00Z");
    let stamp = |n: u32| begun.plus_micros(i64::from(n) * 1_000);
    for n in 0..20 {
        let mut appender = world.appender().with_clock(stamp(n));
        appender.append(&[&one(&format!("e{n}"), n)]).await.unwrap();
    }
    for (micros, seq) in [
        (-1, 0),
        (0, 1),
        (999, 1),
        (1_000, 2),
        (18_999, 19),
        (19_000, 20),
        (i64::MAX / 4, 20),
    ] {
        let state = ask(&world, Some(At::Instant(begun.plus_micros(micros))))
            .await
            .unwrap();
        assert_eq!(state.position.seq, seq, "{micros}");
        assert_eq!(
            values(&state),
            [Some(((1_u64 << seq) - 1).to_string())],
            "{micros}"
        );
        let expected = u32::try_from(seq).unwrap().checked_sub(1).map(stamp);
        assert_eq!(state.data_through, expected, "{micros}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_dear_events_nor_many_voids_of_one_day_stop_a_sweep() {
    let world = World::new().await;
    let rule = "name: dear\nsource_event: t\noperator: max\nfield: n\n\
                filter: data.l.exists(x, data.l.exists(y, y == -1)) || data.n > 0\n";
    world.apply(&[rule]).await;
    // Together they take longer than Postgres waits for a transaction that says nothing.
    let list = vec!["7"; 250].join(",");
    let dear = |n: i64| {
        let at = at("2026-01-01T00:00:00Z").plus_micros(n % 6 * 60_000_000);
        let mut one = event("p", &format!("e{n}"), at, "1");
        one.data = format!("{{\"n\":{},\"l\":[{list}]}}", n + 1);
        one
    };
    world.store(&(0..60).map(dear).collect::<Vec<_>>()).await;
    world.sweep(1000).await;
    let voids = (40..60).map(|n| void("p", &format!("v{n}"), &format!("e{n}")));
    world.store(&voids.collect::<Vec<_>>()).await;
    world.sweep(1000).await;
    let state = ask(&world, None).await.unwrap();
    assert_eq!(values(&state), [Some("40".to_owned())]);
    assert_eq!((state.states[0].lag_events, state.raw_events), (0, 0));
    let state = ask(&world, Some(At::Version(70))).await.unwrap();
    assert_eq!(values(&state), [Some("60".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_voids_of_a_table_are_as_final_as_the_log() {
    let world = World::new().await;
    world.store(&[one("e0", 0), void("p", "v1", "e0")]).await;
    let client = world.db.client().await;
    for change in [
        "DELETE FROM voids",
        "UPDATE voids SET void_seq = 9",
        "TRUNCATE voids",
    ] {
        assert!(client.batch_execute(change).await.is_err(), "{change}");
    }
}
