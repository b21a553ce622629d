//! The bounds of settings; outside them a process does not start.

use std::time::Duration;

use super::{HumanDuration, Settings, SettingsError};

impl Settings {
    /// Every bound, in one place.
    pub(super) fn check_bounds(&self) -> Result<(), SettingsError> {
        let Settings {
            database,
            aggregation,
            ingest,
            projection,
            shutdown,
            log,
            ..
        } = self;
        size(
            "database.max_connections",
            database.max_connections,
            1,
            1_000,
        )?;
        size("database.replicas", database.replicas, 1, 10_000)?;
        count(
            "aggregation.max_backlog",
            aggregation.max_backlog,
            1,
            1_000_000_000,
        )?;
        count(
            "aggregation.slice_events",
            aggregation.slice_events,
            1,
            1_000_000,
        )?;
        size("ingest.writers", ingest.writers, 1, 64)?;
        size("ingest.queue_events", ingest.queue_events, 1, 10_000_000)?;
        size("ingest.queue_bytes", ingest.queue_bytes, 1 << 20, 64 << 30)?;
        size(
            "ingest.partitions_per_commit",
            ingest.partitions_per_commit,
            0,
            100_000,
        )?;
        time(
            "ingest.max_future_skew",
            ingest.max_future_skew,
            0,
            365 * DAY,
        )?;
        time("ingest.request_timeout", ingest.request_timeout, 1, HOUR)?;
        time("ingest.rejected_keep", ingest.rejected_keep, 1, 3650 * DAY)?;
        size(
            "ingest.rejected_max_bytes",
            ingest.rejected_max_bytes,
            0,
            1 << 40,
        )?;
        time("projection.query_budget", projection.query_budget, 1, HOUR)?;
        time("shutdown.grace", shutdown.grace, 0, HOUR)?;
        if let Some(keep) = aggregation.keep_retired {
            time("aggregation.keep_retired", keep, 0, 36_500 * DAY)?;
        }
        level(&log.level)?;
        endpoint(self.telemetry.otlp_endpoint.as_deref())
    }
}

/// In milliseconds, as the bounds of times are.
const HOUR: u64 = 60 * 60 * 1000;
const DAY: u64 = 24 * HOUR;

fn count(key: &'static str, value: i64, least: i64, most: i64) -> Result<(), SettingsError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(refuse(
        key,
        format!("must be between {least} and {most}, not {value}"),
    ))
}

fn size(key: &'static str, value: usize, least: i64, most: i64) -> Result<(), SettingsError> {
    count(key, i64::try_from(value).unwrap_or(i64::MAX), least, most)
}

fn time(
    key: &'static str,
    value: HumanDuration,
    least: u64,
    most: u64,
) -> Result<(), SettingsError> {
    let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
    if (least..=most).contains(&value.get()) {
        return Ok(());
    }
    let (least, most) = (HumanDuration(least), HumanDuration(most));
    Err(refuse(
        key,
        format!("must be between {least} and {most}, not {value}"),
    ))
}

/// A bare word that is no level would be taken for a target and switch everything of it on.
fn level(text: &str) -> Result<(), SettingsError> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',') {
        let level = directive
            .rsplit_once('=')
            .map_or(directive, |(_, level)| level);
        if !LEVELS.contains(&level.trim()) {
            let levels = LEVELS.join(", ");
            let reason = format!("must be one of {levels}, or target=level; not {directive:?}");
            return Err(refuse("log.level", reason));
        }
    }
    Ok(())
}

/// The exporter is built without TLS; a collector stands in the same cluster.
fn endpoint(url: Option<&str>) -> Result<(), SettingsError> {
    match url {
        Some(url) if !url.starts_with("http://") => {
            let reason = format!("must begin with http:// (no TLS to the collector), not {url:?}");
            Err(refuse("telemetry.otlp_endpoint", reason))
        }
        _ => Ok(()),
    }
}

fn refuse(key: &'static str, reason: String) -> SettingsError {
    SettingsError::OutOfBounds { key, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.check_bounds().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_within_their_bounds() {
        Settings::default().check_bounds().unwrap();
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_in_one_line_with_its_key() {
        assert_eq!(
            refused(|settings| settings.ingest.writers = 0),
            "ingest.writers must be between 1 and 64, not 0"
        );
        assert_eq!(
            refused(|settings| settings.aggregation.slice_events = -5),
            "aggregation.slice_events must be between 1 and 1000000, not -5"
        );
        assert_eq!(
            refused(|settings| settings.shutdown.grace = HumanDuration::from_secs(7200)),
            "shutdown.grace must be between 0s and 1h, not 2h"
        );
        assert_eq!(
            refused(|settings| settings.telemetry.otlp_endpoint = Some("collector:4318".into())),
            "telemetry.otlp_endpoint must begin with http:// (no TLS to the collector), \
             not \"collector:4318\""
        );
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_target() {
        let error = refused(|settings| settings.log.level = "infoo".into());
        assert!(
            error.starts_with("log.level must be one of off, error"),
            "{error}"
        );
        let mut settings = Settings::default();
        settings.log.level = "info,ingest_svc=debug".into();
        settings.check_bounds().unwrap();
    }
}
