//! How parts become the values of an answer.

use super::{Granularity, MAX_HELD_BYTES, MAX_VALUES, Plan, Question, Range, TooLarge, Value};
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

/// One rule's answer in the making.
#[derive(Debug)]
pub struct Answer<'a> {
    rule: &'a Rule,
    question: &'a Question,
    plan: &'a Plan,
    checkpoint: i64,
    /// None where the answer comes from the ungrouped series.
    projection: Option<Projection>,
    /// Minutes whose events come from the log: which of them, by the labels of their series.
    refined: FxHashMap<Timestamp, FxHashMap<Labels, Vec<RangeInclusive<i64>>>>,
    groups: BTreeMap<Labels, Folds>,
    /// Windows of all groups: never more than [`MAX_VALUES`], what would make one more only sets
    /// `refusal`.
    windows: usize,
    held_bytes: usize,
    refusal: Option<TooLarge>,
}

/// What is folded of one group.
#[derive(Debug, Default)]
struct Folds {
    /// What lies before the range; empty but for operators that look back.
    before: Partial,
    windows: BTreeMap<Option<Timestamp>, Partial>,
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
            projection: (!grouping.is_none()).then(projection),
            refined: FxHashMap::default(),
            groups: BTreeMap::new(),
            windows: 0,
            held_bytes: 0,
            refusal: None,
        }
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

    /// Says that no bucket stands for a minute of a series: its events at these places come from the
    /// log.
    pub fn refine(&mut self, minute: Timestamp, labels: Labels, places: RangeInclusive<i64>) {
        let minute = self.refined.entry(minute).or_default();
        minute.entry(labels).or_default().push(places);
    }

    fn is_refined(&self, labels: &Labels, fact: &Fact<'_>) -> bool {
        let minute = self.refined.get(&Grain::Minute.floor(fact.occurred_at));
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
        let is_in_no_bucket =
            fact.position.seq > self.checkpoint || self.plan.in_edge(fact.occurred_at);
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
        let looks_back = self.rule.operator.looks_back();
        (looks_back || start.is_none_or(|start| start <= at)) && end.is_none_or(|end| at < end)
    }

    fn group(&self, labels: &Labels) -> Option<Labels> {
        match &self.projection {
            None => Some(Labels::default()),
            Some(projection) => projection.of(labels),
        }
    }

    fn merge(&mut self, at: Timestamp, group: Labels, partial: &Partial) {
        let window = match self.question.granularity {
            Granularity::Total => None,
            Granularity::Windows(grain) => Some(grain.floor(at)),
        };
        let full = self.windows >= MAX_VALUES;
        if full && !self.groups.contains_key(&group) {
            self.refusal = Some(TooLarge::of_values(self.question));
            return;
        }
        let folds = self.groups.entry(group).or_default();
        let folded = if self.question.range.start.is_some_and(|start| at < start) {
            &mut folds.before
        } else {
            match folds.windows.entry(window) {
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

    /// The values, by window and group. Empty windows are left out, unless a level stands there; a
    /// total that is not divided into groups always has one value.
    ///
    /// # Errors
    /// See [`TooLarge`].
    pub fn finish(mut self) -> Result<Vec<Value>, TooLarge> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        let is_total = self.question.granularity == Granularity::Total;
        if is_total && self.question.grouping.by.is_empty() {
            self.groups.entry(Labels::default()).or_default();
        }
        let mut values = Vec::new();
        for (group, folds) in std::mem::take(&mut self.groups) {
            let room = MAX_VALUES - values.len();
            let windows = match self.question.granularity {
                Granularity::Total => vec![(None, self.total(folds))],
                Granularity::Windows(grain) if self.rule.operator.looks_back() => self
                    .standing(grain, folds, room)
                    .ok_or_else(|| TooLarge::of_values(self.question))?,
                Granularity::Windows(_) => folds.windows.into_iter().collect(),
            };
            // A total without groups is given over nothing, too.
            let is_given =
                |partial: &Partial| !partial.is_empty() || is_total && group == Labels::default();
            for (window, partial) in windows.into_iter().filter(|(_, p)| is_given(p)) {
                let (window_start, window_end) = self.bounds(window);
                values.push(Value {
                    window_start,
                    window_end,
                    group: group.clone(),
                    partial,
                });
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
        let mut total = self
            .question
            .range
            .start
            .map_or_else(Partial::default, |start| folds.before.carried_to(start));
        if let Some(inside) = folds.windows.remove(&None) {
            total.merge(self.rule.operator, &inside);
        }
        total
    }

    /// Every window from where the level came about to the end; to the last change where there is
    /// none. None where these are more than there is room for.
    fn standing(
        &self,
        grain: Grain,
        mut folds: Folds,
        room: usize,
    ) -> Option<Vec<(Option<Timestamp>, Partial)>> {
        let Range { start, end } = self.question.range;
        let begun = start.filter(|_| !folds.before.is_empty());
        let first = begun.map(|start| grain.floor(start));
        let first = first.or_else(|| folds.windows.keys().next().copied().flatten());
        let last = match end {
            Some(end) => Some(grain.floor(end.plus_micros(-1))),
            None => folds.windows.keys().next_back().copied().flatten(),
        };
        let (Some(mut window), Some(last)) = (first, last) else {
            return Some(Vec::new());
        };
        let is_empty = self.question.range.is_empty();
        let mut windows = Vec::new();
        let mut level = folds.before;
        while window <= last && !is_empty {
            if windows.len() == room {
                return None;
            }
            let mut partial = level.carried_to(start.map_or(window, |start| start.max(window)));
            if let Some(inside) = folds.windows.remove(&Some(window)) {
                partial.merge(self.rule.operator, &inside);
            }
            level = partial.clone();
            windows.push((Some(window), partial));
            window = window.plus_micros(grain.width_us());
        }
        Some(windows)
    }

    /// The window, cut by the range.
    fn bounds(&self, window: Option<Timestamp>) -> (Option<Timestamp>, Option<Timestamp>) {
        let Range { start, end } = self.question.range;
        match (window, self.question.granularity) {
            (Some(window), Granularity::Windows(grain)) => {
                let behind = window.plus_micros(grain.width_us());
                (
                    Some(start.map_or(window, |start| start.max(window))),
                    Some(end.map_or(behind, |end| end.min(behind))),
                )
            }
            _ => (start, end),
        }
    }
}
