//! How many different values there are: exact to [`MAX_EXACT`], estimated beyond.
//!
//! Up to the bound the set is kept as it is, each value by 128 bits of its SHA-256. Beyond it only
//! registers are kept: of the hashes that share their first [`INDEX_BITS`] bits, how many zeros
//! follow at most, and one (HyperLogLog; Flajolet et al. 2007).
//!
//! Invariant: what is kept is a function of the set alone, never of the order or the grouping of
//! merges: a union beyond the bound has registers, and they are the maxima over all of its values,
//! whether these came one by one, as sets or as registers.
//!
//! The estimate is Ertl's improved one ("New cardinality estimation algorithms for HyperLogLog
//! sketches", 2017, algorithm 6): from registers alone, without a bias table. It uses only sums,
//! products, quotients and square roots, which IEEE 754 rounds the same everywhere.

use crate::amount::Amount;
use sha2::{Digest, Sha256};

/// Most values that are counted one by one.
pub const MAX_EXACT: usize = 1024;
/// Standard error of an estimate in parts of it: 1.04 / √registers.
pub const RELATIVE_ERROR: f64 = 0.0081;

/// Bits of a hash that choose its register. Frozen.
const INDEX_BITS: u32 = 14;
const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of a hash in which zeros are counted.
const RANK_BITS: u32 = 64 - INDEX_BITS;

/// How sets are stored: a byte that says which, then the content.
const STORED_EXACT: u8 = 1;
const STORED_DENSE: u8 = 2;

/// A set of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct(Repr);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Repr {
    /// Hashes, ascending; [`MAX_EXACT`] at most.
    Exact(Vec<u128>),
    Dense(Vec<u8>),
}

impl Distinct {
    /// The set of one value, given as JSON: a string, a number or a boolean; 1 and 1.0 are one
    /// value, 1 and "1" are two. `None` for null, arrays and objects.
    pub fn of(raw: &str) -> Option<Self> {
        let canonical = match raw.as_bytes().first()? {
            b'"' => format!("s{}", serde_json::from_str::<String>(raw).ok()?),
            b't' | b'f' => format!("b{raw}"),
            b'-' | b'0'..=b'9' => format!("n{}", Amount::parse(raw)?),
            _ => return None,
        };
        let digest: [u8; 32] = Sha256::digest(canonical.as_bytes()).into();
        let (first, _) = digest.split_first_chunk::<16>()?;
        Some(Self(Repr::Exact(vec![u128::from_be_bytes(*first)])))
    }

    /// Takes another set in.
    pub fn merge(&mut self, other: &Distinct) {
        match (&mut self.0, &other.0) {
            (Repr::Exact(hashes), Repr::Exact(more)) => {
                unite(hashes, more);
                if hashes.len() > MAX_EXACT {
                    self.0 = Repr::Dense(dense(hashes));
                }
            }
            (Repr::Dense(registers), Repr::Exact(more)) => raise(registers, more),
            (Repr::Exact(hashes), Repr::Dense(more)) => {
                let mut registers = more.clone();
                raise(&mut registers, hashes);
                self.0 = Repr::Dense(registers);
            }
            (Repr::Dense(registers), Repr::Dense(more)) => {
                for (register, other) in registers.iter_mut().zip(more) {
                    *register = (*register).max(*other);
                }
            }
        }
    }

    /// How many values there are, or are estimated to be.
    pub fn count(&self) -> u64 {
        match &self.0 {
            Repr::Exact(hashes) => hashes.len() as u64,
            Repr::Dense(registers) => estimate(registers),
        }
    }

    /// True where [`Distinct::count`] is an estimate.
    pub fn is_estimate(&self) -> bool {
        matches!(self.0, Repr::Dense(_))
    }

    /// About how many bytes it takes.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Exact(hashes) => hashes.len() * size_of::<u128>(),
            Repr::Dense(registers) => registers.len(),
        }
    }

    /// As it is stored: hashes in full, or registers of six bits each.
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.0 {
            Repr::Exact(hashes) => std::iter::once(STORED_EXACT)
                .chain(hashes.iter().flat_map(|hash| hash.to_be_bytes()))
                .collect(),
            Repr::Dense(registers) => {
                let pack = |four: &[u8]| {
                    let bits = four.iter().fold(0, |bits, r| bits << 6 | u32::from(*r));
                    let [_, packed @ ..] = bits.to_be_bytes();
                    packed
                };
                std::iter::once(STORED_DENSE)
                    .chain(registers.chunks_exact(4).flat_map(pack))
                    .collect()
            }
        }
    }

    /// Reads what [`Distinct::to_bytes`] wrote; `None` where it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, content) = bytes.split_first()?;
        match *kind {
            STORED_EXACT => {
                let (hashes, []) = content.as_chunks::<16>() else {
                    return None;
                };
                let hashes: Vec<u128> = hashes.iter().map(|h| u128::from_be_bytes(*h)).collect();
                let is_set = hashes.is_sorted_by(|a, b| a < b);
                let is_kept = (1..=MAX_EXACT).contains(&hashes.len()) && is_set;
                is_kept.then_some(Self(Repr::Exact(hashes)))
            }
            STORED_DENSE if content.len() == REGISTERS / 4 * 3 => {
                let unpack = |three: &[u8]| {
                    let bits = three.iter().fold(0, |bits, b| bits << 8 | u32::from(*b));
                    [18, 12, 6, 0].map(|shift| (bits >> shift & 0x3F) as u8)
                };
                let registers: Vec<u8> = content.chunks_exact(3).flat_map(unpack).collect();
                let is_kept = registers.iter().all(|r| u32::from(*r) <= RANK_BITS + 1);
                is_kept.then_some(Self(Repr::Dense(registers)))
            }
            _ => None,
        }
    }
}

