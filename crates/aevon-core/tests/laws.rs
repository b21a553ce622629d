//! Laws of the fold: whatever is swept and whatever is not, an answer equals the dumbest fold.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aevon_core::calendar::{Period, Zone};
use aevon_core::filter::Subject;
use aevon_core::fold::{Fact, LogEvent, SliceFold, contribution};
use aevon_core::labels::{Grouping, Labels};
use aevon_core::operator::{Operator, Partial};
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use aevon_core::state::{Answer, Fill, Granularity, Plan, Question, Range};
use aevon_core::time::{Grain, MINUTE_US, Timestamp};
use aevon_testkit::oracle::{self, OracleEvent, OracleValue};
use aevon_testkit::places;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// An event, and the day on which it was ingested.
#[derive(Clone, Debug)]
struct Entry {
    event: OracleEvent,
    ingested_day: i64,
}

impl Entry {
    fn as_log_event(&self) -> LogEvent<'_> {
        LogEvent {
            fact: Fact {
                position: Position {
                    partition: 3,
                    seq: self.event.seq,
                },
                occurred_at: self.event.occurred_at,
                event_type: &self.event.event_type,
                schema_version: 0,
                principal_id: "p",
                data: &self.event.data,
                metadata: "{}",
            },
            principal_no: 1,
            ingested_at: Timestamp::from_micros(self.ingested_day * 1440 * MINUTE_US),
        }
    }
}

/// Buckets by grain, window, epoch and group, as sweeps of these slices would leave them.
type Buckets = BTreeMap<(Grain, Timestamp, i32, Labels), Partial>;

fn sweep(rule: &Rule, log: &[Entry], cuts: &[usize]) -> Buckets {
    let rules = [rule.clone()];
    let mut buckets = Buckets::new();
    let mut from = 0;
    for &to in cuts {
        let mut fold = SliceFold::new(&rules);
        log[from..to]
            .iter()
            .for_each(|entry| fold.add(&entry.as_log_event()));
        let folded = fold.finish();
        for (grain, deltas) in folded.grains {
            for (key, delta) in deltas {
                let labels = folded.groups[key.group as usize].clone();
                let bucket = buckets.entry((grain, key.window_start, key.epoch, labels));
                bucket.or_default().merge(rule.operator, &delta.partial);
            }
        }
        from = to;
    }
    buckets
}

fn answer(rule: &Rule, log: &[Entry], cuts: &[usize], question: &Question) -> Vec<OracleValue> {
    let plan = Plan::new(question);
    let checkpoint = cuts.last().map_or(0, |&to| to as i64);
    let mut answer = Answer::new(rule, question, &plan, checkpoint);
    for ((grain, window, _, labels), partial) in sweep(rule, log, cuts) {
        let wanted = |(g, r): &(Grain, Range)| *g == grain && r.contains(window);
        let mut ranges = plan.buckets.clone();
        if question.looks_back(rule.operator) {
            ranges.extend(plan.buckets_before.iter().copied());
        }
        let is_grouped = labels != Labels::default();
        if is_grouped != question.grouping.is_none() && ranges.iter().any(wanted) {
            answer.add_bucket(window, &labels, &partial);
        }
    }
    for entry in log {
        answer.add_event(&Subject::new(entry.as_log_event().fact));
    }
    oracle::finished(rule, answer)
}

/// When the last clock was set by whole minutes: Monrovia's, 1972-01-07T00:44:30Z.
const LAST_SECONDS: Timestamp = Timestamp::from_micros(63_593_070_000_000);

/// Around 1970 on purpose: negative instants floor the other way.
const BEGINNING: Timestamp = Timestamp::from_micros(0);

/// Instants about one. Edges are common, of UTC and of clocks whose offset has seconds, and so are
/// several events at one instant.
fn instant(about: Timestamp) -> impl Strategy<Value = Timestamp> + Clone {
    (
        prop_oneof![3 => -3 * 1440_i64..3 * 1440, 1 => -1..=1i64, 1 => (-72..72i64).prop_map(|h| h * 60)],
        prop_oneof![Just(0), Just(1), Just(MINUTE_US - 1), 0..MINUTE_US],
        prop::sample::select(vec![about, Grain::Minute.floor(about)]),
    )
        .prop_map(|(minute, micros, about)| about.plus_micros(minute * MINUTE_US + micros))
}

/// Numbers that are powers of two, so that loss, double count and mix-up differ, and what is none.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0u32..40).prop_map(|bit| format!("\"n\": {}", 1i64 << bit)),
        2 => (0u32..40).prop_map(|bit| format!("\"n\": -{}.5", 1i64 << bit)),
        1 => (0u32..4).prop_map(|bit| format!("\"n\": \"{}\"", 1i64 << bit)),
        1 => Just("\"n\": 2.0".to_owned()),
        1 => Just("\"n\": true".to_owned()),
        1 => Just("\"n\": null".to_owned()),
        1 => Just("\"n\": [1]".to_owned()),
        1 => Just("\"other\": 1".to_owned()),
    ]
}

