//! The answer: how a range is cut into buckets and raw edges, and how the parts become values.
//!
//! Invariant: an answer equals the fold of the log over its range. Whole days, hours and minutes
//! come from buckets, parts of minutes from raw events up to the checkpoint, and everything behind
//! the checkpoint from raw events; no event comes twice.

use crate::fold::contribution;
use crate::operator::Partial;
use crate::rule::Rule;
use crate::time::{Grain, MINUTE_US, Timestamp};
use std::collections::BTreeMap;

/// Most values in one answer.
pub const MAX_VALUES: usize = 10_000;

/// A half-open range of valid time; `None` is unbounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first instant inside.
    pub start: Option<Timestamp>,
    /// The first instant outside.
    pub end: Option<Timestamp>,
}

impl Range {
    /// True where `at` lies inside.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= at) && self.end.is_none_or(|end| at < end)
    }

    fn is_empty(&self) -> bool {
        matches!((self.start, self.end), (Some(start), Some(end)) if start >= end)
    }
}

/// How an answer is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granularity {
    /// One value over the range.
    #[default]
    Total,
    /// One value a window of this grain, cut by the range.
    Windows(Grain),
}

impl Granularity {
    /// Every granularity by its name.
    pub const NAMES: [(&'static str, Granularity); 4] = [
        ("total", Granularity::Total),
        ("1m", Granularity::Windows(Grain::Minute)),
        ("1h", Granularity::Windows(Grain::Hour)),
        ("1d", Granularity::Windows(Grain::Day)),
    ];

    /// Its name in requests and answers.
    pub fn as_str(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, g)| *g == self)
            .map_or("total", |(name, _)| name)
    }
}

/// Where each part of a range comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Ranges of whole windows, by grain. Disjoint.
    pub buckets: Vec<(Grain, Range)>,
    /// Parts of minutes, each within one minute. Disjoint from the buckets and each other.
    pub edges: Vec<Range>,
}

impl Plan {
    /// Cuts a range, using the coarsest grains that the granularity allows.
    pub fn new(range: Range, granularity: Granularity) -> Self {
        let coarsest = match granularity {
            Granularity::Total => Grain::Day,
            Granularity::Windows(grain) => grain,
        };
        let mut plan = Self::default();
        plan.cut(range, Some(coarsest));
        plan
    }

    fn cut(&mut self, range: Range, grain: Option<Grain>) {
        if range.is_empty() {
            return;
        }
        let Some(grain) = grain else {
            self.cut_edge(range);
            return;
        };
        let finer = match grain {
            Grain::Day => Some(Grain::Hour),
            Grain::Hour => Some(Grain::Minute),
            Grain::Minute => None,
        };
        let whole = Range {
            start: range.start.map(|at| grain.ceil(at)),
            end: range.end.map(|at| grain.floor(at)),
        };
        if whole.is_empty() {
            self.cut(range, finer);
            return;
        }
        self.buckets.push((grain, whole));
        if range.start != whole.start {
            self.cut(
                Range {
                    start: range.start,
                    end: whole.start,
                },
                finer,
            );
        }
        if range.end != whole.end {
            self.cut(
                Range {
                    start: whole.end,
                    end: range.end,
                },
                finer,
            );
        }
    }

    /// A range without a whole minute inside may still reach from one minute into the next.
    fn cut_edge(&mut self, range: Range) {
        let next = range
            .start
            .map(|at| Grain::Minute.floor(at).plus_micros(MINUTE_US));
        if next.is_some_and(|next| range.end.is_none_or(|end| next < end)) {
            self.edges.push(Range {
                start: range.start,
                end: next,
            });
            self.edges.push(Range {
                start: next,
                end: range.end,
            });
        } else {
            self.edges.push(range);
        }
    }

    /// True where `at` lies in a part of a minute.
    pub fn in_edge(&self, at: Timestamp) -> bool {
        self.edges.iter().any(|edge| edge.contains(at))
    }
}

/// An answer would have more than [`MAX_VALUES`] values, over all its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the answer would have more than {MAX_VALUES} values; ask for a shorter range or a coarser granularity"
)]
pub struct TooManyWindows;

/// One rule's answer in the making.
#[derive(Debug)]
pub struct Answer<'a> {
    rule: &'a Rule,
    range: Range,
    granularity: Granularity,
    plan: &'a Plan,
    checkpoint: i64,
    /// Never more than [`MAX_VALUES`]: what would make one more only sets `overflowed`.
    windows: BTreeMap<Option<Timestamp>, Partial>,
    overflowed: bool,
}

/// One value of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// First instant of the window, cut by the range; `None` where unbounded.
    pub window_start: Option<Timestamp>,
    /// First instant behind it; `None` where unbounded.
    pub window_end: Option<Timestamp>,
    /// The fold.
    pub partial: Partial,
}

impl<'a> Answer<'a> {
    /// An answer over nothing yet. `checkpoint` is the rule's in this snapshot; 0 where it has none.
    pub fn new(
        rule: &'a Rule,
        range: Range,
        granularity: Granularity,
        plan: &'a Plan,
        checkpoint: i64,
    ) -> Self {
        Self {
            rule,
            range,
            granularity,
            plan,
            checkpoint,
            windows: BTreeMap::new(),
            overflowed: false,
        }
    }

    /// Takes a bucket of the plan in.
    pub fn add_bucket(&mut self, window_start: Timestamp, partial: &Partial) {
        self.merge(window_start, partial);
    }

    /// Takes an event of the log in, where it is not in a bucket of the plan. May be called with
    /// any event of the principal, each once.
    pub fn add_event(&mut self, seq: i64, occurred_at: Timestamp, event_type: &str, data: &str) {
        if self.rule.source_event != event_type || !self.range.contains(occurred_at) {
            return;
        }
        if seq <= self.checkpoint && !self.plan.in_edge(occurred_at) {
            return;
        }
        if let Some(partial) = contribution(self.rule, event_type, data) {
            self.merge(occurred_at, &partial);
        }
    }

    fn merge(&mut self, at: Timestamp, partial: &Partial) {
        let window = match self.granularity {
            Granularity::Total => None,
            Granularity::Windows(grain) => Some(grain.floor(at)),
        };
        if self.windows.len() == MAX_VALUES && !self.windows.contains_key(&window) {
            self.overflowed = true;
            return;
        }
        let folded = self.windows.entry(window).or_default();
        folded.merge(self.rule.operator, partial);
    }

    /// The values, by window. Empty windows are left out; a total always has one value.
    ///
    /// # Errors
    /// [`TooManyWindows`].
    pub fn finish(mut self) -> Result<Vec<Value>, TooManyWindows> {
        if self.overflowed {
            return Err(TooManyWindows);
        }
        if self.granularity == Granularity::Total {
            self.windows.entry(None).or_default();
        } else {
            self.windows.retain(|_, partial| !partial.is_empty());
        }
        let (range, granularity) = (self.range, self.granularity);
        let value = |(window, partial): (Option<Timestamp>, Partial)| {
            let (start, end) = match (window, granularity) {
                (Some(start), Granularity::Windows(grain)) => {
                    (Some(start), Some(start.plus_micros(grain.width_us())))
                }
                _ => (None, None),
            };
            Value {
                window_start: later(start, range.start),
                window_end: earlier(end, range.end),
                partial,
            }
        };
        Ok(self.windows.into_iter().map(value).collect())
    }
}

fn later(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.max(b)
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
