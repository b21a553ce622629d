//! The list of every setting with its variable, default and meaning, for `--help` and documents.
//!
//! Invariant: names and defaults come from the types; a test holds the meanings to them.

use serde_yaml_ng::Value;

use super::load;

/// One setting, as people are told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `section.key`, as in files and after `--set`.
    pub key: String,
    /// `AEVON_SECTION__KEY`.
    pub variable: String,
    /// The default, as it would be written; empty for none.
    pub default: String,
    /// What it means, in a few words.
    pub meaning: &'static str,
}

const MEANINGS: &[(&str, &str)] = &[
    (
        "server.host",
        "address to listen on; loopback when auth is disabled",
    ),
    (
        "server.port",
        "port; 0 is 8081 ingest, 8082 projection, 8083 aggregator",
    ),
    (
        "database.url",
        "PostgreSQL, as postgres://user:password@host/database?sslmode=verify-full&sslrootcert=FILE; \
         required",
    ),
    (
        "database.max_connections",
        "most connections that one process of projection-svc opens",
    ),
    (
        "database.replicas",
        "processes of this service side by side; for the budget of connections in the log alone",
    ),
    ("aggregation.config_dir", "folder of rules"),
    (
        "aggregation.cron_interval",
        "sweep at least this often: a duration or a cron expression",
    ),
    (
        "aggregation.max_backlog",
        "events not folded yet above which the backlog is too long",
    ),
    (
        "aggregation.apply_on_start",
        "apply the folder of rules at the start",
    ),
    (
        "aggregation.keep_retired",
        "how long retired rule versions keep their state; none: for ever",
    ),
    (
        "aggregation.slice_events",
        "most events that one transaction folds",
    ),
    ("schema.path", "folder of event schemas; none: no schemas"),
    (
        "auth.mode",
        "api_key, or disabled: everybody is the platform",
    ),
    (
        "auth.allow_disabled_on_network",
        "let disabled auth listen beyond loopback",
    ),
    (
        "ingest.max_future_skew",
        "how far ahead of the clock occurred_at may be",
    ),
    (
        "ingest.writers",
        "tasks that write to the database side by side",
    ),
    ("ingest.queue_events", "most events that wait to be written"),
    ("ingest.queue_bytes", "most bytes that wait to be written"),
    (
        "ingest.partitions_per_commit",
        "most partitions that one commit touches; 0: all",
    ),
    (
        "ingest.request_timeout",
        "how long a request waits for its commit; nine tenths of shutdown.grace at most",
    ),
    (
        "ingest.tenant_events_per_second",
        "events a second that a tenant may send to this process; 0: no bound",
    ),
    (
        "ingest.tenant_burst_events",
        "events that it may send at once then; 0: those of a second",
    ),
    ("ingest.rejected_keep", "how long refused events are kept"),
    (
        "ingest.rejected_max_bytes",
        "most bytes of refused events that are kept",
    ),
    ("projection.query_budget", "how long one question may take"),
    (
        "explorer.enabled",
        "serve the explorer, a page that shows states, at / of projection-svc",
    ),
    (
        "shutdown.grace",
        "how long work in flight may take to finish",
    ),
    ("log.format", "json, or text for people"),
    (
        "log.level",
        "a level, or levels by target: info,ingest_svc=debug",
    ),
    (
        "telemetry.otlp_endpoint",
        "trace collector, as http://host:4318; none: no traces",
    ),
];

/// Every setting, in the order of the sections.
#[must_use]
pub fn reference() -> Vec<Reference> {
    let mut list = Vec::new();
    for (section, entries) in load::defaults().unwrap_or_default() {
        let (Some(section), Some(entries)) = (section.as_str(), entries.as_mapping()) else {
            continue;
        };
        for (name, default) in entries {
            let Some(name) = name.as_str() else { continue };
            let key = format!("{section}.{name}");
            list.push(Reference {
                variable: load::environment_name(section, name),
                default: written(default),
                meaning: MEANINGS
                    .iter()
                    .find(|(of, _)| *of == key)
                    .map_or("", |found| found.1),
                key,
            });
        }
    }
    list
}

/// The settings as the variables of a `--help`.
#[must_use]
pub fn environment_help() -> String {
    let mut help = String::from(
        "Settings, as variables (in files and after --set: AEVON_LOG__LEVEL is log.level):\n",
    );
    for setting in reference() {
        let Reference {
            variable,
            default,
            meaning,
            ..
        } = setting;
        let default = if default.is_empty() {
            default
        } else {
            format!(" [{default}]")
        };
        help.push_str(&format!("  {variable}{default}\n      {meaning}\n"));
    }
    help
}

/// The settings as a document.
#[must_use]
pub fn markdown_reference() -> String {
    let mut document = String::from(
        "# Settings\n\n\
         Written by `make reference`; a test holds it to the programs.\n\n\
         Every program takes every setting and ignores those that it has no use for, so that one \
         file and one environment serve all of them; any other name is an error. Defaults < file \
         (`--config FILE`, YAML) < environment < `--set section.key=value`. `--check-config` \
         checks, `--print-config` shows the result without secrets.\n\n\
         | key | variable | default | meaning |\n|---|---|---|---|\n",
    );
    for setting in reference() {
        let Reference {
            key,
            variable,
            default,
            meaning,
        } = setting;
        let default = if default.is_empty() {
            "none".to_owned()
        } else {
            format!("`{default}`")
        };
        document.push_str(&format!(
            "| `{key}` | `{variable}` | {default} | {meaning} |\n"
        ));
    }
    document
}

fn written(default: &Value) -> String {
    match default {
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_meaning_and_every_meaning_a_setting() {
        let settings: Vec<String> = reference().into_iter().map(|setting| setting.key).collect();
        let meanings: Vec<&str> = MEANINGS.iter().map(|(key, _)| *key).collect();
        assert_eq!(settings, meanings);
    }

    #[test]
    fn the_document_is_current() {
        let written = include_str!("../../../../docs/settings.md");
        assert!(written == markdown_reference(), "run `make reference`");
    }

    #[test]
    fn the_help_names_variables_defaults_and_meanings() {
        let help = environment_help();
        assert!(
            help.contains("  AEVON_INGEST__MAX_FUTURE_SKEW [5m]\n      how far"),
            "{help}"
        );
        assert!(
            help.contains("  AEVON_DATABASE__URL\n      PostgreSQL"),
            "{help}"
        );
    }
}
