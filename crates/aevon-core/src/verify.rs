//! Buckets against the log: which rows ought to stand, and which of those that stand don't.
//!
//! Invariant: independent of what stands: rows are folded from nothing, out of the events of a
//! principal in the order in which they occurred, and merged with nothing.
//! Invariant: memory is bounded by what one principal did in one hour, by the groups of one of its
//! days, and by [`FULL_ROWS`]: rows are taken out as soon as no event can touch them any more.

mod difference;
mod refold;
mod span;

pub use difference::{Comparison, Difference, Findings, Row, Stored};
pub use refold::{FULL_ROWS, Ought, Refold, Rows};
pub use span::{Mark, Span, spans};

use sha2::{Digest, Sha256};

/// Whether a principal belongs to a sample of this part of all, from 0 to 1. Always the same ones;
/// those of a smaller sample are in every larger one.
pub fn is_sampled(tenant_id: &str, principal_id: &str, part: f64) -> bool {
    let mut hash = Sha256::new();
    hash.update(tenant_id.as_bytes());
    hash.update([crate::identity::UNIT_SEPARATOR as u8]);
    hash.update(principal_id.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let (first, _) = digest.split_at(8);
    let place = first
        .iter()
        .fold(0_u64, |place, byte| place << 8 | u64::from(*byte));
    part >= 1.0 || (place as f64) < part * u64::MAX as f64
}

#[cfg(test)]
mod refold_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_about_its_part_and_smaller_ones_are_in_larger_ones() {
        let sample = |part: f64| -> Vec<u32> {
            let is_in = |n: &u32| is_sampled("acme", &format!("user_{n}"), part);
            (0..10_000).filter(is_in).collect()
        };
        let (none, tenth, half, all) = (sample(0.0), sample(0.1), sample(0.5), sample(1.0));
        assert_eq!((none.len(), all.len()), (0, 10_000));
        assert!((900..1_100).contains(&tenth.len()), "{}", tenth.len());
        assert!((4_800..5_200).contains(&half.len()), "{}", half.len());
        assert!(tenth.iter().all(|n| half.contains(n)));
    }
}
