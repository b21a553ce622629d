//! The tables that are printed: Markdown, so that they can be pasted into documents.

use std::fmt::Display;

use serde_json::Value;

/// How the line of a check that does not hold begins.
const WRONG: &str = "check WRONG";

/// One table and its checks.
#[derive(Debug)]
pub(crate) struct Section {
    title: String,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
    failed: bool,
    checks: usize,
}

impl Section {
    pub(crate) fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        Self {
            title: title.into(),
            rows: vec![columns.iter().map(|&name| name.to_owned()).collect()],
            notes: Vec::new(),
            failed: false,
            checks: 0,
        }
    }

    pub(crate) fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// A line that says whether two numbers that have to be equal are.
    pub(crate) fn check<T: PartialEq + Display>(&mut self, what: &str, found: T, expected: T) {
        let is_right = found == expected;
        self.failed |= !is_right;
        self.checks += 1;
        let verdict = if is_right { "check ok" } else { WRONG };
        self.notes
            .push(format!("{verdict}: {what}: {found}, expected {expected}"));
    }

    /// Takes in the checks of another one.
    pub(crate) fn take_in(&mut self, other: &Self) {
        self.notes.extend(other.notes.iter().cloned());
        self.failed |= other.failed;
        self.checks += other.checks;
    }

    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Its rows by the names of the columns.
    pub(crate) fn json(&self) -> Value {
        let (head, rows) = match self.rows.split_first() {
            Some((head, rows)) => (head.as_slice(), rows),
            None => (&[][..], &[][..]),
        };
        let named = |row: &Vec<String>| -> Value {
            let cells = head
                .iter()
                .cloned()
                .zip(row.iter().cloned().map(Value::from));
            Value::Object(cells.collect())
        };
        rows.iter().map(named).collect()
    }

    /// How many checks there were, and the lines of those that did not hold.
    pub(crate) fn checks(&self) -> (usize, Vec<&str>) {
        let wrong = self.notes.iter().filter(|note| note.starts_with(WRONG));
        (self.checks, wrong.map(String::as_str).collect())
    }

    /// Whether every check held.
    pub(crate) fn is_right(&self) -> bool {
        !self.failed
    }

    /// Its table.
    pub(crate) fn markdown(&self) -> String {
        table(&self.rows)
    }

    /// Prints it; whether every check held.
    #[expect(
        clippy::print_stdout,
        reason = "the report is what this program is for"
    )]
    pub(crate) fn print(&self) -> bool {
        println!("\n### {}\n\n{}", self.title, self.markdown());
        for note in &self.notes {
            println!("- {note}");
        }
        !self.failed
    }
}

/// Prints what has to stand beside every number.
pub(crate) fn print_conditions(lines: &[String]) {
    print(&format!("## Measured\n\n{}", list(lines)));
}

/// Lines as a list.
pub(crate) fn list(lines: &[String]) -> String {
    lines.iter().map(|line| format!("- {line}\n")).collect()
}

/// Prints Markdown.
#[expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]
pub(crate) fn print(text: &str) {
    println!("{}", text.trim_end());
}

pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    let width = |at: usize| {
        rows.iter()
            .map(|r| cell(r, at).chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(|at| width(at).max(3)).collect();
    let line = |row: &[String]| {
        let padded = widths.iter().enumerate().map(|(at, &width)| match at {
            0 => format!(" {:<width$} |", cell(row, at)),
            _ => format!(" {:>width$} |", cell(row, at)),
        });
        format!("|{}\n", padded.collect::<String>())
    };
    let rule = widths.iter().enumerate().map(|(at, &width)| match at {
        0 => format!("{}|", "-".repeat(width + 2)),
        _ => format!("{}:|", "-".repeat(width + 1)),
    });
    let mut lines = rows.iter().map(|row| line(row));
    let head = lines.next().unwrap_or_default();
    format!(
        "{head}|{}\n{}",
        rule.collect::<String>(),
        lines.collect::<String>()
    )
}

/// `1234567.8` as `1,234,568`.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn ms(value: f64) -> String {
    format!("{value:.2}")
}

/// `1 connection`, `2 connections`.
pub(crate) fn connections(count: u64) -> String {
    format!("{count} connection{}", if count == 1 { "" } else { "s" })
}

/// `0.731` as `73 %`.
pub(crate) fn percent(part: f64, of: f64) -> String {
    if of > 0.0 {
        format!("{:.0} %", 100.0 * part / of)
    } else {
        "-".to_owned()
    }
}

/// `5.03` as `5.0×`.
pub(crate) fn times(part: f64, of: f64) -> String {
    if of > 0.0 {
        format!("{:.1}×", part / of)
    } else {
        "-".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        assert_eq!(thousands(0.0), "0");
        assert_eq!(thousands(999.6), "1,000");
        assert_eq!(thousands(1_234_567.2), "1,234,567");
    }

    #[test]
    fn a_table_is_markdown_of_even_columns() {
        let rows = [["what", "n"], ["one", "12345"]].map(|row| row.map(str::to_owned).to_vec());
        let expected = "| what |     n |\n|------|------:|\n| one  | 12345 |\n";
        assert_eq!(table(&rows), expected);
    }

    #[test]
    fn a_check_that_does_not_hold_fails_the_section() {
        let mut section = Section::new("t", &["a"]);
        section.check("rows", 1, 1);
        assert!(!section.failed);
        section.check("rows", 1, 2);
        assert!(!section.is_right());
        let mut whole = Section::new("w", &[]);
        whole.check("more", 3, 3);
        whole.take_in(&section);
        assert_eq!(
            whole.checks(),
            (3, vec!["check WRONG: rows: 1, expected 2"])
        );
        assert!(!whole.is_right());
    }
}
