//! Which places of the log an answer reads.

use crate::time::Timestamp;

/// Places of a partition, both inclusive, and the valid time that is wanted of their events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first place.
    pub first_seq: i64,
    /// The last place.
    pub last_seq: i64,
    /// The first instant that is wanted; `None` is unbounded.
    pub start: Option<Timestamp>,
    /// The first instant that is not; `None` is unbounded.
    pub end: Option<Timestamp>,
}

impl Span {
    /// The same places, each in one span, ascending: no event is read twice. Spans that overlap
    /// become one, of all the time that is wanted of any.
    pub fn disjoint(mut spans: Vec<Span>) -> Vec<Span> {
        spans.retain(|span| span.first_seq <= span.last_seq);
        spans.sort_unstable_by_key(|span| span.first_seq);
        let mut disjoint: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match disjoint.last_mut() {
                Some(last) if span.first_seq <= last.last_seq => {
                    last.last_seq = last.last_seq.max(span.last_seq);
                    last.start = last.start.zip(span.start).map(|(a, b)| a.min(b));
                    last.end = last.end.zip(span.end).map(|(a, b)| a.max(b));
                }
                _ => disjoint.push(span),
            }
        }
        disjoint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_spans_become_one_of_all_the_time_that_is_wanted() {
        let span = |first_seq, last_seq, start: Option<i64>, end: Option<i64>| Span {
            first_seq,
            last_seq,
            start: start.map(Timestamp::from_micros),
            end: end.map(Timestamp::from_micros),
        };
        let spans = vec![
            span(7, 9, Some(1), Some(2)),
            span(30, 20, Some(1), Some(2)),
            span(1, 3, Some(5), Some(9)),
            span(2, 5, Some(4), Some(6)),
            span(6, 6, Some(4), Some(6)),
            span(9, 12, None, Some(1)),
        ];
        let expected = [
            span(1, 5, Some(4), Some(9)),
            span(6, 6, Some(4), Some(6)),
            span(7, 12, None, Some(2)),
        ];
        assert_eq!(Span::disjoint(spans), expected);
    }
}
