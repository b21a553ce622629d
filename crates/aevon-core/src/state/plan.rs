//! Where each part of a question's range comes from.

use super::{Granularity, Question, Range};
use crate::time::{Grain, MINUTE_US, Timestamp};

/// Where each part of a range comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Ranges of whole windows, by grain. Disjoint.
    pub buckets: Vec<(Grain, Range)>,
    /// Parts of minutes, each within one minute. Disjoint from the buckets and each other.
    pub edges: Vec<Range>,
    /// The same for what lies before the range, for operators that look back.
    pub buckets_before: Vec<(Grain, Range)>,
    /// See [`Plan::buckets_before`].
    pub edges_before: Vec<Range>,
}

impl Plan {
    /// Cuts the range of a question, using the coarsest grains that its granularity allows, and
    /// what lies before it, using the coarsest there are.
    pub fn new(question: &Question) -> Self {
        let coarsest = match question.granularity {
            Granularity::Total => Grain::Day,
            Granularity::Windows(grain) => grain,
        };
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
        plan.cut(question.range, Some(coarsest));
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
        let mut edges = self.edges.iter().chain(&self.edges_before);
        edges.any(|edge| edge.contains(at))
    }
}
