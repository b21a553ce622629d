//! What a read does: plans where its parts come from, merges them, and shows what came of it.

use crate::input::{FOLDED, PARTITION, START, mix, rule, samples, weigh};
use crate::workload::Prepared;
use aevon_core::calendar::{Period, Zone};
use aevon_core::filter::Subject;
use aevon_core::labels::{Grouping, Labels};
use aevon_core::operator::{Operator, Partial};
use aevon_core::position::Position;
use aevon_core::state::{Answer, Granularity, Plan, Question, Range, Value};
use aevon_core::time::{DAY_US, HOUR_US, MINUTE_US, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

const POSITION: Position = Position {
    partition: PARTITION,
    seq: 1,
};
/// Groups of a bucket's hour.
const GROUPS: u64 = 5;
const MONTH_HOURS: i64 = 31 * 24;

fn question(start: i64, end: i64, granularity: Granularity, zone: &str) -> Question {
    Question {
        range: Range {
            start: Some(START.plus_micros(start)),
            end: Some(START.plus_micros(end)),
        },
        granularity,
        zone: Zone::named(zone).expect("a zone of the database"),
        ..Question::default()
    }
}

fn month(period: Period) -> Question {
    let granularity = Granularity::Windows(period);
    question(0, MONTH_HOURS * HOUR_US, granularity, "UTC")
}

/// Microseconds of a range that has both its ends.
fn length(range: &Range) -> u64 {
    let micros = |at: Option<Timestamp>| at.map_or(0, Timestamp::as_micros);
    micros(range.end).abs_diff(micros(range.start))
}

/// A year and an odd end on either side, of clocks whose windows straddle buckets and of those whose
/// do not.
pub(crate) fn plan() -> Prepared {
    let (start, end) = (7 * MINUTE_US + 11, 365 * DAY_US + 23 * MINUTE_US + 5);
    let windows = Granularity::Windows;
    let questions = [
        question(start, end, Granularity::Total, "UTC"),
        question(start, end, windows(Period::Minute), "UTC"),
        question(start, end, windows(Period::Day), "Asia/Kolkata"),
        question(start, end, windows(Period::Week), "Europe/Berlin"),
        question(start, end, windows(Period::Hour), "Australia/Lord_Howe"),
    ];
    // The parts of each tile its range.
    let expected = questions
        .iter()
        .map(|question| length(&question.range))
        .sum();
    Prepared::new(expected, move || {
        let tiled = |question: &Question| {
            let plan = Plan::new(question);
            let buckets = plan.buckets.iter().map(|(_, range)| length(range));
            buckets.chain(plan.edges.iter().map(length)).sum::<u64>()
        };
        questions.iter().map(tiled).sum()
    })
}

/// A bucket of one event.
fn bucket(operator: Operator, raw: &str, at: Timestamp) -> Partial {
    Partial::of(operator, Some(raw), at, POSITION)
}

/// The sum of an answer's values, which are integers.
fn sum(operator: Operator, values: &[Value]) -> u64 {
    let amount = |value: &Value| {
        value
            .partial
            .amount(operator, value.window_end)?
            .as_integer()
    };
    values
        .iter()
        .filter_map(amount)
        .map(i64::unsigned_abs)
        .sum()
}

/// The hours of a month, of five groups each, as days by group.
pub(crate) fn merge_amounts() -> Prepared {
    let rule = rule("sum", "field: tokens\ngroup_by: [model]");
    let mut question = month(Period::Day);
    question.grouping.by.clone_from(&rule.group_by);
    let (mut buckets, mut expected) = (Vec::new(), 0);
    for hour in 0..MONTH_HOURS {
        let at = START.plus_micros(hour * HOUR_US);
        for group in 0..GROUPS {
            let tokens = mix(hour.unsigned_abs() * GROUPS + group) % 1_000_000;
            expected += tokens;
            let labels = Labels(vec![Some(format!("m-{group}"))]);
            buckets.push((at, labels, bucket(rule.operator, &tokens.to_string(), at)));
        }
    }
    let plan = Plan::new(&question);
    Prepared::new(expected, move || {
        let mut answer = Answer::new(&rule, &question, &plan, 0);
        for (at, labels, partial) in &buckets {
            answer.add_bucket(*at, labels, partial);
        }
        let values = answer.finish().unwrap_or_default();
        sum(rule.operator, &values)
    })
}

/// Days' sets of users, a few hundred each, as one of a month: exact first, then an estimate.
pub(crate) fn merge_sets() -> Prepared {
    let rule = rule("unique_count", "field: user");
    let question = Question {
        granularity: Granularity::Total,
        ..month(Period::Day)
    };
    let (mut days, mut backward) = (Vec::new(), Partial::default());
    let mut users = BTreeSet::new();
    for day in 0..31 {
        let at = START.plus_micros(day * DAY_US);
        let mut set = Partial::default();
        for n in 0..300 {
            let user = mix(day.unsigned_abs() * 300 + n) % 4000;
            users.insert(user);
            set.merge(rule.operator, &bucket(rule.operator, &user.to_string(), at));
        }
        days.push((at, set));
    }
    // The same set, whatever the order, and near to what there is.
    for (_, set) in days.iter().rev() {
        backward.merge(rule.operator, set);
    }
    let count = |partial: &Partial| {
        let count = partial.amount(Operator::UniqueCount, None);
        count
            .and_then(|count| count.as_integer())
            .unwrap_or_default()
            .unsigned_abs()
    };
    let (expected, exact) = (count(&backward), users.len() as u64);
    assert!(
        expected.abs_diff(exact) * 20 < exact,
        "{expected} for {exact} users"
    );
    let plan = Plan::new(&question);
    Prepared::new(expected, move || {
        let mut answer = Answer::new(&rule, &question, &plan, 0);
        for (at, set) in &days {
            answer.add_bucket(*at, &Labels::default(), set);
        }
        let values = answer.finish().unwrap_or_default();
        values.iter().map(|value| count(&value.partial)).sum()
    })
}

/// Two thousand events behind the checkpoint, as hours by region, of a rule with two dimensions.
pub(crate) fn answer_tail() -> Prepared {
    let samples = samples(2000);
    let rule = rule("sum", "field: tokens\ngroup_by: [model, region]");
    let mut question = month(Period::Hour);
    let region = rule.group_by.iter().filter(|path| path.short() == "region");
    question.grouping = Grouping {
        by: region.cloned().collect(),
        keep: BTreeMap::new(),
    };
    let plan = Plan::new(&question);
    let folded = samples.iter().filter(|sample| sample.event_type == FOLDED);
    let expected: i64 = folded.map(|sample| sample.tokens).sum();
    Prepared::new(expected.unsigned_abs(), move || {
        let mut answer = Answer::new(&rule, &question, &plan, 0);
        for sample in &samples {
            answer.add_event(&Subject::new(sample.in_log().fact));
        }
        let values = answer.finish().unwrap_or_default();
        sum(rule.operator, &values)
    })
}

/// The values of an answer by the hour, and their windows, as text.
pub(crate) fn show() -> Prepared {
    let (mut values, mut texts) = (Vec::new(), Vec::new());
    for hour in 0..MONTH_HOURS {
        let hundredths = 1 + mix(hour.unsigned_abs()) % 10_000_000;
        let (whole, rest) = (hundredths / 100, hundredths % 100);
        let raw = format!("{whole}.{rest:02}");
        let (start, end) = (hour * HOUR_US, (hour + 1) * HOUR_US);
        values.push(Value {
            window_start: Some(START.plus_micros(start)),
            window_end: Some(START.plus_micros(end)),
            group: Labels::default(),
            partial: bucket(Operator::Sum, &raw, START),
        });
        let shown = match rest {
            0 => whole.to_string(),
            _ => raw.trim_end_matches('0').to_owned(),
        };
        let (day, hour) = (1 + hour / 24, hour % 24);
        texts.push(format!("2026-01-{day:02}T{hour:02}:00:00Z {shown}"));
    }
    let expected = texts.iter().fold(0, |sum, text| weigh(sum, text));
    Prepared::new(expected, move || {
        values.iter().fold(0, |sum, value| {
            let start = value.window_start.unwrap_or(START);
            let shown = value.shown(Operator::Sum).value.unwrap_or_default();
            weigh(sum, &format!("{start} {shown}"))
        })
    })
}
