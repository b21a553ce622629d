//! The fold of the log: events into bucket deltas (for a sweep) or into an answer (for a read).
//!
//! Invariant: both use [`contribution`], so a bucket can't disagree with the tail.

use crate::operator::Partial;
use crate::rule::Rule;
use crate::time::{Grain, Timestamp};
use rustc_hash::FxHashMap;

/// What a fold reads of one event of the log.
#[derive(Clone, Debug)]
pub struct LogEvent {
    /// Commit order within the partition.
    pub seq: i64,
    /// Whose.
    pub principal_no: i64,
    /// Valid time.
    pub occurred_at: Timestamp,
    /// Transaction time.
    pub ingested_at: Timestamp,
    /// What happened.
    pub event_type: String,
    /// A JSON object.
    pub data: String,
}

/// What one event adds to a rule; `None` where the rule does not concern it.
pub fn contribution(rule: &Rule, event_type: &str, data: &str) -> Option<Partial> {
    if rule.source_event != event_type {
        return None;
    }
    let value = rule
        .field
        .as_ref()
        .and_then(|path| path.find(data))
        .and_then(crate::json::usable_number);
    Some(Partial::of(rule.operator, value))
}

/// Which bucket a delta belongs to. Ordered as the rows are written, so that no two sweeps lock
/// the same rows in opposite orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketKey {
    /// Index of the rule in the set folded.
    pub rule: usize,
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
    fn merge(&mut self, rule: &Rule, other: &Delta) {
        self.partial.merge(rule.operator, &other.partial);
        self.first_seq = self.first_seq.min(other.first_seq);
        self.last_seq = self.last_seq.max(other.last_seq);
    }
}

/// The deltas of one grain, sorted by key.
pub type Deltas = Vec<(BucketKey, Delta)>;

/// Folds a slice of one partition for a set of rules.
#[derive(Debug)]
pub struct SliceFold<'r> {
    rules: &'r [Rule],
    by_type: FxHashMap<&'r str, Vec<usize>>,
    minutes: FxHashMap<BucketKey, Delta>,
}

impl<'r> SliceFold<'r> {
    /// An empty fold.
    pub fn new(rules: &'r [Rule]) -> Self {
        let mut by_type: FxHashMap<&str, Vec<usize>> = FxHashMap::default();
        for (index, rule) in rules.iter().enumerate() {
            by_type.entry(&rule.source_event).or_default().push(index);
        }
        Self {
            rules,
            by_type,
            minutes: FxHashMap::default(),
        }
    }

    /// The event types that any rule reads.
    pub fn event_types(&self) -> Vec<&'r str> {
        self.by_type.keys().copied().collect()
    }

    /// Takes one event in.
    pub fn add(&mut self, event: &LogEvent) {
        let Some(concerned) = self.by_type.get(event.event_type.as_str()) else {
            return;
        };
        for &index in concerned {
            let rule = &self.rules[index];
            let Some(partial) = contribution(rule, &event.event_type, &event.data) else {
                continue;
            };
            let key = BucketKey {
                rule: index,
                principal_no: event.principal_no,
                window_start: Grain::Minute.floor(event.occurred_at),
                epoch: event.ingested_at.utc_day(),
            };
            let delta = Delta {
                partial,
                first_seq: event.seq,
                last_seq: event.seq,
            };
            merge_into(&mut self.minutes, rule, key, delta);
        }
    }

    /// The deltas of every grain, finest first. Hours and days are derived from the minutes.
    pub fn finish(self) -> [(Grain, Deltas); 3] {
        let mut hours = FxHashMap::default();
        let mut days = FxHashMap::default();
        for (key, delta) in &self.minutes {
            let rule = &self.rules[key.rule];
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
        [
            (Grain::Minute, sorted(self.minutes)),
            (Grain::Hour, sorted(hours)),
            (Grain::Day, sorted(days)),
        ]
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

fn sorted(buckets: FxHashMap<BucketKey, Delta>) -> Deltas {
    let mut deltas: Deltas = buckets.into_iter().collect();
    deltas.sort_unstable_by_key(|(key, _)| *key);
    deltas
}
