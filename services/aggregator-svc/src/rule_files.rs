//! A folder of rules: one rule a YAML file. Any fault in any file refuses the whole set.

use aevon_core::rule::{Rule, RuleFault};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a folder of rules is refused: every fault of every file.
#[derive(Debug, thiserror::Error)]
pub enum RuleFilesError {
    /// The folder can't be read.
    #[error("aggregation.config_dir {}: {error}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Files are faulty.
    #[error("{} of the rules can't be used: {}", if .0.len() == 1 { "one" } else { "some" }, Listed(.0))]
    Faulty(Vec<(PathBuf, RuleFault)>),
}

struct Listed<'a>(&'a [(PathBuf, RuleFault)]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (file, fault)) in self.0.iter().enumerate() {
            let semicolon = if index == 0 { "" } else { "; " };
            write!(f, "{semicolon}{}: {fault}", file.display())?;
        }
        Ok(())
    }
}

/// Reads every `*.yaml` and `*.yml` of a folder, by name.
///
/// # Errors
/// See [`RuleFilesError`].
pub fn load(folder: &Path) -> Result<Vec<Rule>, RuleFilesError> {
    let files = list(folder).map_err(|error| RuleFilesError::Folder {
        folder: folder.to_owned(),
        error,
    })?;
    let (mut rules, mut faults) = (Vec::new(), Vec::new());
    let mut files_of_names: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in files {
        match parse(&file) {
            Ok(rule) => match files_of_names.get(&rule.name) {
                Some(other) => {
                    let reason = format!("{} is the name of {} too", rule.name, other.display());
                    faults.push((file, RuleFault::new("name", reason)));
                }
                None => {
                    files_of_names.insert(rule.name.clone(), file);
                    rules.push(rule);
                }
            },
            Err(found) => faults.extend(found.into_iter().map(|fault| (file.clone(), fault))),
        }
    }
    if faults.is_empty() {
        Ok(rules)
    } else {
        Err(RuleFilesError::Faulty(faults))
    }
}

/// Reads one file.
///
/// # Errors
/// See [`RuleFilesError`].
pub fn load_one(file: &Path) -> Result<Rule, RuleFilesError> {
    let of_file = |fault| (file.to_owned(), fault);
    parse(file).map_err(|faults| RuleFilesError::Faulty(faults.into_iter().map(of_file).collect()))
}

fn parse(file: &Path) -> Result<Rule, Vec<RuleFault>> {
    read(file)
        .map_err(|error| vec![RuleFault::new("-", error.to_string())])
        .and_then(|text| Rule::from_yaml(&text))
}

fn read(file: &Path) -> std::io::Result<String> {
    // A pipe would be waited for.
    if !std::fs::metadata(file)?.is_file() {
        return Err(std::io::Error::other("is not a file"));
    }
    std::fs::read_to_string(file)
}

fn list(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_yaml = path
            .extension()
            .is_some_and(|ext| ext == "yaml" || ext == "yml");
        // Whatever it is: what can't be read is a fault, not a rule that is gone.
        if is_yaml {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_every_file_is_named_with_file_field_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "a.yaml",
            "name: calls\nsource_event: call\noperator: count\n",
        );
        write(
            "b.yml",
            "name: calls\nsource_event: call\noperator: count\n",
        );
        write(
            "c.yaml",
            "name: total\nsource_event: call\noperator: median\n",
        );
        write("ignored.txt", "name: [");
        std::os::unix::fs::symlink("nowhere", folder.path().join("d.yaml")).unwrap();
        std::fs::create_dir(folder.path().join("e.yaml")).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        for expected in [
            "b.yml: name: calls is the name of",
            "c.yaml: operator:",
            "a.yaml too",
            "d.yaml: -: No such file",
            "e.yaml: -: is not a file",
        ] {
            assert!(error.contains(expected), "{expected} in {error}");
        }
        std::fs::remove_file(folder.path().join("b.yml")).unwrap();
        std::fs::remove_file(folder.path().join("c.yaml")).unwrap();
        std::fs::remove_file(folder.path().join("d.yaml")).unwrap();
        std::fs::remove_dir(folder.path().join("e.yaml")).unwrap();
        assert_eq!(load(folder.path()).unwrap().len(), 1);
        let missing = load(&folder.path().join("nowhere"))
            .unwrap_err()
            .to_string();
        assert!(missing.contains("aggregation.config_dir"), "{missing}");
    }
}
