//! A folder of schemas: `{tenant or _platform}/{type}/v{n}.json`, `.yaml` or `.yml`. Any fault in
//! any file refuses the whole set.
//!
//! A tenant or type with signs that file systems or people dislike is percent-encoded: `a%2Fb` is
//! `a/b`, and `%5Fplatform` is a tenant of that name.

use aevon_core::identity;
use aevon_core::schema::{Schema, SchemaKey, Schemas};
use percent_encoding::percent_decode_str;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the schemas that serve every tenant.
const PLATFORM: &str = "_platform";
/// Most bytes of a file.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// Most files.
const MAX_FILES: usize = 10_000;

/// Why a folder of schemas is refused: every file that is at fault, with the reason.
#[derive(Debug, thiserror::Error)]
#[error("schema.path: {} can't be used: {}", if .0.len() == 1 { "one file" } else { "some files" }, listed(.0))]
pub struct SchemaFilesError(Vec<(PathBuf, String)>);

fn listed(faults: &[(PathBuf, String)]) -> String {
    let shown = |(file, reason): &(PathBuf, String)| format!("{}: {reason}", file.display());
    let shown: Vec<String> = faults.iter().map(shown).collect();
    shown.join("; ")
}

/// Reads every schema of a folder; none without a folder.
///
/// # Errors
/// See [`SchemaFilesError`].
pub fn load(folder: Option<&Path>) -> Result<Schemas, SchemaFilesError> {
    let mut found = Found::default();
    if let Some(folder) = folder {
        for owner in found.folders(folder) {
            let tenant_id = match name(&owner) {
                PLATFORM => None,
                _ => match found.identifier(&owner) {
                    Some(tenant_id) => Some(tenant_id),
                    None => continue,
                },
            };
            for of_type in found.folders(&owner) {
                if let Some(event_type) = found.identifier(&of_type) {
                    found.versions(&of_type, tenant_id.as_deref(), &event_type);
                }
            }
        }
    }
    match found.faults.is_empty() {
        true => Ok(found.schemas),
        false => Err(SchemaFilesError(found.faults)),
    }
}

#[derive(Default)]
struct Found {
    schemas: Schemas,
    faults: Vec<(PathBuf, String)>,
}

impl Found {
    fn fault(&mut self, path: &Path, reason: impl Into<String>) {
        self.faults.push((path.to_owned(), reason.into()));
    }

    /// What is in a folder, by name. Hidden entries are not ours: editors and Kubernetes leave some.
    fn entries(&mut self, folder: &Path) -> Vec<PathBuf> {
        let read = fs::read_dir(folder).and_then(|entries| {
            let paths = entries.map(|entry| entry.map(|entry| entry.path()));
            paths.collect::<Result<Vec<_>, _>>()
        });
        match read {
            Ok(mut paths) => {
                paths.retain(|path| !name(path).starts_with('.'));
                paths.sort();
                paths
            }
            Err(error) => {
                self.fault(folder, error.to_string());
                Vec::new()
            }
        }
    }

    /// The folders in a folder. A file beside them is a note to people, unless it is a schema in the
    /// wrong place.
    fn folders(&mut self, folder: &Path) -> Vec<PathBuf> {
        let mut folders = self.entries(folder);
        folders.retain(|path| {
            if !path.is_dir() && format(path).is_some() {
                self.fault(path, "belongs into {tenant or _platform}/{type}/");
            }
            path.is_dir()
        });
        folders
    }

    fn identifier(&mut self, folder: &Path) -> Option<String> {
        let decoded = percent_decode_str(name(folder)).decode_utf8();
        let checked = decoded
            .map_err(|_| "the name is not percent-encoded UTF-8".to_owned())
            .and_then(|name| match identity::check(&name) {
                Ok(()) => Ok(name.into_owned()),
                Err(fault) => Err(format!("the name {fault}")),
            });
        checked.map_err(|reason| self.fault(folder, reason)).ok()
    }

