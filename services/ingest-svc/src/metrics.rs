//! What is counted of events on their way into the log.
//!
//! Invariant: a series that requests or commits touch is looked up once.

use crate::http::item::Outcome;
use crate::queue::{Queue, Unstored};
use crate::rejected;
use crate::shares::{Shares, Size};
use aevon_core::append::Verdict;
use aevon_schema::append::AppendError;
use aevon_service::metrics::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use aevon_service::metrics::{Metrics, SECONDS};
use aevon_service::problem::{Code, Problem};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The upper bounds of events of a commit: one, up to what a group takes and a body more.
const COMMIT_EVENTS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0,
];

/// The metrics of the service. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct IngestMetrics(Arc<Series>);

#[derive(Debug)]
struct Series {
    accepted: IntCounter,
    duplicate: IntCounter,
    conflict: IntCounter,
    rejected: IntCounter,
    withheld: IntCounter,
    by_code: IntCounterVec,
    /// One for each code that was seen, in the order of [`Code::ALL`].
    codes: Vec<OnceLock<IntCounter>>,
    full: IntCounter,
    late: IntCounter,
    database: IntCounter,
    stopping: IntCounter,
    commit_events: Histogram,
    commit_seconds: Histogram,
    failures: IntCounterVec,
    unkept: IntCounter,
    connected: IntGaugeVec,
}

impl IngestMetrics {
    pub(crate) fn new(metrics: &Metrics) -> anyhow::Result<Self> {
        let events = metrics.counters(
            "aevon_ingest_events_total",
            "Events that were decided, by outcome: accepted, duplicate, conflict, rejected, withheld \
             (another event of its body was refused, which is atomic).",
            &["outcome"],
        )?;
        let unstored = metrics.counters(
            "aevon_ingest_unstored_total",
            "Requests that could not be acknowledged, by reason: full (the queue, or \
             the room for answers), late (the commit), database, stopping.",
            &["reason"],
        )?;
        let reason = |name: &str| unstored.with_label_values(&[name]);
        let outcome = |name: &str| events.with_label_values(&[name]);
        Ok(Self(Arc::new(Series {
            accepted: outcome("accepted"),
            duplicate: outcome("duplicate"),
            conflict: outcome("conflict"),
            rejected: outcome("rejected"),
            withheld: outcome("withheld"),
            by_code: metrics.counters(
                "aevon_ingest_rejected_total",
                "Events that were refused, and bodies that were as a whole, by the code that the caller \
                 saw.",
                &["code"],
            )?,
            codes: Code::ALL.iter().map(|_| OnceLock::new()).collect(),
            full: reason("full"),
            late: reason("late"),
            database: reason("database"),
            stopping: reason("stopping"),
            commit_events: metrics.histogram(
                "aevon_ingest_commit_events",
                "Events of one group, which is one transaction.",
                COMMIT_EVENTS,
            )?,
            commit_seconds: metrics.histogram(
                "aevon_ingest_commit_seconds",
                "How long one group took, from its first statement to the answer to its commit.",
                SECONDS,
            )?,
            failures: metrics.counters(
                "aevon_ingest_append_failures_total",
                "Groups that were not acknowledged, by reason: unavailable, deadline, refused, \
                 inconsistent (nothing of it was stored), unknown (the commit was not answered).",
                &["kind"],
            )?,
            unkept: metrics.counter(
                "aevon_ingest_rejected_unkept_total",
                "Events that were refused and are not in `rejected_events`: more than are kept of a \
                 request or in a minute, or no database.",
            )?,
            connected: metrics.gauges(
                "aevon_ingest_writer_connected",
                "1 where the writer has a connection, as of its last commit.",
                &["writer"],
            )?,
        })))
    }

