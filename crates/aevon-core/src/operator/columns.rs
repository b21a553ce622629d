//! What a bucket's row keeps, column by column.

use super::{Distinct, Kept, Latest, Level, Operator};
use crate::amount::Amount;
use crate::position::Position;
use crate::time::Timestamp;

/// The columns of a row that depend on its operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// A sum, a minimum, a maximum, the latest value, or the height of a level.
    pub value: Option<Amount>,
    /// When the latest value occurred.
    pub latest_at: Option<Timestamp>,
    /// The seq of the event whose value it is.
    pub latest_seq: Option<i64>,
    /// The moment of a level.
    pub moment: Option<Amount>,
    /// A set of values.
    pub sketch: Option<Vec<u8>>,
}

impl Kept {
    /// As a row keeps it.
    pub fn to_columns(&self) -> Columns {
        let mut columns = Columns::default();
        match self {
            Self::Nothing => {}
            Self::Amount(amount) => columns.value = Some(amount.clone()),
            Self::Latest(latest) => {
                columns.value = Some(latest.value.clone());
                columns.latest_at = Some(latest.at);
                columns.latest_seq = Some(latest.position.seq);
            }
            Self::Distinct(set) => columns.sketch = Some(set.to_bytes()),
            Self::Level(level) => {
                columns.value = Some(level.height.clone());
                columns.moment = Some(level.moment.clone());
            }
        }
        columns
    }

    /// Reads what [`Kept::to_columns`] gave; `None` where a row holds something else.
    pub fn from_columns(operator: Operator, partition: i32, columns: Columns) -> Option<Self> {
        let Columns {
            value,
            latest_at,
            latest_seq,
            moment,
            sketch,
        } = columns;
        let latest = match (latest_at, latest_seq) {
            (None, None) => None,
            // Half a place is none.
            (at, seq) => Some(at.zip(seq)?),
        };
        Some(match (operator, value, latest, moment, sketch) {
            (_, None, None, None, None) => Self::Nothing,
            (Operator::Latest, Some(value), Some((at, seq)), None, None) => {
                let position = Position { partition, seq };
                Self::Latest(Box::new(Latest {
                    value,
                    at,
                    position,
                }))
            }
            (Operator::WeightedSum, Some(height), None, Some(moment), None) => {
                Self::Level(Box::new(Level { height, moment }))
            }
            (Operator::UniqueCount, None, None, None, Some(bytes)) => {
                Self::Distinct(Box::new(Distinct::from_bytes(&bytes)?))
            }
            (
                Operator::Sum | Operator::Avg | Operator::Min | Operator::Max,
                Some(value),
                None,
                None,
                None,
            ) => Self::Amount(value),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Partial;
    use super::*;

    #[test]
    fn what_is_kept_comes_back_from_its_columns_and_from_no_others() {
        let position = Position {
            partition: 3,
            seq: 9,
        };
        for operator in Operator::ALL {
            let one = Partial::of(operator, Some("2.5"), Timestamp::from_micros(7), position);
            let columns = one.kept.to_columns();
            let back = Kept::from_columns(operator, 3, columns.clone());
            assert_eq!(back, Some(one.kept), "{operator:?}");
            let of_others = Operator::ALL.into_iter().filter(|other| {
                Kept::from_columns(*other, 3, columns.clone()).is_some() && *other != operator
            });
            let is_amount = |o: Operator| {
                matches!(
                    o,
                    Operator::Sum | Operator::Avg | Operator::Min | Operator::Max
                )
            };
            for other in of_others {
                let is_shared = is_amount(other) && is_amount(operator);
                assert!(
                    is_shared || operator == Operator::Count,
                    "{operator:?} {other:?}"
                );
            }
        }
    }
}
