//! A level that changes by a field, times the time that it stood: seats, storage, sessions.
//!
//! A change `d` at `t` stands from then on, so it adds `d · (end - max(start, t))` to a range. That
//! is linear in Σd and Σd·t, which is all that is kept.

use crate::amount::Amount;
use crate::time::Timestamp;

/// The changes of a level, added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Σd: the level after these changes.
    pub height: Amount,
    /// Σd·t, t in microseconds since 1970.
    pub moment: Amount,
}

impl Level {
    /// One change.
    pub fn changed(by: Amount, at: Timestamp) -> Self {
        Self {
            moment: by.times(at.as_micros()),
            height: by,
        }
    }

    /// Takes other changes in.
    pub fn merge(&mut self, other: &Level) {
        self.height = self.height.add(&other.height);
        self.moment = self.moment.add(&other.moment);
    }

    /// The changes that take these back.
    pub fn reversed(&self) -> Self {
        Self {
            height: self.height.times(-1),
            moment: self.moment.times(-1),
        }
    }

    /// The same level as if it had come about at `start`, before which none of its changes count.
    pub fn carried_to(&self, start: Timestamp) -> Self {
        Self::changed(self.height.clone(), start)
    }

    /// Height times the seconds from each change until `end`.
    pub fn stood_until(&self, end: Timestamp) -> Amount {
        let until_end = self.height.times(end.as_micros());
        until_end.add(&self.moment.times(-1)).millionth()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_level_is_its_height_times_the_seconds_it_stood() {
        let mut level = Level::changed(Amount::from(3), at(10));
        level.merge(&Level::changed(Amount::from(-2), at(20)));
        assert_eq!(level.stood_until(at(25)).to_string(), "35");
        assert_eq!(
            level.carried_to(at(24)).stood_until(at(25)).to_string(),
            "1"
        );
        let tenth = Level::changed(Amount::parse("0.1").unwrap(), Timestamp::from_micros(-1));
        assert_eq!(tenth.stood_until(at(0)).to_string(), "0.0000001");
    }
}
