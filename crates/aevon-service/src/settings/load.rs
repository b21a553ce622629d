//! Puts the layers of settings over each other, one named value at a time.
//!
//! Invariant: how a text is read depends on the setting's default only (a flag, a whole number or
//! text), never on what the text looks like: a password of digits stays text.
//! Invariant: a value that does not fit is found when it is put in, so that the error can say
//! where it came from.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_yaml_ng::{Mapping, Value};

use super::Settings;

const PREFIX: &str = "AEVON_";
const SEPARATOR: &str = "__";

/// Why a process has no settings; each is one line that names the setting.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings file {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not YAML of the right shape.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that is not a setting.
    #[error("{origin} is not a setting; {known}")]
    Unknown {
        /// The name as it was given, and where.
        origin: String,
        /// What there is instead.
        known: String,
    },
    /// A value that does not fit.
    #[error("{key} (from {origin}): {reason}")]
    Invalid {
        /// Which setting.
        key: String,
        /// Where the value came from.
        origin: String,
        /// Why it does not fit.
        reason: String,
    },
    /// A value out of bounds.
    #[error("{key} {reason}")]
    OutOfBounds {
        /// Which setting.
        key: &'static str,
        /// The bounds and the value.
        reason: String,
    },
    /// A setting without which this program cannot work.
    #[error("{0} is not set; set {1}")]
    Missing(&'static str, &'static str),
    /// Settings that do not go together, or that this version cannot serve.
    #[error("{0}")]
    Refused(String),
}

/// Defaults, then the file, then the environment, then `sets`.
pub(super) fn load(
    config: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    sets: &[(String, String)],
) -> Result<Settings, SettingsError> {
    let mut layers = Layers::new()?;
    if let Some(path) = config {
        layers.put_file(path)?;
    }
    layers.put_environment(environment)?;
    for (key, text) in sets {
        layers.put(key, &format!("--set {key}"), text)?;
    }
    let settings = layers.finish()?;
    settings.check_bounds()?;
    Ok(settings)
}

/// All settings as a tree of sections and values. Also the list of what is a setting.
pub(super) fn defaults() -> Result<Mapping, SettingsError> {
    match serde_yaml_ng::to_value(Settings::default()) {
        Ok(Value::Mapping(tree)) => Ok(tree),
        Ok(_) => Err(SettingsError::Refused(
            "the embedded defaults are no sections".to_owned(),
        )),
        Err(error) => Err(SettingsError::Refused(format!(
            "the embedded defaults: {error}"
        ))),
    }
}

/// `database.url` as `AEVON_DATABASE__URL`.
pub(super) fn environment_name(section: &str, name: &str) -> String {
    format!("{PREFIX}{section}{SEPARATOR}{name}").to_ascii_uppercase()
}

struct Layers {
    defaults: Mapping,
    tree: Mapping,
    given: BTreeSet<String>,
}

impl Layers {
    fn new() -> Result<Self, SettingsError> {
        let defaults = defaults()?;
        Ok(Self {
            tree: defaults.clone(),
            defaults,
            given: BTreeSet::new(),
        })
    }

    fn put_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let malformed = |reason: String| SettingsError::Malformed {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let file: Value =
            serde_yaml_ng::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        let sections = match file {
            Value::Null => return Ok(()),
            Value::Mapping(sections) => sections,
            _ => return Err(malformed("is not a mapping of sections".to_owned())),
        };
        for (section, entries) in sections {
            let section = name_of(&section).ok_or_else(|| malformed(no_name(&section)))?;
            let entries = match entries {
                Value::Null => Mapping::new(),
                Value::Mapping(entries) => entries,
                _ => return Err(malformed(format!("{section} is not a section of settings"))),
            };
            if !self.defaults.contains_key(section.as_str()) {
                let origin = format!("{section} (in {})", path.display());
                return Err(self.unknown(origin, &section));
            }
            for (name, value) in entries {
                let name = name_of(&name).ok_or_else(|| malformed(no_name(&name)))?;
                let key = format!("{section}.{name}");
                let origin = format!("{key} (in {})", path.display());
                self.find(&key, &origin)?;
                let text = match value {
                    Value::Null => continue,
                    Value::Bool(flag) => flag.to_string(),
                    Value::Number(number) => number.to_string(),
                    Value::String(text) => text,
                    _ => return Err(malformed(format!("{key} is not a single value"))),
                };
                self.put(&key, &origin, &text)?;
            }
        }
        Ok(())
    }

