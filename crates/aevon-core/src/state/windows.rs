//! Which windows of a group an answer gives, and what stands in each.

use super::{Fill, Question, Range};
use crate::calendar::{Calendar, Window};
use crate::operator::{Operator, Partial};
use crate::time::{Grain, Timestamp};
use std::collections::BTreeMap;

/// What is folded of one group.
#[derive(Debug, Default)]
pub(super) struct Folds {
    /// What lies before the range; empty but for operators that look back.
    pub(super) before: Partial,
    /// By the start of the window; of a total by none.
    pub(super) windows: BTreeMap<Option<Timestamp>, Partial>,
}

/// The windows that events were seen in: an event costs a look at the last one, seldom a look at the
/// calendar. Those of a grain are computed.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    calendar: Option<Calendar<'a>>,
    grain: Option<Grain>,
    last: Option<Window>,
    /// Ends by starts.
    windows: BTreeMap<Timestamp, Timestamp>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(question: &'a Question) -> Self {
        let calendar = question.calendar();
        Self {
            calendar,
            grain: calendar.and_then(|calendar| calendar.grain()),
            last: None,
            windows: BTreeMap::new(),
        }
    }

    /// The start of the window that an instant lies in; none of a total.
    pub(super) fn start_of(&mut self, at: Timestamp) -> Option<Timestamp> {
        let calendar = self.calendar?;
        if let Some(grain) = self.grain {
            return Some(grain.floor(at));
        }
        if let Some(last) = self.last.filter(|last| last.contains(at)) {
            return Some(last.start);
        }
        let near = self.windows.range(..=at).next_back();
        let near = near.map(|(&start, &end)| Window { start, end });
        let window = near.filter(|near| near.contains(at)).unwrap_or_else(|| {
            let window = calendar.window(at);
            self.windows.insert(window.start, window.end);
            window
        });
        self.last = Some(window);
        Some(window.start)
    }
}

impl Folds {
    /// The windows that are given, ascending and cut by the range, and the fold that stands in each;
    /// none where these are more than there is room for.
    pub(super) fn given(
        mut self,
        question: &Question,
        operator: Operator,
        calendar: &Calendar<'_>,
        room: usize,
    ) -> Option<impl Iterator<Item = (Range, Partial)>> {
        let windows = self.windows_given(question, operator, calendar, room)?;
        let mut carried = self.standing_before(question, operator);
        Some(windows.into_iter().map(move |window| {
            let range = window.cut_by(question.range);
            let inside = self.windows.remove(&Some(window.start));
            let inside = inside.unwrap_or_default();
            let stands = match operator {
                _ if question.is_cumulative => {
                    carried.merge(operator, &inside);
                    carried.clone()
                }
                Operator::WeightedSum => {
                    carried = carried.carried_to(range.start.unwrap_or(window.start));
                    carried.merge(operator, &inside);
                    carried.clone()
                }
                Operator::Latest if question.fill == Fill::Previous => {
                    carried.merge(operator, &inside);
                    Partial {
                        kept: carried.kept.clone(),
                        ..inside
                    }
                }
                _ => inside,
            };
            (range, stands)
        }))
    }

    /// What stood when the range began, of an operator that looks back. The events before it count
    /// where they enter the value, but not where they are only what stood in an empty window.
    fn standing_before(&mut self, question: &Question, operator: Operator) -> Partial {
        let before = std::mem::take(&mut self.before);
        match (operator, question.range.start) {
            (Operator::WeightedSum, Some(start)) => before.carried_to(start),
            _ => Partial {
                kept: before.kept,
                ..Partial::default()
            },
        }
    }

    fn windows_given(
        &self,
        question: &Question,
        operator: Operator,
        calendar: &Calendar<'_>,
        room: usize,
    ) -> Option<Vec<Window>> {
        let Range { start, end } = question.range;
        if question.range.is_empty() {
            return Some(Vec::new());
        }
        let mut own = self.windows.keys().copied().flatten();
        let is_level = operator == Operator::WeightedSum;
        let stood = match is_level {
            true => !self.before.is_empty(),
            false => self.before.event_count > 0,
        };
        let is_whole = question.grouping.by.is_empty();
        let first = match question.fill {
            Fill::None if is_level => start.filter(|_| stood).or_else(|| own.next()),
            Fill::None => {
                return (self.windows.len() <= room)
                    .then(|| own.map(|start| calendar.window(start)).collect());
            }
            _ => start.filter(|_| is_whole || stood || !self.windows.is_empty()),
        };
        // A level that has no end stands until its last change.
        let last = end.map(|end| end.plus_micros(-1));
        let last = last.or_else(|| self.windows.keys().next_back().copied().flatten());
        let (Some(first), Some(last)) = (first, last) else {
            return Some(Vec::new());
        };
        let range = Range {
            start: Some(first),
            end: Some(last.plus_micros(1)),
        };
        calendar.windows_of(range, room)
    }
}
