//! What was measured of each goal, round by round; the table and the JSON of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Goal, Held, Id, Verdict, goal};
use crate::report::{percent, table, thousands};

/// One round of a goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Round {
    pub(crate) figure: f64,
    pub(crate) limit: Option<f64>,
}

impl Round {
    fn ratio(self) -> Option<f64> {
        self.limit
            .filter(|limit| *limit > 0.0)
            .map(|limit| self.figure / limit)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Card {
    rows: BTreeMap<usize, Row>,
}

#[derive(Debug, Default)]
struct Row {
    rounds: Vec<Round>,
    /// Shares of a processor that the load generator took.
    generator: Vec<f64>,
    /// Of the last round.
    note: Option<String>,
    reasons: Vec<String>,
    /// No better than this, whatever was measured, and why.
    capped: Option<Verdict>,
}

/// A goal with the median of its rounds.
struct Outcome<'a> {
    goal: &'static Goal,
    row: &'a Row,
    figure: f64,
    limit: Option<f64>,
    ratio: Option<f64>,
    verdict: Verdict,
}

impl Card {
    fn row(&mut self, id: Id) -> &mut Row {
        self.rows.entry(id as usize).or_default()
    }

    /// Adds a round that has no limit beside it.
    pub(crate) fn figure(&mut self, id: Id, figure: f64) {
        self.row(id).rounds.push(Round {
            figure,
            limit: None,
        });
    }

    /// Adds a round with its limit.
    pub(crate) fn beside(&mut self, id: Id, figure: f64, limit: f64) {
        let limit = Some(limit);
        self.row(id).rounds.push(Round { figure, limit });
    }

    /// The share of one processor that the load generator took in a round.
    pub(crate) fn generator(&mut self, id: Id, share: f64) {
        self.row(id).generator.push(share);
    }

    /// Something to know about a round of a goal; what was said of the round before goes.
    pub(crate) fn note(&mut self, id: Id, text: impl Into<String>) {
        self.row(id).note = Some(text.into());
    }

    /// The goal is missed, whatever the figures.
    pub(crate) fn miss(&mut self, id: Id, why: impl Into<String>) {
        self.cap(id, Verdict::Missed, why);
    }

    /// The verdict is no better than this.
    pub(crate) fn cap(&mut self, id: Id, verdict: Verdict, why: impl Into<String>) {
        let row = self.row(id);
        row.capped = Some(row.capped.map_or(verdict, |capped| capped.min(verdict)));
        row.reasons.push(why.into());
    }

    /// The median of the figures of a goal.
    pub(crate) fn median(&self, id: Id) -> Result<f64> {
        let row = self.rows.get(&(id as usize));
        let figures = row.map(|row| row.rounds.iter().map(|round| round.figure).collect());
        median(figures.unwrap_or_default())
            .with_context(|| format!("{} was not measured", goal(id).what))
    }

    fn results(&self) -> Vec<Outcome<'_>> {
        let results = self
            .rows
            .iter()
            .filter_map(|(at, row)| Outcome::of(*at, row));
        let mut results: Vec<_> = results.collect();
        results.sort_by_key(|result| result.goal.row);
        results
    }

    /// How many goals are missed.
    pub(crate) fn missed(&self) -> usize {
        let results = self.results();
        let missed = results
            .iter()
            .filter(|result| result.verdict == Verdict::Missed);
        missed.count()
    }

    /// The table, and what has to be known about its rows.
    pub(crate) fn markdown(&self) -> String {
        let head = [
            "#", "what", "beside", "figure", "limit", "ratio", "must", "aim", "",
        ];
        let results = self.results();
        let lines = results.iter().map(Outcome::cells);
        let rows: Vec<Vec<String>> = std::iter::once(head.map(str::to_owned).to_vec())
            .chain(lines)
            .collect();
        let notes: String = results.iter().filter_map(Outcome::note).collect();
        let of = |verdict| {
            results
                .iter()
                .filter(|result| result.verdict == verdict)
                .count()
        };
        let [aim, must, missed] = [Verdict::Aim, Verdict::Must, Verdict::Missed].map(of);
        let told = format!("- {aim} reach their aim, {must} what they must, {missed} are missed");
        format!("{}\n{told}\n{notes}", table(&rows))
    }

    /// Each row with all of its rounds.
    pub(crate) fn json(&self) -> Value {
        self.results().iter().map(Outcome::json).collect()
    }
}

impl<'a> Outcome<'a> {
    fn of(at: usize, row: &'a Row) -> Option<Self> {
        let goal = super::GOALS.get(at)?;
        let ratio = median(
            row.rounds
                .iter()
                .filter_map(|round| round.ratio())
                .collect(),
        );
        let figure = median(row.rounds.iter().map(|round| round.figure).collect())?;
        let held = match goal.held {
            Held::Figure => Some(figure),
            Held::Share | Held::Multiple => ratio,
        };
        let verdict = held.map_or(Verdict::Missed, |held| goal.verdict(held));
        Some(Self {
            goal,
            row,
            figure,
            limit: median(row.rounds.iter().filter_map(|round| round.limit).collect()),
            ratio,
            verdict: row.capped.map_or(verdict, |capped| capped.min(verdict)),
        })
    }