    fn put_environment(
        &mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), SettingsError> {
        let mut found = Vec::new();
        for (variable, value) in environment {
            let Some(variable) = variable.to_str() else {
                continue;
            };
            let Some((section, name)) = variable
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split_once(SEPARATOR))
            else {
                continue;
            };
            let key = format!("{section}.{name}").to_ascii_lowercase();
            found.push((key, variable.to_owned(), value));
        }
        // The environment has no order of its own; errors should not differ from run to run.
        found.sort();
        for (key, variable, value) in found {
            self.find(&key, &variable)?;
            let text = value.into_string().map_err(|_| SettingsError::Invalid {
                key: key.clone(),
                origin: variable.clone(),
                reason: "is not UTF-8".to_owned(),
            })?;
            self.put(&key, &variable, &text)?;
        }
        Ok(())
    }

    /// Puts one value in, read as its default says, and makes sure that it fits.
    fn put(&mut self, key: &str, origin: &str, text: &str) -> Result<(), SettingsError> {
        let (section, name, default) = self.find(key, origin)?;
        let invalid = |reason: String| SettingsError::Invalid {
            key: key.to_owned(),
            origin: origin.to_owned(),
            reason,
        };
        let value = read(default, text).map_err(invalid)?;
        if let Some(entries) = self.tree.get_mut(&section).and_then(Value::as_mapping_mut) {
            entries.insert(Value::from(name), value);
        }
        self.fits().map_err(|error| invalid(error.to_string()))?;
        self.given.insert(key.to_owned());
        Ok(())
    }

    /// Section, name and default of a setting.
    fn find(&self, key: &str, origin: &str) -> Result<(String, String, &Value), SettingsError> {
        let (section, name) = key.split_once('.').unwrap_or((key, ""));
        match self
            .defaults
            .get(section)
            .and_then(|entries| entries.get(name))
        {
            Some(default) => Ok((section.to_owned(), name.to_owned(), default)),
            None => Err(self.unknown(origin.to_owned(), section)),
        }
    }

    fn unknown(&self, origin: String, section: &str) -> SettingsError {
        let (what, tree) = match self.defaults.get(section).and_then(Value::as_mapping) {
            Some(entries) => (format!("{section} has"), entries),
            None => ("the sections are".to_owned(), &self.defaults),
        };
        let names: Vec<&str> = tree.keys().filter_map(Value::as_str).collect();
        SettingsError::Unknown {
            origin,
            known: format!("{what} {}", names.join(", ")),
        }
    }

    fn fits(&self) -> Result<Settings, serde_yaml_ng::Error> {
        Settings::deserialize(Value::Mapping(self.tree.clone()))
    }

    fn finish(&self) -> Result<Settings, SettingsError> {
        let mut settings = self
            .fits()
            .map_err(|error| SettingsError::Refused(error.to_string()))?;
        settings.server.host_given = self.given.contains("server.host");
        Ok(settings)
    }
}

/// Reads a text as the kind of value that the default is. No default: text, or none if empty.
fn read(default: &Value, text: &str) -> Result<Value, String> {
    match default {
        Value::Bool(_) => match text {
            "true" => Ok(Value::from(true)),
            "false" => Ok(Value::from(false)),
            _ => Err(format!("{text:?} is neither true nor false")),
        },
        Value::Number(_) => text
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| format!("{text:?} is not a whole number that fits")),
        Value::Null if text.is_empty() => Ok(Value::Null),
        _ if text.is_empty() => Err("is empty".to_owned()),
        _ => Ok(Value::from(text)),
    }
}

fn name_of(key: &Value) -> Option<String> {
    key.as_str().map(str::to_owned)
}

fn no_name(key: &Value) -> String {
    format!("{key:?} is not the name of a setting")
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
