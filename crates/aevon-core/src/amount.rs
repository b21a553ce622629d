//! Exact decimals: what sums, minima and maxima are made of.
//!
//! Invariant: no operation rounds but [`Amount::mean`], which says how. Small values stay in 128
//! bits; what does not fit moves to arbitrary precision, and no caller can tell the difference.

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, Zero};
use std::cmp::Ordering;
use std::fmt;

/// Most digits that a number literal may have in its mantissa.
pub const MAX_DIGITS: usize = 60;
/// Bound of a number literal's exponent, on both sides of zero.
pub const MAX_EXPONENT: i64 = 60;

/// Significant digits of a mean.
pub const MEAN_DIGITS: usize = 34;

/// An exact decimal.
#[derive(Clone, Debug)]
pub struct Amount(Repr);

#[derive(Clone, Debug)]
enum Repr {
    /// `units / 10^scale`.
    Small {
        units: i128,
        scale: u8,
    },
    Big(Box<BigDecimal>),
}

/// Largest scale that the small form takes: 10^38 is the last power of ten within i128.
const MAX_SMALL_SCALE: u8 = 38;

impl Amount {
    /// Zero.
    pub const ZERO: Amount = Amount(Repr::Small { units: 0, scale: 0 });

    /// Reads a literal of the JSON number grammar, of any length.
    ///
    /// The caller has bounded it: see [`crate::json::number_is_bounded`].
    pub fn parse(literal: &str) -> Option<Self> {
        parse_small(literal).or_else(|| {
            let big: BigDecimal = literal.parse().ok()?;
            Some(Self::from_big(big))
        })
    }

    /// The same value as an arbitrary-precision decimal.
    pub fn to_big(&self) -> BigDecimal {
        match &self.0 {
            Repr::Small { units, scale } => {
                BigDecimal::new(BigInt::from(*units), i64::from(*scale))
            }
            Repr::Big(big) => (**big).clone(),
        }
    }

    /// The same value, small again where it fits.
    pub fn from_big(big: BigDecimal) -> Self {
        let (units, scale) = big.as_bigint_and_exponent();
        match (i128::try_from(&units), u8::try_from(scale)) {
            (Ok(units), Ok(scale)) if scale <= MAX_SMALL_SCALE => {
                Self(Repr::Small { units, scale })
            }
            _ => Self(Repr::Big(Box::new(big))),
        }
    }

    /// Adds `other`, exactly.
    pub fn add(&self, other: &Amount) -> Amount {
        if let (Some((a, b)), scale) = align(&self.0, &other.0)
            && let Some(units) = a.checked_add(b)
        {
            return Amount(Repr::Small { units, scale });
        }
        Self::from_big(self.to_big() + other.to_big())
    }

    /// `factor` times as much, exactly.
    pub fn times(&self, factor: i64) -> Amount {
        if let Repr::Small { units, scale } = &self.0
            && let Some(units) = units.checked_mul(i128::from(factor))
        {
            return Amount(Repr::Small {
                units,
                scale: *scale,
            });
        }
        Self::from_big(self.to_big() * BigDecimal::from(factor))
    }

    /// A millionth of it, exactly.
    pub fn millionth(&self) -> Amount {
        let (units, scale) = self.to_big().into_bigint_and_exponent();
        Self::from_big(BigDecimal::new(units, scale + 6))
    }

