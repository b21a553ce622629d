//! A queue that sends what is put into it, in batches.
//!
//! Invariant: what the queue holds, waiting or under way, has a bound in events and in bytes.
//! Invariant: every event that was taken gets one outcome, and an event that was spooled is delivered in the
//! order in which it was taken, before any that comes later.

use crate::client::Client;
use crate::error::Error;
use crate::event::{Event, Written};
use crate::outcome::Outcome;
use crate::spool::Spool;
use crate::{MAX_BODY_BYTES, MAX_BODY_EVENTS};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

mod engine;
mod stats;
mod store;
mod worker;

use engine::Engine;
pub use stats::Stats;
use store::Store;
use worker::Worker;

/// How long a shutdown waits, behind its deadline, for a disk to sync what is left.
const DISK: Duration = Duration::from_secs(5);

/// How a producer batches, waits and spools.
#[derive(Clone, Debug)]
#[must_use = "nothing is started before `start`"]
pub struct ProducerBuilder {
    client: Client,
    options: Options,
    queue_events: usize,
    queue_bytes: u32,
    enqueue_timeout: Duration,
    spool: Option<PathBuf>,
    spool_max_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    max_batch_events: usize,
    max_batch_bytes: usize,
    linger: Duration,
    max_in_flight: u32,
    delivery_timeout: Duration,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            options: Options {
                max_batch_events: 500,
                max_batch_bytes: 1 << 20,
                linger: Duration::from_millis(5),
                max_in_flight: 1,
                delivery_timeout: Duration::from_secs(120),
            },
            queue_events: 10_000,
            queue_bytes: 16 << 20,
            enqueue_timeout: Duration::from_secs(30),
            spool: None,
            spool_max_bytes: 1 << 30,
        }
    }

    /// How long an event may wait for others to share its body; 5 ms. While a body is under way others
    /// gather anyway.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.options.linger = linger;
        self
    }

    /// Most events of a body; 500, and 10,000 at most.
    pub fn max_batch_events(mut self, events: usize) -> Self {
        self.options.max_batch_events = events.clamp(1, MAX_BODY_EVENTS);
        self
    }

    /// Most bytes of a body; 1 MiB, and 10 MiB at most. A larger event goes alone.
    pub fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.options.max_batch_bytes = bytes.clamp(1, MAX_BODY_BYTES);
        self
    }

    /// Most bodies under way; 1, which keeps the order. With more, events may be stored in another order
    /// than they were put in, which matters only to those of one principal at the same instant.
    pub fn max_in_flight(mut self, bodies: u32) -> Self {
        self.options.max_in_flight = bodies.max(1);
        self
    }

    /// How long all attempts of a body may take together; 2 minutes. Then its events are spooled, or
    /// undelivered. As long again they may wait for room in a spool that is full.
    pub fn delivery_timeout(mut self, within: Duration) -> Self {
        self.options.delivery_timeout = within;
        self
    }

    /// Most events that wait or are under way; 10,000.
    pub fn queue_events(mut self, events: usize) -> Self {
        self.queue_events = events.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Most bytes of them; 16 MiB.
    pub fn queue_bytes(mut self, bytes: u32) -> Self {
        self.queue_bytes = bytes.max(1);
        self
    }

    /// How long [`Producer::send`] waits for room; 30 s.
    pub fn enqueue_timeout(mut self, within: Duration) -> Self {
        self.enqueue_timeout = within;
        self
    }

    /// A folder for what can't be delivered, of this producer alone. What lies there is delivered first.
    pub fn spool(mut self, folder: impl Into<PathBuf>) -> Self {
        self.spool = Some(folder.into());
        self
    }

    /// Most bytes of the folder; 1 GiB. When it is full, events wait for room, and the queue behind
    /// them; without any within [the time of a delivery](Self::delivery_timeout) they are undelivered.
    pub fn spool_max_bytes(mut self, bytes: u64) -> Self {
        self.spool_max_bytes = bytes;
        self
    }

    /// The producer, which works on the runtime that this is called on.
    ///
    /// # Errors
    /// Where the spool can't be used: another process has it, or it is damaged.
    pub async fn start(self) -> Result<Producer, Error> {
        let (stop, stopped) = watch::channel(None);
        let store = match self.spool {
            None => None,
            Some(folder) => {
                let max_bytes = self.spool_max_bytes;
                let opened =
                    tokio::task::spawn_blocking(move || Spool::open(&folder, max_bytes)).await;
                let opened = opened.map_err(|error| Error::Spool(error.to_string()))?;
                Some(Store::new(opened?))
            }
        };
        let engine = Arc::new(Engine::new(self.client, self.options, store, stopped));
        let (queue, commands) = mpsc::unbounded_channel();
        let worker = Worker::new(Arc::clone(&engine), commands);
        Ok(Producer(Arc::new(Inner {
            queue,
            events: Arc::new(Semaphore::new(self.queue_events)),
            bytes: Arc::new(Semaphore::new(self.queue_bytes as usize)),
            queue_bytes: self.queue_bytes,
            enqueue_timeout: self.enqueue_timeout,
            engine,
            stop,
            worker: Mutex::new(Some(tokio::spawn(worker.run()))),
        })))
    }
}

/// An event in the queue, the room that it takes, and who waits to hear of it.
#[derive(Debug)]
struct Item {
    written: Written,
    ticket: Ticket,
}

