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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn versions() -> impl Strategy<Value = Version> {
        prop::collection::btree_map(0..70_i32, 0..i64::MAX, 0..5).prop_map(Version)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(version in versions()) {
            let text = version.to_string();
            prop_assert_eq!(text.parse::<Version>().unwrap(), version);
        }

        #[test]
        fn whatever_is_given_is_refused_or_means_what_it_is_written_as(
            text in prop_oneof!["[0-9:,-]{0,20}", "([0-9]{1,3}:[0-9]{1,20},){0,3}", any::<String>()]
        ) {
            match text.parse::<Version>() {
                Ok(version) => prop_assert_eq!(version.to_string().parse::<Version>().unwrap(), version),
                Err(error) => prop_assert!(error.to_string().contains("no version")),
            }
        }

        #[test]
        fn merging_takes_the_newer_position_in_any_order(one in versions(), other in versions()) {
            let (mut both, mut reversed) = (one.clone(), other.clone());
            both.merge(&other);
            reversed.merge(&one);
            prop_assert_eq!(&both, &reversed);
            for (partition, seq) in &both.0 {
                let newest = [&one, &other].into_iter().filter_map(|v| v.0.get(partition)).max();
                prop_assert_eq!(newest, Some(seq));
            }
        }
    }
}