    /// One of `count` equal parts of it, rounded half to even to [`MEAN_DIGITS`] significant
    /// digits; `None` where `count` is not above 0.
    pub fn mean(&self, count: i64) -> Option<Amount> {
        let count = BigInt::from(u64::try_from(count).ok().filter(|count| *count > 0)?);
        let (units, scale) = self.to_big().into_bigint_and_exponent();
        let (sign, magnitude) = units.into_parts();
        let magnitude = BigInt::from(magnitude);
        // Enough digits that at least one is dropped, and the rest decides ties only.
        let missing = MEAN_DIGITS + 1 + digits(&count) - digits(&magnitude).min(MEAN_DIGITS);
        let enlarged = magnitude * ten_to(missing);
        let (quotient, rest) = (&enlarged / &count, &enlarged % &count);
        if quotient.is_zero() {
            return Some(Self::ZERO);
        }
        let dropped = digits(&quotient) - MEAN_DIGITS;
        let step = ten_to(dropped);
        let (mut kept, tail) = (&quotient / &step, &quotient % &step);
        let is_up = match (&tail * 2u8).cmp(&step) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => !rest.is_zero() || kept.bit(0),
        };
        if is_up {
            kept += 1u8;
        }
        let kept = if sign == Sign::Minus { -kept } else { kept };
        let shift = |digits: usize| i64::try_from(digits).unwrap_or(i64::MAX);
        let scale = scale + shift(missing) - shift(dropped);
        Some(Self::from_big(BigDecimal::new(kept, scale)))
    }

    /// The same value as an integer, where it is one within 64 bits.
    pub fn as_integer(&self) -> Option<i64> {
        let (units, scale) = self.to_big().normalized().into_bigint_and_exponent();
        match u32::try_from(-scale) {
            Ok(zeros) if zeros <= 18 => i64::try_from(units * BigInt::from(10).pow(zeros)).ok(),
            _ => None,
        }
    }
}

/// How many decimal digits a natural number has.
fn digits(number: &BigInt) -> usize {
    number.magnitude().to_string().len()
}

fn ten_to(exponent: usize) -> BigInt {
    BigInt::from(10).pow(u32::try_from(exponent).unwrap_or(u32::MAX))
}

/// Both as units of the finer scale, where that fits.
fn align(a: &Repr, b: &Repr) -> (Option<(i128, i128)>, u8) {
    let (
        Repr::Small {
            units: a,
            scale: sa,
        },
        Repr::Small {
            units: b,
            scale: sb,
        },
    ) = (a, b)
    else {
        return (None, 0);
    };
    let scale = *sa.max(sb);
    let up =
        |units: i128, from: u8| units.checked_mul(10_i128.checked_pow(u32::from(scale - from))?);
    (up(*a, *sa).zip(up(*b, *sb)), scale)
}

/// The fast way in: a plain literal of up to 38 digits without an exponent.
fn parse_small(literal: &str) -> Option<Amount> {
    let (negative, digits) = match literal.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, literal),
    };
    if digits.is_empty() || digits.len() > 38 {
        return None;
    }
    let mut units: i128 = 0;
    let mut scale = None;
    for byte in digits.bytes() {
        match byte {
            b'0'..=b'9' => {
                units = units * 10 + i128::from(byte - b'0');
                scale = scale.map(|s: u8| s + 1);
            }
            b'.' if scale.is_none() => scale = Some(0),
            _ => return None,
        }
    }
    let units = if negative { -units } else { units };
    Some(Amount(Repr::Small {
        units,
        scale: scale.unwrap_or(0),
    }))
}

impl PartialEq for Amount {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Amount {}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Self) -> Ordering {
        match align(&self.0, &other.0) {
            (Some((a, b)), _) => a.cmp(&b),
            (None, _) => self.to_big().cmp(&other.to_big()),
        }
    }
}

impl From<i64> for Amount {
    fn from(units: i64) -> Self {
        Self(Repr::Small {
            units: i128::from(units),
            scale: 0,
        })
    }
}

