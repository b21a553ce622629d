//! The fold of the log: events into bucket deltas (for a sweep) or into an answer (for a read).
//!
//! Invariant: both use [`contribution`], so a bucket can't disagree with the tail.

use crate::filter::{Failed, Subject};
use crate::labels::Labels;
use crate::operator::{Kept, Partial};
use crate::position::Position;
use crate::rule::Rule;
use crate::time::{Grain, Timestamp};
use rustc_hash::FxHashMap;

/// What a rule can see of an event. What only filters see may be empty or 0 where no rule has one.
#[derive(Clone, Copy, Debug)]
pub struct Fact<'e> {
    /// Its place in the log.
    pub position: Position,
    /// Valid time.
    pub occurred_at: Timestamp,
    /// What happened.
    pub event_type: &'e str,
    /// The version of the schema that it follows; 0 for none.
    pub schema_version: i32,
    /// Whose.
    pub principal_id: &'e str,
    /// A JSON object.
    pub data: &'e str,
    /// A JSON object.
    pub metadata: &'e str,
}

/// An event of the log as a sweep reads it.
#[derive(Clone, Copy, Debug)]
pub struct LogEvent<'e> {
    /// What rules can see.
    pub fact: Fact<'e>,
    /// Whose.
    pub principal_no: i64,
    /// Transaction time.
    pub ingested_at: Timestamp,
}

/// What one event adds to a rule; `None` where the rule does not concern it.
pub fn contribution(rule: &Rule, subject: &Subject<'_>) -> Option<Partial> {
    let fact = &subject.fact;
    if rule.source_event != fact.event_type {
        return None;
    }
    match rule.filter.as_ref().map(|filter| filter.admits(subject)) {
        None | Some(Ok(true)) => {}
        Some(Ok(false)) => return None,
        Some(Err(Failed)) => return Some(Partial::skipped()),
    }
    let raw = rule.field.as_ref().and_then(|path| path.find(fact.data));
    Some(Partial::of(
        rule.operator,
        raw,
        fact.occurred_at,
        fact.position,
    ))
}

/// Which bucket a delta belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketKey {
    /// Index of the rule in the set folded.
    pub rule: u32,
    /// Index of the group in [`Folded::groups`].
    pub group: u32,
    /// Whose.
    pub principal_no: i64,
    /// Start of the window.
    pub window_start: Timestamp,
    /// UTC day of ingestion; 0 for days, which are kept in one row.
    pub epoch: i32,
}

/// What a slice adds to one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The fold of the slice's events in the window.
    pub partial: Partial,
    /// The first of them.
    pub first_seq: i64,
    /// The last of them.
    pub last_seq: i64,
}

impl Delta {
    /// Takes another one in.
    pub fn merge(&mut self, rule: &Rule, other: &Delta) {
        self.partial.merge(rule.operator, &other.partial);
        self.first_seq = self.first_seq.min(other.first_seq);
        self.last_seq = self.last_seq.max(other.last_seq);
    }
}

/// The deltas of one grain, in no order.
pub type Deltas = Vec<(BucketKey, Delta)>;

/// The fold of a slice.
#[derive(Debug)]
pub struct Folded {
    /// The deltas of every grain, finest first. Hours and days are derived from the minutes.
    pub grains: [(Grain, Deltas); 3],
    /// The labels of each group. The first has none: it stands for a rule's ungrouped series, which
    /// is kept beside the groups.
    pub groups: Vec<Labels>,
}

impl Folded {
    /// How many times a rule could not use an event.
    pub fn skipped(&self) -> i64 {
        // Every event is in one minute of an ungrouped series.
        let minutes = self.grains[0].1.iter();
        let ungrouped = minutes.filter(|(key, _)| key.group == 0);
        ungrouped
            .map(|(_, delta)| delta.partial.skipped_count)
            .sum()
    }
}

/// Folds a slice of one partition for a set of rules.
#[derive(Debug)]
pub struct SliceFold<'r> {
    rules: &'r [Rule],
    by_type: FxHashMap<&'r str, Vec<u32>>,
    minutes: FxHashMap<BucketKey, Delta>,
    groups: FxHashMap<Labels, u32>,
    /// Values that went into sets of them.
    set_values: usize,
}

