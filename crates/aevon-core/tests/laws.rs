//! Laws of the fold: whatever is swept and whatever is not, an answer equals the dumbest fold.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aevon_core::fold::{LogEvent, SliceFold};
use aevon_core::operator::{Operator, Partial};
use aevon_core::rule::Rule;
use aevon_core::state::{Answer, Granularity, Plan, Range, Value};
use aevon_core::time::{Grain, MINUTE_US, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The oracle: keeps a list and folds it.
fn oracle(rule: &Rule, log: &[LogEvent], range: Range, granularity: Granularity) -> Vec<Value> {
    let mut windows: BTreeMap<Option<Timestamp>, Partial> = BTreeMap::new();
    if granularity == Granularity::Total {
        windows.insert(None, Partial::default());
    }
    for event in log {
        if event.event_type != rule.source_event || !range.contains(event.occurred_at) {
            continue;
        }
        let document: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        let number = document.get("n").and_then(|n| n.as_i64()).map(Into::into);
        let window = match granularity {
            Granularity::Total => None,
            Granularity::Windows(grain) => Some(grain.floor(event.occurred_at)),
        };
        let one = Partial::of(rule.operator, number);
        windows
            .entry(window)
            .or_default()
            .merge(rule.operator, &one);
    }
    let bounds = |window: Option<Timestamp>| match (window, granularity) {
        (Some(start), Granularity::Windows(grain)) => {
            let end = start.plus_micros(grain.width_us());
            (
                Some(range.start.map_or(start, |s| s.max(start))),
                Some(range.end.map_or(end, |e| e.min(end))),
            )
        }
        _ => (range.start, range.end),
    };
    let value = |(window, partial)| {
        let (window_start, window_end) = bounds(window);
        Value {
            window_start,
            window_end,
            partial,
        }
    };
    windows.into_iter().map(value).collect()
}

/// Buckets as a sweep would leave them, by grain and window: merged over slices and epochs.
fn sweep(
    rule: &Rule,
    log: &[LogEvent],
    cuts: &[usize],
) -> BTreeMap<(Grain, Timestamp, i32), Partial> {
    let rules = [rule.clone()];
    let mut buckets: BTreeMap<(Grain, Timestamp, i32), Partial> = BTreeMap::new();
    let mut from = 0;
    for &to in cuts {
        let mut fold = SliceFold::new(&rules);
        log[from..to].iter().for_each(|event| fold.add(event));
        for (grain, deltas) in fold.finish() {
            for (key, delta) in deltas {
                let bucket = buckets
                    .entry((grain, key.window_start, key.epoch))
                    .or_default();
                bucket.merge(rule.operator, &delta.partial);
            }
        }
        from = to;
    }
    buckets
}

fn answer(
    rule: &Rule,
    log: &[LogEvent],
    cuts: &[usize],
    range: Range,
    granularity: Granularity,
) -> Vec<Value> {
    let plan = Plan::new(range, granularity);
    let checkpoint = cuts.last().map_or(0, |&to| to as i64);
    let mut answer = Answer::new(rule, range, granularity, &plan, checkpoint);
    for ((grain, window, _), partial) in sweep(rule, log, cuts) {
        let wanted = |(g, r): &(Grain, Range)| *g == grain && r.contains(window);
        if plan.buckets.iter().any(wanted) {
            answer.add_bucket(window, &partial);
        }
    }
    for event in log {
        answer.add_event(event.seq, event.occurred_at, &event.event_type, &event.data);
    }
    answer.finish().unwrap()
}

fn instant() -> impl Strategy<Value = Timestamp> {
    // Around 1970 on purpose: negative instants floor the other way. Edges are common.
    (
        -3 * 1440_i64..3 * 1440,
        prop_oneof![Just(0), Just(1), Just(MINUTE_US - 1), 0..MINUTE_US],
    )
        .prop_map(|(minute, micros)| Timestamp::from_micros(minute * MINUTE_US + micros))
}

fn log() -> impl Strategy<Value = Vec<LogEvent>> {
    let data = prop_oneof![
        (0u32..40).prop_map(|bit| format!("{{\"n\": {}}}", 1i64 << bit)),
        (0u32..40).prop_map(|bit| format!("{{\"n\": -{}}}", 1i64 << bit)),
        Just("{}".to_owned()),
        Just("{\"n\": null}".to_owned()),
    ];
    let event = (instant(), 0..3i64, data, prop::bool::weighted(0.9));
    prop::collection::vec(event, 0..60).prop_map(|events| {
        let event =
            |(index, (occurred_at, day, data, ours)): (usize, (Timestamp, i64, _, bool))| {
                LogEvent {
                    seq: index as i64 + 1,
                    principal_no: 1,
                    occurred_at,
                    ingested_at: Timestamp::from_micros(day * 1440 * MINUTE_US),
                    event_type: if ours { "t" } else { "other" }.to_owned(),
                    data,
                }
            };
        events.into_iter().enumerate().map(event).collect()
    })
}

fn rule(operator: Operator) -> Rule {
    let field = if operator.takes_field() {
        "\nfield: n"
    } else {
        ""
    };
    let name = operator.as_str();
    Rule::from_yaml(&format!(
        "name: r\nsource_event: t\noperator: {name}{field}"
    ))
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn an_answer_equals_the_fold_of_the_log_wherever_it_was_swept(
        log in log(),
        operator in prop::sample::select(Operator::ALL.to_vec()),
        (a, b) in (prop::option::of(instant()), prop::option::of(instant())),
        granularity in prop::sample::select(Granularity::NAMES.map(|(_, g)| g).to_vec()),
        cuts in prop::collection::vec(0usize..=60, 0..4),
    ) {
        let range = match (a, b) {
            (Some(a), Some(b)) => Range { start: Some(a.min(b)), end: Some(a.max(b)) },
            (start, end) => Range { start, end },
        };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(log.len())).collect();
        cuts.sort_unstable();
        let rule = rule(operator);
        let expected = oracle(&rule, &log, range, granularity);
        prop_assert_eq!(answer(&rule, &log, &cuts, range, granularity), expected);
    }

    #[test]
    fn every_instant_of_a_range_lies_in_one_part_of_its_plan_and_an_edge_in_one_minute(
        (a, b) in (prop::option::of(instant()), prop::option::of(instant())),
        granularity in prop::sample::select(Granularity::NAMES.map(|(_, g)| g).to_vec()),
        probes in prop::collection::vec(instant(), 1..40),
    ) {
        let range = Range { start: a, end: b };
        let plan = Plan::new(range, granularity);
        for edge in &plan.edges {
            let (Some(start), Some(end)) = (edge.start, edge.end) else {
                return Err(TestCaseError::fail(format!("an edge without an end: {edge:?}")));
            };
            let last = end.plus_micros(-1);
            prop_assert_eq!(Grain::Minute.floor(start), Grain::Minute.floor(last));
        }
        for probe in probes.into_iter().chain([a, b].into_iter().flatten()) {
            let buckets = plan.buckets.iter().filter(|(_, part)| part.contains(probe)).count();
            let edges = plan.edges.iter().filter(|part| part.contains(probe)).count();
            prop_assert_eq!(buckets + edges, usize::from(range.contains(probe)));
        }
    }
}
