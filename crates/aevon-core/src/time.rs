//! Instants and grains. Microseconds since 1970-01-01T00:00:00Z, half-open ranges.
//!
//! Invariant: no zone other than UTC takes part in any computation here; those of clocks elsewhere are
//! in [`crate::calendar`].

use serde::{Serialize, Serializer};
use std::fmt;

/// Microseconds in a minute.
pub const MINUTE_US: i64 = 60_000_000;
/// Microseconds in an hour.
pub const HOUR_US: i64 = 60 * MINUTE_US;
/// Microseconds in a UTC day.
pub const DAY_US: i64 = 24 * HOUR_US;

/// 0001-01-01T00:00:00Z, the earliest instant that an event may have.
const YEAR_1_US: i64 = -62_135_596_800_000_000;
/// 10000-01-01T00:00:00Z, the first instant that none may have.
const YEAR_10000_US: i64 = 253_402_300_800_000_000;
/// Where microseconds count from, on the calendar.
const EPOCH: jiff::civil::DateTime = jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// An instant: microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `micros` microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 instant with any offset; what is finer than a microsecond is cut off.
    ///
    /// # Errors
    /// A sentence that says what is wrong: no offset, no such day, outside years 1 to 9999.
    pub fn parse(text: &str) -> Result<Self, String> {
        let micros = read_rfc3339(text)
            .ok_or_else(|| "is not an RFC 3339 instant such as 2026-02-11T10:30:00Z".to_owned())?;
        if (YEAR_1_US..YEAR_10000_US).contains(&micros) {
            Ok(Self(micros))
        } else {
            Err("is outside the years 1 to 9999".to_owned())
        }
    }

    /// The day number (UTC, days since 1970-01-01) that this instant lies in.
    pub const fn utc_day(self) -> i32 {
        self.0.div_euclid(DAY_US) as i32
    }

    /// The instant `micros` microseconds later.
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0 + micros)
    }
}

/// Microseconds since the epoch. By hand, as the grammar of RFC 3339 is narrower than what
/// libraries read, and its fractions are longer.
fn read_rfc3339(text: &str) -> Option<i64> {
    const SHAPE: &[u8; 19] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let (whole, rest) = bytes.split_at_checked(SHAPE.len())?;
    if !has_shape(whole, SHAPE) {
        return None;
    }
    let (fraction, offset) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            rest.split_at(digits)
        }
        rest => (&b"0"[..], rest),
    };
    let offset_seconds = read_offset(offset)?;
    if fraction.is_empty() {
        return None;
    }
    // Two digits fit everywhere but in the year.
    let two = |at: usize| number(&whole[at..at + 2]) as i8;
    // A leap second is the last one of its minute twice.
    let second = if two(17) == 60 { 59 } else { two(17) };
    let year = number(&whole[..4]);
    let civil =
        jiff::civil::DateTime::new(year, two(5), two(8), two(11), two(14), second, 0).ok()?;
    // On the calendar, which reaches further than the library's instants do.
    let seconds = civil.duration_since(EPOCH).as_secs() - i64::from(offset_seconds);
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(6);
    let micros = digits.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'));
    // The fraction counts upward, before 1970 as well.
    Some(seconds * 1_000_000 + micros)
}

/// `Z` or `+02:00`, in seconds.
fn read_offset(offset: &[u8]) -> Option<i32> {
    let (sign, rest) = match offset {
        [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    if !has_shape(rest, b"00:00") {
        return None;
    }
    let (hours, minutes) = (number(&rest[..2]), number(&rest[3..]));
    let seconds = (i32::from(hours) * 60 + i32::from(minutes)) * 60;
    (hours < 24 && minutes < 60).then_some(sign * seconds)
}

fn has_shape(text: &[u8], shape: &[u8]) -> bool {
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        other => byte == other,
    };
    text.len() == shape.len() && text.iter().zip(shape).all(fits)
}

fn number(digits: &[u8]) -> i16 {
    digits
        .iter()
        .fold(0, |number, digit| number * 10 + i16::from(digit - b'0'))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match EPOCH.checked_add(jiff::SignedDuration::from_micros(self.0)) {
            Ok(civil) => write!(f, "{civil}Z"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The width of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grain {
    /// The grain of record.
    Minute,
    /// Derived from minutes.
    Hour,
    /// Derived from minutes; the UTC day.
    Day,
}

impl Grain {
    /// Every grain, finest first.
    pub const ALL: [Grain; 3] = [Grain::Minute, Grain::Hour, Grain::Day];

    /// Its name in requests and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Grain::Minute => "1m",
            Grain::Hour => "1h",
            Grain::Day => "1d",
        }
    }

    /// The number by which a grain is stored: its width in minutes.
    pub const fn minutes(self) -> i16 {
        match self {
            Grain::Minute => 1,
            Grain::Hour => 60,
            Grain::Day => 1440,
        }
    }

    /// The grain stored as `minutes`.
    pub const fn from_minutes(minutes: i16) -> Option<Self> {
        match minutes {
            1 => Some(Grain::Minute),
            60 => Some(Grain::Hour),
            1440 => Some(Grain::Day),
            _ => None,
        }
    }

    /// Width in microseconds.
    pub const fn width_us(self) -> i64 {
        self.minutes() as i64 * MINUTE_US
    }

    /// The start of the window of this grain that `at` lies in.
    pub const fn floor(self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.div_euclid(self.width_us()) * self.width_us())
    }

    /// The first window start at or after `at`.
    pub const fn ceil(self, at: Timestamp) -> Timestamp {
        let down = self.floor(at);
        if down.0 == at.0 {
            down
        } else {
            Timestamp(down.0 + self.width_us())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_changes_nothing_and_nanoseconds_are_cut_off() {
        let utc = Timestamp::parse("2026-02-11T10:30:00.123456Z").unwrap();
        let far = Timestamp::parse("2026-02-12T10:29:00.123456999+23:59").unwrap();
        assert_eq!(utc, far);
        assert_eq!(utc.to_string(), "2026-02-11T10:30:00.123456Z");
    }

    #[test]
    fn instants_before_1970_floor_downward() {
        let at = Timestamp::parse("1969-12-31T23:59:59.999999Z").unwrap();
        assert_eq!(at.as_micros(), -1);
        assert_eq!(Grain::Day.floor(at).as_micros(), -DAY_US);
        assert_eq!(at.utc_day(), -1);
    }

    #[test]
    fn years_outside_1_to_9999_are_refused() {
        for (text, shown) in [
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("0001-01-01T01:00:00+01:00", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            ("9999-12-31T00:00:00+23:59", "9999-12-30T00:01:00Z"),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "10000-01-01T00:00:00Z",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_rfc_3339_is_read_with_fractions_of_any_length() {
        let long = Timestamp::parse("1969-12-31t23:59:59.9999999999999z").unwrap();
        assert_eq!(long.as_micros(), -1);
        for wrong in [
            "2026-02-11T10:30:00",
            "2026-02-11T10:30Z",
            "2026-02-11",
            "20260211T103000Z",
            "2026-02-11T10:30:00.Z",
            "2026-02-11T10:30:00+02",
            "2026-02-11T10:30:00+02:00[Europe/Berlin]",
            "2026-02-11T10:30:00,5Z",
            "2026-02-30T10:30:00Z",
            "2026-02-11T25:30:00Z",
            "2026-02-11T10:30:00+99:00",
            "+12026-02-11T10:30:00Z",
            " 2026-02-11T10:30:00Z",
            "2026-02-11T10:30:0\u{664}Z",
            "",
        ] {
            assert!(Timestamp::parse(wrong).is_err(), "{wrong}");
        }
    }
}