    fn ratio(&self) -> String {
        self.ratio
            .map_or(String::new(), |ratio| match self.goal.held {
                Held::Share => percent(ratio, 1.0),
                Held::Figure | Held::Multiple => format!("{ratio:.2}×"),
            })
    }

    fn cells(&self) -> Vec<String> {
        let goal = self.goal;
        let amount = |value: f64| format!("{} {}", digits(value), goal.unit);
        vec![
            goal.row.to_string(),
            goal.what.to_owned(),
            goal.beside.to_owned(),
            amount(self.figure),
            self.limit.map_or(String::new(), amount),
            self.ratio(),
            goal.bound(goal.must),
            goal.bound(goal.aim),
            self.verdict.as_str().to_owned(),
        ]
    }

    fn note(&self) -> Option<String> {
        let generator = median(self.row.generator.clone());
        let generator = generator.map(|share| {
            format!(
                "the load generator took {} of a processor",
                percent(share, 1.0)
            )
        });
        let notes: Vec<&str> = generator
            .iter()
            .chain(&self.row.note)
            .chain(&self.row.reasons)
            .map(String::as_str)
            .collect();
        let (row, what) = (self.goal.row, self.goal.what);
        (!notes.is_empty()).then(|| format!("- {row}, {what}: {}\n", notes.join("; ")))
    }

    fn json(&self) -> Value {
        let goal = self.goal;
        let rounds = self.row.rounds.iter().map(
            |round| json!({"figure": round.figure, "limit": round.limit, "ratio": round.ratio()}),
        );
        json!({
            "id": format!("{:?}", goal.id),
            "row": goal.row,
            "what": goal.what,
            "beside": goal.beside,
            "unit": goal.unit,
            "figure": self.figure,
            "limit": self.limit,
            "ratio": self.ratio,
            "must": goal.bound(goal.must),
            "aim": goal.bound(goal.aim),
            "verdict": self.verdict.as_str(),
            "rounds": rounds.collect::<Value>(),
            "generator": self.row.generator,
            "note": self.row.note,
            "reasons": self.row.reasons,
        })
    }
}

/// Three digits, or all of those before the point.
fn digits(value: f64) -> String {
    match value.abs() {
        100.0.. => thousands(value),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The median; of an even number the mean of the two in the middle. Nothing of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (lower, upper) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[lower], values[upper]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_rounds_and_ratios_are_taken_within_one() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let mut card = Card::default();
        // The machine was half as fast in the second round: the ratio does not notice.
        for (figure, limit) in [(70.0, 100.0), (35.0, 50.0), (71.0, 100.0)] {
            card.beside(Id::Bodies1000, figure, limit);
        }
        let results = card.results();
        assert_eq!((results[0].figure, results[0].ratio), (70.0, Some(0.7)));
        assert_eq!(results[0].verdict, Verdict::Must);
        assert_eq!(card.missed(), 0);
        assert_eq!(card.median(Id::Bodies1000).unwrap(), 70.0);
        assert!(card.median(Id::Bodies100).is_err());
    }

    #[test]
    fn the_table_has_a_line_for_each_goal_in_the_order_of_rows() {
        let mut card = Card::default();
        card.figure(Id::Lag, 5.0);
        card.beside(Id::Single, 50_000.0, 10_000.0);
        card.generator(Id::Single, 0.4);
        card.figure(Id::SingleP99, 20.0);
        card.note(Id::SingleP99, "why");
        let text = card.markdown();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[2].starts_with("| 3 ") && lines[2].ends_with(" must |"),
            "{text}"
        );
        assert!(
            lines[2].contains("| 50,000 events/s | 10,000 events/s | 5.00× |"),
            "{text}"
        );
        assert!(
            lines[3].contains("20.0 ms") && lines[3].ends_with("missed |"),
            "{text}"
        );
        // Without a limit there is no ratio to be held.
        assert!(
            lines[4].starts_with("| 15 ") && lines[4].ends_with("missed |"),
            "{text}"
        );
        assert!(
            text.contains("events, 256 connections: the load generator took 40 %"),
            "{text}"
        );
        assert!(text.ends_with("the same, p99: why\n"), "{text}");
        assert_eq!(card.missed(), 2);
    }

    #[test]
    fn what_is_capped_is_no_better_and_says_why() {
        let mut card = Card::default();
        card.beside(Id::Repeated, 99.0, 100.0);
        assert_eq!(card.missed(), 0);
        card.miss(Id::Repeated, "2 answers of 5xx");
        assert_eq!(card.missed(), 1);
        assert!(card.markdown().contains("2 answers of 5xx"));
        assert_eq!(card.json()[0]["verdict"], "missed");
    }
}
