//! An answer as rows: one for each value of each rule.

use super::shown::{RuleAnswer, WindowValue};
use crate::http::format::{csv, ndjson};
use aevon_core::json::Path;
use aevon_service::problem::Problem;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::iter::once;

/// A value with all that says what it is.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    principal_id: Option<&'a str>,
    rule: &'a str,
    rule_version: i32,
    operator: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
    #[serde(flatten)]
    value: &'a WindowValue<'a>,
}

fn lines<'a>(
    principal_id: Option<&'a str>,
    states: &'a [RuleAnswer<'a>],
) -> impl Iterator<Item = Line<'a>> {
    states.iter().flat_map(move |state| {
        state.values.iter().map(move |value| Line {
            principal_id,
            rule: state.rule,
            rule_version: state.rule_version,
            operator: state.operator.as_str(),
            unit: state.unit,
            value,
        })
    })
}

/// States of principals as NDJSON; the state of no principal is the tenant's.
///
/// # Errors
/// 500.
pub(crate) fn as_ndjson<'a>(
    states: impl Iterator<Item = (Option<&'a str>, &'a [RuleAnswer<'a>])>,
) -> Result<Vec<u8>, Problem> {
    ndjson(states.flat_map(|(principal_id, states)| lines(principal_id, states)))
}

/// States of principals as CSV: a group has a column for each dimension that was asked for, `group.model`,
/// whatever there is to be told of.
///
/// # Errors
/// 500.
pub(crate) fn as_csv<'a>(
    by: &[Path],
    states: impl Iterator<Item = (Option<&'a str>, &'a [RuleAnswer<'a>])> + Clone,
) -> Result<Vec<u8>, Problem> {
    let dimensions: BTreeSet<String> = by.iter().map(Path::short).collect();
    let dimensions = &dimensions;
    let fixed = |names: &[&'static str]| names.iter().map(|name| Cow::from(*name)).collect();
    let mut titles: Vec<Cow<'a, str>> = fixed(&[
        "principal_id",
        "rule",
        "rule_version",
        "operator",
        "unit",
        "window_start",
        "window_end",
    ]);
    titles.extend(
        dimensions
            .iter()
            .map(|name| Cow::from(format!("group.{name}"))),
    );
    titles.extend(fixed(&[
        "value",
        "event_count",
        "skipped_count",
        "relative_error",
    ]));
    let row = |line: Line<'a>| {
        let value = line.value;
        let text = |text: Option<&'a str>| Cow::from(text.unwrap_or_default());
        let shown = |shown: Option<String>| Cow::from(shown.unwrap_or_default());
        let mut cells = vec![
            text(line.principal_id),
            text(Some(line.rule)),
            Cow::from(line.rule_version.to_string()),
            text(Some(line.operator)),
            text(line.unit),
            shown(value.window_start.map(|at| at.to_string())),
            shown(value.window_end.map(|at| at.to_string())),
        ];
        let label = |name: &String| value.group.as_ref().and_then(|group| group.label(name));
        cells.extend(dimensions.iter().map(|name| text(label(name))));
        cells.extend([
            text(value.value.as_deref()),
            Cow::from(value.event_count.to_string()),
            Cow::from(value.skipped_count.to_string()),
            shown(value.relative_error().map(|error| error.to_string())),
        ]);
        cells
    };
    let rows = states.flat_map(|(principal_id, states)| lines(principal_id, states));
    csv(once(titles).chain(rows.map(row)))
}
