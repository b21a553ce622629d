//! Principals by value, the largest first: a page of them.
//!
//! Invariant: the order is a function of what is shown: values as decimals, none behind all others,
//! ties by identifier, byte by byte. So a page ends where the next one begins.

use crate::amount::Amount;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A place in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rank {
    /// The value.
    pub value: Option<Amount>,
    /// Whose it is.
    pub principal_id: String,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_value = other.value.cmp(&self.value);
        by_value.then_with(|| self.principal_id.cmp(&other.principal_id))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The first so many behind a place, of all that are offered.
#[derive(Debug)]
pub struct Ranking<T> {
    limit: usize,
    after: Option<Rank>,
    page: BTreeMap<Rank, T>,
}

impl<T> Ranking<T> {
    /// Nothing yet.
    pub fn new(limit: usize, after: Option<Rank>) -> Self {
        Self {
            limit,
            after,
            page: BTreeMap::new(),
        }
    }

    /// Takes one in, if it belongs to the page as far as is known.
    pub fn offer(&mut self, rank: Rank, item: T) {
        if self.after.as_ref().is_some_and(|after| rank <= *after) {
            return;
        }
        let is_full = self.page.len() >= self.limit;
        let last = self.page.last_key_value();
        if is_full && last.is_none_or(|(last, _)| rank >= *last) {
            return;
        }
        self.page.insert(rank, item);
        if self.page.len() > self.limit {
            self.page.pop_last();
        }
    }

    /// The page, in order.
    pub fn finish(self) -> Vec<(Rank, T)> {
        self.page.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(value: Option<&str>, principal_id: &str) -> Rank {
        Rank {
            value: value.map(|value| Amount::parse(value).unwrap()),
            principal_id: principal_id.to_owned(),
        }
    }

    #[test]
    fn pages_tile_the_order_whatever_comes_first() {
        let ordered = [
            rank(Some("10"), "b"),
            rank(Some("9.50"), "a"),
            rank(Some("9.5"), "c"),
            rank(Some("0"), "x"),
            rank(Some("-1"), "d"),
            rank(None, "a2"),
            rank(None, "b2"),
        ];
        for limit in 1..=8 {
            for turn in 0..ordered.len() {
                let (mut after, mut seen) = (None, Vec::new());
                loop {
                    let mut ranking = Ranking::new(limit, after.clone());
                    let turned = ordered.iter().cycle().skip(turn).take(ordered.len());
                    for rank in turned {
                        ranking.offer(rank.clone(), ());
                    }
                    let page = ranking.finish();
                    assert!(page.len() <= limit);
                    let Some((last, ())) = page.last() else { break };
                    after = Some(last.clone());
                    seen.extend(page.into_iter().map(|(rank, ())| rank));
                }
                assert_eq!(seen, ordered, "pages of {limit}, from {turn} on");
            }
        }
    }
}
