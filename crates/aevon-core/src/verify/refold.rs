//! The rows that ought to stand, folded from nothing.

use super::Mark;
use crate::fold::{Delta, LogEvent, SliceFold};
use crate::labels::Labels;
use crate::rule::Rule;
use crate::time::{Grain, Timestamp};
use crate::verify::Row;
use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// From how many minutes' rows on they are compared, at the next end of an hour.
pub const FULL_ROWS: usize = 20_000;

/// What ought to stand in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ought {
    /// The fold of its events.
    pub delta: Delta,
    /// The last void that took one of them out.
    pub last_void_seq: Option<i64>,
}

/// Rows by what they are.
pub type Rows = FxHashMap<Row, Ought>;

/// The fold of principals' events, one principal after the other, each in the order in which its
/// events occurred.
#[derive(Debug)]
pub struct Refold<'r> {
    rules: &'r [Rule],
    parts: Vec<Part<'r>>,
    /// Days that are not over.
    days: Rows,
    at: Option<Mark>,
}

/// Rules that stand at one checkpoint.
#[derive(Debug)]
struct Part<'r> {
    checkpoint: i64,
    /// Index of the first of them.
    first: u32,
    rules: &'r [Rule],
    fold: SliceFold<'r>,
}

impl<'r> Refold<'r> {
    /// An empty fold. The rules are given in the order of their checkpoints, with these.
    pub fn new(rules: &'r [Rule], checkpoints: &[i64]) -> Self {
        let (mut parts, mut first) = (Vec::new(), 0);
        for same in checkpoints.chunk_by(|a, b| a == b) {
            let rules = &rules[first..first + same.len()];
            parts.push(Part {
                checkpoint: same[0],
                // A table has fewer rules than four billion.
                first: first as u32,
                rules,
                fold: SliceFold::new(rules),
            });
            first += same.len();
        }
        Self {
            rules,
            parts,
            days: Rows::default(),
            at: None,
        }
    }

    /// The event types that any rule reads.
    pub fn event_types(&self) -> Vec<&'r str> {
        let mut types: Vec<&str> = self.rules.iter().map(|r| r.source_event.as_str()).collect();
        types.sort_unstable();
        types.dedup();
        types
    }

    /// The checkpoint that is furthest ahead; no event behind it is needed.
    pub fn last_checkpoint(&self) -> i64 {
        self.parts.last().map_or(0, |part| part.checkpoint)
    }

    /// Where rows are to be taken out before this event, which is the next: what lies before the
    /// mark is complete.
    pub fn due(&self, event: &LogEvent<'_>) -> Option<Mark> {
        let next = mark(event);
        let is_full = || self.parts.iter().map(|p| p.fold.len()).sum::<usize>() >= FULL_ROWS;
        (self.at != Some(next) && is_full()).then_some(next)
    }

    /// Takes one event in, for every rule whose buckets hold it, or held it until a void took it out.
    pub fn add(&mut self, event: &LogEvent<'_>, void_seq: Option<i64>) {
        self.at = Some(mark(event));
        let seq = event.fact.position.seq;
        for part in self.parts.iter_mut().filter(|p| seq <= p.checkpoint) {
            match void_seq.filter(|void_seq| *void_seq <= part.checkpoint) {
                None => part.fold.add(event),
                Some(void_seq) => part.fold.add_voided(void_seq, event),
            }
        }
    }

    /// The rows of what lies before a mark; all, without one.
    pub fn take(&mut self, until: Option<Mark>) -> Rows {
        let mut rows = Rows::default();
        for part in &mut self.parts {
            let fold = std::mem::replace(&mut part.fold, SliceFold::new(part.rules));
            let folded = fold.finish();
            let groups: Vec<Arc<Labels>> = folded.groups.into_iter().map(Arc::new).collect();
            for ((grain, deltas), (_, voided)) in folded.grains.into_iter().zip(folded.voided) {
                for (key, delta) in deltas {
                    let ought = Ought {
                        delta,
                        last_void_seq: voided.get(&key).map(|mark| mark.void_seq),
                    };
                    let row = Row {
                        principal_no: key.owner_no,
                        rule: part.first + key.rule,
                        labels: Arc::clone(&groups[key.group as usize]),
                        grain,
                        window_start: key.window_start,
                        epoch: key.epoch,
                    };
                    match grain {
                        Grain::Day => add_day(&mut self.days, self.rules, row, ought),
                        _ => {
                            rows.insert(row, ought);
                        }
                    }
                }
            }
        }
        let is_over = |row: &Row, _: &mut Ought| {
            until.is_none_or(|mark| {
                row.principal_no != mark.principal_no
                    || row.window_start < Grain::Day.floor(mark.hour)
            })
        };
        rows.extend(self.days.extract_if(is_over));
        rows
    }
}

fn mark(event: &LogEvent<'_>) -> Mark {
    let hour: Timestamp = Grain::Hour.floor(event.fact.occurred_at);
    Mark {
        principal_no: event.principal_no,
        hour,
    }
}

fn add_day(days: &mut Rows, rules: &[Rule], row: Row, ought: Ought) {
    let rule = &rules[row.rule as usize];
    match days.entry(row) {
        Entry::Occupied(mut entry) => {
            let stands = entry.get_mut();
            stands.delta.merge(rule, &ought.delta);
            stands.last_void_seq = stands.last_void_seq.max(ought.last_void_seq);
        }
        Entry::Vacant(entry) => {
            entry.insert(ought);
        }
    }
}