/// Who waits to hear of an event; frees its room when it is dropped.
#[derive(Debug)]
struct Ticket {
    outcome: oneshot::Sender<Outcome>,
    _room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

#[derive(Debug)]
enum Command {
    Take(Item),
    /// Sends what there is at once; answered when nothing is under way any more.
    Flush(oneshot::Sender<()>),
    Shutdown,
}

/// A queue that sends what is put into it, in batches; clones share it.
///
/// An event is safe from a crash of this process when its [`Delivery`] says that it is stored, or spooled,
/// and not before. Where a producer is dropped without [`Producer::shutdown`], what is in the queue is sent
/// only as long as the runtime lives.
#[derive(Clone, Debug)]
pub struct Producer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    // Unbounded as a channel: the semaphores are its bound.
    queue: mpsc::UnboundedSender<Command>,
    events: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    queue_bytes: u32,
    enqueue_timeout: Duration,
    engine: Arc<Engine>,
    stop: watch::Sender<Option<Instant>>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Producer {
    /// Puts an event into the queue, and waits for room as long as
    /// [`enqueue_timeout`](ProducerBuilder::enqueue_timeout) allows. What comes of it is told by the
    /// [`Delivery`], which may be ignored: the [`Stats`] count everything.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Closed`], or [`Error::Invalid`] where it is larger than the queue.
    pub async fn send(&self, event: Event) -> Result<Delivery, Error> {
        let written = event.written();
        let size = self.size(&written)?;
        let inner = &*self.0;
        let room = async {
            let one = Arc::clone(&inner.events).acquire_owned().await;
            let bytes = Arc::clone(&inner.bytes).acquire_many_owned(size).await;
            one.ok().zip(bytes.ok())
        };
        let room = timeout(inner.enqueue_timeout, room).await;
        let room = room.map_err(|_| Error::Full)?.ok_or(Error::Closed)?;
        self.put(written, room)
    }

    /// Puts an event into the queue if there is room now, and gives it back if there is none.
    ///
    /// # Errors
    /// As [`Self::send`], without waiting.
    pub fn try_send(&self, event: Event) -> Result<Delivery, (Event, Error)> {
        let inner = &*self.0;
        let written = event.clone().written();
        let taken = self.size(&written).and_then(|size| {
            let one = Arc::clone(&inner.events).try_acquire_owned();
            let bytes = Arc::clone(&inner.bytes).try_acquire_many_owned(size);
            let is_closed = inner.events.is_closed();
            let none = if is_closed {
                Error::Closed
            } else {
                Error::Full
            };
            one.ok().zip(bytes.ok()).ok_or(none)
        });
        let sent = taken.and_then(|room| self.put(written, room));
        sent.map_err(|error| (event, error))
    }

    fn size(&self, written: &Written) -> Result<u32, Error> {
        let size = u32::try_from(written.line.len()).ok();
        let size = size.filter(|size| *size <= self.0.queue_bytes);
        size.ok_or_else(|| Error::Invalid("the event is larger than the queue".to_owned()))
    }

    fn put(
        &self,
        written: Written,
        room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    ) -> Result<Delivery, Error> {
        let (outcome, delivery) = oneshot::channel();
        let id = written.id.clone();
        let ticket = Ticket {
            outcome,
            _room: room,
        };
        let command = Command::Take(Item { written, ticket });
        self.0.queue.send(command).map_err(|_| Error::Closed)?;
        self.0.engine.counts.taken();
        Ok(Delivery {
            id,
            outcome: delivery,
        })
    }

    /// Waits until everything that was put in before has its outcome.
    ///
    /// # Errors
    /// [`Error::TimedOut`] where that takes longer; it goes on all the same.
    pub async fn flush(&self, within: Duration) -> Result<(), Error> {
        let (done, told) = oneshot::channel();
        let command = Command::Flush(done);
        self.0.queue.send(command).map_err(|_| Error::Closed)?;
        let told = timeout(within, told).await;
        told.map_err(|_| Error::TimedOut(within))?
            .map_err(|_| Error::Closed)
    }

    /// Waits until nothing is left in the spool.
    ///
    /// # Errors
    /// [`Error::TimedOut`] where that takes longer; it goes on all the same.
    pub async fn drained(&self, within: Duration) -> Result<(), Error> {
        let Some(store) = &self.0.engine.store else {
            return Ok(());
        };
        let drained = timeout(within, store.is_empty()).await;
        drained.map_err(|_| Error::TimedOut(within))
    }

    /// Takes no more, sends what there is, and ends. What is not delivered by the deadline is spooled, or
    /// its outcome is [`Outcome::Undelivered`]; syncing the disk may take some seconds on top.
    pub async fn shutdown(&self, within: Duration) -> Stats {
        let inner = &*self.0;
        inner.events.close();
        inner.bytes.close();
        let now = Instant::now();
        let deadline = now.checked_add(within).unwrap_or(now);
        inner.stop.send_replace(Some(deadline));
        // Where the worker has ended already, there is nothing to tell.
        let _ = inner.queue.send(Command::Shutdown);
        let worker = inner.worker.lock();
        let worker = worker.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut worker) = worker
            && timeout(within.saturating_add(DISK), &mut worker)
                .await
                .is_err()
        {
            worker.abort();
        }
        self.stats()
    }

    /// What became of everything so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let spool = self.0.engine.store.as_ref().map(Store::size);
        self.0.engine.counts.read(spool.unwrap_or_default())
    }
}

/// What becomes of an event: a future, which may be dropped.
#[derive(Debug)]
#[must_use = "an event is safe only when its outcome says so; drop this where that may be"]
pub struct Delivery {
    id: String,
    outcome: oneshot::Receiver<Outcome>,
}

impl Delivery {
    /// The id of the event, also where it was derived.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Future for Delivery {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let told = Pin::new(&mut self.outcome).poll(context);
        told.map(|told| told.unwrap_or(Outcome::Undelivered(Error::Closed)))
    }
}
