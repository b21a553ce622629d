//! Where each part of a question's range comes from.
//!
//! Invariant: no bucket of a plan reaches from one window of the answer into another.

use super::{Question, Range};
use crate::calendar::{Calendar, Zone};
use crate::time::{Grain, MINUTE_US, Timestamp};

/// Most windows that are cut one by one. Where there are more, or the range has an end missing, it is
/// cut by what the clock of the zone allows everywhere.
const MAX_CUT: usize = 4_000;

/// Where each part of a range comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Ranges of whole windows, by grain. Disjoint.
    pub buckets: Vec<(Grain, Range)>,
    /// Ascending. Parts of minutes, each within one minute, and times long ago when clocks were so
    /// far from UTC that no bucket fits. Disjoint from the buckets and each other.
    pub edges: Vec<Range>,
    /// The same for what lies before the range, for operators that look back.
    pub buckets_before: Vec<(Grain, Range)>,
    /// See [`Plan::buckets_before`].
    pub edges_before: Vec<Range>,
}

impl Plan {
    /// Cuts the range of a question, using the coarsest grains that its windows allow, and what lies
    /// before it, using the coarsest there are.
    pub fn new(question: &Question) -> Self {
        let Range { start, end } = question.range;
        let mut before = Self::default();
        if start.is_some() {
            let range = Range {
                start: None,
                end: start.min(end.or(start)),
            };
            before.cut(range, Some(Grain::Day));
        }
        let mut plan = Self {
            buckets_before: before.buckets,
            edges_before: before.edges,
            ..Self::default()
        };
        plan.cut_windows(question);
        plan.edges.sort_unstable_by_key(|edge| edge.start);
        plan.edges_before.sort_unstable_by_key(|edge| edge.start);
        plan
    }

    fn cut_windows(&mut self, question: &Question) {
        let range = question.range;
        let zone = &question.zone;
        let Some(calendar) = question.calendar() else {
            return self.cut(range, Some(Grain::Day));
        };
        if let Some(grain) = calendar.grain() {
            self.cut(range, Some(grain));
        } else if zone.is_utc() {
            // Weeks and months begin where days do.
            self.cut(range, Some(Grain::Day));
        } else if !range.is_empty() {
            self.cut_local(&calendar, zone, range);
            self.join();
        }
    }

    /// Cuts windows of a clock that need not begin where those of any grain do.
    fn cut_local(&mut self, calendar: &Calendar<'_>, zone: &Zone, range: Range) {
        if let Some(windows) = calendar.windows_of(range, MAX_CUT) {
            for window in windows {
                self.cut(window.cut_by(range), Some(Grain::Day));
            }
            return;
        }
        for (part, grain) in zone.parts(range) {
            match grain {
                Some(grain) => self.cut(part, Some(grain)),
                None => self.edges.push(part),
            }
        }
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

    /// Makes one of parts that follow each other with the same grain.
    fn join(&mut self) {
        self.buckets.sort_unstable_by_key(|(_, part)| part.start);
        self.buckets.dedup_by(|(grain, part), (before, joined)| {
            let follows = grain == before && part.start == joined.end;
            if follows {
                joined.end = part.end;
            }
            follows
        });
    }

    /// The minutes that an edge has a part in.
    pub fn minutes_of(edge: &Range) -> Range {
        Range {
            start: edge.start.map(|at| Grain::Minute.floor(at)),
            end: edge.end.map(|at| Grain::Minute.ceil(at)),
        }
    }

    /// True where `at` lies in an edge.
    pub fn in_edge(&self, at: Timestamp) -> bool {
        let is_in = |edges: &[Range]| {
            let behind = edges.partition_point(|edge| edge.start.is_none_or(|start| start <= at));
            let last = behind.checked_sub(1).and_then(|index| edges.get(index));
            last.is_some_and(|edge| edge.contains(at))
        };
        is_in(&self.edges) || is_in(&self.edges_before)
    }
}
