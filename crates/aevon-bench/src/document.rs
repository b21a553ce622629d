//! What a run leaves behind: a file of JSON, and a part of a document between two markers.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Writes JSON that people can read, too.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// Replaces what a document has between `<!-- name -->` and `<!-- /name -->`.
pub(crate) fn replace_in(path: &Path, name: &str, text: &str) -> Result<()> {
    let old =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let new = replaced(&old, name, text).with_context(|| path.display().to_string())?;
    fs::write(path, new).with_context(|| format!("cannot write {}", path.display()))
}

/// Fails where a document can't take that part, which is better known before an hour of measuring.
pub(crate) fn check(path: &Path, name: &str) -> Result<()> {
    let old =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    replaced(&old, name, "")
        .map(drop)
        .with_context(|| path.display().to_string())
}

fn replaced(old: &str, name: &str, text: &str) -> Result<String> {
    let (open, close) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    for marker in [&open, &close] {
        ensure!(
            old.matches(marker.as_str()).count() == 1,
            "does not have `{marker}` once"
        );
    }
    let (before, rest) = old.split_once(&open).context("no beginning")?;
    let (_, after) = rest
        .split_once(&close)
        .with_context(|| format!("`{close}` stands before its beginning"))?;
    Ok(format!(
        "{before}{open}\n\n{}\n\n{close}{after}",
        text.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_again_and_again_and_nothing_else() {
        let old = "a\n<!-- goals -->\nnot taken yet\n<!-- /goals -->\nb\n";
        let once = replaced(old, "goals", "| 1 |\n").unwrap();
        assert_eq!(once, "a\n<!-- goals -->\n\n| 1 |\n\n<!-- /goals -->\nb\n");
        let twice = replaced(&once, "goals", "| 2 |").unwrap();
        assert_eq!(twice, "a\n<!-- goals -->\n\n| 2 |\n\n<!-- /goals -->\nb\n");
    }

    #[test]
    fn a_document_without_the_markers_is_refused_and_they_are_named() {
        let told = |text| replaced(text, "soak", "").unwrap_err().to_string();
        assert_eq!(told("<!-- /soak -->"), "does not have `<!-- soak -->` once");
        assert_eq!(told("<!-- soak -->"), "does not have `<!-- /soak -->` once");
        assert!(told("<!-- /soak --><!-- soak -->").contains("before its beginning"));
    }
}