/// Adds ascending hashes to ascending hashes.
fn unite(hashes: &mut Vec<u128>, more: &[u128]) {
    if let [one] = more {
        if let Err(at) = hashes.binary_search(one) {
            hashes.insert(at, *one);
        }
        return;
    }
    hashes.extend_from_slice(more);
    // Two ascending runs: the stable sort merges them.
    hashes.sort();
    hashes.dedup();
}

fn dense(hashes: &[u128]) -> Vec<u8> {
    let mut registers = vec![0; REGISTERS];
    raise(&mut registers, hashes);
    registers
}

fn raise(registers: &mut [u8], hashes: &[u128]) {
    for hash in hashes {
        let bits = (hash >> 64) as u64;
        let index = (bits >> RANK_BITS) as usize;
        let zeros = (bits << INDEX_BITS).leading_zeros().min(RANK_BITS);
        registers[index] = registers[index].max(zeros as u8 + 1);
    }
}

fn estimate(registers: &[u8]) -> u64 {
    const LAST: usize = RANK_BITS as usize + 1;
    let mut counts = [0_u32; LAST + 1];
    for register in registers {
        counts[usize::from(*register)] += 1;
    }
    let all = registers.len() as f64;
    let mut z = all * tau(1.0 - f64::from(counts[LAST]) / all);
    for count in counts[1..LAST].iter().rev() {
        z = 0.5 * (z + f64::from(*count));
    }
    z += all * sigma(f64::from(counts[0]) / all);
    (all * all / (2.0 * std::f64::consts::LN_2 * z)).round() as u64
}

/// x + Σ x^(2^k) · 2^(k-1), until it does not change.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut weight, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * weight;
        weight += weight;
        if sum == before {
            return sum;
        }
    }
}

/// (1 - x - Σ (1 - x^(2^-k))² · 2^-k) / 3, until it does not change.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut weight, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(values: impl IntoIterator<Item = u32>) -> Distinct {
        let mut all: Option<Distinct> = None;
        for value in values {
            let one = Distinct::of(&value.to_string()).unwrap();
            match &mut all {
                Some(all) => all.merge(&one),
                None => all = Some(one),
            }
        }
        all.unwrap()
    }

    #[test]
    fn values_are_the_same_as_jsonb_compares_scalars() {
        let count = |values: &[&str]| {
            let mut sets = values.iter().map(|raw| Distinct::of(raw).unwrap());
            let mut all = sets.next().unwrap();
            sets.for_each(|one| all.merge(&one));
            all.count()
        };
        assert_eq!(count(&["1", "1.0", "10e-1", "1"]), 1);
        assert_eq!(
            count(&["1", "\"1\"", "true", "\"true\"", "\"b\"", "\"\""]),
            6
        );
        assert_eq!(count(&["\"\\u0061\"", "\"a\"", "-0", "0"]), 2);
        for none in ["null", "[1]", "{}", ""] {
            assert_eq!(Distinct::of(none), None, "{none}");
        }
    }

    #[test]
    fn a_thousand_and_twenty_four_are_counted_and_one_more_is_estimated() {
        let exact = set(0..1024);
        assert_eq!((exact.count(), exact.is_estimate()), (1024, false));
        let more = set(0..1025);
        assert!(more.is_estimate());
        assert!(more.count().abs_diff(1025) < 30, "{}", more.count());
    }

    #[test]
    fn estimates_are_within_four_standard_errors_and_frozen() {
        let mut frozen = Vec::new();
        for size in [2_000_u32, 20_000, 200_000] {
            let count = set(0..size).count();
            let off = count.abs_diff(u64::from(size)) as f64 / f64::from(size);
            assert!(off < 4.0 * RELATIVE_ERROR, "{count} of {size}");
            frozen.push(count);
        }
        assert_eq!(frozen, FROZEN);
    }

    /// Never to change: answers would.
    const FROZEN: [u64; 3] = [2_009, 19_751, 197_928];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn what_is_kept_is_a_function_of_the_set(
            parts in prop::collection::vec((0..3000u32, 1..1500u32), 1..6),
            order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(),
            is_stored: bool,
        ) {
            let all: std::collections::BTreeSet<u32> =
                parts.iter().flat_map(|(from, len)| *from..from + len).collect();
            let expected = set(all.iter().rev().copied());
            let mut sets: Vec<Distinct> = order
                .iter()
                .filter_map(|at| parts.get(*at))
                .map(|(from, len)| set(*from..from + len))
                .collect();
            // Pairwise, as a tree would: each merge is of two merged ones.
            while sets.len() > 1 {
                let other = sets.remove(0);
                let last = sets.len() - 1;
                if is_stored {
                    sets[last] = Distinct::from_bytes(&sets[last].to_bytes()).unwrap();
                }
                sets[last].merge(&other);
                sets.rotate_right(1);
            }
            prop_assert_eq!(&sets[0], &expected);
            prop_assert_eq!(sets[0].is_estimate(), all.len() > MAX_EXACT);
            if all.len() <= MAX_EXACT {
                prop_assert_eq!(sets[0].count(), all.len() as u64);
            }
            prop_assert_eq!(Distinct::from_bytes(&expected.to_bytes()), Some(expected));
        }

        #[test]
        fn other_bytes_are_no_set(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(set) = Distinct::from_bytes(&bytes) {
                prop_assert_eq!(set.to_bytes(), bytes);
            }
        }
    }
}
