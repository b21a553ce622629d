//! What stands against what ought to stand, row by row, column by column.

use super::{Ought, Rows};
use crate::amount::Amount;
use crate::labels::Labels;
use crate::operator::{Columns, Distinct, Operator};
use crate::rule::Rule;
use crate::time::{Grain, Timestamp};
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::sync::Arc;

/// Which row of `pre_aggregates`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    /// Whose.
    pub principal_no: i64,
    /// Index of the rule.
    pub rule: u32,
    /// Of its group; none for the ungrouped series.
    pub labels: Arc<Labels>,
    /// Width of the window.
    pub grain: Grain,
    /// Start of the window.
    pub window_start: Timestamp,
    /// UTC day of ingestion; 0 for days.
    pub epoch: i32,
}

/// A row as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Which.
    pub row: Row,
    /// The code of its operator.
    pub operator: i16,
    /// Events that entered the value.
    pub event_count: i64,
    /// Events without a usable value.
    pub skipped_count: i64,
    /// The first event of it.
    pub first_seq: i64,
    /// The last one.
    pub last_seq: i64,
    /// The last void that took one of its events out.
    pub last_void_seq: Option<i64>,
    /// What the operator keeps.
    pub columns: Columns,
}

/// A row that is not what it ought to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub row: Row,
    /// The first column that differs; `row` where there is none, or ought to be none.
    pub column: &'static str,
    /// What stands there.
    pub stored: String,
    /// What ought to.
    pub folded: String,
}

impl Difference {
    fn is_before(&self, other: &Self) -> bool {
        self.row.cmp(&other.row) == Ordering::Less
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Rows that stand.
    pub buckets: u64,
    /// Rows that differ, are missing, or ought not to stand.
    pub differences: u64,
    /// The first of them.
    pub first: Option<Difference>,
}

impl Findings {
    /// Takes what was found later in.
    pub fn add(&mut self, later: Findings) {
        self.buckets += later.buckets;
        self.differences += later.differences;
        self.first = self.first.take().or(later.first);
    }

    fn note(&mut self, found: Difference) {
        self.differences += 1;
        if self
            .first
            .as_ref()
            .is_none_or(|first| found.is_before(first))
        {
            self.first = Some(found);
        }
    }
}

/// The rows that ought to stand, and what was found so far.
#[derive(Debug)]
pub struct Comparison<'r> {
    rules: &'r [Rule],
    rows: Rows,
    found: Findings,
}

impl<'r> Comparison<'r> {
    /// Begins with the rows that ought to stand.
    pub fn new(rules: &'r [Rule], rows: Rows) -> Self {
        Self {
            rules,
            rows,
            found: Findings::default(),
        }
    }

    /// Compares a row that stands.
    pub fn compare(&mut self, stored: Stored) {
        self.found.buckets += 1;
        let operator = self.rules[stored.row.rule as usize].operator;
        let difference = match self.rows.remove(&stored.row) {
            None => Some(("row", described(&stored), "none".to_owned())),
            Some(ought) => {
                let folded = as_stored(&stored.row, operator, &ought);
                first_column(&stored, &folded)
            }
        };
        if let Some((column, stands, folded)) = difference {
            self.found.note(Difference {
                row: stored.row,
                column,
                stored: stands,
                folded,
            });
        }
    }

    /// Takes note of a row with a column that is wrong whatever the log says: `stored` is no value
    /// of it, or not the one that `ought` is.
    pub fn note(&mut self, row: Row, column: &'static str, stored: String, ought: Option<String>) {
        self.found.buckets += 1;
        let operator = self.rules[row.rule as usize].operator;
        let folded = |delta: Ought| {
            let columns = columns(&as_stored(&row, operator, &delta));
            let mut its = columns.into_iter().filter(|(name, _)| *name == column);
            its.next().map(|(_, shown)| shown)
        };
        let folded = ought.or(self.rows.remove(&row).and_then(folded));
        self.found.note(Difference {
            folded: folded.unwrap_or_else(|| "none".to_owned()),
            row,
            column,
            stored,
        });
    }

    /// What was found; rows that were not compared are missing.
    pub fn finish(mut self) -> Findings {
        for (row, ought) in self.rows {
            let operator = self.rules[row.rule as usize].operator;
            self.found.note(Difference {
                column: "row",
                stored: "none".to_owned(),
                folded: described(&as_stored(&row, operator, &ought)),
                row,
            });
        }
        self.found
    }
}

/// A row as it would stand.
fn as_stored(row: &Row, operator: Operator, ought: &Ought) -> Stored {
    let Ought {
        delta,
        last_void_seq,
    } = ought;
    Stored {
        row: row.clone(),
        operator: operator.code(),
        event_count: delta.partial.event_count,
        skipped_count: delta.partial.skipped_count,
        first_seq: delta.first_seq,
        last_seq: delta.last_seq,
        last_void_seq: *last_void_seq,
        columns: delta.partial.kept.to_columns(),
    }
}

/// Every column of a row, for people.
fn columns(row: &Stored) -> [(&'static str, String); 11] {
    let Columns {
        value,
        latest_at,
        latest_seq,
        moment,
        sketch,
    } = &row.columns;
    let shown = |number: Option<String>| number.unwrap_or_else(|| "null".to_owned());
    // What was emptied by voids keeps a nought where what was never filled has nothing.
    let is_empty = row.event_count == 0;
    let amount = |amount: &Option<Amount>| {
        let kept = amount
            .as_ref()
            .filter(|amount| !is_empty || **amount != Amount::from(0));
        shown(kept.map(ToString::to_string))
    };
    [
        ("operator", row.operator.to_string()),
        ("event_count", row.event_count.to_string()),
        ("skipped_count", row.skipped_count.to_string()),
        ("value", amount(value)),
        ("latest_at", shown(latest_at.map(|at| at.to_string()))),
        ("latest_seq", shown(latest_seq.map(|seq| seq.to_string()))),
        ("moment", amount(moment)),
        ("sketch", shown(sketch.as_deref().map(sketched))),
        ("first_seq", row.first_seq.to_string()),
        ("last_seq", row.last_seq.to_string()),
        (
            "last_void_seq",
            shown(row.last_void_seq.map(|seq| seq.to_string())),
        ),
    ]
}

/// The first column that differs: what stands there, and what ought to. What people are shown of a
/// value tells any two apart.
fn first_column(stored: &Stored, folded: &Stored) -> Option<(&'static str, String, String)> {
    if stored == folded {
        return None;
    }
    let mut pairs = columns(stored).into_iter().zip(columns(folded));
    pairs.find_map(|((column, stands), (_, ought))| {
        (stands != ought).then_some((column, stands, ought))
    })
}

/// A row in a few words.
fn described(row: &Stored) -> String {
    let has_content = |(_, shown): &(&str, String)| shown != "null" && shown != "0";
    let parts: Vec<String> = columns(row)
        .into_iter()
        .skip(1)
        .filter(has_content)
        .map(|(column, shown)| format!("{column} {shown}"))
        .collect();
    parts.join(", ")
}

/// A set of values: how many, and the beginning of its SHA-256.
fn sketched(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
    match Distinct::from_bytes(bytes) {
        Some(set) => format!("{} values (sha256 {hex}…)", set.count()),
        None => format!("{} bytes that are no set (sha256 {hex}…)", bytes.len()),
    }
}
