//! The queue between requests and writers.
//!
//! Invariant: bounded in events and in bytes, and shared between tenants, see [`crate::shares`].
//! What does not fit is refused at once, so that a request never waits for a place.
//! Ordering: a partition belongs to one writer, and what a tenant sends is first in, first out,
//! see [`crate::lane`]; so the events of a principal are decided in the order in which they were
//! queued.

use crate::lane::{Lane, TURN_EVENTS};
use crate::shares::{Flow, Share, Shares, Size};
use crate::writer::Writer;
use aevon_core::append::Verdict;
use aevon_core::event::NewEvent;
use aevon_core::identity::partition_of;
use aevon_schema::append::AppendError;
use aevon_service::settings::IngestSettings;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::Span;

/// Why events were not stored, or whether they were is unknown.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unstored {
    /// The queue has no room.
    #[error("the queue is full")]
    Full,
    /// The deadline passed before the commit was known.
    #[error("the commit took longer than {0:?}")]
    Late(Duration),
    /// The database failed.
    #[error("{0}")]
    Database(Arc<AppendError>),
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
}

/// What became of one event.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) verdict: Verdict,
    /// The event, where it was not stored for what it is.
    pub(crate) refused: Option<Box<NewEvent>>,
}

/// What a request is told about its events, in their order.
pub(crate) type Answer = Result<Vec<Decided>, Unstored>;

/// Some events of one request, for one writer.
#[derive(Debug)]
pub(crate) struct Job {
    /// With their partitions.
    pub(crate) events: Vec<(i32, NewEvent)>,
    /// Whether they are stored all or not at all; they are one principal's then.
    pub(crate) is_atomic: bool,
    pub(crate) reply: oneshot::Sender<Answer>,
    /// What it takes of the queue's bounds; given back when the job is dropped.
    pub(crate) room: Share,
    /// The span of the request.
    pub(crate) span: Span,
}

/// The queue of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    lanes: Arc<Lanes>,
    partitions: i32,
    shares: Shares,
    timeout: Duration,
}

/// Closed when the last clone of the queue is gone.
#[derive(Debug)]
struct Lanes(Vec<Arc<Lane>>);

impl Drop for Lanes {
    fn drop(&mut self) {
        for lane in &self.0 {
            lane.close();
        }
    }
}

impl Queue {
    /// Starts the writers. They end when the last clone of the queue is gone.
    ///
    /// A writer is a thread with a runtime of its own, which drives its connection too: an append
    /// is a chain of short waits, and waking another thread for each costs more than the work.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub(crate) fn start(
        settings: &IngestSettings,
        partitions: i32,
        writers: Vec<Writer>,
    ) -> std::io::Result<Self> {
        let per_commit = match settings.partitions_per_commit {
            0 => usize::MAX,
            bound => bound,
        };
        let mut lanes = Vec::new();
        for (number, writer) in writers.into_iter().enumerate() {
            let lane = Arc::new(Lane::default());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let waiting = Arc::clone(&lane);
            let run = move || runtime.block_on(writer.run(&waiting, per_commit));
            let thread = std::thread::Builder::new().name(format!("writer-{number}"));
            thread.spawn(run)?;
            lanes.push(lane);
        }
        let bound = Size {
            events: settings.queue_events,
            bytes: settings.queue_bytes,
        };
        Ok(Self {
            lanes: Arc::new(Lanes(lanes)),
            partitions,
            shares: Shares::new(bound),
            timeout: settings.request_timeout.get(),
        })
    }

    /// What waits to be written or is being written, and the bound of it.
    pub(crate) fn level(&self) -> (Size, Size) {
        self.shares.level()
    }

    /// Partitions of the log.
    pub(crate) fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Whether a tenant could put anything into the queue.
    pub(crate) fn has_room(&self, tenant_id: &str) -> bool {
        self.shares.has_room(tenant_id)
    }

    /// Stores events; what became of each, in their order. All of them or none where they are atomic:
    /// one principal's then.
    ///
    /// # Errors
    /// [`Unstored`]; parts of the events may have been stored then, and sending all of them again
    /// is safe.
    pub(crate) async fn store(&self, events: Vec<NewEvent>, is_atomic: bool) -> Answer {
        let stored = self.store_unbounded(events, is_atomic);
        match tokio::time::timeout(self.timeout, stored).await {
            Ok(result) => result,
            Err(_) => Err(Unstored::Late(self.timeout)),
        }
    }

    async fn store_unbounded(&self, events: Vec<NewEvent>, is_atomic: bool) -> Answer {
        // A body of the platform's with events of several tenants waits among the first one's.
        let flow = events.first().map(|event| Flow::from(&*event.tenant_id));
        let Some(flow) = flow else {
            return Ok(Vec::new());
        };
        let total = events.len();
        let lanes = &self.lanes.0;
        // Of a large body each step takes a while: whatever else the thread serves has its turn.
        tokio::task::yield_now().await;
        let (jobs, whole) = self.divide(events, is_atomic);
        tokio::task::yield_now().await;
        let mut room = self.shares.take(&flow, whole).ok_or(Unstored::Full)?;
        let mut waiting = Vec::new();
        for (lane, part) in jobs {
            let (reply, answer) = oneshot::channel();
            let job = Job {
                events: part.events,
                is_atomic,
                reply,
                room: room.split(part.size),
                span: Span::current(),
            };
            if !lanes[lane].push(job) {
                return Err(Unstored::Stopping);
            }
            waiting.push((part.indexes, answer));
        }
        let mut all: Vec<Option<Decided>> = Vec::new();
        all.resize_with(total, || None);
        for (indexes, answer) in waiting {
            let decided = answer.await.map_err(|_| Unstored::Stopping)??;
            for (index, one) in indexes.into_iter().zip(decided) {
                all[index] = Some(one);
            }
        }
        let all: Option<Vec<_>> = all.into_iter().collect();
        all.ok_or(Unstored::Stopping)
    }

    /// Divides the events of a request between the lanes, in their order, each part no larger than a
    /// turn, so that what others send comes in between; and how much all of them are. An atomic
    /// request is one part.
    fn divide(&self, events: Vec<NewEvent>, is_atomic: bool) -> (Vec<(usize, Part)>, Size) {
        let mut growing: Vec<Part> = Vec::new();
        growing.resize_with(self.lanes.0.len(), Part::default);
        let (mut parts, mut whole) = (Vec::new(), Size::default());
        for (index, event) in events.into_iter().enumerate() {
            let partition = partition_of(&event.tenant_id, &event.principal_id, self.partitions);
            let lane = usize::try_from(partition).unwrap_or(0) % growing.len();
            let part = &mut growing[lane];
            let size = Size {
                events: 1,
                bytes: event.size_bytes(),
            };
            whole += size;
            part.size += size;
            part.indexes.push(index);
            part.events.push((partition, event));
            if part.events.len() == TURN_EVENTS && !is_atomic {
                parts.push((lane, std::mem::take(part)));
            }
        }
        let rest = growing.into_iter().enumerate();
        parts.extend(rest.filter(|(_, part)| !part.events.is_empty()));
        (parts, whole)
    }
}

/// What one writer gets of a request's events, and where they stood in it.
#[derive(Debug, Default)]
struct Part {
    indexes: Vec<usize>,
    events: Vec<(i32, NewEvent)>,
    size: Size,
}
