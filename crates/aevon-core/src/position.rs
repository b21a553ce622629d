//! Positions in the log: `partition:seq`, and versions that list several of them.

use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// One place in the log. `seq` is gapless within its partition and begins at 1; 0 is the empty log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// The commit order within it.
    pub seq: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.seq)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a client knows of the log: the newest position of each partition that it touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version(BTreeMap<i32, i64>);

impl Version {
    /// Takes a position in; the newest of a partition stays.
    pub fn raise(&mut self, position: Position) {
        let seq = self.0.entry(position.partition).or_insert(position.seq);
        *seq = (*seq).max(position.seq);
    }

    /// Reads what [`Display`](fmt::Display) writes; of a partition that is named twice the newest
    /// position counts.
    pub fn parse(text: &str) -> Option<Self> {
        let mut version = Self::default();
        for position in text.split(',') {
            let (partition, seq) = position.split_once(':')?;
            let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number(partition) || !is_number(seq) {
                return None;
            }
            version.raise(Position {
                partition: partition.parse().ok()?,
                seq: seq.parse().ok()?,
            });
        }
        Some(version)
    }

    /// The position in a partition, if it names one.
    pub fn of(&self, partition: i32) -> Option<i64> {
        self.0.get(&partition).copied()
    }

    /// True while no position was taken in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Position> for Version {
    fn from(position: Position) -> Self {
        Self(BTreeMap::from([(position.partition, position.seq)]))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (partition, seq)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{partition}:{seq}")?;
        }
        Ok(())
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_lists_the_newest_position_of_each_partition() {
        let mut version = Version::default();
        for (partition, seq) in [(7, 90_210), (3, 17), (7, 12)] {
            version.raise(Position { partition, seq });
        }
        assert_eq!(version.to_string(), "3:17,7:90210");
        assert_eq!(Version::parse("7:12,3:17,7:90210"), Some(version.clone()));
        assert_eq!((version.of(7), version.of(4)), (Some(90_210), None));
    }

    #[test]
    fn what_is_no_version_is_not_read() {
        let long = format!("1:{}", u64::MAX);
        for text in [
            "", "7", "7:", ":7", "7:+1", "-7:1", "7:1,", "7:1, 8:1", "7:1:2", &long,
        ] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
