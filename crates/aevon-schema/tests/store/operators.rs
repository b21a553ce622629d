//! What single operators, filters and groups promise, on a real Postgres.

use crate::support::{World, at, event};
use aevon_core::calendar::Period;
use aevon_core::event::NewEvent;
use aevon_core::json::Path;
use aevon_core::labels::Grouping;
use aevon_core::state::{Granularity, Question, Range, TooLarge};
use aevon_core::time::MINUTE_US;
use aevon_schema::state::{RuleState, StateError};

fn range(start: &str, end: &str) -> Question {
    Question {
        range: Range {
            start: Some(at(start)),
            end: Some(at(end)),
        },
        ..Question::default()
    }
}

fn by(name: &str) -> Question {
    Question {
        grouping: Grouping {
            by: vec![Path::parse(name).unwrap()],
            ..Grouping::default()
        },
        ..Question::default()
    }
}

fn values(state: &RuleState) -> Vec<Option<String>> {
    let shown = |value: &aevon_core::state::Value| value.shown(state.rule.operator).value;
    state.values.iter().map(shown).collect()
}

const UNIQUE: &str = "name: users\nsource_event: t\noperator: unique_count\nfield: n";
const LATEST: &str = "name: last\nsource_event: t\noperator: latest\nfield: n";
const SEATS: &str = "name: seats\nsource_event: t\noperator: weighted_sum\nfield: n";