fn label() -> impl Strategy<Value = &'static str> {
    let labels = vec!["\"a\"", "\"b\"", "1", "1.0", "true", "null", "\"\""];
    prop::sample::select(labels)
}

fn log(about: Timestamp) -> impl Strategy<Value = Vec<Entry>> {
    let data = (
        field(),
        label(),
        prop::option::of(label()),
        prop::option::weighted(0.9, 0..3i32),
    );
    let data = data.prop_map(|(field, g, h, kind)| {
        let h = h.map_or(String::new(), |h| format!(", \"deep\": {{\"h\": {h}}}"));
        let kind = kind.map_or(String::new(), |kind| format!(", \"kind\": {kind}"));
        format!("{{{field}, \"g\": {g}{h}{kind}}}")
    });
    let event = (instant(about), 0..3i64, data, prop::bool::weighted(0.9));
    prop::collection::vec(event, 0..60).prop_map(|events| {
        let entry = |(seq, (occurred_at, ingested_day, data, ours))| Entry {
            event: OracleEvent {
                seq,
                id: format!("e{seq}"),
                occurred_at,
                event_type: if ours { "t" } else { "other" }.to_owned(),
                data,
            },
            ingested_day,
        };
        (1..).zip(events).map(entry).collect()
    })
}

const FILTER: &str = "data.kind > 0";

/// The same by hand. Without a kind it fails.
fn judge(data: &serde_json::Value) -> Option<bool> {
    data.get("kind").map(|kind| kind.as_i64().unwrap() > 0)
}

fn rule(operator: Operator, is_filtered: bool) -> Rule {
    let name = operator.as_str();
    let field = if operator.takes_field() {
        "\nfield: n"
    } else {
        ""
    };
    let filter = if is_filtered {
        &format!("\nfilter: {FILTER}")
    } else {
        ""
    };
    let text = format!("name: r\nsource_event: t\noperator: {name}{field}{filter}");
    Rule::from_yaml(&format!("{text}\ngroup_by: [g, deep.h]")).unwrap()
}

fn operator() -> impl Strategy<Value = Operator> {
    prop::sample::select(Operator::ALL.to_vec())
}

fn granularity() -> impl Strategy<Value = Granularity> {
    prop::sample::select(Granularity::NAMES.map(|(_, g)| g).to_vec())
}

fn grouping() -> impl Strategy<Value = Grouping> {
    let keep = prop_oneof![
        Just(None),
        Just(Some("a")),
        Just(Some("1")),
        Just(Some("none"))
    ];
    let by = prop::sample::subsequence(vec!["g", "/deep/h"], 0..=2);
    (
        by,
        prop::option::weighted(0.3, prop::collection::vec(keep, 1..3)),
    )
        .prop_map(|(by, keep)| {
            let path = |text: &str| aevon_core::json::Path::parse(text).unwrap();
            let mut grouping = Grouping {
                by: by.into_iter().map(path).collect(),
                ..Grouping::default()
            };
            for label in keep.into_iter().flatten() {
                grouping.keep(&path("g"), label.map(str::to_owned));
            }
            grouping
        })
}

fn question(zone: Zone, about: Timestamp) -> impl Strategy<Value = Question> {
    let bound = || prop::option::weighted(0.7, instant(about));
    let bounds = (bound(), bound());
    let fill = prop::sample::select(Fill::NAMES.map(|(_, fill)| fill).to_vec());
    let is_short = |question: &Question| {
        // Every minute of six days would be more than an answer may have.
        question.granularity != Granularity::Windows(Period::Minute)
            || matches!(question.range, Range { start: Some(s), end: Some(e) }
                if e.as_micros() - s.as_micros() < 400 * MINUTE_US)
    };
    let question = (bounds, granularity(), grouping(), fill, any::<bool>());
    let question = question.prop_map(
        move |((a, b), granularity, grouping, fill, is_cumulative)| {
            let mut range = match (a, b) {
                (Some(a), Some(b)) => Range {
                    start: Some(a.min(b)),
                    end: Some(a.max(b)),
                },
                (start, end) => Range { start, end },
            };
            if let (
                Range {
                    start: Some(s),
                    end: Some(e),
                },
                Granularity::Windows(Period::Minute),
            ) = (range, granularity)
            {
                range.end = Some(e.min(s.plus_micros(300 * MINUTE_US)));
            }
            let can_be_filled = granularity != Granularity::Total
                && matches!((range.start, range.end), (Some(_), Some(_)));
            Question {
                range,
                granularity,
                grouping,
                zone: zone.clone(),
                fill: if can_be_filled { fill } else { Fill::None },
                is_cumulative,
            }
        },
    );
    question.prop_filter("few enough windows", is_short)
}

