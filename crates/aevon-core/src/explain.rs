//! Why a value is what it is: what each event brings to it.
//!
//! Invariant: whether an event takes part is decided by [`contribution`], as in the fold itself, so
//! the events that are shown are those that the value was made of.

mod places;

pub use places::Places;

use crate::amount::Amount;
use crate::filter::Subject;
use crate::fold::contribution;
use crate::labels::Projection;
use crate::operator::{Operator, Partial};
use crate::reading::{Reading, Verdict};
use crate::rule::Rule;
use crate::state::{Question, Range};
use crate::time::Timestamp;

/// True where an event was stored on a later day, in UTC, than it occurred on. Buckets tell these
/// apart by their epoch, so they can be counted without reading them.
pub fn is_late(occurred_at: Timestamp, ingested_at: Timestamp) -> bool {
    ingested_at.utc_day() > occurred_at.utc_day()
}

/// The exact difference of two values, as they are shown; `None` where there is no value on a side.
pub fn change(from: Option<&str>, to: Option<&str>) -> Option<String> {
    let (from, to) = (Amount::parse(from?)?, Amount::parse(to?)?);
    Some(to.add(&from.times(-1)).to_string())
}

/// What one event brings to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What the rule read of it: counted or skipped, and its labels.
    pub reading: Reading,
    /// Its fold.
    pub partial: Partial,
    /// When it occurred.
    pub occurred_at: Timestamp,
}

/// Tells which events a total of a rule is made of.
#[derive(Debug)]
pub struct Explainer<'a> {
    rule: &'a Rule,
    range: Range,
    looks_back: bool,
    projection: Option<Projection>,
}

impl<'a> Explainer<'a> {
    /// Explains the total that answers a question by a rule; only its range and the labels that it
    /// keeps matter, and its dimensions are the rule's.
    pub fn new(rule: &'a Rule, question: &Question) -> Self {
        let grouping = &question.grouping;
        let projection = || Projection::new(grouping, &rule.group_by);
        Self {
            rule,
            range: question.range,
            looks_back: question.looks_back(rule.operator),
            projection: (!grouping.is_none()).then(projection),
        }
    }

    /// When the events occurred that take part: before the range too, where the operator looks back.
    pub fn reach(&self) -> Range {
        Range {
            start: self.range.start.filter(|_| !self.looks_back),
            end: self.range.end,
        }
    }

    /// What an event brings; `None` where it takes no part.
    pub fn share(&self, subject: &Subject<'_>) -> Option<Share> {
        let occurred_at = subject.fact.occurred_at;
        if !self.reach().contains(occurred_at) {
            return None;
        }
        let reading = Reading::of(self.rule, subject);
        if matches!(reading.verdict, Verdict::OtherType | Verdict::LeftOut) {
            return None;
        }
        if let Some(projection) = &self.projection {
            projection.of(&reading.labels)?;
        }
        Some(Share {
            reading,
            partial: contribution(self.rule, subject)?,
            occurred_at,
        })
    }

    /// By how much a share changes the value when it comes in, or when it is taken out again;
    /// `None` where the operator does not add, and for a level without an end.
    pub fn adds(&self, share: &Share, is_taken_out: bool) -> Option<String> {
        let operator = self.rule.operator;
        if !matches!(
            operator,
            Operator::Count | Operator::Sum | Operator::WeightedSum
        ) {
            return None;
        }
        let partial = match self.range.start {
            Some(start) if share.occurred_at < start => share.partial.carried_to(start),
            _ => share.partial.clone(),
        };
        let partial = match is_taken_out {
            true => partial.reversed(operator),
            false => partial,
        };
        partial.answer(operator, self.range.end).value
    }

    /// Whether a share is what the value shows: the smallest, the largest, the latest; `None` for
    /// operators whose value no single event decides.
    pub fn decides(&self, share: &Share, total: &Partial) -> Option<bool> {
        let is_one = matches!(
            self.rule.operator,
            Operator::Min | Operator::Max | Operator::Latest
        );
        let decides = share.partial.event_count > 0 && share.partial.kept == total.kept;
        is_one.then_some(decides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::Fact;
    use crate::json::Path;
    use crate::position::Position;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn share(rule: &str, question: &Question, seconds: i64, data: &str) -> Option<(Share, String)> {
        let rule = Rule::from_yaml(&format!("name: r\nsource_event: t\n{rule}")).unwrap();
        let position = Position {
            partition: 0,
            seq: 1,
        };
        let fact = Fact {
            position,
            occurred_at: at(seconds),
            event_type: "t",
            schema_version: 0,
            principal_id: "p",
            data,
            metadata: "{}",
        };
        let explainer = Explainer::new(&rule, question);
        let share = explainer.share(&Subject::new(fact))?;
        let (adds, taken) = (explainer.adds(&share, false), explainer.adds(&share, true));
        Some((share, format!("{adds:?} {taken:?}")))
    }

    #[test]
    fn a_share_adds_what_it_brings_to_the_range_and_takes_the_same_out() {
        let question = Question {
            range: Range {
                start: Some(at(10)),
                end: Some(at(20)),
            },
            ..Question::default()
        };
        let adds = |rule: &str, seconds| {
            share(rule, &question, seconds, r#"{"n":1.5}"#).map(|(_, adds)| adds)
        };
        let both = |amount: &str| Some(format!("Some({amount:?}) Some(\"-{amount}\")"));
        assert_eq!(adds("operator: count", 10), both("1"));
        assert_eq!(adds("operator: sum\nfield: n", 19), both("1.5"));
        assert_eq!(adds("operator: sum\nfield: n", 9), None);
        assert_eq!(adds("operator: sum\nfield: n", 20), None);
        // A level that came about before the range stands in all of it.
        assert_eq!(adds("operator: weighted_sum\nfield: n", 3), both("15"));
        assert_eq!(adds("operator: weighted_sum\nfield: n", 18), both("3"));
        let none = Some("None None".to_owned());
        assert_eq!(adds("operator: max\nfield: n", 12), none);
        let skipped = share("operator: sum\nfield: m", &question, 12, "{}").unwrap();
        assert_eq!(skipped.1, "Some(\"0\") Some(\"0\")");
    }

    #[test]
    fn events_of_groups_that_are_not_kept_take_no_part() {
        let mut question = Question::default();
        question
            .grouping
            .keep(&Path::parse("g").unwrap(), Some("a".to_owned()));
        let rule = "operator: count\nfilter: data.n > 0\ngroup_by: [g]\n";
        let takes_part = |data| share(rule, &question, 0, data).is_some();
        assert!(takes_part(r#"{"g":"a","n":1}"#) && takes_part(r#"{"g":"a"}"#));
        assert!(!takes_part(r#"{"g":"b","n":1}"#) && !takes_part(r#"{"g":"a","n":0}"#));
    }

    #[test]
    fn a_change_is_exact_and_late_is_a_matter_of_days() {
        let change = |from, to| change(Some(from), Some(to));
        assert_eq!(change("0.1", "0.3").as_deref(), Some("0.2"));
        assert_eq!(
            change("123456789012345678901234567890", "0.5").as_deref(),
            { Some("-123456789012345678901234567889.5") }
        );
        assert_eq!(super::change(None, Some("1")), None);
        let day = 86_400;
        assert!(is_late(at(day - 1), at(day)) && !is_late(at(0), at(day - 1)));
        assert!(!is_late(at(day), at(day - 1)) && is_late(at(-1), at(0)));
    }
}
