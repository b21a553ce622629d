//! Rows taken out hour by hour are those of one fold in the order of the log; every column counts.

use super::*;
use crate::amount::Amount;
use crate::fold::{Fact, LogEvent, SliceFold};
use crate::position::Position;
use crate::rule::Rule;
use crate::time::{DAY_US, HOUR_US, Timestamp};
use proptest::prelude::*;
use std::sync::Arc;

const RULES: [&str; 5] = [
    "operator: count\ngroup_by: [m]",
    "operator: latest\nfield: n",
    "operator: unique_count\nfield: n",
    "operator: weighted_sum\nfield: n",
    "operator: sum\nfield: n\nfilter: data.n > 2",
];

fn rules() -> Vec<Rule> {
    let rule = |(n, text): (usize, &&str)| {
        Rule::from_yaml(&format!("name: r{n}\nsource_event: t\n{text}")).unwrap()
    };
    RULES.iter().enumerate().map(rule).collect()
}

#[derive(Debug)]
struct Logged {
    principal_no: i64,
    seq: i64,
    at: Timestamp,
    data: String,
    void_seq: Option<i64>,
}

impl Logged {
    fn event(&self) -> LogEvent<'_> {
        LogEvent {
            fact: Fact {
                position: Position {
                    partition: 1,
                    seq: self.seq,
                },
                occurred_at: self.at,
                event_type: "t",
                schema_version: 0,
                principal_id: "p",
                data: &self.data,
                metadata: "{}",
            },
            principal_no: self.principal_no,
            ingested_at: Timestamp::from_micros(self.seq * HOUR_US),
        }
    }
}

fn log() -> impl Strategy<Value = Vec<Logged>> {
    let voided_after = prop::option::weighted(0.2, 1..60_i64);
    let event = (
        1..4_i64,
        -DAY_US..2 * DAY_US,
        0..5_u32,
        0..3_u32,
        voided_after,
    );
    prop::collection::vec(event, 0..120).prop_map(|events| {
        let logged = |(seq, (principal_no, at, n, m, voided_after))| Logged {
            principal_no,
            seq,
            at: Timestamp::from_micros(at),
            data: format!("{{\"n\":{n},\"m\":\"m{m}\"}}"),
            void_seq: Option::map(voided_after, |after: i64| seq + after),
        };
        (1..).zip(events).map(logged).collect()
    })
}

