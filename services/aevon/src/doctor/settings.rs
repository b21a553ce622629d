//! What can be known of settings and files alone.

use super::Check;
use aevon_service::settings::{Settings, SettingsError};
use aggregator_svc::rule_files;
use std::path::Path;

const SETTINGS: &str = "settings";

/// Settings that are none.
pub(super) fn unreadable(error: &SettingsError) -> Check {
    let to_do = "mend it; docs/settings.md has every setting, and `ingest-svc --print-config` shows what holds";
    Check::bad(SETTINGS, error.to_string(), to_do)
}

/// The settings, the rules and the schemas that they name.
pub(super) fn checks(settings: &Settings, file: Option<&Path>) -> Vec<Check> {
    let from = match file {
        Some(path) => format!("{} and the environment are sound", path.display()),
        None => "the environment is sound; --config looks at a file, too".to_owned(),
    };
    let mut checks = vec![Check::well(SETTINGS, from)];
    if let Err(error) = settings.bind_host() {
        checks.push(Check::bad(
            "auth",
            error.to_string(),
            "give services keys: auth.mode = api_key",
        ));
    }
    let folder = &settings.aggregation.config_dir;
    // Rules may lie where aggregators are, and not here.
    if folder.is_dir() {
        let name = format!("rules in {}", folder.display());
        checks.push(match rule_files::load(folder) {
            Ok(rules) => Check::well(&name, format!("{} without faults", rules.len())),
            Err(error) => {
                let to_do = format!("`aevon rules check {}` lists every fault", folder.display());
                Check::bad(&name, error.to_string(), to_do)
            }
        });
    }
    if let Some(folder) = &settings.schema.path {
        let name = format!("schemas in {}", folder.display());
        checks.push(match ingest_svc::check(settings) {
            Ok(()) => Check::well(&name, "without faults"),
            Err(error) => Check::bad(&name, format!("{error:#}"), "mend the file"),
        });
    }
    checks
}
