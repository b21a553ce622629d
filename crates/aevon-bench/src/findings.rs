//! How a run over goals ends: what it found is printed, written down, and put into the document.
//!
//! Invariant: a document has no figures of a run in which a check did not hold.

use anyhow::Result;
use serde_json::{Value, json};

use crate::conditions::Conditions;
use crate::goals::card::Card;
use crate::outputs::Outputs;
use crate::report::{self, Section, list};

/// A part of a document.
pub(crate) struct Part<'a> {
    pub(crate) title: &'a str,
    /// Of its markers.
    pub(crate) marker: &'a str,
    pub(crate) text: String,
}

/// See the module.
pub(crate) struct Findings {
    pub(crate) conditions: Conditions,
    pub(crate) card: Card,
    pub(crate) checks: Section,
    /// Why some of it was not measured.
    pub(crate) failures: Vec<String>,
}

impl Findings {
    /// Nothing yet.
    pub(crate) fn begin(conditions: Conditions) -> Self {
        Self {
            conditions,
            card: Card::default(),
            checks: Section::new("Checks", &[]),
            failures: Vec::new(),
        }
    }

    /// The conditions, what else has to be known, how many checks held, and the table.
    pub(crate) fn told(&self, more: impl IntoIterator<Item = String>) -> String {
        let (all, wrong) = self.checks.checks();
        let held = format!(
            "{} of {all} checks of counts and sums held",
            all - wrong.len()
        );
        let mut lines = self.conditions.lines();
        lines.extend(more);
        lines.push(held);
        lines.extend(self.failures.iter().cloned());
        format!("{}\n{}\n", list(&lines), self.card.markdown())
    }

    /// Tells everybody; whether everything was measured and each check held. A goal that is missed
    /// stands in the table and fails nothing: that depends on the machine.
    pub(crate) fn leave(&self, outputs: &Outputs, parts: &[Part<'_>], more: Value) -> Result<bool> {
        for part in parts {
            report::print(&format!("\n## {}\n\n{}", part.title, part.text));
        }
        let (all, wrong) = self.checks.checks();
        wrong.iter().for_each(|line| eprintln!("{line}"));
        self.failures.iter().for_each(|line| eprintln!("{line}"));
        outputs.json(|| {
            json!({
                "conditions": self.conditions.json(),
                "goals": self.card.json(),
                "missed": self.card.missed(),
                "checks": {"held": all - wrong.len(), "wrong": wrong},
                "not_measured": self.failures,
                "more": more,
            })
        })?;
        let is_right = self.checks.is_right() && self.failures.is_empty();
        for part in parts.iter().filter(|_| is_right) {
            outputs.replace(part.marker, &part.text)?;
        }
        Ok(is_right)
    }
}
