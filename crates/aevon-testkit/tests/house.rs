//! The rules of the house that a machine can check: which crate may use which, and how a source
//! file looks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The longest source file outside `tests/`, in lines.
const MAX_LINES: usize = 600;

/// What each crate of ours may use of ours. A new crate gets its line here.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("aevon-client", &[]),
    ("aevon-core", &[]),
    ("aevon-hot", &["aevon-core"]),
    ("aevon-schema", &["aevon-core"]),
    ("aevon-service", &[]),
    ("aevon-postgres", &[]),
    ("ingest-svc", SERVICE_USES),
    ("aggregator-svc", SERVICE_USES),
    ("projection-svc", SERVICE_USES),
    (
        "aevon",
        &[
            "aevon-client",
            "aevon-core",
            "aevon-schema",
            "aevon-service",
            "aevon-postgres",
            "ingest-svc",
            "aggregator-svc",
            "projection-svc",
        ],
    ),
];
const SERVICE_USES: &[&str] = &["aevon-core", "aevon-schema", "aevon-service"];

/// Crates for measuring and testing, which may use whatever they need.
const FREE: [&str; 4] = ["aevon-testkit", "aevon-bench", "aevon-sim", "aevon-fuzz"];

/// Libraries that speak to the database, for `aevon-schema` alone.
const DATABASE: [&str; 4] = [
    "diesel",
    "diesel-async",
    "diesel_migrations",
    "tokio-postgres",
];

/// Library families that the core must not know: it has no I/O.
const NOT_IN_CORE: [&str; 4] = ["tokio", "actix", "diesel", "tracing"];

type Uses = BTreeMap<String, Vec<String>>;

fn root() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates
        .and_then(Path::parent)
        .expect("the workspace's folder")
        .to_owned()
}

/// The normal dependencies of every crate of the workspace.
fn normal_dependencies() -> Uses {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("its answer is JSON");
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    let uses = |package: &Value| {
        let all = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter();
        all.filter(|one| one["kind"].is_null())
            .map(|one| text(&one["name"]))
            .collect()
    };
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| (text(&package["name"]), uses(package)))
        .collect()
}

/// Every source file of ours.
fn sources() -> Vec<PathBuf> {
    let mut folders = vec![
        root().join("crates"),
        root().join("services"),
        root().join("examples"),
    ];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 10, "the sources are found");
    files
}

fn assert_none(what: &str, offenders: &[String]) {
    assert!(
        offenders.is_empty(),
        "{what}:\n  {}",
        offenders.join("\n  ")
    );
}

#[test]
fn each_crate_uses_only_the_crates_of_ours_that_it_may() {
    let uses = normal_dependencies();
    let mut offenders = Vec::new();
    for (name, used) in uses
        .iter()
        .filter(|(name, _)| !FREE.contains(&name.as_str()))
    {
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| known == name) else {
            offenders.push(format!("{name} has no line in MAY_USE"));
            continue;
        };
        let ours = used.iter().filter(|used| uses.contains_key(*used));
        let refused = ours.filter(|used| !allowed.contains(&used.as_str()));
        offenders.extend(refused.map(|used| format!("{name} uses {used}")));
    }
    assert_none("against the direction of dependency", &offenders);
}

#[test]
fn the_testkit_is_used_by_tests_only() {
    let uses = normal_dependencies();
    // A simulation is a test, with a program of its own.
    let refused = uses
        .iter()
        .filter(|(name, _)| *name != "aevon-sim")
        .filter(|(_, used)| used.iter().any(|one| one == "aevon-testkit"));
    let offenders: Vec<_> = refused.map(|(name, _)| name.clone()).collect();
    assert_none(
        "crates with aevon-testkit outside [dev-dependencies]",
        &offenders,
    );
}

#[test]
fn only_the_schema_crate_speaks_to_the_database() {
    let mut offenders = Vec::new();
    for (name, used) in normal_dependencies() {
        let free = |library: &str| library == "tokio-postgres" && FREE.contains(&name.as_str());
        if name != "aevon-schema" {
            let refused = used
                .iter()
                .filter(|one| DATABASE.contains(&one.as_str()) && !free(one));
            offenders.extend(refused.map(|one| format!("{name} uses {one}")));
        }
    }
    assert_none("SQL belongs in aevon-schema", &offenders);
}

#[test]
fn the_core_has_no_runtime_web_database_or_telemetry() {
    let uses = normal_dependencies();
    let used = uses["aevon-core"].iter();
    let refused = used.filter(|one| NOT_IN_CORE.iter().any(|family| one.starts_with(family)));
    assert_none("aevon-core is pure", &refused.cloned().collect::<Vec<_>>());
}

#[test]
fn every_source_file_begins_by_saying_what_it_is_for() {
    let says = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a source file is text");
        text.starts_with("//!") || text.starts_with("#![")
    };
    let silent: Vec<_> = sources().into_iter().filter(|path| !says(path)).collect();
    let offenders: Vec<_> = silent
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    assert_none("files that do not begin with //!", &offenders);
}

#[test]
fn no_source_file_is_too_long_to_read() {
    let mut offenders = Vec::new();
    for path in sources() {
        let in_tests = path.components().any(|part| part.as_os_str() == "tests");
        let lines = fs::read_to_string(&path)
            .expect("a source file is text")
            .lines()
            .count();
        if lines > MAX_LINES && !in_tests {
            offenders.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert_none(&format!("files above {MAX_LINES} lines"), &offenders);
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn an_event_goes_where_the_table_for_newcomers_says() {
    let text = fs::read_to_string(root().join("CONTRIBUTING.md")).expect("it is there");
    let section = text
        .split("## ")
        .find(|part| part.starts_with("Where an event goes"));
    let rows = section
        .expect("the section")
        .lines()
        .filter(|line| line.contains(".rs`"));
    let mut functions = 0;
    for row in rows.filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').collect();
        let (files, names) = (quoted(cells[2]), quoted(cells[3]));
        // A file beside the first one is named from there.
        let folder = Path::new(files[0]).parent().expect("a folder");
        let sources = files.iter().map(|file| {
            match file.starts_with("crates/") || file.starts_with("services/") {
                true => root().join(file),
                false => root().join(folder).join(file),
            }
        });
        let sources: String = sources
            .map(|file| fs::read_to_string(&file).unwrap_or_else(|_| panic!("no {file:?}: {row}")))
            .collect();
        for name in names {
            let is_there = sources.contains(&format!("fn {name}("))
                || sources.contains(&format!("fn {name}<"));
            assert!(is_there, "no function {name}: {row}");
            functions += 1;
        }
    }
    assert!(functions > 30, "{functions}");
}