/// Plain decimal: no exponent, no trailing zeros, no `-0`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let big = self.to_big();
        if big.is_zero() {
            return f.write_str("0");
        }
        f.write_str(&big.normalized().to_plain_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn literal() -> impl Strategy<Value = String> {
        "-?(0|[1-9][0-9]{0,45})(\\.[0-9]{1,45})?(e[+-]?[0-9]{1,2})?"
    }

    #[test]
    fn a_tenth_a_million_times_is_a_hundred_thousand() {
        let tenth = Amount::parse("0.1").unwrap();
        let sum = (0..1_000_000).fold(Amount::ZERO, |sum, _| sum.add(&tenth));
        assert_eq!(sum.to_string(), "100000");
    }

    #[test]
    fn thirty_eight_digits_keep_every_digit() {
        let text = "99999999999999999999999999999999999999";
        let twice = Amount::parse(text)
            .unwrap()
            .add(&Amount::parse(text).unwrap());
        assert_eq!(twice.to_string(), "199999999999999999999999999999999999998");
    }

    #[test]
    fn answers_have_no_exponent_no_trailing_zeros_and_no_minus_zero() {
        for (given, shown) in [
            ("1e3", "1000"),
            ("-0", "0"),
            ("-0.000", "0"),
            ("1.500", "1.5"),
            ("1e-3", "0.001"),
            ("100", "100"),
            ("-2.50e1", "-25"),
        ] {
            assert_eq!(Amount::parse(given).unwrap().to_string(), shown, "{given}");
        }
    }

    #[test]
    fn a_mean_has_34_digits_and_rounds_half_to_even() {
        let third = "0.3333333333333333333333333333333333";
        let half = "0.5000000000000000000000000000000000";
        for (sum, count, shown) in [
            ("1", 3, third),
            ("-1", 3, &format!("-{third}")),
            ("2", 3, "0.6666666666666666666666666666666667"),
            ("0", 7, "0"),
            ("10", 4, "2.5"),
            ("1e60", 1, &format!("1{}", "0".repeat(60))),
            (&format!("{half}5"), 1, "0.5"),
            (&format!("{half}51"), 1, &format!("{}1", &half[..35])),
            (
                "1.0000000000000000000000000000000015",
                1,
                "1.000000000000000000000000000000002",
            ),
            ("1.0000000000000000000000000000000005", 1, "1"),
            ("2.000000000000000000000000000000001", 2, "1"),
            (
                "6.000000000000000000000000000000003",
                2,
                "3.000000000000000000000000000000002",
            ),
            (
                "9999999999999999999999999999999999.5",
                1,
                &format!("1{}", "0".repeat(34)),
            ),
            (
                &format!("1{}1", "0".repeat(70)),
                2,
                &format!("5{}", "0".repeat(70)),
            ),
        ] {
            let mean = Amount::parse(sum).unwrap().mean(count).unwrap();
            assert_eq!(mean.to_string(), *shown, "{sum} / {count}");
        }
        assert_eq!(Amount::ZERO.mean(0), None);
    }

    #[test]
    fn only_integers_within_64_bits_are_integers() {
        let read = |text: &str| Amount::parse(text).unwrap().as_integer();
        assert_eq!(read("1.0"), Some(1));
        assert_eq!(read("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(read("92e2"), Some(9200));
        assert_eq!(read("0.000"), Some(0));
        for none in ["9223372036854775808", "0.5", "1e19", "1e60"] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn times_and_millionths_agree_with_arbitrary_precision(a in literal(), factor: i64) {
            let big: BigDecimal = a.parse().unwrap();
            let amount = Amount::parse(&a).unwrap();
            prop_assert_eq!(amount.times(factor).to_big(), &big * BigDecimal::from(factor));
            let million = BigDecimal::from(1_000_000);
            prop_assert_eq!(amount.millionth().to_big() * million, big);
        }

        #[test]
        fn a_mean_is_off_by_half_of_its_last_digit_at_most(a in literal(), count in 1..i64::MAX) {
            let sum: BigDecimal = a.parse().unwrap();
            let mean = Amount::parse(&a).unwrap().mean(count).unwrap().to_big();
            let off = (&mean * BigDecimal::from(count) - &sum).abs();
            let last = BigDecimal::new(BigInt::from(5), 34) * &mean.abs();
            prop_assert!(off <= last * BigDecimal::from(count));
            prop_assert!(mean.normalized().digits() <= 34);
        }

        #[test]
        fn adding_and_comparing_agree_with_arbitrary_precision(a in literal(), b in literal()) {
            let (x, y): (BigDecimal, BigDecimal) = (a.parse().unwrap(), b.parse().unwrap());
            let (p, q) = (Amount::parse(&a).unwrap(), Amount::parse(&b).unwrap());
            prop_assert_eq!(p.cmp(&q), x.cmp(&y));
            prop_assert_eq!(p.add(&q).to_big(), &x + &y);
            prop_assert_eq!(p.add(&q), q.add(&p));
        }
    }
}