    fn versions(&mut self, folder: &Path, tenant_id: Option<&str>, event_type: &str) {
        for file in self.entries(folder) {
            let Some(format) = format(&file) else {
                continue;
            };
            let read = version(&file).and_then(|version| {
                let schema = read(&file, format)?;
                let key = SchemaKey {
                    tenant_id: tenant_id.map(str::to_owned),
                    event_type: event_type.to_owned(),
                    version,
                };
                match self.schemas.len() {
                    MAX_FILES => Err(format!("there may be {MAX_FILES} schemas")),
                    _ => (self.schemas.add(key, schema))
                        .map_err(|_| format!("another file is version {version} too")),
                }
            });
            if let Err(reason) = read {
                self.fault(&file, reason);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Format {
    Json,
    Yaml,
}

fn format(file: &Path) -> Option<Format> {
    match file.extension()?.to_str()? {
        "json" => Some(Format::Json),
        "yaml" | "yml" => Some(Format::Yaml),
        _ => None,
    }
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn version(file: &Path) -> Result<i32, String> {
    let digits = file
        .file_stem()
        .and_then(|stem| stem.to_str()?.strip_prefix('v'));
    digits
        .filter(|digits| !digits.starts_with(['0', '+']))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| "the name of a schema is v and its version, from v1".to_owned())
}

fn read(file: &Path, format: Format) -> Result<Schema, String> {
    let about = fs::metadata(file).map_err(|error| error.to_string())?;
    // A pipe would be waited for.
    if !about.is_file() {
        return Err("is not a file".to_owned());
    }
    if about.len() > MAX_FILE_BYTES {
        return Err(format!("has more than {MAX_FILE_BYTES} bytes"));
    }
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    match format {
        Format::Json => Schema::from_json(&text),
        Format::Yaml => Schema::from_yaml(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn names_say_whose_schema_of_what_and_which_version_it_is() {
        let folder = folder(&[
            ("_platform/api.request/v1.yaml", "type: object"),
            ("_platform/api.request/v12.json", "{}"),
            ("%5Fplatform/a%2Fb/v2.yml", "true"),
            ("acme/api.request/v1.json", "{\n\t\"type\": \"object\"\n}"),
            ("acme/api.request/README.md", "# notes"),
            ("README.md", "# notes"),
            (".git/config", "x"),
        ]);
        let schemas = load(Some(folder.path())).unwrap();
        let shown: Vec<String> = schemas
            .after(None)
            .map(|(key, _)| {
                let owner = key.tenant_id.as_deref().unwrap_or("-");
                format!("{owner} {} {}", key.event_type, key.version)
            })
            .collect();
        let expected = [
            "- api.request 1",
            "- api.request 12",
            "_platform a/b 2",
            "acme api.request 1",
        ];
        assert_eq!(shown, expected);
        assert!(load(None).unwrap().is_empty());
    }

    #[test]
    fn every_faulty_file_is_named_with_its_reason() {
        let folder = folder(&[
            ("_platform/t/v1.yaml", "type: objekt"),
            ("_platform/t/v2.json", "{"),
            ("_platform/t/v3.json", "{}"),
            ("_platform/t/v3.yaml", "{}"),
            ("_platform/t/v01.json", "{}"),
            ("_platform/t/1.json", "{}"),
            ("_platform/%ff/v1.json", "{}"),
            ("_platform/v1.json", "{}"),
            ("v1.yaml", "{}"),
        ]);
        let large = format!("description: {}", "x".repeat(256 * 1024));
        fs::write(folder.path().join("_platform/t/v4.yaml"), large).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("_platform/t/v5.json")).unwrap();
        let error = load(Some(folder.path())).unwrap_err().to_string();
        for expected in [
            "_platform/t/v1.yaml: /type: ",
            "_platform/t/v2.json: EOF",
            "_platform/t/v3.yaml: another file is version 3 too",
            "_platform/t/v01.json: the name of a schema is v",
            "_platform/t/1.json: the name of a schema is v",
            "_platform/%ff: the name is not",
            "_platform/v1.json: belongs into",
            "/v1.yaml: belongs into",
            "_platform/t/v4.yaml: has more than",
            "_platform/t/v5.json: No such file",
        ] {
            assert!(error.contains(expected), "{expected} in {error}");
        }
        let missing = load(Some(&folder.path().join("nowhere"))).unwrap_err();
        assert!(
            missing.to_string().contains("schema.path: one file"),
            "{missing}"
        );
    }
}
