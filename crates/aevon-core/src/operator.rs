//! Operators: pure functions of a set of events, kept as values that merge.
//!
//! Invariant: [`Partial::merge`] is associative, commutative and has [`Partial::default`] as its
//! identity, so that tail, buckets and rebuild give one answer in whatever order they are merged.

mod columns;
mod distinct;
mod latest;
mod level;

pub use columns::Columns;
pub use distinct::{Distinct, MAX_EXACT, RELATIVE_ERROR};
pub use latest::Latest;
pub use level::Level;

use crate::amount::Amount;
use crate::json::usable_number;
use crate::position::Position;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What a rule computes over its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// How many events.
    Count,
    /// The sum of a field.
    Sum,
    /// The smallest value of a field.
    Min,
    /// The largest value of a field.
    Max,
    /// The mean of a field.
    Avg,
    /// The value of a field in the event that occurred last.
    Latest,
    /// How many different values a field has.
    UniqueCount,
    /// A level that changes by a field, times the seconds that it stood.
    WeightedSum,
}

impl Operator {
    /// Every operator.
    pub const ALL: [Operator; 8] = [
        Self::Count,
        Self::Sum,
        Self::Min,
        Self::Max,
        Self::Avg,
        Self::Latest,
        Self::UniqueCount,
        Self::WeightedSum,
    ];

    /// The name in rules and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::Avg => "avg",
            Self::Latest => "latest",
            Self::UniqueCount => "unique_count",
            Self::WeightedSum => "weighted_sum",
        }
    }

    /// The number by which a bucket names its operator. Frozen: it stands in rows, and the upsert
    /// of `pre_aggregates` merges by it.
    pub const fn code(self) -> i16 {
        match self {
            Self::Count => 1,
            Self::Sum => 2,
            Self::Min => 3,
            Self::Max => 4,
            Self::Avg => 5,
            Self::Latest => 6,
            Self::UniqueCount => 7,
            Self::WeightedSum => 8,
        }
    }

    /// True where the operator reads a field of `data`.
    pub const fn takes_field(self) -> bool {
        !matches!(self, Self::Count)
    }

    /// True where a bucket keeps more than counts and an amount.
    pub const fn keeps_more(self) -> bool {
        matches!(self, Self::Latest | Self::UniqueCount | Self::WeightedSum)
    }

    /// True where an event can be taken out of a fold without looking at the others.
    pub const fn is_reversible(self) -> bool {
        matches!(
            self,
            Self::Count | Self::Sum | Self::Avg | Self::WeightedSum
        )
    }

    fn combine(self, a: &Amount, b: &Amount) -> Amount {
        match self {
            Self::Min => a.min(b).clone(),
            Self::Max => a.max(b).clone(),
            _ => a.add(b),
        }
    }
}

/// What an operator keeps of the events that entered its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// No event entered the value, or only their count matters.
    #[default]
    Nothing,
    /// A sum, a minimum or a maximum.
    Amount(Amount),
    /// The value that occurred last.
    Latest(Box<Latest>),
    /// The set of values.
    Distinct(Box<Distinct>),
    /// The changes of a level.
    Level(Box<Level>),
}

/// The fold of some events under one operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// What the operator keeps of them.
    pub kept: Kept,
    /// Events that entered the value.
    pub event_count: i64,
    /// Events of the rule without a usable value.
    pub skipped_count: i64,
}

/// A value as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// A decimal without exponent, trailing zeros or `-0`; `None` where there is no value.
    pub value: Option<String>,
    /// The standard error in parts of the value, where it is an estimate.
    pub relative_error: Option<f64>,
}

impl Partial {
    /// One event: `raw` is what stands in the operator's field, as JSON.
    pub fn of(operator: Operator, raw: Option<&str>, at: Timestamp, position: Position) -> Self {
        let kept = match operator {
            Operator::Count => Some(Kept::Nothing),
            Operator::UniqueCount => raw
                .and_then(Distinct::of)
                .map(|set| Kept::Distinct(Box::new(set))),
            _ => raw
                .and_then(usable_number)
                .map(|value| keep(operator, value, at, position)),
        };
        match kept {
            Some(kept) => Self {
                kept,
                event_count: 1,
                skipped_count: 0,
            },
            None => Self::skipped(),
        }
    }

    /// One event without a usable value.
    pub const fn skipped() -> Self {
        Self {
            kept: Kept::Nothing,
            event_count: 0,
            skipped_count: 1,
        }
    }

    /// Takes `other` in.
    pub fn merge(&mut self, operator: Operator, other: &Partial) {
        self.event_count += other.event_count;
        self.skipped_count += other.skipped_count;
        match (&mut self.kept, &other.kept) {
            (_, Kept::Nothing) => {}
            (Kept::Amount(a), Kept::Amount(b)) => *a = operator.combine(a, b),
            (Kept::Latest(a), Kept::Latest(b)) => a.merge(b),
            (Kept::Distinct(a), Kept::Distinct(b)) => a.merge(b),
            (Kept::Level(a), Kept::Level(b)) => a.merge(b),
            // Nothing gives way; kinds never differ otherwise, as an operator has one kind.
            (kept, _) => *kept = other.kept.clone(),
        }
    }

