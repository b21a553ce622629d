//! The fold of the log: events into bucket deltas (for a sweep) or into an answer (for a read).
//!
//! Invariant: both use [`contribution`], so a bucket can't disagree with the tail.

use crate::filter::{Failed, Subject};
use crate::labels::Labels;
use crate::operator::{Kept, Partial};
use crate::position::Position;
use crate::rule::Rule;
use crate::time::{Grain, Timestamp};
use rustc_hash::{FxHashMap, FxHashSet};

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
    /// Whose: the number of a principal, or of a tenant.
    pub owner_no: i64,
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

/// What the voids of a slice did to a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoidMark {
    /// The last of them.
    pub void_seq: i64,
    /// Whether what is kept has to be folded anew, as the operator can't take events out.
    pub is_to_be_refolded: bool,
}

impl VoidMark {
    fn merge(&mut self, other: VoidMark) {
        self.void_seq = self.void_seq.max(other.void_seq);
        self.is_to_be_refolded |= other.is_to_be_refolded;
    }
}

/// The buckets that voids changed.
pub type VoidedBuckets = FxHashMap<BucketKey, VoidMark>;

/// Whose totals a slice adds to beside the principals' own: those of their tenants, for some rules.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// The number of a principal's tenant.
    pub tenants: FxHashMap<i64, i64>,
    /// Of each rule of the set whether it keeps them; none of them, where it is empty.
    pub is_kept: Vec<bool>,
}

impl Totals {
    /// The bucket of the tenant that a principal's bucket is a part of.
    pub fn of(&self, key: &BucketKey) -> Option<BucketKey> {
        let is_kept = self.is_kept.get(key.rule as usize).copied();
        let tenant_no = self.tenants.get(&key.owner_no).copied();
        let tenant_no = tenant_no.filter(|_| is_kept.unwrap_or(false))?;
        Some(BucketKey {
            owner_no: tenant_no,
            ..*key
        })
    }
}

/// The fold of a slice.
#[derive(Debug)]
pub struct Folded {
    /// The deltas of every grain, finest first. Hours and days are derived from the minutes.
    pub grains: [(Grain, Deltas); 3],
    /// The labels of each group. The first has none: it stands for a rule's ungrouped series, which
    /// is kept beside the groups.
    pub groups: Vec<Labels>,
    /// What voids changed, by grain, as above. The deltas hold what could be taken out.
    pub voided: [(Grain, VoidedBuckets); 3],
    /// How many times a rule could not use an event.
    pub skipped: i64,
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
    voids: Vec<Void>,
    skipped: i64,
}

/// What a void does to one rule.
#[derive(Debug)]
struct Void {
    seq: i64,
    /// The ungrouped minute of its target.
    key: BucketKey,
    /// The group of its target, where the rule has groups.
    group: Option<Labels>,
    /// What takes its target out.
    delta: Delta,
    /// Whether its target entered a value that it can't be taken out of.
    is_to_be_refolded: bool,
}

/// Most buckets of a minute, and values in sets, that a slice may hold before it has to end: with
/// the hours and days that come of them, and on their way to Postgres, about 1 KB each. Totals of
/// tenants come on top: few where tenants have many principals, as many again at most.
const MAX_HELD: usize = 150_000;

impl<'r> SliceFold<'r> {
    /// An empty fold.
    pub fn new(rules: &'r [Rule]) -> Self {
        Self::of_some(rules, |_| true)
    }

