//! The counts that are held to, and how new ones compare.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// A rise by more than so many parts of a hundred fails.
pub const TOLERANCE: u64 = 10;

/// Counts, and what made them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The version of the compiler.
    pub rustc: String,
    /// For which machine.
    pub target: String,
    /// `release`, or `dev` for a build that was made with checks.
    pub profile: String,
    /// Instructions of a turn, by the workload's name.
    pub instructions: BTreeMap<String, u64>,
}

impl Baseline {
    /// No counts yet, of this program.
    pub fn here() -> Self {
        let profile = if cfg!(debug_assertions) {
            "dev"
        } else {
            "release"
        };
        Self {
            rustc: env!("AEVON_HOT_RUSTC").to_owned(),
            target: env!("AEVON_HOT_TARGET").to_owned(),
            profile: profile.to_owned(),
            instructions: BTreeMap::new(),
        }
    }

    /// Reads a file; `None` where there is none.
    ///
    /// # Errors
    /// Where it can't be read, or is something else.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| path.display().to_string())?,
        };
        let baseline = serde_json::from_str(&text);
        baseline
            .map(Some)
            .with_context(|| path.display().to_string())
    }

    /// Writes a file.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text + "\n").with_context(|| path.display().to_string())
    }

    /// What makes counts of another baseline no measure of these: nothing but the machine and the
    /// profile.
    pub fn differs(&self, other: &Self) -> Option<String> {
        let made_by = |baseline: &Self| format!("{} ({})", baseline.target, baseline.profile);
        let (ours, others) = (made_by(self), made_by(other));
        (ours != others).then(|| format!("the baseline is of {others}, and this is {ours}"))
    }

    /// What may explain that counts differ: another compiler, by its minor version.
    pub fn note(&self, other: &Self) -> Option<String> {
        let minor = |version: &str| version.splitn(3, '.').take(2).map(str::to_owned).collect();
        let (ours, others): (Vec<String>, Vec<String>) = (minor(&self.rustc), minor(&other.rustc));
        (ours != others).then(|| {
            let (ours, others) = (&self.rustc, &other.rustc);
            format!("the baseline is of rustc {others}, and this is {ours}: some change is its own")
        })
    }

    /// The names whose counts changed so from a baseline to here.
    pub fn changed(&self, from: &Self, change: Change) -> String {
        let names = self.instructions.iter().filter_map(|(name, count)| {
            let baseline = from.instructions.get(name)?;
            (Change::of(*baseline, *count) == change).then_some(name.as_str())
        });
        names.collect::<Vec<_>>().join(", ")
    }

    /// The names that only one of two has.
    pub fn unmatched(&self, other: &Self) -> String {
        let names = |one: &Self| one.instructions.keys().cloned().collect::<BTreeSet<_>>();
        let only = &names(self) ^ &names(other);
        only.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// How a count compares with its baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// More by more than the tolerance.
    Risen,
    /// Less by more than that.
    Fallen,
    /// Neither.
    Within,
}

impl Change {
    /// From a baseline to a count.
    pub const fn of(baseline: u64, count: u64) -> Self {
        // Of 128 bits, so that no product is too large.
        let (of_count, of_baseline) = (count as u128 * 100, baseline as u128);
        if of_count > of_baseline * (100 + TOLERANCE) as u128 {
            Self::Risen
        } else if of_count < of_baseline * (100 - TOLERANCE) as u128 {
            Self::Fallen
        } else {
            Self::Within
        }
    }
}

/// The titles of the table.
pub fn titles() -> String {
    line("function", "instructions", "baseline", "change")
}

/// A line of the table.
pub fn row(name: &str, count: u64, baseline: Option<u64>) -> String {
    let (count_shown, none) = (grouped(count), || "-".to_owned());
    let change = baseline.map(|baseline| percent(baseline, count));
    let baseline = baseline.map_or_else(none, grouped);
    line(name, &count_shown, &baseline, &change.unwrap_or_else(none))
}

