//! Usage as OpenMeter's SDKs parse it.

use super::asked::Asked;
use super::{Bounds, Counted};
use crate::http::format::csv;
use aevon_core::json::Path;
use aevon_core::operator::Operator;
use aevon_core::state::Value;
use aevon_core::time::Timestamp;
use aevon_schema::state::RuleState;
use aevon_service::problem::{Code, Problem};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::iter::once;
use utoipa::ToSchema;

/// The usage of a meter.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MeterUsage)]
pub(crate) struct Usage<'a> {
    /// As it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    from: Option<Timestamp>,
    /// As it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    to: Option<Timestamp>,
    /// As it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    window_size: Option<&'static str>,
    /// By subject, then by window, then by group.
    data: Vec<Row<'a>>,
    /// The dimensions that were asked for.
    #[serde(skip)]
    dimensions: Vec<String>,
}

/// What was used in a window.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MeterUsageRow)]
struct Row<'a> {
    /// Exact as it is sent; a program that reads it as a float may round it.
    #[schema(value_type = f64)]
    value: Box<RawValue>,
    #[schema(value_type = String, format = DateTime)]
    window_start: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    window_end: Timestamp,
    /// The principal; null where the row is about all of them.
    #[schema(required)]
    subject: Option<&'a str>,
    /// Labels by dimension, null where the events have none.
    group_by: BTreeMap<&'a str, Option<&'a str>>,
}

impl<'a> Usage<'a> {
    /// # Errors
    /// 500, where a value is no number.
    pub(super) fn new(
        asked: &Asked,
        counted: &'a Counted,
        bounds: Option<Bounds>,
    ) -> Result<Self, Problem> {
        let range = asked.question.range;
        let rows = counted.states.iter().flat_map(|(subject, state)| {
            let values = state.values.iter();
            values.map(move |value| (subject.as_deref(), state, value))
        });
        let mut data = Vec::new();
        for (subject, state, value) in rows {
            let start = value.window_start.or(bounds.map(|(start, _)| start));
            let end = value.window_end.or(bounds.map(|(_, end)| end));
            let number = number(state, value)?;
            if let (Some(number), Some(window)) = (number, start.zip(end)) {
                data.push(Row::new(subject, state, value, (number, window)));
            }
        }
        Ok(Self {
            from: range.start,
            to: range.end,
            window_size: asked.window_size,
            data,
            dimensions: asked.question.grouping.by.iter().map(Path::short).collect(),
        })
    }

    /// The rows as CSV, with a column for each dimension.
    ///
    /// # Errors
    /// 500.
    pub(super) fn csv(&self) -> Result<Vec<u8>, Problem> {
        let titles = ["window_start", "window_end", "subject"].into_iter();
        let dimensions = || self.dimensions.iter().map(String::as_str);
        let titles = titles.chain(dimensions()).chain(once("value"));
        let titles: Vec<Cow<'_, str>> = titles.map(Cow::from).collect();
        let rows = self.data.iter().map(|row| {
            let label = |name| {
                row.group_by
                    .get(name)
                    .copied()
                    .flatten()
                    .unwrap_or_default()
            };
            let labels = dimensions().map(label);
            let window = [row.window_start.to_string(), row.window_end.to_string()];
            let cells = window.into_iter().map(Cow::from);
            let cells = cells.chain(once(Cow::from(row.subject.unwrap_or_default())));
            let cells = cells.chain(labels.map(Cow::from));
            cells.chain(once(Cow::from(row.value.get()))).collect()
        });
        csv(once(titles).chain(rows))
    }
}

impl<'a> Row<'a> {
    fn new(
        subject: Option<&'a str>,
        state: &'a RuleState,
        value: &'a Value,
        (number, (window_start, window_end)): (Box<RawValue>, Bounds),
    ) -> Self {
        let labels = value.group.0.iter().map(Option::as_deref);
        let dimensions = state.dimensions.iter().map(String::as_str);
        Self {
            value: number,
            window_start,
            window_end,
            subject,
            group_by: dimensions.zip(labels).collect(),
        }
    }
}

/// A value as a number; none where nothing was counted.
fn number(state: &RuleState, value: &Value) -> Result<Option<Box<RawValue>>, Problem> {
    let operator = state.rule.operator;
    if value.partial.event_count == 0 && operator != Operator::WeightedSum {
        return Ok(None);
    }
    let text = value.shown(operator).value;
    let number = text.map(RawValue::from_string).transpose();
    number.map_err(|error| Problem::new(Code::Internal, error.to_string()))
}
