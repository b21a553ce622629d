//! What is counted of sweeps, and how far the buckets are behind.

use aevon_schema::rules::Status;
use aevon_schema::status::VersionStatus;
use aevon_schema::sweep::{Backlog, Swept};
use aevon_service::metrics::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use aevon_service::metrics::{Metrics, SECONDS};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

/// The metrics of the service. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AggregatorMetrics {
    sweeps: IntCounter,
    failures: IntCounterVec,
    seconds: Histogram,
    events: IntCounter,
    rows: IntCounter,
    skipped: IntCounter,
    backlog: IntGaugeVec,
    /// A series for each partition, once it is known how many there are.
    backlogs: Arc<OnceLock<Vec<IntGauge>>>,
    lag: IntGauge,
    rule_lag_events: IntGaugeVec,
    rule_lag_seconds: IntGaugeVec,
    last: IntGauge,
    rules: IntGaugeVec,
    discarded: IntCounter,
}

/// What lags are told apart by.
const OF_RULE: &[&str] = &["rule", "version", "partition"];

impl AggregatorMetrics {
    pub(crate) fn new(metrics: &Metrics) -> anyhow::Result<Self> {
        Ok(Self {
            sweeps: metrics.counter(
                "aevon_aggregator_sweeps_total",
                "Slices that were folded and committed.",
            )?,
            failures: metrics.counters(
                "aevon_aggregator_failures_total",
                "Steps that failed and changed nothing, by reason: unavailable, deadline, refused, \
                 inconsistent.",
                &["kind"],
            )?,
            seconds: metrics.histogram(
                "aevon_aggregator_sweep_seconds",
                "How long one slice took, from its lease to its commit.",
                SECONDS,
            )?,
            events: metrics.counter(
                "aevon_aggregator_events_total",
                "Events of the log that sweeps have passed; again for rules that are behind.",
            )?,
            rows: metrics.counter(
                "aevon_aggregator_bucket_rows_total",
                "Bucket rows that were written, of all grains.",
            )?,
            skipped: metrics.counter(
                "aevon_aggregator_skipped_total",
                "Events of a rule's type without a usable number in its field, once for each rule.",
            )?,
            backlog: metrics.gauges(
                "aevon_aggregator_backlog_events",
                "Events of the partition that the buckets of the slowest rule don't hold yet.",
                &["partition"],
            )?,
            backlogs: Arc::default(),
            lag: metrics.gauge(
                "aevon_aggregator_lag_seconds",
                "Age of the oldest event that the buckets of some rule don't hold yet.",
            )?,
            rule_lag_events: metrics.gauges(
                "aevon_aggregator_rule_lag_events",
                "Events of the partition that the buckets of this version don't hold yet.",
                OF_RULE,
            )?,
            rule_lag_seconds: metrics.gauges(
                "aevon_aggregator_rule_lag_seconds",
                "Age of the oldest event that the buckets of this version don't hold yet.",
                OF_RULE,
            )?,
            last: metrics.gauge(
                "aevon_aggregator_last_success_timestamp_seconds",
                "When this process last saw that everything in the log is in the buckets.",
            )?,
            rules: metrics.gauges(
                "aevon_aggregator_rules",
                "Versions of rules, by status: building, active, retired.",
                &["status"],
            )?,
            discarded: metrics.counter(
                "aevon_aggregator_discards_total",
                "Steps that deleted buckets that nobody needs any more.",
            )?,
        })
    }

    /// A slice was committed.
    pub(crate) fn swept(&self, swept: &Swept, took: Duration) {
        self.sweeps.inc();
        self.seconds.observe(took.as_secs_f64());
        self.events.inc_by(swept.to.abs_diff(swept.from));
        self.rows.inc_by(swept.rows as u64);
        self.skipped.inc_by(swept.skipped.unsigned_abs());
    }

    /// A step failed.
    pub(crate) fn failed(&self, kind: &str) {
        self.failures.with_label_values(&[kind]).inc();
    }

    /// How many partitions there are.
    pub(crate) fn set_partitions(&self, count: i32) {
        let series = |partition: i32| self.backlog.with_label_values(&[&partition.to_string()]);
        self.backlogs
            .get_or_init(|| (0..count).map(series).collect());
    }

    /// How things stand; partitions that are not named have no backlog.
    pub(crate) fn set_backlogs(&self, backlogs: &[Backlog]) {
        for (partition, series) in (0..).zip(self.backlogs.get().into_iter().flatten()) {
            let found = backlogs.iter().find(|one| one.partition == partition);
            series.set(found.map_or(0, Backlog::events));
        }
        let lag = backlogs.iter().map(|one| one.age.as_secs()).max();
        self.lag
            .set(i64::try_from(lag.unwrap_or(0)).unwrap_or(i64::MAX));
    }

    /// How far each version is behind in each partition that has events.
    pub(crate) fn set_lags(&self, standing: &[VersionStatus]) {
        // Versions that were retired since are gone.
        self.rule_lag_events.reset();
        self.rule_lag_seconds.reset();
        for of in standing.iter().filter(|of| of.status != Status::Retired) {
            let version = of.version.to_string();
            for one in of.partitions.iter().filter(|one| one.head > 0) {
                let partition = one.partition.to_string();
                let labels = [of.name.as_str(), &version, &partition];
                let events = self.rule_lag_events.with_label_values(&labels);
                events.set(one.lag_events());
                let seconds = self.rule_lag_seconds.with_label_values(&labels);
                seconds.set(one.age_seconds as i64);
            }
        }
    }

    /// Some buckets were deleted.
    pub(crate) fn discarded(&self) {
        self.discarded.inc();
    }

    /// Everything that was in the log is in the buckets.
    pub(crate) fn caught_up(&self, at: SystemTime) {
        let since = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.last
            .set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    }

    /// How many versions there are of each status.
    pub(crate) fn set_rules(&self, counted: &[(Status, i64)]) {
        for status in Status::ALL {
            let found = counted.iter().find(|(of, _)| *of == status);
            let series = self.rules.with_label_values(&[status.as_str()]);
            series.set(found.map_or(0, |(_, count)| *count));
        }
    }
}