fn place() -> impl Strategy<Value = (Zone, Timestamp)> {
    (0..places::COUNT).prop_map(places::place)
}

fn about_a_place() -> impl Strategy<Value = (Vec<Entry>, Question)> {
    place().prop_flat_map(|(zone, about)| (log(about), question(zone, about)))
}

fn partial(rule: &Rule, log: &[Entry]) -> Partial {
    let mut all = Partial::default();
    for entry in log {
        let subject = Subject::new(entry.as_log_event().fact);
        if let Some(one) = contribution(rule, &subject) {
            all.merge(rule.operator, &one);
        }
    }
    all
}

fn merged(operator: Operator, a: &Partial, b: &Partial) -> Partial {
    let mut a = a.clone();
    a.merge(operator, b);
    a
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn an_answer_equals_the_fold_of_the_log_wherever_it_was_swept(
        (log, question) in about_a_place(),
        operator in operator(),
        is_filtered: bool,
        cuts in prop::collection::vec(0usize..=60, 0..4),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(log.len())).collect();
        cuts.sort_unstable();
        // Values are carried on of what is latest.
        let operator = match question.fill {
            Fill::Previous => Operator::Latest,
            _ => operator,
        };
        let rule = rule(operator, is_filtered);
        let events: Vec<OracleEvent> = log.iter().map(|entry| entry.event.clone()).collect();
        let judge = if is_filtered { judge } else { oracle::everything };
        let expected = oracle::fold(&rule, judge, &events, &question);
        prop_assert_eq!(answer(&rule, &log, &cuts, &question), expected);
    }

    #[test]
    fn merging_is_associative_order_free_and_has_an_identity(
        log in log(BEGINNING),
        operator in operator(),
        (i, j) in (0usize..=60, 0usize..=60),
        order in Just((0..60usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let rule = rule(operator, false);
        let (i, j) = (i.min(j).min(log.len()), i.max(j).min(log.len()));
        let whole = partial(&rule, &log);
        let [a, b, c] = [&log[..i], &log[i..j], &log[j..]].map(|part| partial(&rule, part));
        let left = merged(operator, &merged(operator, &a, &b), &c);
        let right = merged(operator, &a, &merged(operator, &b, &c));
        prop_assert_eq!(&left, &whole);
        prop_assert_eq!(&right, &whole);
        prop_assert_eq!(merged(operator, &c, &merged(operator, &b, &a)), whole.clone());
        prop_assert_eq!(merged(operator, &whole, &Partial::default()), whole.clone());
        prop_assert_eq!(merged(operator, &Partial::default(), &whole), whole.clone());
        let shuffled: Vec<Entry> =
            order.iter().filter_map(|at| log.get(*at).cloned()).collect();
        prop_assert_eq!(partial(&rule, &shuffled), whole);
    }

    #[test]
    fn every_instant_lies_in_one_part_of_a_plan_and_an_edge_in_one_minute(
        (question, probes) in place().prop_flat_map(|(zone, about)| {
            (question(zone, about), prop::collection::vec(instant(about), 1..40))
        }),
    ) {
        let range = question.range;
        let Range { start: a, end: b } = range;
        let plan = Plan::new(&question);
        for edge in plan.edges.iter().chain(&plan.edges_before) {
            // But for times long ago, of a range without end, when clocks were not set by minutes.
            let is_long_ago = edge.start.is_none_or(|start| start < LAST_SECONDS);
            if a.zip(b).is_none() && !question.zone.is_utc() && is_long_ago {
                continue;
            }
            let (Some(start), Some(end)) = (edge.start, edge.end) else {
                return Err(TestCaseError::fail(format!("an edge without an end: {edge:?}")));
            };
            let last = end.plus_micros(-1);
            prop_assert_eq!(Grain::Minute.floor(start), Grain::Minute.floor(last));
        }
        let parts = |buckets: &[(Grain, Range)], edges: &[Range], at| {
            buckets.iter().filter(|(_, part)| part.contains(at)).count()
                + edges.iter().filter(|part| part.contains(at)).count()
        };
        for at in probes.into_iter().chain([a, b].into_iter().flatten()) {
            let inside = parts(&plan.buckets, &plan.edges, at);
            prop_assert_eq!(inside, usize::from(range.contains(at)));
            let before = parts(&plan.buckets_before, &plan.edges_before, at);
            let is_before = a.is_some_and(|a| at < a) && b.is_none_or(|b| at < b);
            prop_assert_eq!(before, usize::from(is_before));
        }
    }
}
