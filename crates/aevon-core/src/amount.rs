//! Exact decimals: what sums, minima and maxima are made of.
//!
//! Invariant: no operation rounds. Small values stay in 128 bits; what does not fit moves to
//! arbitrary precision, and no caller can tell the difference.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, Zero};
use std::cmp::Ordering;
use std::fmt;

/// Most digits that a number literal may have in its mantissa.
pub const MAX_DIGITS: usize = 60;
/// Bound of a number literal's exponent, on both sides of zero.
pub const MAX_EXPONENT: i64 = 60;

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

    proptest! {
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
