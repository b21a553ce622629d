//! How parts become the values of an answer.

use super::windows::{Folds, Seen};
use super::{
    Fill, Granularity, MAX_HELD_BYTES, MAX_VALUES, Plan, Question, Range, TooLarge, Value,
};
use crate::filter::Subject;
use crate::fold::{Fact, contribution};
use crate::labels::{Labels, Projection};
use crate::operator::Partial;
use crate::rule::Rule;
use crate::time::{Grain, Timestamp};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::RangeInclusive;

/// Spans of positions, by the labels of a series.
type SpansByLabels = FxHashMap<Labels, Vec<RangeInclusive<i64>>>;

/// One rule's answer in the making.
#[derive(Debug)]
pub struct Answer<'a> {
    rule: &'a Rule,
    question: &'a Question,
    plan: &'a Plan,
    checkpoint: i64,
    /// The checkpoints of partitions that have one of their own.
    checkpoints: FxHashMap<i32, i64>,
    /// None where the answer comes from the ungrouped series.
    projection: Option<Projection>,
    /// Minutes of partitions whose events come from the log: which of them, by the labels of their
    /// series.
    refined: FxHashMap<(i32, Timestamp), SpansByLabels>,
    groups: BTreeMap<Labels, Folds>,
    seen: Seen<'a>,
    /// Windows of all groups: never more than [`MAX_VALUES`], what would make one more only sets
    /// `refusal`.
    windows: usize,
    held_bytes: usize,
    refusal: Option<TooLarge>,
}

impl<'a> Answer<'a> {
    /// An answer over nothing yet. `checkpoint` is the rule's in this snapshot; 0 where it has
    /// none. The dimensions that the question names are the rule's.
    pub fn new(rule: &'a Rule, question: &'a Question, plan: &'a Plan, checkpoint: i64) -> Self {
        let grouping = &question.grouping;
        let projection = || Projection::new(grouping, &rule.group_by);
        Self {
            rule,
            question,
            plan,
            checkpoint,
            checkpoints: FxHashMap::default(),
            projection: (!grouping.is_none()).then(projection),
            refined: FxHashMap::default(),
            groups: BTreeMap::new(),
            seen: Seen::new(question),
            windows: 0,
            held_bytes: 0,
            refusal: None,
        }
    }

    /// Says where the rule's buckets come to in a partition, where an answer is about several.
    pub fn set_checkpoint(&mut self, partition: i32, checkpoint: i64) {
        self.checkpoints.insert(partition, checkpoint);
    }

    fn checkpoint_of(&self, partition: i32) -> i64 {
        let own = self.checkpoints.get(&partition);
        own.copied().unwrap_or(self.checkpoint)
    }

    /// The names of the dimensions by which the answer is divided.
    pub fn dimensions(&self) -> Vec<String> {
        let projection = self.projection.as_ref();
        projection.map_or_else(Vec::new, |p| p.names(&self.rule.group_by))
    }

    /// Takes a bucket of the plan in: of the ungrouped series, or of a group's where the question
    /// is about groups.
    pub fn add_bucket(&mut self, window_start: Timestamp, labels: &Labels, partial: &Partial) {
        // Where all of a bucket's events were voided nothing happened, as far as answers go.
        if partial.is_empty() {
            return;
        }
        if let Some(group) = self.group(labels) {
            self.merge(window_start, group, partial);
        }
    }

    /// Takes what was added up of buckets in, of the range or of what lies before it, where the
    /// question is about a total that is not divided into groups.
    pub fn add_sum(&mut self, is_before: bool, partial: &Partial) {
        if partial.is_empty() {
            return;
        }
        let start = self.question.range.start;
        let at = start.unwrap_or(Timestamp::from_micros(0));
        let at = at.plus_micros(-i64::from(is_before));
        self.merge(at, Labels::default(), partial);
    }

    /// About how many bytes its sets of distinct values take.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Says that no bucket stands for a minute of a series in a partition: its events at these places
    /// come from the log.
    pub fn refine(
        &mut self,
        (partition, minute): (i32, Timestamp),
        labels: Labels,
        places: RangeInclusive<i64>,
    ) {
        let minute = self.refined.entry((partition, minute)).or_default();
        minute.entry(labels).or_default().push(places);
    }

    fn is_refined(&self, labels: &Labels, fact: &Fact<'_>) -> bool {
        let minute = Grain::Minute.floor(fact.occurred_at);
        let minute = self.refined.get(&(fact.position.partition, minute));
        let series = minute.and_then(|minute| minute.get(labels));
        let mut spans = series.into_iter().flatten();
        spans.any(|places| places.contains(&fact.position.seq))
    }

