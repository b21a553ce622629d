//! Exports: what is written is read back as it was, and of what was changed nothing is read to the end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aevon_core::export::{Erasure, Event, FORMAT, Head, Header, Line, Principal, Progress, Rule};
use aevon_core::identity::partition_of;
use aevon_core::time::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Partitions of the logs that are exported.
const PARTITIONS: i32 = 3;

/// An event of a log: whose, when it occurred, how much later than the one before it was ingested, its
/// texts, its data.
type Drawn = (Index, Timestamp, u32, (String, String), String);

fn instant() -> impl Strategy<Value = Timestamp> {
    // The years 1 to 9999.
    (-62_135_596_800_000_000_i64..253_402_300_800_000_000).prop_map(Timestamp::from_micros)
}

/// A document as the log has it: its digits and blanks stay.
fn document() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        "-?[1-9][0-9]{0,40}(\\.[0-9]{1,20})?(e-?[0-9]{1,2})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just("null".to_owned()),
        Just("[ 1.50, {\"a\" :\t{}} ]".to_owned()),
    ];
    prop::collection::vec((any::<String>(), value), 0..4).prop_map(|fields| {
        let field = |(name, value): &(String, String)| {
            format!("{}: {value}", serde_json::to_string(name).unwrap())
        };
        let fields: Vec<String> = fields.iter().map(field).collect();
        format!("{{{}}}", fields.join(" ,"))
    })
}

/// The lines of an export, without their ends: of rules, of an erasure, of principals, of their events.
fn export() -> impl Strategy<Value = Vec<String>> {
    let name = || prop_oneof![any::<String>(), "[a-z]{1,9}"];
    let event = (
        any::<Index>(),
        instant(),
        0..3_000_000_u32,
        (name(), name()),
        document(),
    );
    (
        prop::collection::vec((name(), document()), 0..3),
        prop::option::of((name(), instant())),
        prop::collection::btree_map(1..i64::MAX, (name(), name()), 1..6),
        prop::collection::vec(event, 0..12),
    )
        .prop_map(|(rules, erased, principals, events)| {
            write(&rules, erased.as_ref(), &principals, &events)
        })
}

fn write(
    rules: &[(String, String)],
    erased: Option<&(String, Timestamp)>,
    principals: &BTreeMap<i64, (String, String)>,
    drawn: &[Drawn],
) -> Vec<String> {
    let numbers: Vec<i64> = principals.keys().copied().collect();
    let partition = |number: &i64| {
        let (tenant, principal) = &principals[number];
        partition_of(tenant, principal, PARTITIONS)
    };
    // By partition, each in the order of ingestion.
    let mut logs: BTreeMap<i32, Vec<(i64, Timestamp, &Drawn)>> = BTreeMap::new();
    for event in drawn {
        let number = *event.0.get(&numbers);
        let log = logs.entry(partition(&number)).or_default();
        let last = log.last().map_or(Timestamp::from_micros(0), |last| last.1);
        log.push((number, last.plus_micros(event.2.into()), event));
    }
    let heads = logs.iter().map(|(partition, log)| Head {
        partition: *partition,
        seq: log.len() as i64,
        ingested_at: log.last().unwrap().1,
    });
    let mut lines = vec![
        Line::Export(Header {
            format: FORMAT,
            schema: "schema".to_owned(),
            partitions: PARTITIONS,
            heads: heads.collect(),
        })
        .text(),
    ];
    for (number, (name, definition)) in (1..).zip(rules) {
        let definition = RawValue::from_string(definition.clone()).unwrap();
        lines.push(
            Line::Rule(Rule {
                rule_no: number,
                name: name.into(),
                version: 1,
                status: "retired".into(),
                retired_at: (number == 2).then_some(Timestamp::from_micros(1)),
                fingerprint: "00".into(),
                definition: &definition,
            })
            .text(),
        );
    }
    lines.extend(erased.map(|(by, at)| {
        Line::Erasure(Erasure {
            erasure_no: 1,
            erased_at: *at,
            erased_by: by.into(),
            tenant_id: "acme".into(),
            pseudonym: (!by.is_empty()).then(|| by.into()),
            is_forced: true,
            events: 1,
            rejected: 0,
            last_seq: 1,
        })
        .text()
    }));
    for (number, (tenant_id, principal_id)) in principals {
        lines.push(
            Line::Principal(Principal {
                principal_no: *number,
                partition: partition(number),
                tenant_id: tenant_id.into(),
                principal_id: principal_id.into(),
            })
            .text(),
        );
    }
    for (partition, log) in &logs {
        for (seq, (number, ingested_at, drawn)) in (1..).zip(log) {
            let (_, occurred_at, _, (id, event_type), data) = drawn;
            let data = RawValue::from_string(data.clone()).unwrap();
            let voids = (seq > 1 && occurred_at.as_micros() % 2 == 0).then_some(seq - 1);
            lines.push(
                Line::Event(Event {
                    partition: *partition,
                    seq,
                    principal_no: *number,
                    occurred_at: *occurred_at,
                    ingested_at: *ingested_at,
                    schema_version: 0,
                    event_id: id.into(),
                    event_type: event_type.into(),
                    data: &data,
                    metadata: &data,
                    voids,
                    voids_occurred_at: voids.map(|_| *occurred_at),
                })
                .text(),
            );
        }
    }
    lines.iter_mut().for_each(|line| {
        line.pop();
    });
    let mut progress = Progress::default();
    for line in &lines {
        progress
            .take(line)
            .unwrap_or_else(|fault| panic!("{line} {fault}"));
    }
    lines.push(progress.end().text().trim_end().to_owned());
    lines
}

