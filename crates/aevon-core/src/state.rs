//! The answer: how a range is cut into buckets and raw edges, and how the parts become values.
//!
//! Invariant: an answer equals the fold of the log over its range. Whole days, hours and minutes
//! come from buckets, parts of minutes from raw events up to the checkpoint, and everything behind
//! the checkpoint from raw events; no event comes twice. As of an earlier version, what a bucket did
//! not hold then comes from finer buckets, and from raw events in the end.

mod answer;
mod plan;
mod ranking;
mod span;
mod windows;

pub use answer::{Answer, total};
pub use plan::Plan;
pub use ranking::{Rank, Ranking};
pub use span::Span;

use crate::calendar::{Calendar, Period, Zone};
use crate::labels::{Grouping, Labels};
use crate::operator::{Operator, Partial, Shown};
use crate::time::{DAY_US, Grain, Timestamp};

/// Most values in one answer.
pub const MAX_VALUES: usize = 10_000;
/// Most memory that the sets of distinct values of one rule's answer may take.
pub const MAX_HELD_BYTES: usize = 32 << 20;

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

    /// True of one day of UTC.
    pub fn is_one_day(&self) -> bool {
        matches!((self.start, self.end), (Some(start), Some(end))
            if Grain::Day.floor(start) == start && start.plus_micros(DAY_US) == end)
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
    /// One value a window of this period, cut by the range.
    Windows(Period),
}

impl Granularity {
    /// Every granularity by its name.
    pub const NAMES: [(&'static str, Granularity); 6] = [
        ("total", Granularity::Total),
        ("1m", Granularity::Windows(Period::Minute)),
        ("1h", Granularity::Windows(Period::Hour)),
        ("1d", Granularity::Windows(Period::Day)),
        ("1w", Granularity::Windows(Period::Week)),
        ("1mo", Granularity::Windows(Period::Month)),
    ];

    /// Its name in requests and answers.
    pub fn as_str(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, g)| *g == self)
            .map_or("total", |(name, _)| name)
    }
}

/// What stands where nothing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fill {
    /// Nothing: such windows are left out.
    #[default]
    None,
    /// The value over nothing.
    Zero,
    /// The value that stood before; for rules whose operator is latest.
    Previous,
}

impl Fill {
    /// Every one by its name.
    pub const NAMES: [(&'static str, Fill); 3] = [
        ("none", Fill::None),
        ("zero", Fill::Zero),
        ("previous", Fill::Previous),
    ];
}

/// What is asked of each rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Valid time.
    pub range: Range,
    /// How the answer is divided by time.
    pub granularity: Granularity,
    /// How it is divided by labels, and which it keeps.
    pub grouping: Grouping,
    /// Whose hours, days, weeks and months are meant.
    pub zone: Zone,
    /// What stands in windows where nothing happened. Other than none it takes windows, and a range
    /// with both its ends.
    pub fill: Fill,
    /// Whether a window's value is that of everything from the start of the range to its end.
    pub is_cumulative: bool,
}

impl Question {
    /// True where the answer of a rule also depends on the events before the range.
    pub fn looks_back(&self, operator: Operator) -> bool {
        match operator {
            Operator::WeightedSum => true,
            Operator::Latest => self.fill == Fill::Previous,
            _ => false,
        }
    }

    /// The windows that divide the answer, if any do.
    pub fn calendar(&self) -> Option<Calendar<'_>> {
        match self.granularity {
            Granularity::Total => None,
            Granularity::Windows(period) => Some(Calendar::new(&self.zone, period)),
        }
    }

    /// That answers of so many rules are not too large by the range alone: where every window has a
    /// value.
    ///
    /// # Errors
    /// See [`TooLarge`].
    pub fn check_windows(&self, rules: usize) -> Result<(), TooLarge> {
        let filled = self.calendar().filter(|_| self.fill != Fill::None);
        let most = MAX_VALUES / rules.max(1);
        match filled.is_none_or(|calendar| calendar.has_at_most(self.range, most)) {
            true => Ok(()),
            false => Err(TooLarge::Windows),
        }
    }

    /// The names of the operators whose answers do.
    pub fn looking_back(&self) -> Vec<&'static str> {
        let looking_back = Operator::ALL.into_iter().filter(|o| self.looks_back(*o));
        looking_back.map(Operator::as_str).collect()
    }
}

/// One value of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// First instant of the window, cut by the range; `None` where unbounded.
    pub window_start: Option<Timestamp>,
    /// First instant behind it; `None` where unbounded.
    pub window_end: Option<Timestamp>,
    /// The labels of the group, in the order of [`Answer::dimensions`]; empty where the answer is
    /// not divided into groups.
    pub group: Labels,
    /// The fold.
    pub partial: Partial,
}

impl Value {
    /// The value to show.
    pub fn shown(&self, operator: Operator) -> Shown {
        self.partial.answer(operator, self.window_end)
    }
}

/// An answer would be too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// More than [`MAX_VALUES`], over all its rules.
    #[error(
        "the answer would have more than {MAX_VALUES} values; ask for a shorter range or a coarser granularity"
    )]
    Windows,
    /// The same, where there are groups.
    #[error(
        "the answer would have more than {MAX_VALUES} values; keep fewer groups with filter[dimension]=value, or ask for a shorter range or a coarser granularity"
    )]
    Groups,
    /// More than [`MAX_HELD_BYTES`] of sets.
    #[error(
        "the answer would hold more than {} MiB of distinct values; ask for fewer groups, a shorter range or a coarser granularity",
        MAX_HELD_BYTES >> 20
    )]
    Sets,
}

impl TooLarge {
    /// Too many values for this question.
    pub fn of_values(question: &Question) -> Self {
        match question.grouping.by.is_empty() {
            true => Self::Windows,
            false => Self::Groups,
        }
    }
}
