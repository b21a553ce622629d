//! What a sweep does with a slice of the log: folds it into deltas of buckets.

use crate::input::{FOLDED, Sample, rule, samples};
use crate::workload::Prepared;
use aevon_core::fold::{BucketKey, Delta, SliceFold};
use aevon_core::operator::Kept;
use aevon_core::rule::Rule;
use aevon_core::time::{DAY_US, Grain};
use std::collections::{BTreeMap, BTreeSet};

/// Events of a slice.
const SLICE: i64 = 2000;

/// The samples that rules fold.
fn folded(samples: &[Sample]) -> impl Iterator<Item = &Sample> {
    samples.iter().filter(|sample| sample.event_type == FOLDED)
}

/// A principal's day.
fn day(sample: &Sample) -> (i64, i64) {
    (sample.principal_no, sample.occurred_at.as_micros() / DAY_US)
}

/// The value that a delta holds.
fn value(delta: &Delta) -> u64 {
    match &delta.partial.kept {
        Kept::Amount(amount) => amount.as_integer().unwrap_or_default().unsigned_abs(),
        Kept::Distinct(set) => set.count(),
        _ => delta.partial.event_count.unsigned_abs(),
    }
}

/// Folds the samples' log once a turn; `weigh` says what of a day's delta is looked at.
fn fold_of(
    samples: Vec<Sample>,
    rules: Vec<Rule>,
    expected: u64,
    weigh: impl Fn(&BucketKey, &Delta) -> u64 + 'static,
) -> Prepared {
    Prepared::new(expected, move || {
        let mut fold = SliceFold::new(&rules);
        for sample in &samples {
            fold.add(&sample.in_log());
        }
        let folded = fold.finish();
        let days = folded
            .grains
            .iter()
            .filter(|(grain, _)| *grain == Grain::Day);
        let deltas = days.flat_map(|(_, deltas)| deltas);
        deltas.map(|(key, delta)| weigh(key, delta)).sum()
    })
}

/// Rules of four operators.
pub(crate) fn fold() -> Prepared {
    let samples = samples(SLICE);
    let (mut highest, mut users) = (BTreeMap::new(), BTreeSet::new());
    let (mut count, mut tokens) = (0, 0);
    for sample in folded(&samples) {
        count += 1;
        tokens += sample.tokens;
        let of_day = highest.entry(day(sample)).or_insert(0);
        *of_day = sample.tokens.max(*of_day);
        users.insert((day(sample), sample.user));
    }
    let expected = count + tokens + highest.values().sum::<i64>();
    let expected = expected.unsigned_abs() + users.len() as u64;
    let rules = vec![
        rule("count", ""),
        rule("sum", "field: tokens"),
        rule("max", "field: tokens"),
        rule("unique_count", "field: user"),
    ];
    fold_of(samples, rules, expected, |_, delta| value(delta))
}

/// A rule with two dimensions, that keeps what is not grouped as well.
pub(crate) fn fold_grouped() -> Prepared {
    let samples = samples(SLICE);
    let groups: BTreeSet<_> = folded(&samples)
        .map(|sample| (day(sample), sample.model, sample.region))
        .collect();
    let tokens: i64 = folded(&samples).map(|sample| sample.tokens).sum();
    // The tokens of the groups, the ungrouped ones twice, and each group.
    let expected = 3 * tokens.unsigned_abs() + groups.len() as u64;
    let rules = vec![rule("sum", "field: tokens\ngroup_by: [model, region]")];
    fold_of(samples, rules, expected, |key, delta| match key.group {
        0 => 2 * value(delta),
        _ => value(delta) + 1,
    })
}

/// A rule with a filter.
pub(crate) fn fold_filtered() -> Prepared {
    let samples = samples(SLICE);
    let admitted = folded(&samples).filter(|s| s.is_ok && s.tokens > 250 && s.region != "us");
    let expected: i64 = admitted.map(|sample| sample.tokens).sum();
    let filter = r#"data.status == "ok" && data.tokens > 250 && data.region in ["eu", "asia"]"#;
    let rules = vec![rule("sum", &format!("field: tokens\nfilter: '{filter}'"))];
    fold_of(samples, rules, expected.unsigned_abs(), |_, delta| {
        value(delta)
    })
}
