//! A writer: takes what waits in its lane, appends it as one group, tells every request.
//!
//! Ordering: no artificial delay. While a commit is under way the next group gathers by itself.

use crate::health::AppendHealth;
use crate::lane::Lane;
use crate::metrics::IngestMetrics;
use crate::queue::{Decided, Job, Unstored};
use aevon_core::append::Verdict;
use aevon_core::event::NewEvent;
use aevon_schema::append::{AppendError, Appender};
use aevon_schema::with_causes;
use aevon_service::metrics::IntGauge;
use aevon_service::telemetry;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;
use tracing::{Instrument, Span};

/// Events after which a group takes no further job: enough that the two round trips no longer
/// show, few enough that the first of them does not wait long.
const GROUP_EVENTS: usize = 1_000;
/// Bytes after which a group takes no further job.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// Requests that the span of a group is linked to; the exporter keeps no more.
const MAX_LINKS: usize = 128;

/// One of the writers of a process: an appender whose groups are counted and traced, and whose health is
/// known.
#[derive(Debug)]
pub(crate) struct Writer {
    appender: Appender,
    metrics: IngestMetrics,
    health: AppendHealth,
    is_connected: IntGauge,
}

impl Writer {
    pub(crate) fn new(
        appender: Appender,
        number: usize,
        metrics: IngestMetrics,
        health: AppendHealth,
    ) -> Self {
        Self {
            appender,
            is_connected: metrics.writer_connected(number),
            metrics,
            health,
        }
    }

    /// Runs until the lane is closed and empty.
    pub(crate) async fn run(mut self, lane: &Lane, per_commit: usize) {
        while let Some(jobs) = lane.group(GROUP_EVENTS, GROUP_BYTES).await {
            let told = self.append_group(&jobs, per_commit).await;
            tell(jobs, told);
        }
    }

    /// Stores a group, at most `per_commit` of its partitions in a transaction; what to tell of each
    /// event of the jobs, in order.
    async fn append_group(&mut self, jobs: &[Job], per_commit: usize) -> Vec<Told> {
        let events: Vec<&(i32, NewEvent)> = jobs.iter().flat_map(|job| &job.events).collect();
        let mut told: Vec<Told> = Vec::new();
        told.resize_with(events.len(), || None);
        let partitions: BTreeSet<i32> = events.iter().map(|(partition, _)| *partition).collect();
        let partitions: Vec<i32> = partitions.into_iter().collect();
        for together in partitions.chunks(per_commit) {
            let is_in =
                |(_, event): &(usize, &&(i32, NewEvent))| together.binary_search(&event.0).is_ok();
            let (indexes, group): (Vec<usize>, Vec<&NewEvent>) = events
                .iter()
                .enumerate()
                .filter(is_in)
                .map(|(index, event)| (index, &event.1))
                .unzip();
            match self.commit(&group, &atomic(jobs, &indexes), jobs).await {
                Ok(decided) => {
                    for (index, verdict) in indexes.into_iter().zip(decided) {
                        told[index] = Some(Ok(verdict));
                    }
                }
                Err(error) => {
                    let error = Arc::new(error);
                    for index in indexes {
                        told[index] = Some(Err(Arc::clone(&error)));
                    }
                }
            }
        }
        told
    }