/// The rows of each rule as sweeps would make them from nothing, in the order of the log.
fn swept(rules: &[Rule], checkpoints: &[i64], log: &[Logged]) -> Rows {
    let mut rows = Rows::default();
    for (rule, (of_rule, checkpoint)) in rules.iter().zip(checkpoints).enumerate() {
        let mut fold = SliceFold::new(std::slice::from_ref(of_rule));
        for logged in log.iter().filter(|logged| logged.seq <= *checkpoint) {
            match logged.void_seq.filter(|void_seq| void_seq <= checkpoint) {
                None => fold.add(&logged.event()),
                Some(void_seq) => fold.add_voided(void_seq, &logged.event()),
            }
        }
        let folded = fold.finish();
        for ((grain, deltas), (_, voided)) in folded.grains.into_iter().zip(folded.voided) {
            let groups = &folded.groups;
            rows.extend(deltas.into_iter().map(|(key, delta)| {
                let row = Row {
                    principal_no: key.owner_no,
                    rule: u32::try_from(rule).unwrap(),
                    labels: Arc::new(groups[key.group as usize].clone()),
                    grain,
                    window_start: key.window_start,
                    epoch: key.epoch,
                };
                let last_void_seq = voided.get(&key).map(|mark| mark.void_seq);
                (
                    row,
                    Ought {
                        delta,
                        last_void_seq,
                    },
                )
            }));
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn rows_taken_hour_by_hour_are_those_of_one_fold_of_the_log(
        mut log in log(),
        mut checkpoints in prop::collection::vec(1..130_i64, RULES.len()),
        every in 1..6_usize,
    ) {
        let rules = rules();
        checkpoints.sort_unstable();
        let expected = swept(&rules, &checkpoints, &log);
        log.sort_by_key(|logged| (logged.principal_no, logged.at, logged.seq));
        let mut refold = Refold::new(&rules, &checkpoints);
        let (mut rows, mut at, mut hours) = (Rows::default(), None, 0);
        for logged in &log {
            let event = logged.event();
            let next = Mark {
                principal_no: logged.principal_no,
                hour: crate::time::Grain::Hour.floor(logged.at),
            };
            if at != Some(next) {
                hours += 1;
                if hours % every == 0 {
                    for (row, delta) in refold.take(Some(next)) {
                        prop_assert!(rows.insert(row, delta).is_none(), "taken out once");
                    }
                }
            }
            at = Some(next);
            refold.add(&event, logged.void_seq);
        }
        for (row, delta) in refold.take(None) {
            prop_assert!(rows.insert(row, delta).is_none(), "taken out once");
        }
        prop_assert_eq!(rows, expected);
    }
}

fn stored(rules: &[Rule], log: &[Logged]) -> (Rows, Vec<Stored>) {
    let checkpoints = vec![i64::MAX; rules.len()];
    let rows = swept(rules, &checkpoints, log);
    let stored = |(
        row,
        Ought {
            delta,
            last_void_seq,
        },
    ): (&Row, &Ought)| Stored {
        row: row.clone(),
        operator: rules[row.rule as usize].operator.code(),
        event_count: delta.partial.event_count,
        skipped_count: delta.partial.skipped_count,
        first_seq: delta.first_seq,
        last_seq: delta.last_seq,
        last_void_seq: *last_void_seq,
        columns: delta.partial.kept.to_columns(),
    };
    let mut all: Vec<Stored> = rows.iter().map(stored).collect();
    all.sort_by(|a, b| a.row.cmp(&b.row));
    (rows, all)
}

fn one_event() -> Vec<Logged> {
    vec![Logged {
        principal_no: 1,
        seq: 7,
        at: Timestamp::from_micros(HOUR_US),
        data: "{\"n\":3,\"m\":\"m1\"}".to_owned(),
        void_seq: None,
    }]
}

#[test]
fn a_difference_in_any_column_of_any_row_is_named() {
    type Change = fn(&mut Stored);
    let changes: [(&str, Change); 12] = [
        ("operator", |row| row.operator = 9),
        ("event_count", |row| row.event_count += 1),
        ("skipped_count", |row| row.skipped_count += 1),
        ("value", |row| row.columns.value = Some(Amount::from(99))),
        ("latest_at", |row| {
            row.columns.latest_at = row.columns.latest_at.map(|at| at.plus_micros(1));
        }),
        ("latest_seq", |row| {
            row.columns.latest_seq = row.columns.latest_seq.map(|seq| seq + 1);
        }),
        ("moment", |row| row.columns.moment = Some(Amount::from(99))),
        ("sketch", |row| row.columns.sketch = Some(vec![1, 2, 3])),
        ("first_seq", |row| row.first_seq -= 1),
        ("last_seq", |row| row.last_seq += 1),
        ("last_void_seq", |row| row.last_void_seq = Some(9)),
        ("row", |row| row.row.epoch += 1),
    ];
    let rules = rules();
    let (rows, all) = stored(&rules, &one_event());
    for (column, change) in changes {
        for at in 0..all.len() {
            let mut all = all.clone();
            change(&mut all[at]);
            let is_changed = all[at] != stored(&rules, &one_event()).1[at];
            let mut comparison = Comparison::new(&rules, rows.clone());
            all.into_iter().for_each(|row| comparison.compare(row));
            let found = comparison.finish();
            let first = found.first.map(|first| first.column);
            // A row that is another one is surplus there and missing here.
            let differences = if column == "row" {
                2
            } else {
                u64::from(is_changed)
            };
            assert_eq!(found.differences, differences, "{column} of row {at}");
            assert_eq!(first, is_changed.then_some(column), "row {at}");
        }
    }
}

#[test]
fn missing_and_surplus_rows_are_described_and_the_first_in_order_is_named() {
    let rules = rules();
    let (rows, all) = stored(&rules, &one_event());
    let findings = Comparison::new(&rules, rows.clone()).finish();
    assert_eq!((findings.buckets, findings.differences), (0, 18));
    let first = findings.first.unwrap();
    assert_eq!((first.row, first.column), (all[0].row.clone(), "row"));
    assert_eq!(first.stored, "none");
    assert_eq!(first.folded, "event_count 1, first_seq 7, last_seq 7");
    let mut comparison = Comparison::new(&rules, Rows::default());
    all.iter().cloned().for_each(|row| comparison.compare(row));
    let findings = comparison.finish();
    assert_eq!((findings.buckets, findings.differences), (18, 18));
    assert_eq!(findings.first.unwrap().folded, "none");
    // Equal values count as equal however they are written.
    let mut comparison = Comparison::new(&rules, rows);
    for mut row in all {
        if row.columns.value.is_some() {
            row.columns.value = Amount::parse("3.000");
        }
        comparison.compare(row);
    }
    assert_eq!(comparison.finish().differences, 0);
}
