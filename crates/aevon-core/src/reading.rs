//! What a rule reads of one event, for people who write rules.
//!
//! Invariant: says what [`contribution`] did; it decides nothing itself.

use crate::amount::Amount;
use crate::filter::{Filter, Subject};
use crate::fold::contribution;
use crate::json::usable_number;
use crate::labels::Labels;
use crate::operator::Operator;
use crate::rule::Rule;

/// What became of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The rule is about another type.
    OtherType,
    /// The filter leaves it out.
    LeftOut,
    /// The filter fails on it: skipped. Why.
    FilterFailed(String),
    /// The field has no usable value: skipped. What stands there.
    Skipped(String),
    /// It enters the value; what it brings along, where the operator reads a field.
    Counted(Option<String>),
}

/// What a rule reads of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What became of it.
    pub verdict: Verdict,
    /// Its group; no labels where it has none.
    pub labels: Labels,
}

impl Reading {
    /// Reads an event.
    pub fn of(rule: &Rule, subject: &Subject<'_>) -> Self {
        let data = subject.fact.data;
        let Some(partial) = contribution(rule, subject) else {
            let is_other = rule.source_event != subject.fact.event_type;
            return Self {
                verdict: match is_other {
                    true => Verdict::OtherType,
                    false => Verdict::LeftOut,
                },
                labels: Labels::default(),
            };
        };
        let raw = rule.field.as_ref().and_then(|path| path.find(data));
        let failure = || rule.filter.as_ref().map(|filter| failure(filter, subject));
        let verdict = match (partial.event_count, failure().flatten()) {
            (1, _) => Verdict::Counted(raw.and_then(|raw| value(rule.operator, raw))),
            (_, Some(reason)) => Verdict::FilterFailed(reason),
            (_, None) => Verdict::Skipped(unusable(raw).to_owned()),
        };
        Self {
            verdict,
            labels: Labels::of(&rule.group_by, data),
        }
    }
}

fn failure(filter: &Filter, subject: &Subject<'_>) -> Option<String> {
    filter.judge(subject).err().map(|error| error.to_string())
}

/// A value as the operator takes it.
fn value(operator: Operator, raw: &str) -> Option<String> {
    let number = match operator {
        Operator::Count => None,
        // It tells texts and numbers apart.
        Operator::UniqueCount => Amount::parse(raw),
        _ => usable_number(raw),
    };
    match (operator, number) {
        (_, Some(number)) => Some(number.to_string()),
        (Operator::UniqueCount, None) => Some(raw.to_owned()),
        _ => None,
    }
}

fn unusable(raw: Option<&str>) -> &'static str {
    match raw.and_then(|raw| raw.as_bytes().first()) {
        None => "nothing stands there",
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        _ => "a text that holds no number within the bounds",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::Fact;
    use crate::position::Position;
    use crate::time::Timestamp;

    fn read(rule: &str, data: &str) -> Reading {
        let rule = Rule::from_yaml(&format!("name: r\nsource_event: t\n{rule}")).unwrap();
        let fact = Fact {
            position: Position {
                partition: 0,
                seq: 1,
            },
            occurred_at: Timestamp::from_micros(0),
            event_type: if data.is_empty() { "u" } else { "t" },
            schema_version: 0,
            principal_id: "p",
            data,
            metadata: "{}",
        };
        Reading::of(&rule, &Subject::new(fact))
    }

    #[test]
    fn what_a_rule_reads_of_an_event_is_said_with_the_reason() {
        use Verdict::{Counted, FilterFailed, LeftOut, OtherType, Skipped};
        let skipped = |what: &str| Skipped(what.to_owned());
        let counted = |value: &str| Counted(Some(value.to_owned()));
        let no_number = "a text that holds no number within the bounds";
        for (rule, data, verdict) in [
            ("operator: count", "{}", Counted(None)),
            ("operator: count", "", OtherType),
            ("operator: count\nfilter: data.n > 1", r#"{"n":1}"#, LeftOut),
            (
                "operator: count\nfilter: data.n > 1",
                "{}",
                FilterFailed("there is no key n".to_owned()),
            ),
            ("operator: sum\nfield: n", r#"{"n":"1.50"}"#, counted("1.5")),
            ("operator: max\nfield: n", r#"{"n":1e2}"#, counted("100")),
            (
                "operator: sum\nfield: n",
                "{}",
                skipped("nothing stands there"),
            ),
            ("operator: sum\nfield: n", r#"{"n":null}"#, skipped("null")),
            (
                "operator: sum\nfield: n",
                r#"{"n":true}"#,
                skipped("a boolean"),
            ),
            (
                "operator: sum\nfield: n",
                r#"{"n":[1]}"#,
                skipped("an array"),
            ),
            (
                "operator: sum\nfield: n",
                r#"{"n":{}}"#,
                skipped("an object"),
            ),
            (
                "operator: sum\nfield: n",
                r#"{"n":"1e99"}"#,
                skipped(no_number),
            ),
            (
                "operator: unique_count\nfield: n",
                r#"{"n":"1"}"#,
                counted("\"1\""),
            ),
            (
                "operator: unique_count\nfield: n",
                r#"{"n":1.0}"#,
                counted("1"),
            ),
            (
                "operator: unique_count\nfield: n",
                r#"{"n":false}"#,
                counted("false"),
            ),
        ] {
            assert_eq!(read(rule, data).verdict, verdict, "{rule} of {data}");
        }
    }

    #[test]
    fn the_group_is_that_of_the_fold() {
        let grouped = "operator: sum\nfield: n\ngroup_by: [a, m]\n";
        let labels = read(grouped, r#"{"n":"x","m":1.0}"#).labels;
        assert_eq!(labels, Labels(vec![None, Some("1".to_owned())]));
        assert_eq!(read(grouped, "").labels, Labels::default());
    }
}
