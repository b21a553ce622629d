//! Which windows of which principals a part of the comparison is about.

use crate::time::{Grain, Timestamp};

/// A place in the order of verification: what lies before that hour of that principal is folded,
/// and so are all principals before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The principal.
    pub principal_no: i64,
    /// The start of an hour.
    pub hour: Timestamp,
}

/// Windows of one grain of one principal, half-open; `None` is unbounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The principal.
    pub principal_no: i64,
    /// The grain.
    pub grain: Grain,
    /// The first window.
    pub from: Option<Timestamp>,
    /// The first window behind them.
    pub to: Option<Timestamp>,
}

/// Every window of these principals, ascending, that lies between two marks; without a mark, from
/// the very beginning or to the very end. Days are left until they are over.
pub fn spans(principal_nos: &[i64], from: Option<Mark>, to: Option<Mark>) -> Vec<Span> {
    let is_between = |no: &&i64| {
        from.is_none_or(|mark| mark.principal_no <= **no)
            && to.is_none_or(|mark| **no <= mark.principal_no)
    };
    let of_principal = |no: &i64| {
        let hour_of = |mark: Option<Mark>| mark.filter(|m| m.principal_no == *no).map(|m| m.hour);
        let (from, to) = (hour_of(from), hour_of(to));
        Grain::ALL.map(|grain| Span {
            principal_no: *no,
            grain,
            from: from.map(|at| grain.floor(at)),
            to: to.map(|at| grain.floor(at)),
        })
    };
    let is_empty = |span: &Span| span.from.is_some() && span.from == span.to;
    let spans = principal_nos.iter().filter(is_between);
    spans
        .flat_map(of_principal)
        .filter(|span| !is_empty(span))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(principal_no: i64, hour: &str) -> Option<Mark> {
        let hour = Timestamp::parse(&format!("2026-01-{hour}:00:00Z")).unwrap();
        Some(Mark { principal_no, hour })
    }

    #[test]
    fn spans_between_marks_tile_every_window_of_every_principal() {
        let marks = [
            None,
            mark(2, "01T05"),
            mark(2, "01T09"),
            mark(2, "03T00"),
            mark(5, "02T01"),
            None,
        ];
        let mut all = Vec::new();
        for pair in marks.windows(2) {
            all.extend(spans(&[1, 2, 3, 5, 7], pair[0], pair[1]));
        }
        for principal_no in [1, 2, 3, 5, 7] {
            for grain in Grain::ALL {
                let mut at = None;
                let is_its = |s: &&Span| (s.principal_no, s.grain) == (principal_no, grain);
                let its: Vec<&Span> = all.iter().filter(is_its).collect();
                for span in &its {
                    assert_eq!(span.from, at, "{principal_no} {grain:?}");
                    at = span.to;
                }
                assert_eq!(at, None, "{principal_no} {grain:?}: to the end");
                assert!(!its.is_empty());
            }
        }
        let days = all
            .iter()
            .filter(|s| s.principal_no == 2 && s.grain == Grain::Day);
        assert_eq!(days.count(), 3, "two of its marks lie within one day");
    }
}