    /// What takes its events out of a fold again. Where the operator is not reversible these are
    /// the counts alone.
    pub fn reversed(&self, operator: Operator) -> Self {
        let kept = match &self.kept {
            Kept::Amount(amount) if operator.is_reversible() => Kept::Amount(amount.times(-1)),
            Kept::Level(level) => Kept::Level(Box::new(level.reversed())),
            _ => Kept::Nothing,
        };
        Self {
            kept,
            event_count: -self.event_count,
            skipped_count: -self.skipped_count,
        }
    }

    /// The same as if its events had occurred at `start`, where time matters to what is kept.
    pub fn carried_to(&self, start: Timestamp) -> Self {
        let mut carried = self.clone();
        if let Kept::Level(level) = &mut carried.kept {
            **level = level.carried_to(start);
        }
        carried
    }

    /// The same, but for a nought that is kept where every event was taken out again: nothing is kept
    /// of what was never filled.
    pub fn tidied(mut self) -> Self {
        let is_nought = match &self.kept {
            Kept::Amount(amount) => *amount == Amount::ZERO,
            Kept::Level(level) => level.height == Amount::ZERO && level.moment == Amount::ZERO,
            _ => false,
        };
        if self.event_count == 0 && is_nought {
            self.kept = Kept::Nothing;
        }
        self
    }

    /// True where nothing was folded.
    pub fn is_empty(&self) -> bool {
        self.event_count == 0 && self.skipped_count == 0
    }

    /// The value to show of a range that ends at `end`, see [`Partial::amount`].
    pub fn answer(&self, operator: Operator, end: Option<Timestamp>) -> Shown {
        let value = self.amount(operator, end).map(|amount| amount.to_string());
        let is_estimate = matches!(&self.kept, Kept::Distinct(set) if set.is_estimate());
        Shown {
            value,
            relative_error: is_estimate.then_some(RELATIVE_ERROR),
        }
    }

    /// The value of a range that ends at `end`: over nothing 0 for count, sum and unique_count, none
    /// for min, max, avg and latest. A level has a value only where there is an end.
    pub fn amount(&self, operator: Operator, end: Option<Timestamp>) -> Option<Amount> {
        match (operator, &self.kept) {
            (Operator::Count, _) => Some(Amount::from(self.event_count)),
            (Operator::Sum | Operator::UniqueCount, Kept::Nothing) => Some(Amount::ZERO),
            (Operator::WeightedSum, Kept::Nothing) => end.map(|_| Amount::ZERO),
            (_, Kept::Nothing) => None,
            (Operator::Avg, Kept::Amount(sum)) => sum.mean(self.event_count),
            (_, Kept::Amount(amount)) => Some(amount.clone()),
            (_, Kept::Latest(latest)) => Some(latest.value.clone()),
            (_, Kept::Distinct(set)) => {
                // There are fewer values than events, whose positions fit.
                Some(Amount::from(i64::try_from(set.count()).unwrap_or(i64::MAX)))
            }
            (_, Kept::Level(level)) => end.map(|end| level.stood_until(end)),
        }
    }

    /// About how many bytes it takes beyond its own size.
    pub fn heap_bytes(&self) -> usize {
        match &self.kept {
            Kept::Distinct(set) => set.heap_bytes(),
            _ => 0,
        }
    }
}

fn keep(operator: Operator, value: Amount, at: Timestamp, position: Position) -> Kept {
    match operator {
        Operator::Latest => Kept::Latest(Box::new(Latest {
            value,
            at,
            position,
        })),
        Operator::WeightedSum => Kept::Level(Box::new(Level::changed(value, at))),
        _ => Kept::Amount(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_over_nothing_are_zero_or_none() {
        let nothing = Partial::default();
        let of = |operator, end| nothing.answer(operator, end).value;
        for operator in [Operator::Count, Operator::Sum, Operator::UniqueCount] {
            assert_eq!(of(operator, None).as_deref(), Some("0"), "{operator:?}");
        }
        for operator in [
            Operator::Min,
            Operator::Max,
            Operator::Avg,
            Operator::Latest,
        ] {
            assert_eq!(of(operator, None), None, "{operator:?}");
        }
        let end = Some(Timestamp::from_micros(0));
        assert_eq!(of(Operator::WeightedSum, None), None);
        assert_eq!(of(Operator::WeightedSum, end).as_deref(), Some("0"));
    }

    #[test]
    fn what_was_taken_out_leaves_nothing_once_it_is_tidied() {
        let position = Position {
            partition: 0,
            seq: 1,
        };
        for operator in Operator::ALL.into_iter().filter(|o| o.is_reversible()) {
            let one = Partial::of(operator, Some("2.5"), Timestamp::from_micros(7), position);
            let mut none = one.clone();
            none.merge(operator, &one.reversed(operator));
            assert_eq!(none.tidied(), Partial::default(), "{operator:?}");
            assert_eq!(one.clone().tidied(), one);
        }
    }

    #[test]
    fn the_codes_are_frozen() {
        let codes = Operator::ALL.map(|operator| (operator.as_str(), operator.code()));
        let frozen = [
            ("count", 1),
            ("sum", 2),
            ("min", 3),
            ("max", 4),
            ("avg", 5),
            ("latest", 6),
            ("unique_count", 7),
            ("weighted_sum", 8),
        ];
        assert_eq!(codes, frozen);
    }
}
