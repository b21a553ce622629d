//! The queue between requests and writers.
//!
//! Invariant: bounded in events and in bytes. What does not fit is refused at once, so that a
//! request never waits for a place.
//! Ordering: a partition belongs to one writer, and a writer's queue is first in, first out; so
//! the events of a principal are decided in the order in which they were queued.

use crate::writer;
use aevon_core::append::Verdict;
use aevon_core::event::NewEvent;
use aevon_core::identity::partition_of;
use aevon_schema::append::{AppendError, Writer};
use aevon_service::settings::IngestSettings;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

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

/// Some events of one request, for one writer.
#[derive(Debug)]
pub(crate) struct Job {
    /// With their partitions.
    pub(crate) events: Vec<(i32, NewEvent)>,
    /// Gets a verdict for each.
    pub(crate) reply: oneshot::Sender<Result<Vec<Verdict>, Unstored>>,
    /// What it takes of the queue's bounds; given back when the job is dropped.
    pub(crate) room: Room,
}

/// The queue of a process.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    lanes: Vec<mpsc::UnboundedSender<Job>>,
    partitions: i32,
    taken: Arc<Taken>,
    timeout: Duration,
}

#[derive(Debug)]
struct Taken {
    events: AtomicUsize,
    bytes: AtomicUsize,
    max_events: usize,
    max_bytes: usize,
}

/// A part of the queue's bounds.
#[derive(Debug)]
pub(crate) struct Room {
    taken: Arc<Taken>,
    events: usize,
    /// Bytes of the events.
    pub(crate) bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.events.fetch_sub(self.events, Ordering::Relaxed);
        self.taken.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Taken {
    fn take(self: &Arc<Self>, events: usize, bytes: usize) -> Option<Room> {
        let room = Room {
            taken: Arc::clone(self),
            events,
            bytes,
        };
        let before = self.events.fetch_add(events, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // A body that alone is larger than the bounds is taken when nothing else waits.
        let fits = |before: usize, more: usize, max: usize| before == 0 || before + more <= max;
        (fits(before, events, self.max_events) && fits(bytes_before, bytes, self.max_bytes))
            .then_some(room)
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
            let (sender, receiver) = mpsc::unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let run = move || runtime.block_on(writer::run(writer, receiver, per_commit));
            let thread = std::thread::Builder::new().name(format!("writer-{number}"));
            thread.spawn(run)?;
            lanes.push(sender);
        }
        let taken = Taken {
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            max_events: settings.queue_events,
            max_bytes: settings.queue_bytes,
        };
        Ok(Self {
            lanes,
            partitions,
            taken: Arc::new(taken),
            timeout: settings.request_timeout.get(),
        })
    }

    /// Stores events; a verdict for each, in their order.
    ///
    /// # Errors
    /// [`Unstored`]; parts of the events may have been stored then, and sending all of them again
    /// is safe.
    pub(crate) async fn store(&self, events: Vec<NewEvent>) -> Result<Vec<Verdict>, Unstored> {
        match tokio::time::timeout(self.timeout, self.store_unbounded(events)).await {
            Ok(result) => result,
            Err(_) => Err(Unstored::Late(self.timeout)),
        }
    }

    async fn store_unbounded(&self, events: Vec<NewEvent>) -> Result<Vec<Verdict>, Unstored> {
        let total = events.len();
        let bytes = events.iter().map(NewEvent::size_bytes).sum();
        let mut whole = Some(self.taken.take(total, bytes).ok_or(Unstored::Full)?);

        let mut shares: Vec<Share> = Vec::new();
        shares.resize_with(self.lanes.len(), Share::default);
        for (index, event) in events.into_iter().enumerate() {
            let partition = partition_of(&event.tenant_id, &event.principal_id, self.partitions);
            let lane = usize::try_from(partition).unwrap_or(0) % self.lanes.len();
            shares[lane].indexes.push(index);
            shares[lane].events.push((partition, event));
        }
        let mut waiting = Vec::new();
        for (lane, Share { indexes, events }) in shares.into_iter().enumerate() {
            if events.is_empty() {
                continue;
            }
            let Some(room) = split(&mut whole, &events, total) else {
                continue;
            };
            let (reply, answer) = oneshot::channel();
            let job = Job {
                events,
                reply,
                room,
            };
            self.lanes[lane].send(job).map_err(|_| Unstored::Stopping)?;
            waiting.push((indexes, answer));
        }
        let mut verdicts: Vec<Option<Verdict>> = Vec::new();
        verdicts.resize_with(total, || None);
        for (indexes, answer) in waiting {
            let decided = answer.await.map_err(|_| Unstored::Stopping)??;
            for (index, verdict) in indexes.into_iter().zip(decided) {
                verdicts[index] = Some(verdict);
            }
        }
        verdicts
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or(Unstored::Stopping)
    }
}

/// What one writer gets of a request's events, and where they stood in it.
#[derive(Debug, Default)]
struct Share {
    indexes: Vec<usize>,
    events: Vec<(i32, NewEvent)>,
}

/// The part of a request's room that one lane's share takes.
fn split(whole: &mut Option<Room>, events: &[(i32, NewEvent)], total: usize) -> Option<Room> {
    if events.len() == total {
        return whole.take();
    }
    let whole = whole.as_mut()?;
    let bytes = events.iter().map(|(_, event)| event.size_bytes()).sum();
    whole.events -= events.len();
    whole.bytes -= bytes;
    Some(Room {
        taken: Arc::clone(&whole.taken),
        events: events.len(),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_room_comes_back() {
        let taken = Arc::new(Taken {
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            max_events: 3,
            max_bytes: 100,
        });
        let first = taken.take(2, 10).unwrap();
        assert!(taken.take(2, 10).is_none(), "events");
        assert!(taken.take(1, 91).is_none(), "bytes");
        let second = taken.take(1, 90).unwrap();
        drop((first, second));
        assert_eq!(taken.events.load(Ordering::Relaxed), 0);
        assert!(
            taken.take(50, 5000).is_some(),
            "a body larger than the bounds, alone"
        );
    }
}
