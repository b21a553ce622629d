//! Where in the log the events of an answer can lie.
//!
//! Invariant: every place that was added lies in one of the spans; what they hold beside is the
//! price of their being few.

use std::ops::RangeInclusive;

/// Most spans that are held while they are added.
const MOST_HELD: usize = 4096;
/// Most spans in the end: each is asked for by itself.
const MOST: usize = 256;
/// Spans that are no further apart become one at once: reading on costs less than asking again.
const NEAR: i64 = 500;

/// Places of a partition.
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<RangeInclusive<i64>>);

impl Places {
    /// Adds what lies between two places, both inclusive.
    pub fn add(&mut self, first: i64, last: i64) {
        if first > last {
            return;
        }
        self.0.push(first..=last);
        if self.0.len() >= MOST_HELD {
            self.join(MOST_HELD / 2);
        }
    }

    /// The spans, ascending and disjoint.
    pub fn spans(mut self) -> Vec<RangeInclusive<i64>> {
        self.join(MOST);
        self.0
    }

    /// Joins spans that are near, then the nearest of the others, until there are no more than so many.
    fn join(&mut self, most: usize) {
        self.0.sort_unstable_by_key(|span| *span.start());
        self.join_where(|gap| gap <= NEAR);
        let Some(surplus) = self.0.len().checked_sub(most).filter(|n| *n > 0) else {
            return;
        };
        let gap = |two: &[RangeInclusive<i64>]| two[1].start() - two[0].end();
        let mut gaps: Vec<i64> = self.0.windows(2).map(gap).collect();
        let (_, widest, _) = gaps.select_nth_unstable(surplus - 1);
        let widest = *widest;
        // Of those that are as wide only so many.
        let narrower = gaps.iter().filter(|gap| **gap < widest).count();
        let mut as_wide = surplus - narrower;
        self.join_where(|gap| {
            let is_one = gap == widest && as_wide > 0;
            as_wide -= usize::from(is_one);
            gap < widest || is_one
        });
    }

    /// Joins neighbours whose distance is such a one; they are in order.
    fn join_where(&mut self, mut is_joined: impl FnMut(i64) -> bool) {
        let mut joined: Vec<RangeInclusive<i64>> = Vec::with_capacity(self.0.len());
        for span in self.0.drain(..) {
            match joined.last_mut() {
                Some(last) if is_joined(span.start().saturating_sub(*last.end())) => {
                    *last = *last.start()..=*last.end().max(span.end());
                }
                _ => joined.push(span),
            }
        }
        self.0 = joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_few_disjoint_and_hold_every_place() {
        let mut places = Places::default();
        let added: Vec<(i64, i64)> = (0..20_000)
            .map(|n| (n * 7919 % 1_000_003 * 1_000, n % 5))
            .map(|(first, length)| (first, first + length))
            .collect();
        for (first, last) in &added {
            places.add(*first, *last);
        }
        places.add(5, 4);
        let spans = places.spans();
        assert_eq!(spans.len(), MOST);
        assert!(spans.windows(2).all(|two| two[0].end() < two[1].start()));
        let holds = |(first, last): &(i64, i64)| {
            spans
                .iter()
                .any(|span| span.contains(first) && span.contains(last))
        };
        assert!(added.iter().all(holds));
    }

    #[test]
    fn places_that_lie_apart_stay_apart() {
        let mut places = Places::default();
        for (first, last) in [
            (1_000_000, 1_000_009),
            (1, 9),
            (30, 40),
            (5, 12),
            (542, 542),
        ] {
            places.add(first, last);
        }
        assert_eq!(places.spans(), [1..=40, 542..=542, 1_000_000..=1_000_009]);
        // Of too many, the nearest are joined.
        let mut places = Places::default();
        (0..=MOST as i64).for_each(|n| places.add(n * n * 1000, n * n * 1000));
        let spans = places.spans();
        assert_eq!(
            (spans.len(), &spans[0], &spans[1]),
            (MOST, &(0..=1000), &(4000..=4000))
        );
    }
}
