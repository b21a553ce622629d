//! Random events, rules and questions, the same for the same seed.

use crate::support::{at, event};
use aevon_core::calendar::{Period, Zone};
use aevon_core::event::NewEvent;
use aevon_core::json::Path;
use aevon_core::labels::Grouping;
use aevon_core::operator::Operator;
use aevon_core::rule::Rule;
use aevon_core::state::{Fill, Granularity, Question, Range};
use aevon_core::time::{HOUR_US, MINUTE_US, Timestamp};
use aevon_schema::state::Selection;
use aevon_testkit::oracle::{Judge, everything};
use aevon_testkit::places;

/// A sequence that is the same for the same seed, about a time at which something happens to the clock
/// of a zone.
pub(crate) struct Dice {
    state: u64,
    zone: Zone,
    begin: Timestamp,
}

impl Dice {
    /// About the beginning of 2026, in UTC.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: seed,
            zone: Zone::default(),
            begin: at("2026-01-01T00:00:00Z"),
        }
    }

    /// About a place of those that there are.
    pub(crate) fn of_place(nth: usize, seed: u64) -> Self {
        let (zone, instant) = places::place(nth);
        Self {
            state: seed,
            zone,
            begin: instant.plus_micros(-36 * HOUR_US),
        }
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % sides
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len() as u64) as usize]
    }

    /// Within three days, on the edges of windows more often than not.
    pub(crate) fn instant(&mut self) -> Timestamp {
        let minute = self.roll(3 * 1440) as i64 * MINUTE_US;
        let hour = minute / HOUR_US * HOUR_US;
        let offset = match self.roll(5) {
            0 => hour,
            1 => minute,
            2 => minute + 1,
            3 => minute + MINUTE_US - 1,
            _ => minute + self.roll(60_000_000) as i64,
        };
        self.begin.plus_micros(offset)
    }

    pub(crate) fn event(&mut self, id: &str) -> NewEvent {
        let number = 1_u64 << self.roll(40);
        let value = match self.roll(10) {
            0 => "\"none\"".to_owned(),
            1 => "null".to_owned(),
            2 | 3 => format!("-{number}.25"),
            4 => format!("\"{number}\""),
            _ => number.to_string(),
        };
        let group = self.pick(&["\"a\"", "\"b\"", "1", "1.0", "null", "[]"]);
        let deep = self.pick(&[
            "",
            ", \"deep\": {\"h\": true}",
            ", \"deep\": {\"h\": \"x\"}",
        ]);
        let kind = self.pick(&["", ", \"kind\": 0", ", \"kind\": 1", ", \"kind\": 2"]);
        let principal = format!("p{}", self.roll(2));
        let mut event = event(&principal, id, self.instant(), &value);
        event.data = format!("{{\"n\": {value}, \"g\": {group}{deep}{kind}}}");
        event
    }

    pub(crate) fn question(&mut self) -> Question {
        let (a, b) = (self.instant(), self.instant());
        let mut range = match self.roll(4) {
            0 => Range::default(),
            1 => Range {
                start: Some(a),
                end: None,
            },
            _ => Range {
                start: Some(a.min(b)),
                end: Some(a.max(b)),
            },
        };
        let granularity = Granularity::NAMES[self.roll(6) as usize].1;
        if granularity == Granularity::Windows(Period::Minute) {
            // A level stands in every minute, for sixteen rules.
            let from = range.start.unwrap_or(a);
            range = Range {
                start: Some(from),
                end: Some(from.plus_micros(40 * MINUTE_US)),
            };
        }
        let path = |text| Path::parse(text).unwrap();
        let mut grouping = Grouping::default();
        match self.roll(4) {
            0 => grouping.by = vec![path("g")],
            1 => grouping.by = vec![path("deep.h"), path("g")],
            _ => {}
        }
        if self.roll(3) == 0 {
            grouping.keep(&path("g"), Some("a".to_owned()));
            grouping.keep(
                &path("g"),
                [None, Some("1".to_owned())][self.roll(2) as usize].clone(),
            );
        }
        let can_be_filled = granularity != Granularity::Total
            && matches!((range.start, range.end), (Some(_), Some(_)));
        Question {
            range,
            granularity,
            grouping,
            zone: self.zone.clone(),
            fill: match can_be_filled {
                true => Fill::NAMES[self.roll(3) as usize].1,
                false => Fill::None,
            },
            is_cumulative: self.roll(3) == 0,
        }
    }
}

impl Dice {
    /// What may be asked of any rule.
    pub(crate) fn question_of_any(&mut self) -> Question {
        let mut question = self.question();
        if question.fill == Fill::Previous {
            question.fill = Fill::Zero;
        }
        question
    }
}

/// Which of the rules below can be asked: values are carried on of those whose operator is latest.
pub(crate) fn selection(question: &Question) -> Selection {
    let mut selection = Selection::default();
    if question.fill == Fill::Previous {
        selection.names = vec!["latest".to_owned(), "latest_filtered".to_owned()];
    }
    selection
}

/// Every operator, with a filter and without.
pub(crate) fn rules() -> Vec<String> {
    let text = |operator: Operator, filter: &str| {
        let name = operator.as_str();
        let field = if operator.takes_field() {
            "field: n\n"
        } else {
            ""
        };
        let suffix = if filter.is_empty() { "" } else { "_filtered" };
        format!(
            "name: {name}{suffix}\nsource_event: t\noperator: {name}\n{field}{filter}\
             group_by: [g, deep.h]\n"
        )
    };
    let both = |operator| {
        [
            text(operator, ""),
            text(operator, "filter: data.kind > 0\n"),
        ]
    };
    Operator::ALL.into_iter().flat_map(both).collect()
}

/// The filter by hand. Without a kind it fails.
fn judge(data: &serde_json::Value) -> Option<bool> {
    data.get("kind").map(|kind| kind.as_i64().unwrap() > 0)
}

/// The same for a rule.
pub(crate) fn judge_of(rule: &Rule) -> Judge {
    match rule.filter.is_some() {
        true => judge,
        false => everything,
    }
}
