//! What is counted of a pool of connections.

use super::Manager;
use crate::error::StoreError;
use deadpool::managed::Pool;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts};

/// The upper bounds of waits, in seconds: none at all, up to what is given up.
const WAIT_SECONDS: &[f64] = &[
    0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
];

/// What is counted while connections are handed out.
#[derive(Clone, Debug)]
pub(super) struct PoolMetrics {
    pub(super) wait_seconds: Histogram,
    failures: IntCounterVec,
}

impl PoolMetrics {
    pub(super) fn new(pool: &str) -> Result<Self, prometheus::Error> {
        let wait = HistogramOpts::new(
            "aevon_database_wait_seconds",
            "How long a connection of the pool was waited for, with opening it where none was free.",
        );
        let failures = Opts::new(
            "aevon_database_failures_total",
            "Connections that were not to be had, by reason: unavailable, deadline, refused.",
        );
        Ok(Self {
            wait_seconds: Histogram::with_opts(
                wait.buckets(WAIT_SECONDS.to_vec())
                    .const_label("pool", pool),
            )?,
            failures: IntCounterVec::new(failures.const_label("pool", pool), &["kind"])?,
        })
    }

    pub(super) fn failed(&self, error: &StoreError) {
        self.failures.with_label_values(&[error.kind()]).inc();
    }

    pub(super) fn collectors(
        &self,
        pool: &Pool<Manager>,
        name: &str,
    ) -> Result<Vec<Box<dyn Collector>>, prometheus::Error> {
        let connections = Connections {
            pool: pool.clone(),
            by_state: IntGaugeVec::new(
                Opts::new(
                    "aevon_database_connections",
                    "Connections of the pool, by state: in_use, idle.",
                )
                .const_label("pool", name),
                &["state"],
            )?,
            max: IntGauge::with_opts(
                Opts::new(
                    "aevon_database_connections_max",
                    "Most connections that the pool may have.",
                )
                .const_label("pool", name),
            )?,
        };
        Ok(vec![
            Box::new(self.wait_seconds.clone()),
            Box::new(self.failures.clone()),
            Box::new(connections),
        ])
    }
}

/// Looks at the pool when somebody asks.
struct Connections {
    pool: Pool<Manager>,
    by_state: IntGaugeVec,
    max: IntGauge,
}

impl Collector for Connections {
    fn desc(&self) -> Vec<&Desc> {
        [self.by_state.desc(), self.max.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let status = self.pool.status();
        let set = |state: &str, count: usize| {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.by_state.with_label_values(&[state]).set(count);
        };
        set("in_use", status.size.saturating_sub(status.available));
        set("idle", status.available);
        self.max
            .set(i64::try_from(status.max_size).unwrap_or(i64::MAX));
        [self.by_state.collect(), self.max.collect()].concat()
    }
}