    /// What became of an event.
    pub(crate) fn decided(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Accepted(..) => self.0.accepted.inc(),
            Outcome::Duplicate(..) => self.0.duplicate.inc(),
            Outcome::Withheld => self.0.withheld.inc(),
            Outcome::Rejected(rejection) => {
                let code = rejection.code;
                match code {
                    Code::EventConflict => self.0.conflict.inc(),
                    _ => self.0.rejected.inc(),
                }
                self.by_code(code);
            }
        }
    }

    /// A body was refused as a whole.
    pub(crate) fn refused(&self, problem: &Problem) {
        if rejected::is_of_interest(problem) {
            self.by_code(problem.code);
        }
    }

    /// A caller was not let in, perhaps because nobody could say who it is.
    pub(crate) fn not_let_in(&self, problem: &Problem) {
        if problem.code == Code::DatabaseUnavailable {
            self.0.database.inc();
        }
    }

    fn by_code(&self, code: Code) {
        // The order of the variants is that of the list.
        if let Some(series) = self.0.codes.get(code as usize) {
            let find = || self.0.by_code.with_label_values(&[code.as_str()]);
            series.get_or_init(find).inc();
        }
    }

    /// A request was not acknowledged.
    pub(crate) fn unstored(&self, reason: &Unstored) {
        match reason {
            Unstored::Full => self.0.full.inc(),
            Unstored::Late(_) => self.0.late.inc(),
            Unstored::Database(_) => self.0.database.inc(),
            Unstored::Stopping => self.0.stopping.inc(),
        }
    }

    /// A group came back.
    pub(crate) fn appended(
        &self,
        events: usize,
        result: &Result<Vec<Verdict>, AppendError>,
        took: Duration,
    ) {
        match result {
            Ok(_) => {
                self.0.commit_events.observe(events as f64);
                self.0.commit_seconds.observe(took.as_secs_f64());
            }
            Err(error) => self.0.failures.with_label_values(&[error.kind()]).inc(),
        }
    }

    /// Refused events that are not kept.
    pub(crate) fn unkept(&self) -> IntCounter {
        self.0.unkept.clone()
    }

    /// Whether a writer has a connection; it has none before its first group.
    pub(crate) fn writer_connected(&self, number: usize) -> IntGauge {
        let writer = number.to_string();
        self.0.connected.with_label_values(&[&writer])
    }
}

/// What is read where it stands: the queue, the bodies that are arriving, and the answers that are
/// on their way.
pub(crate) fn register_levels(
    metrics: &Metrics,
    queue: &Arc<OnceLock<Queue>>,
    arriving: &Shares,
    answers: &Shares,
) -> anyhow::Result<()> {
    let of_queue = |pick: fn((Size, Size)) -> usize| {
        let queue = Arc::clone(queue);
        move || queue.get().map_or(0, |queue| pick(queue.level()))
    };
    metrics.read(
        "aevon_ingest_queue_events",
        "Events that wait to be written or are being written.",
        of_queue(|(taken, _)| taken.events),
    )?;
    metrics.read(
        "aevon_ingest_queue_bytes",
        "Bytes of the same.",
        of_queue(|(taken, _)| taken.bytes),
    )?;
    metrics.read(
        "aevon_ingest_queue_events_max",
        "The bound: `ingest.queue_events`.",
        of_queue(|(_, bound)| bound.events),
    )?;
    metrics.read(
        "aevon_ingest_queue_bytes_max",
        "The bound: `ingest.queue_bytes`.",
        of_queue(|(_, bound)| bound.bytes),
    )?;
    let bytes = |shares: &Shares, pick: fn((Size, Size)) -> Size| {
        let shares = shares.clone();
        move || pick(shares.level()).bytes
    };
    metrics.read(
        "aevon_ingest_arriving_bytes",
        "Bytes of the bodies that are being received and read, as they are unpacked.",
        bytes(arriving, |(taken, _)| taken),
    )?;
    metrics.read(
        "aevon_ingest_arriving_bytes_max",
        "The bound; beyond it bodies are refused.",
        bytes(arriving, |(_, bound)| bound),
    )?;
    metrics.read(
        "aevon_ingest_answer_bytes",
        "Bytes of the lists of what became of events that callers have not read yet.",
        bytes(answers, |(taken, _)| taken),
    )?;
    metrics.read(
        "aevon_ingest_answer_bytes_max",
        "The bound; beyond it lists of events are refused.",
        bytes(answers, |(_, bound)| bound),
    )
}
