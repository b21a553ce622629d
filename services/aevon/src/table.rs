//! Rows for people: columns that line up.

use anyhow::Context;
use std::io::Write;
use tabwriter::TabWriter;

/// Rows of equally many cells as lines whose columns line up.
///
/// # Errors
/// Never in practice: where a text is none.
pub(crate) fn aligned<R: AsRef<[String]>>(rows: &[R]) -> anyhow::Result<String> {
    let mut writer = TabWriter::new(Vec::new()).padding(2);
    for row in rows {
        let cells: Vec<String> = row.as_ref().iter().map(|cell| plain(cell)).collect();
        writeln!(writer, "{}", cells.join("\t"))?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let text = String::from_utf8(bytes).context("a table is no text")?;
    // Nothing follows the last column, not even what would line up with it.
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    Ok(lines.join("\n") + "\n")
}

/// A text without what would move the cursor: it may come from anybody's event.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

/// Titles of columns.
pub(crate) fn titles(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_uppercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_text_moves_the_cursor() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let rows = [
            titles(&["rule", "value"]),
            row("long\tname", "1"),
            row("é", "\u{1b}[31m\n"),
            row("x", ""),
        ];
        let expected = "RULE        VALUE\nlong\\tname  1\né           \\u{1b}[31m\\n\nx\n";
        assert_eq!(aligned(&rows).unwrap(), expected);
    }
}
