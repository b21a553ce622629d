//! Where in the log the events of an answer can lie.
//!
//! Invariant: every place that was added lies in one of the spans; what they hold beside is the
//! price of their being few.

use std::ops::RangeInclusive;

/// Most spans that are held while they are added.
const MOST_HELD: usize = 4096;
/// Most spans in the end: each is asked for by itself.
const MOST: usize = 64;
/// Spans that are no further apart become one at once.
const NEAR: i64 = 64;

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

    /// Joins spans, the nearest first, until there are no more than so many.
    fn join(&mut self, most: usize) {
        self.0.sort_unstable_by_key(|span| *span.start());
        let mut gap = NEAR;
        loop {
            let mut joined: Vec<RangeInclusive<i64>> = Vec::with_capacity(self.0.len());
            for span in self.0.drain(..) {
                match joined.last_mut() {
                    Some(last) if *span.start() <= last.end().saturating_add(gap) => {
                        *last = *last.start()..=*last.end().max(span.end());
                    }
                    _ => joined.push(span),
                }
            }
            self.0 = joined;
            if self.0.len() <= most {
                return;
            }
            gap = gap.saturating_mul(4);
        }
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
        assert!((2..=MOST).contains(&spans.len()), "{}", spans.len());
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
        for (first, last) in [(1_000_000, 1_000_009), (1, 9), (30, 40), (5, 12)] {
            places.add(first, last);
        }
        assert_eq!(places.spans(), [1..=40, 1_000_000..=1_000_009]);
    }
}
