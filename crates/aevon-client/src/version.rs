//! Versions: how far a log is known, by partition.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Positions of a log, one for each partition that is known: `3:17,7:90210`.
///
/// ```
/// let mut version: aevon_client::Version = "7:90210".parse()?;
/// version.merge(&"3:17,7:4".parse()?);
/// assert_eq!(version.to_string(), "3:17,7:90210");
/// # Ok::<(), aevon_client::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version(BTreeMap<i32, i64>);

impl Version {
    /// Takes the newer position of each partition.
    pub fn merge(&mut self, other: &Self) {
        for (partition, seq) in &other.0 {
            let known = self.0.entry(*partition).or_default();
            *known = (*known).max(*seq);
        }
    }

    /// Whether no position is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (partition, seq)) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(f, "{comma}{partition}:{seq}")?;
        }
        Ok(())
    }
}

impl FromStr for Version {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let position = |text: &str| {
            let (partition, seq) = text.split_once(':')?;
            Some((partition.parse().ok()?, seq.parse().ok()?))
        };
        let positions = text
            .split(',')
            .filter(|part| !part.is_empty())
            .map(position);
        let positions: Option<BTreeMap<i32, i64>> = positions.collect();
        let wrong =
            || crate::Error::Invalid(format!("{text:?} is no version, such as 3:17,7:90210"));
        positions.map(Self).ok_or_else(wrong)
    }
}