/// Whether all of it is read, to its last line, and nothing behind.
fn is_read(lines: &[String]) -> bool {
    let mut progress = Progress::default();
    let all = lines.iter().all(|line| progress.take(line).is_ok());
    all && progress.is_ended()
}

/// What may become of a file.
#[derive(Clone, Debug)]
enum Change {
    Lost(Index),
    Twice(Index),
    Swapped(Index, Index),
    BrokenOff(Index),
    /// Some characters of a line, by others.
    Edited(Index, Index, usize, String),
    /// A line between others.
    Added(Index, String),
}

fn change() -> impl Strategy<Value = Change> {
    let text = prop_oneof![any::<String>(), "[0-9{}\\[\\]\":, eE.-]{0,6}"];
    let index = any::<Index>;
    prop_oneof![
        index().prop_map(Change::Lost),
        index().prop_map(Change::Twice),
        (index(), index()).prop_map(|(one, other)| Change::Swapped(one, other)),
        index().prop_map(Change::BrokenOff),
        (index(), index(), 0..4_usize, text.clone())
            .prop_map(|(line, at, cut, text)| Change::Edited(line, at, cut, text)),
        (index(), text).prop_map(|(at, text)| Change::Added(at, text)),
    ]
}

impl Change {
    fn made(&self, lines: &[String]) -> Vec<String> {
        let mut made = lines.to_vec();
        let count = lines.len();
        match self {
            Self::Lost(at) => drop(made.remove(at.index(count))),
            Self::Twice(at) => made.insert(at.index(count), lines[at.index(count)].clone()),
            Self::Swapped(one, other) => made.swap(one.index(count), other.index(count)),
            Self::BrokenOff(at) => made.truncate(at.index(count)),
            Self::Edited(line, at, cut, text) => {
                let line = &mut made[line.index(count)];
                let chars: Vec<char> = line.chars().collect();
                let from = at.index(chars.len() + 1);
                let rest = chars.iter().skip(from + cut);
                *line = chars[..from]
                    .iter()
                    .chain(&text.chars().collect::<Vec<_>>())
                    .chain(rest)
                    .collect();
            }
            Self::Added(at, text) => made.insert(at.index(count + 1), text.clone()),
        }
        made
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_written_is_read_back_and_written_again_byte_by_byte(lines in export()) {
        let mut progress = Progress::default();
        for line in &lines {
            let read = progress.take(line);
            prop_assert_eq!(read.map(|read| read.text()), Ok(format!("{line}\n")));
        }
        prop_assert!(progress.is_ended());
        prop_assert_eq!(progress.counts().events, progress.header().unwrap().events() as u64);
    }

    #[test]
    fn of_what_was_changed_nothing_is_read_to_the_end(lines in export(), change in change()) {
        let made = change.made(&lines);
        // Blanks in the last line, which says nothing of itself.
        let (last, before) = (made.last(), made.len().saturating_sub(1));
        let is_same = made.len() == lines.len()
            && made[..before] == lines[..before]
            && last.map(|line| line.replace(' ', "")) == lines.last().cloned();
        prop_assert_eq!(is_read(&made), is_same, "{:?}", change);
    }

    #[test]
    fn rubbish_is_refused_with_a_reason(lines in prop::collection::vec(any::<String>(), 1..4)) {
        let mut progress = Progress::default();
        for line in &lines {
            let fault = progress.take(line).err();
            prop_assert!(fault.is_some_and(|fault| !fault.is_empty()));
        }
        prop_assert!(!progress.is_ended() && progress.header().is_none());
    }
}
