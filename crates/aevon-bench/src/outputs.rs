//! Where a run leaves what it found, besides printing it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use crate::document;

/// See the module.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Outputs {
    /// Write everything that was measured to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Replace what this document has between the markers of the subject, as <!-- goals -->
    #[arg(long, value_name = "FILE")]
    pub(crate) document: Option<PathBuf>,
}

impl Outputs {
    /// Fails where the document can't take these parts.
    pub(crate) fn check(&self, parts: &[&str]) -> Result<()> {
        let mut parts = parts.iter();
        match &self.document {
            Some(path) => parts.try_for_each(|part| document::check(path, part)),
            None => Ok(()),
        }
    }

    /// Writes the JSON, if that was asked for.
    pub(crate) fn json(&self, value: impl FnOnce() -> Value) -> Result<()> {
        let path = self.json.as_ref();
        path.map_or(Ok(()), |path| document::write_json(path, &value()))
    }

    /// Replaces a part of the document, if there is one.
    pub(crate) fn replace(&self, part: &str, text: &str) -> Result<()> {
        let path = self.document.as_ref();
        path.map_or(Ok(()), |path| document::replace_in(path, part, text))
    }
}

/// A folder of plots.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Plots {
    /// Write plots to this folder, as SVG; the document shows them from performance/ beside it
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

impl Plots {
    /// Writes a plot, if there is a folder for it.
    pub(crate) fn write(&self, name: &str, svg: &str) -> Result<()> {
        let Some(folder) = &self.plots else {
            return Ok(());
        };
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(name);
        fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))
    }

    /// How a document shows it; nothing without a folder.
    pub(crate) fn shown(&self, name: &str, alternative: &str) -> String {
        match self.plots {
            Some(_) => format!("![{alternative}](performance/{name})\n\n"),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_lacks_a_part_is_refused_and_the_part_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("performance.md");
        fs::write(&path, "<!-- goals -->\n<!-- /goals -->\n").unwrap();
        let outputs = Outputs {
            document: Some(path),
            ..Outputs::default()
        };
        outputs.check(&["goals"]).unwrap();
        let refused = outputs.check(&["goals", "open-loop"]).unwrap_err();
        assert!(
            format!("{refused:#}").contains("<!-- open-loop -->"),
            "{refused:#}"
        );
        Outputs::default().check(&["open-loop"]).unwrap();
    }
}