    /// Stores events that were gathered from jobs in one transaction; a verdict for each, in its order.
    /// `atomic` are the bodies that are stored whole or not at all.
    async fn commit(
        &mut self,
        group: &[&NewEvent],
        atomic: &[Range<usize>],
        jobs: &[Job],
    ) -> Result<Vec<Verdict>, AppendError> {
        let (begun, span) = (Instant::now(), span(group, jobs));
        let appended = self.appender.append_bodies(group, atomic);
        let appended = appended.instrument(span).await;
        self.metrics
            .appended(group.len(), &appended, begun.elapsed());
        self.health.record(appended.is_ok());
        self.is_connected.set(self.appender.is_connected().into());
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

/// Where the atomic jobs stand in a group of events with these indexes, which are of whole jobs: the
/// events of an atomic job have one partition.
fn atomic(jobs: &[Job], indexes: &[usize]) -> Vec<Range<usize>> {
    let (mut begin, mut found) = (0, Vec::new());
    for job in jobs {
        let end = begin + job.events.len();
        let place = |index| indexes.partition_point(|other| *other < index);
        if job.is_atomic && indexes.binary_search(&begin).is_ok() {
            found.push(place(begin)..place(end));
        }
        begin = end;
    }
    found
}

/// What became of one event; none where nothing has been tried.
type Told = Option<Result<Verdict, Arc<AppendError>>>;

/// Tells every request what became of its events; `told` is about those of all jobs, in order.
fn tell(jobs: Vec<Job>, told: Vec<Told>) {
    let mut told = told.into_iter();
    for job in jobs {
        // All of a job's are taken, whatever they are: the next ones belong to the next job.
        let decided: Vec<Result<Decided, Unstored>> = job
            .events
            .into_iter()
            .zip(told.by_ref())
            .map(|((_, event), told)| decided(event, told))
            .collect();
        // Whoever gave up waiting was not told anything; sending again is safe.
        let _ = job.reply.send(decided.into_iter().collect());
    }
}

fn decided(event: NewEvent, told: Told) -> Result<Decided, Unstored> {
    let verdict = told.ok_or(Unstored::Stopping)?;
    let verdict = verdict.map_err(Unstored::Database)?;
    let refused = match &verdict {
        Verdict::Accepted { .. } | Verdict::Duplicate { .. } | Verdict::Withheld => None,
        Verdict::Conflict(_) | Verdict::Refused(_) => Some(Box::new(event)),
    };
    Ok(Decided { verdict, refused })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::tests::job;
    use crate::shares::{Shares, Size};
    use aevon_core::position::Position;
    use aevon_core::time::Timestamp;
    use aevon_schema::StoreError;

    #[test]
    fn atomic_jobs_are_found_in_the_group_of_their_partition() {
        let shares = Shares::new(Size {
            events: 100,
            bytes: 100,
        });
        let mut jobs = Vec::new();
        for (partition, events, is_atomic) in [
            (1, 2, false),
            (2, 3, true),
            (1, 2, true),
            (2, 1, false),
            (2, 2, true),
            (1, 1, true),
        ] {
            let (mut job, _) = job(&shares, "a", "e", events);
            job.is_atomic = is_atomic;
            job.events.iter_mut().for_each(|event| event.0 = partition);
            jobs.push(job);
        }
        let partitions = || {
            jobs.iter()
                .flat_map(|job| job.events.iter().map(|(p, _)| *p))
        };
        let group = |partition| -> Vec<usize> {
            let all = partitions().enumerate();
            all.filter(|(_, p)| *p == partition)
                .map(|(at, _)| at)
                .collect()
        };
        assert_eq!(atomic(&jobs, &group(1)), [2..4, 4..5]);
        assert_eq!(atomic(&jobs, &group(2)), [0..3, 4..6]);
        let whole: Vec<usize> = (0..11).collect();
        assert_eq!(atomic(&jobs, &whole), [2..5, 5..7, 8..10, 10..11]);
    }

    #[test]
    fn a_job_that_failed_in_part_takes_nothing_from_the_next() {
        let shares = Shares::new(Size {
            events: 100,
            bytes: 100,
        });
        let (failed, mut of_failed) = job(&shares, "a", "failed", 3);
        let (stored, mut of_stored) = job(&shares, "a", "stored", 2);
        let accepted = |seq| Verdict::Accepted {
            position: Position { partition: 0, seq },
            ingested_at: Timestamp::from_micros(0),
        };
        let away = StoreError::Unavailable("gone".to_owned());
        let error = Arc::new(AppendError::NotStored(away));
        let told = vec![
            Some(Err(error)),
            Some(Ok(accepted(1))),
            Some(Ok(accepted(2))),
            Some(Ok(accepted(3))),
            Some(Ok(accepted(4))),
        ];
        tell(vec![failed, stored], told);
        assert!(of_failed.try_recv().unwrap().is_err());
        let decided = of_stored.try_recv().unwrap().unwrap();
        let verdicts: Vec<Verdict> = decided.into_iter().map(|one| one.verdict).collect();
        assert_eq!(verdicts, [accepted(3), accepted(4)]);
    }
}
