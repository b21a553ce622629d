//! What a process counts about itself, in the text format of Prometheus at `/metrics`.
//!
//! Invariant: counting is an atomic instruction or a few. Series are looked up once, where work
//! begins, never where it is done; nothing is gathered before somebody asks.
//! Invariant: the values of a label are known when the program is built, or few: routes, codes,
//! partitions. Never a tenant, a principal or a path.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, web};
use anyhow::Context;
use prometheus::core::Collector;
use prometheus::proto::MetricType;
use prometheus::{HistogramOpts, Opts, PullingGauge, Registry, TextEncoder};

pub use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::openapi;
use crate::problem::{Code, Problem};

/// The upper bounds of durations, in seconds: from what an idle system takes to what is given up.
pub const SECONDS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// One metric, as people are told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name, unit last.
    pub name: String,
    /// counter, gauge or histogram.
    pub kind: &'static str,
    /// What its series are told apart by.
    pub labels: Vec<String>,
    /// What it counts.
    pub help: String,
}

/// The metrics of a process; cheap to clone, every clone is the same set.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    described: Arc<Mutex<BTreeMap<String, Described>>>,
}

impl Metrics {
    /// Those of the process itself: its version and what it takes of the machine.
    ///
    /// # Errors
    /// Never in practice: as all of these methods, where a name is no name or stands already.
    pub fn new() -> anyhow::Result<Self> {
        let metrics = Self {
            registry: Registry::new(),
            described: Arc::default(),
        };
        let info = metrics.gauges("aevon_build_info", "Always 1.", &["version"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        // The library knows how to ask Linux alone.
        #[cfg(target_os = "linux")]
        metrics.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(metrics)
    }

    /// A number that only grows.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn counter(&self, name: &str, help: &str) -> anyhow::Result<IntCounter> {
        self.add(IntCounter::new(name, help)?)
    }

    /// Numbers that only grow, told apart by labels.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> anyhow::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// A number that goes up and down.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn gauge(&self, name: &str, help: &str) -> anyhow::Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    /// Numbers that go up and down, told apart by labels.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A number that is read where it stands whenever somebody asks.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn read(
        &self,
        name: &str,
        help: &str,
        value: impl Fn() -> usize + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        let value = Box::new(move || value() as f64);
        self.add(PullingGauge::new(name, help, value)?).map(|_| ())
    }

    /// How often a number fell below each of some bounds.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> anyhow::Result<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.add(Histogram::with_opts(options)?)
    }

    /// The same, told apart by labels.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        bounds: &[f64],
        labels: &[&str],
    ) -> anyhow::Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.add(HistogramVec::new(options, labels)?)
    }

    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> anyhow::Result<C> {
        self.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    /// Adds what somebody else has made.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn register(&self, collector: Box<dyn Collector>) -> anyhow::Result<()> {
        let described = describe(&*collector);
        let names = || described.iter().map(|one| one.name.as_str());
        let what = names().collect::<Vec<_>>().join(", ");
        self.registry
            .register(collector)
            .with_context(|| format!("cannot count {what}"))?;
        let mut known = self
            .described
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.extend(described.into_iter().map(|one| (one.name.clone(), one)));
        Ok(())
    }

    /// The same, of several.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn register_all(&self, collectors: Vec<Box<dyn Collector>>) -> anyhow::Result<()> {
        collectors
            .into_iter()
            .try_for_each(|collector| self.register(collector))
    }

    /// All of them, by name.
    #[must_use]
    pub fn described(&self) -> Vec<Described> {
        let known = self
            .described
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.values().cloned().collect()
    }

    /// All of them as a table in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
        for metric in self.described() {
            let Described {
                name,
                kind,
                labels,
                help,
            } = metric;
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            // A String takes whatever is written to it.
            let _ = writeln!(
                table,
                "| `{name}` | {kind} | {} | {help} |",
                labels.join(", ")
            );
        }
        table
    }

    /// Their values, in the text format of Prometheus.
    ///
    /// # Errors
    /// Never in practice; the writer reports its errors.
    pub fn text(&self) -> anyhow::Result<String> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}

fn describe(collector: &dyn Collector) -> Vec<Described> {
    let families = collector.collect();
    let kind = |name: &str| {
        let family = families.iter().find(|family| family.name() == name);
        match family.map(|family| family.get_field_type()) {
            Some(MetricType::COUNTER) => "counter",
            Some(MetricType::HISTOGRAM) => "histogram",
            _ => "gauge",
        }
    };
    let described = |desc: &&prometheus::core::Desc| {
        let fixed = desc.const_label_pairs.iter().map(|pair| pair.name());
        let labels = fixed.chain(desc.variable_labels.iter().map(String::as_str));
        Described {
            kind: kind(&desc.fq_name),
            labels: labels.map(str::to_owned).collect(),
            name: desc.fq_name.clone(),
            help: desc.help.clone(),
        }
    };
    collector.desc().iter().map(described).collect()
}

struct Problems;

impl utoipa::IntoResponses for Problems {
    fn responses() -> openapi::ByStatus {
        openapi::problems_of_open_route(&[])
    }
}

/// What the process counts
///
/// In the text format of Prometheus. Names no tenant, no principal and no path.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "process",
    responses(
        (status = 200, description = "Every metric", body = String,
         content_type = "text/plain; version=0.0.4"),
        Problems
    )
)]
pub(crate) async fn get(metrics: web::Data<Metrics>) -> Result<HttpResponse, Problem> {
    let text = metrics.text();
    let text = text.map_err(|error| Problem::new(Code::Internal, format!("{error:#}")))?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, prometheus::TEXT_FORMAT))
        .body(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_counted_shown_and_described() {
        let metrics = Metrics::new().unwrap();
        let by_code = metrics
            .counters("aevon_refused_total", "Refusals.", &["code"])
            .unwrap();
        metrics.read("aevon_free_bytes", "Room.", || 7).unwrap();
        by_code.with_label_values(&["forbidden"]).inc_by(3);
        let text = metrics.text().unwrap();
        for line in [
            "# HELP aevon_refused_total Refusals.",
            "# TYPE aevon_refused_total counter",
            "aevon_refused_total{code=\"forbidden\"} 3",
            "aevon_free_bytes 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let described = metrics.described();
        let refused = described
            .iter()
            .find(|one| one.name == "aevon_refused_total");
        let refused = refused.unwrap();
        assert_eq!(
            (refused.kind, &refused.labels[..]),
            ("counter", &["code".to_owned()][..])
        );
        let row = "| `aevon_refused_total` | counter | `code` | Refusals. |";
        assert!(metrics.markdown().lines().any(|line| line == row));
    }

    #[test]
    fn a_metric_that_nothing_was_counted_of_is_described_with_its_type() {
        let metrics = Metrics::new().unwrap();
        metrics
            .histograms("aevon_x_seconds", "X.", SECONDS, &["route"])
            .unwrap();
        let described = metrics.described();
        let found = described.iter().find(|one| one.name == "aevon_x_seconds");
        assert_eq!(found.map(|one| one.kind), Some("histogram"));
    }

    #[test]
    fn a_name_can_be_taken_once() {
        let metrics = Metrics::new().unwrap();
        metrics.counter("aevon_a_total", "A.").unwrap();
        let again = metrics.counter("aevon_a_total", "A.").unwrap_err();
        assert!(again.to_string().contains("aevon_a_total"), "{again:#}");
    }
}