#[tokio::test(flavor = "multi_thread")]
async fn distinct_values_are_exact_up_to_the_bound_and_one_estimate_beyond_whatever_is_swept() {
    let world = World::new().await;
    world.apply(&[UNIQUE]).await;
    let events = |from: usize, to: usize| -> Vec<NewEvent> {
        (from..to)
            .map(|n| {
                // Spread over four hours, each value twice.
                let occurred_at = at("2026-01-01T00:00:00Z").plus_micros(n as i64 * 9_000_000);
                event(
                    "p",
                    &format!("e{n}"),
                    occurred_at,
                    &format!("\"u{}\"", n / 2),
                )
            })
            .collect()
    };
    let seen = async || {
        let state = world.ask("p", Question::default()).await.unwrap();
        let shown = state.states[0].values[0].shown(state.states[0].rule.operator);
        (shown.value.unwrap(), shown.relative_error.is_some())
    };
    world.store(&events(0, 1000)).await;
    assert_eq!(seen().await, ("500".to_owned(), false));
    world.sweep(300).await;
    assert_eq!(seen().await, ("500".to_owned(), false));
    // Half in buckets, half in the tail, and the bound is crossed between them.
    world.store(&events(1000, 2048)).await;
    assert_eq!(seen().await, ("1024".to_owned(), false));
    world.store(&events(2048, 5000)).await;
    let estimated = seen().await;
    let count: f64 = estimated.0.parse().unwrap();
    assert!(
        estimated.1 && (count - 2500.0).abs() < 2500.0 * 0.04,
        "{count}"
    );
    world.sweep(700).await;
    assert_eq!(seen().await, estimated);
    let client = world.db.client().await;
    client
        .batch_execute("BEGIN; DELETE FROM sweep_checkpoints; DELETE FROM pre_aggregates; COMMIT")
        .await
        .unwrap();
    assert_eq!(seen().await, estimated);
    world.sweep(10_000).await;
    assert_eq!(seen().await, estimated);
    // An hour of it holds fewer, and is exact.
    let hour = range("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z");
    let state = world.ask("p", hour).await.unwrap();
    assert_eq!(values(&state.states[0]), [Some("200".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_value_is_by_occurrence_and_ties_go_to_the_one_stored_last() {
    let world = World::new().await;
    world.apply(&[LATEST]).await;
    let times = ["10:00:30", "10:00:50", "10:00:50", "10:00:10", "09:59:59"];
    for (n, time) in times.iter().enumerate() {
        let occurred_at = at(&format!("2026-01-01T{time}Z"));
        world
            .store(&[event(
                "p",
                &format!("e{n}"),
                occurred_at,
                &(1 << n).to_string(),
            )])
            .await;
        let expected = ["1", "2", "4", "4", "4"][n].to_owned();
        for _ in 0..2 {
            let state = world.ask("p", Question::default()).await.unwrap();
            assert_eq!(
                values(&state.states[0]),
                [Some(expected.clone())],
                "after {time}"
            );
            world.sweep(1).await;
        }
    }
    // One that has no value takes no part.
    world
        .store(&[event("p", "none", at("2026-01-02T00:00:00Z"), "null")])
        .await;
    world.sweep(1).await;
    let state = world.ask("p", Question::default()).await.unwrap();
    assert_eq!(values(&state.states[0]), [Some("4".to_owned())]);
    let before = range("2026-01-01T10:00:00Z", "2026-01-01T10:00:50Z");
    let state = world.ask("p", before).await.unwrap();
    assert_eq!(values(&state.states[0]), [Some("1".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_added_in_january_counts_in_february() {
    let world = World::new().await;
    world.apply(&[SEATS]).await;
    let changes = [
        ("2026-01-10T12:00:30Z", "3"),
        ("2026-02-02T00:00:00Z", "2"),
        ("2026-02-03T06:00:00Z", "-4"),
        ("2026-03-01T00:00:00Z", "100"),
    ];
    let events: Vec<NewEvent> = (0..)
        .zip(changes)
        .map(|(n, (time, change))| event("p", &format!("e{n}"), at(time), change))
        .collect();
    world.store(&events).await;
    let february = range("2026-02-01T00:00:00Z", "2026-02-05T00:00:00Z");
    let days = Question {
        granularity: Granularity::Windows(Period::Day),
        ..february.clone()
    };
    // Two days of 3, of 5 for 30 hours, then of 1.
    let expected = [24 * 3, 24 * 5, 6 * 5 + 18, 24].map(|hours| Some((hours * 3600).to_string()));
    let total = (24 * 3 + 24 * 5 + 6 * 5 + 18 + 24) * 3600;
    for swept in [false, true] {
        let state = world.ask("p", february.clone()).await.unwrap();
        assert_eq!(
            values(&state.states[0]),
            [Some(total.to_string())],
            "swept: {swept}"
        );
        assert_eq!(state.states[0].values[0].partial.event_count, 3);
        let state = world.ask("p", days.clone()).await.unwrap();
        assert_eq!(values(&state.states[0]), expected, "swept: {swept}");
        // A range that begins within the minute of the first change.
        let cut = range("2026-01-10T12:00:40Z", "2026-01-10T12:01:40Z");
        let state = world.ask("p", cut).await.unwrap();
        assert_eq!(
            values(&state.states[0]),
            [Some("180".to_owned())],
            "swept: {swept}"
        );
        let state = world.ask("p", Question::default()).await.unwrap();
        assert_eq!(
            values(&state.states[0]),
            [None],
            "a level has no total without an end"
        );
        world.sweep(2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_see_metadata_and_the_envelope_in_buckets_and_tail_and_failures_are_counted() {
    let world = World::new().await;
    let filtered = |name: &str, filter: &str| {
        format!("name: {name}\nsource_event: t\noperator: sum\nfield: n\nfilter: {filter}\n")
    };
    let rules = [
        filtered("a", "metadata.region == \"eu\""),
        filtered("b", "principal_id == \"q\""),
        filtered(
            "c",
            "occurred_at.getMinutes() >= 30 && type == \"t\" && schema_version == 0",
        ),
        filtered("d", "data.n > 2"),
    ];
    world.apply(&rules.each_ref().map(String::as_str)).await;
    let mut events = Vec::new();
    for (n, (value, metadata)) in [
        ("1", r#"{"region":"eu"}"#),
        ("2", r#"{"region":"us"}"#),
        ("4", "{}"),
        ("\"8\"", r#"{"region":"eu"}"#),
    ]
    .into_iter()
    .enumerate()
    {
        for principal in ["p", "q"] {
            let occurred_at = at("2026-01-01T00:15:00Z").plus_micros(n as i64 * 10 * MINUTE_US);
            let mut one = event(principal, &format!("e{n}"), occurred_at, value);
            one.metadata = metadata.to_owned();
            events.push(one);
        }
    }
    world.store(&events).await;
    for swept in [false, true] {
        for (principal, second) in [("p", "0"), ("q", "15")] {
            let state = world.ask(principal, Question::default()).await.unwrap();
            let found: Vec<_> = state.states.iter().flat_map(values).flatten().collect();
            assert_eq!(
                found,
                ["9", second, "12", "4"],
                "{principal}, swept: {swept}"
            );
            let skipped = |s: &RuleState| s.values[0].partial.skipped_count;
            let skipped: Vec<_> = state.states.iter().map(skipped).collect();
            assert_eq!(skipped, [1, 0, 0, 1], "{principal}, swept: {swept}");
        }
        world.sweep(3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_of_dear_events_stops_a_sweep() {
    let world = World::new().await;
    let rule = "name: dear\nsource_event: t\noperator: count\n\
                filter: data.l.exists(x, data.l.exists(y, y == -1)) || data.n == 1\n";
    world.apply(&[rule]).await;
    // Together they take longer than Postgres waits for a transaction that says nothing.
    let list = vec!["7"; 400].join(",");
    let dear = |n: i64| {
        let id = format!("e{n}");
        let mut one = event("p", &id, at("2026-01-01T00:00:00Z").plus_micros(n), "1");
        one.data = format!("{{\"n\":1,\"l\":[{list}]}}");
        one
    };
    let events: Vec<NewEvent> = (0..60).map(dear).collect();
    world.store(&events).await;
    world.sweep(1000).await;
    let state = world.ask("p", Question::default()).await.unwrap();
    assert_eq!(values(&state.states[0]), [Some("60".to_owned())]);
    assert_eq!(state.states[0].lag_events, 0);
    assert_eq!(state.raw_events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_stand_beside_the_ungrouped_series_and_dimensions_must_be_the_rules() {
    let world = World::new().await;
    let rule = "name: tokens\nsource_event: t\noperator: sum\nfield: n\ngroup_by: [model]";
    world.apply(&[rule]).await;
    let events: Vec<NewEvent> = ["\"m1\"", "\"m2\"", "7", "7.0", "null", "{\"x\":1}"]
        .into_iter()
        .enumerate()
        .map(|(n, model)| {
            let mut one = event("p", &format!("e{n}"), at("2026-01-01T00:00:30Z"), "0");
            one.data = format!("{{\"n\":{},\"model\":{model}}}", 1 << n);
            one
        })
        .collect();
    world.store(&events).await;
    for swept in [false, true] {
        let state = world.ask("p", by("model")).await.unwrap();
        let labels = state.states[0]
            .values
            .iter()
            .map(|value| value.group.0[0].clone());
        let found: Vec<_> = labels
            .zip(values(&state.states[0]).into_iter().flatten())
            .collect();
        let expected = [
            (None, "16"),
            (Some("7"), "12"),
            (Some("aevon.object"), "32"),
            (Some("m1"), "1"),
            (Some("m2"), "2"),
        ];
        let expected = expected.map(|(label, n)| (label.map(str::to_owned), n.to_owned()));
        assert_eq!(found, expected, "swept: {swept}");
        assert_eq!(
            world.total("p").await.as_deref(),
            Some("63"),
            "swept: {swept}"
        );
        world.sweep(4).await;
    }
    // Five groups and the ungrouped series, and the same of the tenant.
    assert_eq!(world.count("series").await, 12);
    let error = world.ask("p", by("colour")).await.unwrap_err();
    let says = "the rule tokens has no dimension colour; it is grouped by model";
    assert_eq!(error.to_string(), says);
    assert_eq!(world.total("p").await.as_deref(), Some("63"));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_groups_than_an_answer_may_have_are_refused_and_can_be_kept_by_label() {
    let world = World::new().await;
    let rule = "name: calls\nsource_event: t\noperator: count\ngroup_by: [n]";
    world.apply(&[rule]).await;
    let events = |from: usize, to: usize| -> Vec<NewEvent> {
        (from..to)
            .map(|n| {
                event(
                    "p",
                    &format!("e{n}"),
                    at("2026-01-01T00:00:30Z"),
                    &n.to_string(),
                )
            })
            .collect()
    };
    world.store(&events(0, 5_000)).await;
    world.store(&events(5_000, 10_000)).await;
    world.sweep(6_000).await;
    let state = world.ask("p", by("n")).await.unwrap();
    assert_eq!(state.states[0].values.len(), 10_000);
    world.store(&events(10_000, 10_001)).await;
    for _ in 0..2 {
        let refused = world.ask("p", by("n")).await.unwrap_err();
        assert!(
            matches!(refused, StateError::TooLarge(TooLarge::Groups)),
            "{refused}"
        );
        let mut few = by("n");
        few.grouping
            .keep(&Path::parse("n").unwrap(), Some("10000".to_owned()));
        few.grouping
            .keep(&Path::parse("n").unwrap(), Some("17".to_owned()));
        let state = world.ask("p", few).await.unwrap();
        assert_eq!(
            values(&state.states[0]),
            [Some("1".to_owned()), Some("1".to_owned())]
        );
        assert_eq!(world.total("p").await.as_deref(), Some("10001"));
        world.sweep(6_000).await;
    }
}