    /// Takes an event of the log in, where it is not in a bucket of the plan; says whether it did.
    /// May be called with any event of the principal, each once.
    pub fn add_event(&mut self, subject: &Subject<'_>) -> bool {
        let fact = &subject.fact;
        if self.rule.source_event != fact.event_type || !self.counts(fact.occurred_at) {
            return false;
        }
        let is_in_no_bucket = fact.position.seq > self.checkpoint_of(fact.position.partition)
            || self.plan.in_edge(fact.occurred_at);
        if !is_in_no_bucket && self.refined.is_empty() {
            return false;
        }
        let labels = match self.projection {
            None => Labels::default(),
            Some(_) => Labels::of(&self.rule.group_by, fact.data),
        };
        if !is_in_no_bucket && !self.is_refined(&labels, fact) {
            return false;
        }
        let Some(partial) = contribution(self.rule, subject) else {
            return false;
        };
        let Some(group) = self.group(&labels) else {
            return false;
        };
        self.merge(fact.occurred_at, group, &partial);
        true
    }

    /// True where what happened at an instant changes the answer.
    fn counts(&self, at: Timestamp) -> bool {
        let Range { start, end } = self.question.range;
        let looks_back = self.question.looks_back(self.rule.operator);
        (looks_back || start.is_none_or(|start| start <= at)) && end.is_none_or(|end| at < end)
    }

    fn group(&self, labels: &Labels) -> Option<Labels> {
        match &self.projection {
            None => Some(Labels::default()),
            Some(projection) => projection.of(labels),
        }
    }

    fn merge(&mut self, at: Timestamp, group: Labels, partial: &Partial) {
        if self.refusal.is_some() {
            return;
        }
        let full = self.windows >= MAX_VALUES;
        if full && !self.groups.contains_key(&group) {
            self.refusal = Some(TooLarge::of_values(self.question));
            return;
        }
        let folds = self.groups.entry(group).or_default();
        let folded = if self.question.range.start.is_some_and(|start| at < start) {
            &mut folds.before
        } else {
            match folds.windows.entry(self.seen.start_of(at)) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(_) if full => {
                    self.refusal = Some(TooLarge::of_values(self.question));
                    return;
                }
                Entry::Vacant(entry) => {
                    self.windows += 1;
                    entry.insert(Partial::default())
                }
            }
        };
        let held = folded.heap_bytes();
        if self.held_bytes - held > MAX_HELD_BYTES {
            self.refusal = Some(TooLarge::Sets);
            return;
        }
        folded.merge(self.rule.operator, partial);
        self.held_bytes = self.held_bytes - held + folded.heap_bytes();
    }

    /// The values, by window and group. Empty windows are left out, unless a level stands there or
    /// they are to be filled; without groups a total, and what is to be filled, has values over
    /// nothing, too.
    ///
    /// # Errors
    /// See [`TooLarge`].
    pub fn finish(mut self) -> Result<Vec<Value>, TooLarge> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        let Question { fill, .. } = *self.question;
        let is_total = self.question.granularity == Granularity::Total;
        if (is_total || fill != Fill::None) && self.question.grouping.by.is_empty() {
            self.groups.entry(Labels::default()).or_default();
        }
        let (mut values, mut held_bytes) = (Vec::new(), 0);
        for (group, folds) in std::mem::take(&mut self.groups) {
            let value = |(range, partial): (Range, Partial)| Value {
                window_start: range.start,
                window_end: range.end,
                group: group.clone(),
                partial,
            };
            match self.question.calendar() {
                None => {
                    let total = self.total(folds);
                    // A total without groups is given over nothing, too.
                    if !total.is_empty() || group == Labels::default() {
                        values.push(value((self.question.range, total)));
                    }
                }
                Some(calendar) => {
                    let room = MAX_VALUES - values.len();
                    let given = folds.given(self.question, self.rule.operator, &calendar, room);
                    for (window, partial) in given.ok_or(TooLarge::of_values(self.question))? {
                        held_bytes += partial.heap_bytes();
                        if held_bytes > MAX_HELD_BYTES {
                            return Err(TooLarge::Sets);
                        }
                        values.push(value((window, partial)));
                    }
                }
            }
            if values.len() > MAX_VALUES {
                return Err(TooLarge::of_values(self.question));
            }
        }
        // Stable: groups stay in order within a window.
        values.sort_by_key(|value| value.window_start);
        Ok(values)
    }

    fn total(&self, mut folds: Folds) -> Partial {
        let inside = folds.windows.remove(&None).unwrap_or_default();
        total(self.rule, self.question, &folds.before, &inside)
    }
}

/// A total of what lies in the range of a question, and of what lies before it, where that counts.
pub fn total(rule: &Rule, question: &Question, before: &Partial, inside: &Partial) -> Partial {
    let start = question.range.start;
    let mut total = start.map_or_else(Partial::default, |start| before.carried_to(start));
    total.merge(rule.operator, inside);
    total
}
