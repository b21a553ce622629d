//! `aevon rules check`: the rules of a folder, and what they would read of sample events.

use super::sample::{self, Sample};
use crate::output::{Format, print, say};
use crate::table::{aligned, titles};
use aevon_core::filter::{Filter, Subject};
use aevon_core::json;
use aevon_core::operator::Operator;
use aevon_core::reading::{Reading, Verdict};
use aevon_core::rule::Rule;
use serde_json::{Value, json};
use std::path::Path;

/// What is said of a rule and an event.
const READ: [&str; 5] = ["rule", "source_event", "filter", "value", "group"];
/// Where there is nothing to say.
const NONE: &str = "-";

/// Prints the rules, or what they read of the events of a file.
pub(super) fn run(rules: &[Rule], events: Option<&Path>, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return as_json(rules, events);
    }
    match events {
        None => {
            print(&listed(rules)?)?;
        }
        Some(file) => {
            for (index, sample) in sample::load(file)?.iter().enumerate() {
                let gap = if index == 0 { "" } else { "\n" };
                print(&format!("{gap}{}", read(rules, sample)?))?;
            }
        }
    }
    let plural = if rules.len() == 1 { "" } else { "s" };
    say!("{} rule{plural}, no faults", rules.len());
    Ok(())
}

/// The rules, and what each reads of every event, for programs.
fn as_json(rules: &[Rule], events: Option<&Path>) -> anyhow::Result<()> {
    let definition = |rule: &Rule| serde_json::from_str(&rule.definition());
    let definitions: Vec<Value> = rules.iter().map(definition).collect::<Result<_, _>>()?;
    let mut answer = json!({"rules": definitions});
    if let Some(file) = events {
        let samples = sample::load(file)?;
        let of_event = |sample: &Sample| -> Vec<Value> {
            let subject = Subject::new(sample.fact());
            let readings = rules.iter().map(|rule| {
                let cells = row(rule, &subject);
                READ.iter()
                    .map(|name| (*name).to_owned())
                    .zip(cells)
                    .collect()
            });
            readings.collect()
        };
        let events = samples
            .iter()
            .map(|sample| json!({"event": sample.heading(), "reads": of_event(sample)}));
        answer["events"] = events.collect();
    }
    say!("{answer:#}");
    Ok(())
}

/// The rules as a table.
fn listed(rules: &[Rule]) -> anyhow::Result<String> {
    let names = [
        "rule",
        "source_event",
        "operator",
        "field",
        "group_by",
        "unit",
        "filter",
    ];
    let mut rows = vec![titles(&names)];
    for rule in rules {
        let dimensions: Vec<String> = rule.group_by.iter().map(json::Path::short).collect();
        rows.push(vec![
            rule.name.clone(),
            rule.source_event.clone(),
            rule.operator.as_str().to_owned(),
            rule.field.as_ref().map_or_else(none, json::Path::short),
            match dimensions.is_empty() {
                true => none(),
                false => dimensions.join(","),
            },
            rule.unit.clone().unwrap_or_else(none),
            rule.filter
                .as_ref()
                .map_or_else(none, |filter| filter.text().to_owned()),
        ]);
    }
    aligned(&rows)
}

fn none() -> String {
    NONE.to_owned()
}

/// What every rule reads of an event, as a table.
fn read(rules: &[Rule], sample: &Sample) -> anyhow::Result<String> {
    let subject = Subject::new(sample.fact());
    let mut rows = vec![titles(&READ)];
    rows.extend(rules.iter().map(|rule| row(rule, &subject)));
    Ok(format!("{}\n{}", sample.heading(), aligned(&rows)?))
}

fn row(rule: &Rule, subject: &Subject<'_>) -> Vec<String> {
    let Reading { verdict, labels } = Reading::of(rule, subject);
    let passed = || match rule.filter.as_ref().map(Filter::text) {
        None => none(),
        Some(_) => "admits".to_owned(),
    };
    let is_read = rule.operator != Operator::Count;
    let (matches, filter, value) = match verdict {
        Verdict::OtherType => (format!("no: {}", rule.source_event), none(), none()),
        Verdict::LeftOut => (matching(), "leaves out".to_owned(), none()),
        Verdict::FilterFailed(reason) => {
            let skipped = format!("fails: {reason}");
            (matching(), skipped, "skipped".to_owned())
        }
        Verdict::Skipped(what) => (matching(), passed(), format!("skipped: {what}")),
        Verdict::Counted(value) => {
            let shown = value.filter(|_| is_read);
            (
                matching(),
                passed(),
                shown.unwrap_or_else(|| "1 event".to_owned()),
            )
        }
    };
    let labelled = rule.group_by.iter().zip(&labels.0).map(|(path, label)| {
        let label = label.as_deref().unwrap_or("(none)");
        format!("{}={label}", path.short())
    });
    let group: Vec<String> = labelled.collect();
    let group = match group.is_empty() {
        true => none(),
        false => group.join(", "),
    };
    vec![rule.name.clone(), matches, filter, value, group]
}

fn matching() -> String {
    "yes".to_owned()
}