/// Most buckets of a minute, and values in sets, that a slice may hold before it has to end: with
/// the hours and days that come of them, and on their way to Postgres, about 1 KB each.
const MAX_HELD: usize = 150_000;

impl<'r> SliceFold<'r> {
    /// An empty fold.
    pub fn new(rules: &'r [Rule]) -> Self {
        let mut by_type: FxHashMap<&str, Vec<u32>> = FxHashMap::default();
        for (index, rule) in (0..).zip(rules) {
            by_type.entry(&rule.source_event).or_default().push(index);
        }
        Self {
            rules,
            by_type,
            minutes: FxHashMap::default(),
            groups: FxHashMap::from_iter([(Labels::default(), 0)]),
            set_values: 0,
        }
    }

    /// True where the slice should end, whatever its length: many rules or groups make many buckets
    /// of few events.
    pub fn is_full(&self) -> bool {
        self.minutes.len() + self.set_values > MAX_HELD
    }

    /// The event types that any rule reads.
    pub fn event_types(&self) -> Vec<&'r str> {
        self.by_type.keys().copied().collect()
    }

    /// How many buckets of minutes it holds.
    pub fn len(&self) -> usize {
        self.minutes.len()
    }

    /// True where it holds none.
    pub fn is_empty(&self) -> bool {
        self.minutes.is_empty()
    }

    /// Takes one event in.
    pub fn add(&mut self, event: &LogEvent<'_>) {
        let Some(concerned) = self.by_type.get(event.fact.event_type) else {
            return;
        };
        let subject = Subject::new(event.fact);
        for &index in concerned {
            let rule = &self.rules[index as usize];
            let Some(partial) = contribution(rule, &subject) else {
                continue;
            };
            self.set_values += usize::from(matches!(partial.kept, Kept::Distinct(_)));
            let seq = event.fact.position.seq;
            let delta = Delta {
                partial,
                first_seq: seq,
                last_seq: seq,
            };
            let key = BucketKey {
                rule: index,
                group: 0,
                principal_no: event.principal_no,
                window_start: Grain::Minute.floor(event.fact.occurred_at),
                epoch: event.ingested_at.utc_day(),
            };
            if !rule.group_by.is_empty() {
                let labels = Labels::of(&rule.group_by, event.fact.data);
                // A slice has fewer groups than four billion: it has fewer events.
                let next = self.groups.len() as u32;
                let group = *self.groups.entry(labels).or_insert(next);
                let key = BucketKey { group, ..key };
                merge_into(&mut self.minutes, rule, key, delta.clone());
            }
            merge_into(&mut self.minutes, rule, key, delta);
        }
    }

    /// The deltas and their groups.
    pub fn finish(self) -> Folded {
        let mut hours = FxHashMap::default();
        let mut days = FxHashMap::default();
        for (key, delta) in &self.minutes {
            let rule = &self.rules[key.rule as usize];
            let hour = BucketKey {
                window_start: Grain::Hour.floor(key.window_start),
                ..*key
            };
            merge_into(&mut hours, rule, hour, delta.clone());
            let day = BucketKey {
                window_start: Grain::Day.floor(key.window_start),
                epoch: 0,
                ..*key
            };
            merge_into(&mut days, rule, day, delta.clone());
        }
        let mut groups: Vec<(Labels, u32)> = self.groups.into_iter().collect();
        groups.sort_unstable_by_key(|(_, index)| *index);
        Folded {
            grains: [
                (Grain::Minute, self.minutes.into_iter().collect()),
                (Grain::Hour, hours.into_iter().collect()),
                (Grain::Day, days.into_iter().collect()),
            ],
            groups: groups.into_iter().map(|(labels, _)| labels).collect(),
        }
    }
}

fn merge_into(
    buckets: &mut FxHashMap<BucketKey, Delta>,
    rule: &Rule,
    key: BucketKey,
    delta: Delta,
) {
    match buckets.entry(key) {
        std::collections::hash_map::Entry::Occupied(mut entry) => {
            entry.get_mut().merge(rule, &delta)
        }
        std::collections::hash_map::Entry::Vacant(entry) => {
            entry.insert(delta);
        }
    }
}
