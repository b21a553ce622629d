//! An appender: a writer whose groups are counted and traced, and whose outcomes are known.

use crate::metrics::IngestMetrics;
use crate::outcomes::Outcomes;
use crate::queue::Job;
use aevon_core::append::Verdict;
use aevon_core::event::NewEvent;
use aevon_schema::append::{AppendError, Writer};
use aevon_schema::with_causes;
use aevon_service::metrics::IntGauge;
use aevon_service::telemetry;
use std::ops::Range;
use std::time::Instant;
use tracing::{Instrument, Span};

/// Requests that the span of a group is linked to; the exporter keeps no more.
const MAX_LINKS: usize = 128;

/// One writer.
#[derive(Debug)]
pub(crate) struct Appender {
    writer: Writer,
    metrics: IngestMetrics,
    outcomes: Outcomes,
    is_connected: IntGauge,
}

impl Appender {
    pub(crate) fn new(
        writer: Writer,
        number: usize,
        metrics: IngestMetrics,
        outcomes: Outcomes,
    ) -> Self {
        Self {
            writer,
            is_connected: metrics.writer_connected(number),
            metrics,
            outcomes,
        }
    }

    /// Stores a group that was gathered from jobs; a verdict for each event, in its order. `atomic` are
    /// the bodies that are stored whole or not at all.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub(crate) async fn append(
        &mut self,
        group: &[&NewEvent],
        atomic: &[Range<usize>],
        jobs: &[Job],
    ) -> Result<Vec<Verdict>, AppendError> {
        let (begun, span) = (Instant::now(), span(group, jobs));
        let appended = self.writer.append_bodies(group, atomic);
        let appended = appended.instrument(span).await;
        self.metrics
            .appended(group.len(), &appended, begun.elapsed());
        self.outcomes.record(appended.is_ok());
        self.is_connected.set(self.writer.is_connected().into());
        appended.inspect_err(|error| {
            tracing::warn!(
                events = group.len(),
                error = with_causes(error),
                "a group was not acknowledged"
            );
        })
    }
}

/// Linked to those of its requests: it is done for all of them.
fn span(group: &[&NewEvent], jobs: &[Job]) -> Span {
    let events = group.len();
    let span = tracing::debug_span!(target: telemetry::WORK, "append", events);
    if !span.is_disabled() {
        for job in jobs.iter().take(MAX_LINKS) {
            telemetry::link(&span, &job.span);
        }
    }
    span
}
