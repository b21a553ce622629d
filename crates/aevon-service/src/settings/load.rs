//! The layers of settings. figment lays them over each other and knows where each value came
//! from; here they are found, named and read.
//!
//! Invariant: how a text is read depends on the setting's default only (a flag, a whole number or
//! text), never on what the text looks like: a password of digits stays text.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::Serialized;
use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};
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
    let known = Known(defaults()?);
    let mut given = Vec::new();
    if let Some(path) = config {
        known.read_file(path, &mut given)?;
    }
    known.read_environment(environment, &mut given)?;
    for (key, text) in sets {
        given.push(known.read(key, format!("--set {key}"), text)?);
    }
    let is_host_given = given.iter().any(|one| one.is("server", "host"));
    let defaults = Figment::from(Serialized::defaults(Settings::default()));
    let layered = given.into_iter().fold(defaults, Figment::merge);
    let mut settings: Settings = layered.extract().map_err(invalid)?;
    settings.server.host_given = is_host_given;
    settings.check_bounds()?;
    Ok(settings)
}

/// figment's error, with the key and the origin that it has kept.
fn invalid(error: figment::Error) -> SettingsError {
    SettingsError::Invalid {
        key: error.path.join("."),
        origin: error
            .metadata
            .map_or("the defaults".into(), |from| from.name)
            .into_owned(),
        reason: match error.kind {
            Kind::UnknownVariant(found, known) => {
                format!("{found:?} is not one of {}", known.join(", "))
            }
            other => other.to_string(),
        },
    }
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

/// One value that somebody gave; a layer of its own, so that figment can name its origin.
struct Given {
    section: String,
    name: String,
    origin: String,
    value: figment::value::Value,
}

impl Given {
    fn is(&self, section: &str, name: &str) -> bool {
        self.section == section && self.name == name
    }
}

impl Provider for Given {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let entries = Dict::from([(self.name.clone(), self.value.clone())]);
        let sections = Dict::from([(self.section.clone(), entries.into())]);
        Ok(Map::from([(Profile::Default, sections)]))
    }
}

/// What is a setting: the tree of the defaults.
struct Known(Mapping);

impl Known {
    fn read_file(&self, path: &Path, given: &mut Vec<Given>) -> Result<(), SettingsError> {
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
            if !self.0.contains_key(section.as_str()) {
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
                given.push(self.read(&key, path.display().to_string(), &text)?);
            }
        }
        Ok(())
    }

    fn read_environment(
        &self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        given: &mut Vec<Given>,
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
            given.push(self.read(&key, variable, &text)?);
        }
        Ok(())
    }

    /// One value, read as its default says.
    fn read(&self, key: &str, origin: String, text: &str) -> Result<Given, SettingsError> {
        let (section, name, default) = self.find(key, &origin)?;
        match read(default, text) {
            Ok(value) => Ok(Given {
                section: section.to_owned(),
                name: name.to_owned(),
                origin,
                value,
            }),
            Err(reason) => Err(SettingsError::Invalid {
                key: key.to_owned(),
                origin,
                reason,
            }),
        }
    }

    /// Section, name and default of a setting.
    fn find<'k>(
        &self,
        key: &'k str,
        origin: &str,
    ) -> Result<(&'k str, &'k str, &Value), SettingsError> {
        let (section, name) = key.split_once('.').unwrap_or((key, ""));
        let default = self.0.get(section).and_then(|entries| entries.get(name));
        match default {
            Some(default) => Ok((section, name, default)),
            None => Err(self.unknown(origin.to_owned(), section)),
        }
    }

    fn unknown(&self, origin: String, section: &str) -> SettingsError {
        let (what, tree) = match self.0.get(section).and_then(Value::as_mapping) {
            Some(entries) => (format!("{section} has"), entries),
            None => ("the sections are".to_owned(), &self.0),
        };
        let names: Vec<&str> = tree.keys().filter_map(Value::as_str).collect();
        SettingsError::Unknown {
            origin,
            known: format!("{what} {}", names.join(", ")),
        }
    }
}

/// Reads a text as the kind of value that the default is. No default: text, or none if empty.
fn read(default: &Value, text: &str) -> Result<figment::value::Value, String> {
    match default {
        Value::Bool(_) => match text {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            _ => Err(format!("{text:?} is neither true nor false")),
        },
        Value::Number(_) => text
            .parse::<i64>()
            .map(Into::into)
            .map_err(|_| format!("{text:?} is not a whole number that fits")),
        Value::Null if text.is_empty() => Ok(figment::value::Empty::None.into()),
        _ if text.is_empty() => Err("is empty".to_owned()),
        _ => Ok(text.into()),
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

#[cfg(test)]
#[path = "load_properties.rs"]
mod properties;