    /// An empty fold of some of the rules, which keep their indexes.
    pub fn of_some(rules: &'r [Rule], is_wanted: impl Fn(&Rule) -> bool) -> Self {
        let mut by_type: FxHashMap<&str, Vec<u32>> = FxHashMap::default();
        for (index, rule) in (0..).zip(rules).filter(|(_, rule)| is_wanted(rule)) {
            by_type.entry(&rule.source_event).or_default().push(index);
        }
        Self {
            rules,
            by_type,
            minutes: FxHashMap::default(),
            groups: FxHashMap::from_iter([(Labels::default(), 0)]),
            set_values: 0,
            voids: Vec::new(),
            skipped: 0,
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

    /// How many buckets of minutes it holds, and changes of voids.
    pub fn len(&self) -> usize {
        self.minutes.len() + self.voids.len()
    }

    /// True where it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The principals, each once, that have events or voids in it for any of these rules.
    pub fn principal_nos(&self, is_wanted: impl Fn(u32) -> bool) -> Vec<i64> {
        let voided = self.voids.iter().map(|void| &void.key);
        let keys = self.minutes.keys().chain(voided);
        let wanted = keys.filter(|key| is_wanted(key.rule));
        let nos: FxHashSet<i64> = wanted.map(|key| key.owner_no).collect();
        nos.into_iter().collect()
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
            self.skipped += partial.skipped_count;
            let (key, delta) = minute_of(event, index, partial);
            if !rule.group_by.is_empty() {
                let labels = Labels::of(&rule.group_by, event.fact.data);
                let group = number(&mut self.groups, labels);
                let key = BucketKey { group, ..key };
                merge_into(&mut self.minutes, rule, key, delta.clone());
            }
            merge_into(&mut self.minutes, rule, key, delta);
        }
    }

    /// Takes a void in: the event that it voids goes out again, whether it came with this slice or
    /// an earlier one.
    pub fn void(&mut self, void_seq: i64, target: &LogEvent<'_>) {
        self.mark(void_seq, target, |partial, rule| {
            let is_to_be_refolded = partial.event_count > 0 && !rule.operator.is_reversible();
            (partial.reversed(rule.operator), is_to_be_refolded)
        });
    }

    /// Takes in an event that did not come before and that a void has taken out: its buckets stand
    /// without it.
    pub fn add_voided(&mut self, void_seq: i64, event: &LogEvent<'_>) {
        self.mark(void_seq, event, |_, _| (Partial::default(), false));
    }

    /// Notes what a void does to the buckets of its target: what is added, and whether they have to
    /// be folded anew.
    fn mark(
        &mut self,
        void_seq: i64,
        target: &LogEvent<'_>,
        change: impl Fn(&Partial, &Rule) -> (Partial, bool),
    ) {
        let Some(concerned) = self.by_type.get(target.fact.event_type) else {
            return;
        };
        let subject = Subject::new(target.fact);
        for &index in concerned {
            let rule = &self.rules[index as usize];
            let Some(partial) = contribution(rule, &subject) else {
                continue;
            };
            let (partial, is_to_be_refolded) = change(&partial, rule);
            let (key, delta) = minute_of(target, index, partial);
            let is_grouped = !rule.group_by.is_empty();
            self.voids.push(Void {
                seq: void_seq,
                key,
                group: is_grouped.then(|| Labels::of(&rule.group_by, target.fact.data)),
                delta,
                is_to_be_refolded,
            });
        }
    }

    /// Applies the voids up to `end`; the minutes that they change.
    fn apply_voids(&mut self, end: i64) -> VoidedBuckets {
        let mut voided = VoidedBuckets::default();
        for void in self.voids.drain(..).filter(|void| void.seq <= end) {
            let rule = &self.rules[void.key.rule as usize];
            let group = void.group.map(|labels| BucketKey {
                group: number(&mut self.groups, labels),
                ..void.key
            });
            for key in std::iter::once(void.key).chain(group) {
                voided.entry(key).or_default().merge(VoidMark {
                    void_seq: void.seq,
                    is_to_be_refolded: void.is_to_be_refolded,
                });
                merge_into(&mut self.minutes, rule, key, void.delta.clone());
            }
        }
        voided
    }

    /// Adds the principals' minutes up to those of their tenants.
    fn add_totals(&mut self, voided: &mut VoidedBuckets, totals: &Totals) {
        let mut minutes = FxHashMap::default();
        for (key, delta) in &self.minutes {
            if let Some(total) = totals.of(key) {
                let rule = &self.rules[key.rule as usize];
                merge_into(&mut minutes, rule, total, delta.clone());
            }
        }
        self.minutes.extend(minutes);
        let of_tenants = voided
            .iter()
            .filter_map(|(key, mark)| Some((totals.of(key)?, *mark)));
        let of_tenants: Vec<(BucketKey, VoidMark)> = of_tenants.collect();
        for (key, mark) in of_tenants {
            voided.entry(key).or_default().merge(mark);
        }
    }

    /// The deltas and their groups, without totals.
    pub fn finish(self) -> Folded {
        self.finish_at(i64::MAX, &Totals::default())
    }

    /// The same, with totals, of a slice that ends at `end`: the voids that lie above it are left
    /// out.
    pub fn finish_at(mut self, end: i64, totals: &Totals) -> Folded {
        let mut of_minutes = self.apply_voids(end);
        self.add_totals(&mut of_minutes, totals);
        let (mut of_hours, mut of_days) = (VoidedBuckets::default(), VoidedBuckets::default());
        for (key, mark) in &of_minutes {
            of_hours.entry(hour_of(key)).or_default().merge(*mark);
            of_days.entry(day_of(key)).or_default().merge(*mark);
        }
        let mut hours = FxHashMap::default();
        let mut days = FxHashMap::default();
        for (key, delta) in &self.minutes {
            let rule = &self.rules[key.rule as usize];
            merge_into(&mut hours, rule, hour_of(key), delta.clone());
            merge_into(&mut days, rule, day_of(key), delta.clone());
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
            voided: [
                (Grain::Minute, of_minutes),
                (Grain::Hour, of_hours),
                (Grain::Day, of_days),
            ],
            skipped: self.skipped,
        }
    }
}

/// What an event, or its void, does to the ungrouped minute of a rule.
fn minute_of(event: &LogEvent<'_>, rule: u32, partial: Partial) -> (BucketKey, Delta) {
    let seq = event.fact.position.seq;
    let delta = Delta {
        partial,
        first_seq: seq,
        last_seq: seq,
    };
    let key = BucketKey {
        rule,
        group: 0,
        owner_no: event.principal_no,
        window_start: Grain::Minute.floor(event.fact.occurred_at),
        epoch: event.ingested_at.utc_day(),
    };
    (key, delta)
}

/// The number of a group; a new one gets the next.
fn number(groups: &mut FxHashMap<Labels, u32>, labels: Labels) -> u32 {
    // A slice has fewer groups than four billion: it has fewer events.
    let next = groups.len() as u32;
    *groups.entry(labels).or_insert(next)
}

fn hour_of(minute: &BucketKey) -> BucketKey {
    BucketKey {
        window_start: Grain::Hour.floor(minute.window_start),
        ..*minute
    }
}

fn day_of(minute: &BucketKey) -> BucketKey {
    BucketKey {
        window_start: Grain::Day.floor(minute.window_start),
        epoch: 0,
        ..*minute
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
