//! Tests of the layers of settings, with an environment of their own.

use std::io::Write;
use std::time::Duration;

use super::*;
use crate::settings::{AuthMode, LogFormat};

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn environment(list: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    load(
        None,
        pairs(list)
            .into_iter()
            .map(|(name, value)| (name.into(), value.into())),
        &[],
    )
}

fn file(yaml: &str) -> Result<Settings, SettingsError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    load(Some(file.path()), [], &[])
}

fn line(result: Result<Settings, SettingsError>) -> String {
    let line = result.unwrap_err().to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

#[test]
fn without_anything_the_defaults_hold() {
    let settings = environment(&[]).unwrap();
    assert_eq!(settings.database.max_connections, 16);
    assert_eq!(settings.aggregation.cron_interval, "2m");
    assert_eq!(settings.aggregation.keep_retired, None);
    assert_eq!(
        settings.ingest.max_future_skew.get(),
        Duration::from_secs(300)
    );
    assert_eq!(settings.auth.mode, AuthMode::ApiKey);
    assert_eq!(settings.log.format, LogFormat::Json);
    assert!(!settings.server.host_given);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let mut yaml = tempfile::NamedTempFile::new().unwrap();
    let text = "ingest: {writers: 3, queue_events: 30}\ndatabase:\n  max_connections: 30\nlog:\n";
    yaml.write_all(text.as_bytes()).unwrap();
    let environment = pairs(&[
        ("AEVON_INGEST__WRITERS", "4"),
        ("AEVON_INGEST__QUEUE_EVENTS", "40"),
    ]);
    let environment = environment
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()));
    let flags = pairs(&[("ingest.writers", "5"), ("server.host", "0.0.0.0")]);
    let settings = load(Some(yaml.path()), environment, &flags).unwrap();
    assert_eq!(settings.ingest.writers, 5);
    assert_eq!(settings.ingest.queue_events, 40);
    assert_eq!(settings.database.max_connections, 30);
    assert!(settings.server.host_given);
}

#[test]
fn text_stays_text_whatever_it_looks_like() {
    let settings = environment(&[
        ("AEVON_DATABASE__URL", "0012e5"),
        ("AEVON_AGGREGATION__CRON_INTERVAL", "*/2 * * * *"),
        ("AEVON_AGGREGATION__CONFIG_DIR", "true"),
        ("AEVON_SCHEMA__PATH", "42"),
        ("AEVON_AUTH__MODE", "disabled"),
    ])
    .unwrap();
    assert_eq!(settings.database_url().unwrap(), "0012e5");
    assert_eq!(settings.aggregation.cron_interval, "*/2 * * * *");
    assert_eq!(settings.aggregation.config_dir, Path::new("true"));
    assert_eq!(settings.schema.path.as_deref(), Some(Path::new("42")));
    assert_eq!(settings.auth.mode, AuthMode::Disabled);
}

#[test]
fn other_variables_are_none_of_our_business() {
    let settings = environment(&[
        ("AEVON_PG_BIN", "somewhere"),
        ("AEVON_SERVICE_PORT", "tcp:1"),
        ("AEVON_INGEST_SVC_PORT_8081_TCP", "tcp:1"),
        ("OTHER_INGEST__WRITERS", "x"),
        ("AEVON", "x"),
    ]);
    assert_eq!(settings.unwrap().ingest.writers, 2);
}

#[test]
fn an_unknown_name_is_named_with_what_there_is() {
    assert_eq!(
        line(environment(&[("AEVON_DATABASE__ULR", "x")])),
        "AEVON_DATABASE__ULR is not a setting; database has url, max_connections, replicas"
    );
    let error = line(environment(&[("AEVON_DATABSE__URL", "x")]));
    assert!(error.starts_with("AEVON_DATABSE__URL is not a setting; the sections are server, "));
    let error = line(load(None, [], &pairs(&[("writers", "3")])));
    assert!(
        error.starts_with("--set writers is not a setting; the sections are"),
        "{error}"
    );
    let error = line(file("ingest: {writer: 3}"));
    assert!(error.starts_with("ingest.writer (in "), "{error}");
    assert!(
        error.contains("is not a setting; ingest has max_future_skew, writers,"),
        "{error}"
    );
    let error = line(file("ingets:"));
    assert!(error.starts_with("ingets (in "), "{error}");
}

#[test]
fn a_value_that_does_not_fit_is_named_with_where_it_came_from() {
    assert_eq!(
        line(environment(&[("AEVON_INGEST__WRITERS", "many")])),
        "ingest.writers (from AEVON_INGEST__WRITERS): \"many\" is not a whole number that fits"
    );
    for (name, value, says) in [
        (
            "AEVON_SERVER__PORT",
            "70000",
            "server.port (from AEVON_SERVER__PORT): ",
        ),
        ("AEVON_SERVER__HOST", "localhost", "invalid IP address"),
        (
            "AEVON_AUTH__MODE",
            "off",
            "\"off\" is not one of api_key, disabled",
        ),
        (
            "AEVON_SHUTDOWN__GRACE",
            "30",
            "\"30\" is not a duration such as 30s or 5m",
        ),
        (
            "AEVON_AGGREGATION__APPLY_ON_START",
            "yes",
            "\"yes\" is neither true nor false",
        ),
        (
            "AEVON_INGEST__WRITERS",
            "-1",
            "ingest.writers (from AEVON_INGEST__WRITERS): ",
        ),
        (
            "AEVON_INGEST__WRITERS",
            "65",
            "ingest.writers must be between 1 and 64, not 65",
        ),
        (
            "AEVON_LOG__LEVEL",
            "",
            "log.level (from AEVON_LOG__LEVEL): is empty",
        ),
    ] {
        let error = line(environment(&[(name, value)]));
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn an_empty_value_is_none_where_there_may_be_none() {
    let settings = environment(&[("AEVON_TELEMETRY__OTLP_ENDPOINT", "")]).unwrap();
    assert_eq!(settings.telemetry.otlp_endpoint, None);
}

#[test]
fn a_file_that_is_none_is_refused_in_one_line() {
    assert!(line(file("- 1")).ends_with(": is not a mapping of sections"));
    assert!(line(file("ingest: 5")).ends_with(": ingest is not a section of settings"));
    assert!(
        line(file("ingest: {writers: [1]}")).ends_with(": ingest.writers is not a single value")
    );
    assert!(line(load(Some(Path::new("no/such/file")), [], &[])).contains("no/such/file"));
    assert!(file("").is_ok());
    assert!(file("# only a comment\nserver:\n").is_ok());
}

#[test]
fn printed_settings_hide_the_database_and_read_back() {
    let settings = environment(&[("AEVON_DATABASE__URL", "postgres://u:hunter2@h/d")]).unwrap();
    let yaml = serde_yaml_ng::to_string(&settings).unwrap();
    assert!(!yaml.contains("hunter2"), "{yaml}");
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert!(yaml.contains("url: '[redacted]'"), "{yaml}");
    assert_eq!(file(&yaml).unwrap().ingest.queue_bytes, 64 << 20);
}
