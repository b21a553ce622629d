//! Operators: pure functions of a set of events, kept as values that merge.
//!
//! Invariant: [`Partial::merge`] is associative, commutative and has [`Partial::default`] as its
//! identity, so that tail, buckets and rebuild give one answer in whatever order they are merged.

use crate::amount::Amount;
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
}

impl Operator {
    /// Every operator.
    pub const ALL: [Operator; 4] = [Self::Count, Self::Sum, Self::Min, Self::Max];

    /// The name in rules and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
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
        }
    }

    /// True where the operator reads a field of `data`.
    pub const fn takes_field(self) -> bool {
        !matches!(self, Self::Count)
    }

    fn combine(self, a: &Amount, b: &Amount) -> Amount {
        match self {
            Self::Count | Self::Sum => a.add(b),
            Self::Min => a.min(b).clone(),
            Self::Max => a.max(b).clone(),
        }
    }
}

/// The fold of some events under one operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// The folded amount; `None` for count, and while no event entered the value.
    pub value: Option<Amount>,
    /// Events that entered the value.
    pub event_count: i64,
    /// Events of the rule without a usable value.
    pub skipped_count: i64,
}

impl Partial {
    /// One event: `value` is its usable number, where the operator needs one.
    pub fn of(operator: Operator, value: Option<Amount>) -> Self {
        match (operator.takes_field(), value) {
            (false, _) => Self {
                value: None,
                event_count: 1,
                skipped_count: 0,
            },
            (true, Some(value)) => Self {
                value: Some(value),
                event_count: 1,
                skipped_count: 0,
            },
            (true, None) => Self {
                value: None,
                event_count: 0,
                skipped_count: 1,
            },
        }
    }

    /// Takes `other` in.
    pub fn merge(&mut self, operator: Operator, other: &Partial) {
        self.event_count += other.event_count;
        self.skipped_count += other.skipped_count;
        self.value = match (self.value.take(), &other.value) {
            (Some(a), Some(b)) => Some(operator.combine(&a, b)),
            (a, b) => a.or_else(|| b.clone()),
        };
    }

    /// True where nothing was folded.
    pub fn is_empty(&self) -> bool {
        self.event_count == 0 && self.skipped_count == 0
    }

    /// The value to show: `"0"` over nothing for count and sum, `None` for min and max.
    pub fn answer(&self, operator: Operator) -> Option<String> {
        match operator {
            Operator::Count => Some(self.event_count.to_string()),
            Operator::Sum => Some(self.value.as_ref().unwrap_or(&Amount::ZERO).to_string()),
            Operator::Min | Operator::Max => self.value.as_ref().map(Amount::to_string),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn partial(operator: Operator) -> impl Strategy<Value = Partial> {
        proptest::collection::vec(proptest::option::of(-1000i64..1000), 0..5).prop_map(move |set| {
            let mut all = Partial::default();
            for value in set {
                all.merge(operator, &Partial::of(operator, value.map(Amount::from)));
            }
            all
        })
    }

    fn merged(operator: Operator, a: &Partial, b: &Partial) -> Partial {
        let mut a = a.clone();
        a.merge(operator, b);
        a
    }

    proptest! {
        #[test]
        fn merging_is_associative_commutative_and_has_an_identity(
            (operator, a, b, c) in proptest::sample::select(Operator::ALL.to_vec())
                .prop_flat_map(|o| (Just(o), partial(o), partial(o), partial(o)))
        ) {
            let left = merged(operator, &merged(operator, &a, &b), &c);
            let right = merged(operator, &a, &merged(operator, &b, &c));
            prop_assert_eq!(&left, &right);
            prop_assert_eq!(merged(operator, &a, &b), merged(operator, &b, &a));
            prop_assert_eq!(merged(operator, &a, &Partial::default()), a);
        }
    }

    #[test]
    fn min_and_max_over_nothing_are_null_and_sum_is_zero() {
        let nothing = Partial::default();
        assert_eq!(nothing.answer(Operator::Min), None);
        assert_eq!(nothing.answer(Operator::Max), None);
        assert_eq!(nothing.answer(Operator::Sum).as_deref(), Some("0"));
        assert_eq!(nothing.answer(Operator::Count).as_deref(), Some("0"));
    }
}
