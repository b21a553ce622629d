//! The answer: equal to the fold of the log, whatever is swept and whatever is not.

use crate::support::{BUDGET, COUNT, MAX, MIN, SUM, World, at, event, events_of, open};
use aevon_core::calendar::Period;
use aevon_core::event::NewEvent;
use aevon_core::state::{Granularity, Question, Range};
use aevon_schema::state::{Selection, StateQuery, read};
use aevon_testkit::Proxy;
use aevon_testkit::oracle::{everything, fold, shown};

fn range(start: &str, end: &str) -> Range {
    Range {
        start: Some(at(start)),
        end: Some(at(end)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_cuts_through_a_minute_answers_the_same_before_and_after_a_sweep() {
    let world = World::new().await;
    world.apply(&[SUM]).await;
    let seconds = [
        "10:29:59.999999",
        "10:30:00",
        "10:30:20",
        "10:30:40",
        "10:31:00",
        "10:31:30",
    ];
    let events: Vec<NewEvent> = seconds
        .iter()
        .enumerate()
        .map(|(n, time)| {
            let n_text = (1 << n).to_string();
            event(
                "p",
                &format!("e{n}"),
                at(&format!("2026-01-01T{time}Z")),
                &n_text,
            )
        })
        .collect();
    world.store(&events).await;
    let cuts = [
        ("2026-01-01T10:30:20Z", "2026-01-01T10:31:00Z", "12"),
        ("2026-01-01T10:30:20.000001Z", "2026-01-01T10:30:40Z", "0"),
        ("2026-01-01T10:30:00Z", "2026-01-01T10:31:30Z", "30"),
        (
            "2026-01-01T10:30:00.000001Z",
            "2026-01-01T10:31:30.000001Z",
            "60",
        ),
        ("2026-01-01T09:59:59Z", "2026-01-01T10:30:00.000001Z", "3"),
    ];
    for swept in [0, 1, 2] {
        for (start, end, expected) in cuts {
            let state = world
                .state("p", range(start, end), Granularity::Total)
                .await;
            let shown = state.states[0].values[0].shown(state.states[0].rule.operator);
            assert_eq!(
                shown.value.as_deref(),
                Some(expected),
                "{start}..{end}, swept {swept} times"
            );
        }
        world.sweep(4).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn minima_and_maxima_over_nothing_are_null() {
    let world = World::new().await;
    world.apply(&[COUNT, SUM, MIN, MAX]).await;
    world
        .store(&[event("p", "e", at("2026-01-01T00:00:00Z"), "null")])
        .await;
    for _ in 0..2 {
        for principal in ["p", "nobody"] {
            let state = world
                .state(principal, Range::default(), Granularity::Total)
                .await;
            let answers: Vec<_> = state
                .states
                .iter()
                .skip(1)
                .map(|s| s.values[0].shown(s.rule.operator).value)
                .collect();
            assert_eq!(answers, [Some("0".to_owned()), None, None], "{principal}");
        }
        world.sweep(10).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_time_zone_changes_nothing() {
    let world = World::new().await;
    world.apply(&[SUM]).await;
    let client = world.db.client().await;
    let name = world.db.name();
    client
        .batch_execute(&format!(
            "ALTER DATABASE \"{name}\" SET timezone = 'Asia/Kathmandu';
             ALTER DATABASE \"{name}\" SET datestyle = 'German, DMY'"
        ))
        .await
        .unwrap();
    let elsewhere = World {
        database: open(world.db.url()),
        ..world
    };
    let times = [
        "2026-01-01T18:14:59Z",
        "2026-01-01T18:15:00Z",
        "2026-01-01T23:59:59.5Z",
    ];
    let mut events: Vec<NewEvent> = Vec::new();
    for (n, time) in times.iter().enumerate() {
        events.push(event(
            "p",
            &format!("e{n}"),
            at(time),
            &(1 << n).to_string(),
        ));
    }
    elsewhere.store(&events).await;
    elsewhere.sweep(10).await;
    let days = Granularity::Windows(Period::Day);
    let state = elsewhere.state("p", Range::default(), days).await;
    let rule = &state.states[0].rule;
    let question = Question {
        granularity: days,
        ..Question::default()
    };
    let expected = fold(rule, everything, &events_of(&events, "p"), &question);
    assert_eq!(shown(rule, &state.states[0].values), expected);
    assert_eq!(expected.len(), 1, "one UTC day");
    let cut = Range {
        start: Some(at("2026-01-01T18:15:00Z")),
        end: None,
    };
    let state = elsewhere.state("p", cut, Granularity::Total).await;
    assert_eq!(state.states[0].values[0].partial.event_count, 2);
}

// One thread: what is sent without waiting then reaches the wire in one piece, and can be counted.
#[tokio::test]
async fn a_warm_read_is_one_round_trip_of_one_snapshot() {
    let world = World::new().await;
    world.apply(&[SUM, COUNT]).await;
    world
        .store(&[event("p", "e", at("2026-01-01T00:00:30Z"), "4")])
        .await;
    world.sweep(10).await;
    let (proxy, url) = Proxy::in_front_of(world.db.url()).await;
    let database = open(&url);
    let question = Question {
        range: range("2026-01-01T00:00:10Z", "2026-01-03T00:00:10Z"),
        ..Question::default()
    };
    let query = StateQuery::newest("acme", "p", Selection::default(), question);
    read(&database, world.partitions, &query, BUDGET)
        .await
        .unwrap();
    proxy.reset_round_trips();
    for _ in 0..5 {
        let state = read(&database, world.partitions, &query, BUDGET)
            .await
            .unwrap();
        assert_eq!(state.states[1].values[0].partial.event_count, 1);
    }
    assert_eq!(proxy.round_trips(), 5);
}