fn line(name: &str, count: &str, baseline: &str, change: &str) -> String {
    format!("{name:<20} {count:>14} {baseline:>14} {change:>10}")
}

/// The change in parts of a hundred.
fn percent(baseline: u64, count: u64) -> String {
    let change = (count as f64 - baseline as f64) * 100.0 / baseline as f64;
    format!("{change:+.2} %")
}

/// A number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counts: &[(&str, u64)]) -> Baseline {
        let counts = counts
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        Baseline {
            instructions: counts.collect(),
            ..Baseline::here()
        }
    }

    #[test]
    fn a_rise_begins_where_the_tolerance_ends() {
        for (count, change) in [
            (1101, Change::Risen),
            (1100, Change::Within),
            (1000, Change::Within),
            (900, Change::Within),
            (899, Change::Fallen),
            (0, Change::Fallen),
        ] {
            assert_eq!(Change::of(1000, count), change, "{count}");
        }
        assert_eq!(Change::of(u64::MAX, u64::MAX), Change::Within);
        assert_eq!(Change::of(0, 1), Change::Risen);
    }

    #[test]
    fn those_that_changed_are_named() {
        let (before, now) = (of(&[("a", 100), ("b", 100)]), of(&[("a", 111), ("b", 89)]));
        assert_eq!(now.changed(&before, Change::Risen), "a");
        assert_eq!(now.changed(&before, Change::Fallen), "b");
        assert_eq!(before.changed(&before, Change::Risen), "");
    }

    #[test]
    fn only_another_machine_or_profile_makes_counts_no_measure() {
        let made = |rustc: &str, target: &str, profile: &str| Baseline {
            rustc: rustc.to_owned(),
            target: target.to_owned(),
            profile: profile.to_owned(),
            ..of(&[])
        };
        let ours = made("1.95.0", "m68k", "release");
        for (other, is_measure, is_noted) in [
            (ours.clone(), true, false),
            (made("1.95.2-nightly", "m68k", "release"), true, false),
            (made("1.96.0", "m68k", "release"), true, true),
            (made("1.95.0", "vax", "release"), false, false),
            (made("1.95.0", "m68k", "dev"), false, false),
        ] {
            assert_eq!(ours.differs(&other).is_none(), is_measure, "{other:?}");
            assert_eq!(ours.note(&other).is_some(), is_noted, "{other:?}");
        }
    }

    #[test]
    fn names_that_only_one_has_are_found_on_both_sides() {
        let (ours, other) = (of(&[("a", 1), ("b", 2)]), of(&[("b", 2), ("c", 3)]));
        assert_eq!(ours.unmatched(&other), "a, c");
        assert!(ours.unmatched(&ours).is_empty());
    }

    #[test]
    fn a_baseline_comes_back_from_its_file_and_another_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.json");
        assert_eq!(Baseline::read(&path).unwrap(), None);
        let written = of(&[("fold", 1_234_567)]);
        written.write(&path).unwrap();
        assert_eq!(Baseline::read(&path).unwrap(), Some(written));
        fs::write(&path, "{\"rustc\":\"1\"}").unwrap();
        let said = format!("{:#}", Baseline::read(&path).unwrap_err());
        assert!(
            said.contains("baseline.json") && said.contains("target"),
            "{said}"
        );
    }

    #[test]
    fn the_table_shows_counts_and_their_change() {
        let words = |line: String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown = words(row("fold", 1_234_567, Some(1_000_000)));
        assert_eq!(shown, "fold 1,234,567 1,000,000 +23.46 %");
        assert_eq!(words(row("fold", 99, Some(100))), "fold 99 100 -1.00 %");
        assert_eq!(words(row("fold", 100, None)), "fold 100 - -");
        assert_eq!(titles().len(), row("fold", 100, None).len());
    }
}
