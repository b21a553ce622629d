//! The task that makes batches of what is in the queue.

use super::engine::Engine;
use super::{Command, Item};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

pub(super) struct Worker {
    engine: Arc<Engine>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// What was received and belongs into the next batch, or behind this one.
    held: Option<Command>,
    /// One permit a body under way.
    in_flight: Arc<Semaphore>,
}

impl Worker {
    pub(super) fn new(engine: Arc<Engine>, commands: mpsc::UnboundedReceiver<Command>) -> Self {
        let in_flight = Semaphore::new(engine.options.max_in_flight as usize);
        Self {
            engine,
            commands,
            held: None,
            in_flight: Arc::new(in_flight),
        }
    }

    /// Until the queue is closed and empty, and everything in it decided.
    pub(super) async fn run(mut self) {
        let drain = {
            let engine = Arc::clone(&self.engine);
            tokio::spawn(async move { engine.drain().await })
        };
        while let Some(command) = self.next().await {
            match command {
                Command::Take(item) => {
                    let batch = self.gather(item).await;
                    self.dispatch(batch).await;
                }
                Command::Flush(done) => {
                    self.all_decided().await;
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
                // What was put in before is still received.
                Command::Shutdown => self.commands.close(),
            }
        }
        self.all_decided().await;
        // It ends when it is stopped; where every producer was dropped, with this task.
        match self.engine.store {
            Some(_) if self.engine.is_stopped() => {
                let _ = drain.await;
            }
            _ => drain.abort(),
        }
    }

    async fn next(&mut self) -> Option<Command> {
        match self.held.take() {
            Some(command) => Some(command),
            None => self.commands.recv().await,
        }
    }

    /// The event, and those that come soon enough to share its body.
    async fn gather(&mut self, first: Item) -> Vec<Item> {
        let options = self.engine.options;
        let mut bytes = first.written.line.len();
        let mut batch = vec![first];
        let now = Instant::now();
        let end = now.checked_add(options.linger).unwrap_or(now);
        while batch.len() < options.max_batch_events {
            match timeout_at(end, self.commands.recv()).await {
                Ok(Some(Command::Take(item)))
                    if bytes + item.written.line.len() <= options.max_batch_bytes =>
                {
                    bytes += item.written.line.len();
                    batch.push(item);
                }
                Ok(command) => {
                    self.held = command;
                    break;
                }
                Err(_) => break,
            }
        }
        batch
    }

    async fn dispatch(&self, batch: Vec<Item>) {
        // Never closed.
        let Ok(permit) = Arc::clone(&self.in_flight).acquire_owned().await else {
            return;
        };
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move {
            engine.deliver(batch).await;
            drop(permit);
        });
    }

    /// Waits until nothing is under way.
    async fn all_decided(&self) {
        let all = self.engine.options.max_in_flight;
        let _ = self.in_flight.acquire_many(all).await;
    }
}
