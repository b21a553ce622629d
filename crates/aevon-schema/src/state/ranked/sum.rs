//! What the buckets of a principal add up to, as Postgres gives it.

use crate::error::StoreError;
use crate::values::from_pg;
use aevon_core::amount::Amount;
use aevon_core::operator::{Columns, Kept, Level, Operator, Partial};
use bigdecimal::BigDecimal;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Numeric, Text, Timestamptz};

/// What those of a principal's buckets add up to that stand, or some of them.
pub(super) struct Sum {
    pub(super) principal_id: String,
    /// Its number, or that of its series.
    pub(super) no: i64,
    pub(super) inside: Partial,
    pub(super) before: Partial,
    /// Whether others have changed since.
    pub(super) is_refined: bool,
    /// Whether there is a void that they do not hold.
    pub(super) is_voided: bool,
}

impl Sum {
    pub(super) fn of(operator: Operator, row: SumRow) -> Result<Self, StoreError> {
        let (principal_id, event_count, value, moment, latest_at, latest_seq, sketch, ..) = row;
        let (height_before, has_any, is_refined, is_voided, no) =
            (row.7, row.8, row.9, row.10, row.11);
        let columns = Columns {
            value: value.map(Amount::from_big),
            latest_at: latest_at.map(from_pg),
            latest_seq,
            moment: moment.map(Amount::from_big),
            sketch,
        };
        // The partition decides nothing among the events of one principal.
        let kept = Kept::from_columns(operator, 0, columns);
        let unreadable = || StoreError::Corrupt("a sum of buckets can't be read".to_owned());
        // Only the height of what came before counts.
        let before = height_before.map(|height| {
            Kept::Level(Box::new(Level {
                height: Amount::from_big(height),
                moment: Amount::ZERO,
            }))
        });
        Ok(Self {
            principal_id,
            no,
            inside: Partial {
                kept: kept.ok_or_else(unreadable)?,
                event_count,
                // Postgres says no more than whether there are any.
                skipped_count: i64::from(has_any),
            },
            before: Partial {
                event_count: i64::from(before.is_some()),
                kept: before.unwrap_or_default(),
                skipped_count: 0,
            },
            is_refined,
            is_voided,
        })
    }

    pub(super) fn merge(&mut self, operator: Operator, other: &Sum) {
        self.inside.merge(operator, &other.inside);
        self.is_refined |= other.is_refined;
        self.is_voided |= other.is_voided;
    }
}

pub(super) type SumColumns = (
    Text,
    BigInt,
    Nullable<Numeric>,
    Nullable<Numeric>,
    Nullable<Timestamptz>,
    Nullable<BigInt>,
    Nullable<Binary>,
    Nullable<Numeric>,
    Bool,
    Bool,
    Bool,
    BigInt,
);
pub(super) type SumRow = (
    String,
    i64,
    Option<BigDecimal>,
    Option<BigDecimal>,
    Option<PgTimestamp>,
    Option<i64>,
    Option<Vec<u8>>,
    Option<BigDecimal>,
    bool,
    bool,
    bool,
    i64,
);
