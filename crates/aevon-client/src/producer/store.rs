//! The spool as tasks use it: its disk is waited for elsewhere, and its size is watched.

use crate::error::Error;
use crate::event::Written;
use crate::outcome::Outcome;
use crate::patience::Patience;
use crate::spool::{Record, Size, Spool};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

#[derive(Debug)]
pub(super) struct Store {
    spool: Arc<Mutex<Spool>>,
    size: watch::Sender<Size>,
}

impl Store {
    pub(super) fn new(spool: Spool) -> Self {
        let (size, _) = watch::channel(spool.size());
        Self {
            spool: Arc::new(Mutex::new(spool)),
            size,
        }
    }

    pub(super) fn size(&self) -> Size {
        *self.size.borrow()
    }

    pub(super) async fn is_empty(&self) {
        let is_empty = |size: &Size| size.events == 0;
        // It ends only with this sender.
        let _ = self.size.subscribe().wait_for(is_empty).await;
    }

    pub(super) async fn is_filled(&self) {
        let _ = self.size.subscribe().wait_for(|size| size.events > 0).await;
    }

    /// Does something to the spool where that may block.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Spool) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let spool = Arc::clone(&self.spool);
        let done = tokio::task::spawn_blocking(move || {
            let mut spool = spool.lock().unwrap_or_else(PoisonError::into_inner);
            let done = work(&mut spool);
            (done, spool.size())
        });
        let (done, size) = done
            .await
            .map_err(|error| Error::Spool(error.to_string()))?;
        self.size.send_replace(size);
        done
    }

    /// Writes a body behind all others; waits for room, as long as the patience lasts.
    pub(super) async fn append(
        &self,
        lines: &Arc<Vec<Written>>,
        patience: &Patience,
    ) -> Result<(), Error> {
        loop {
            // Subscribed before the attempt: what is freed afterwards is seen.
            let mut size = self.size.subscribe();
            let body = Arc::clone(lines);
            match self.with(move |spool| spool.append(&body)).await {
                Err(Error::Full) => {}
                done => return done,
            }
            let bytes = size.borrow_and_update().bytes;
            let frees = size.wait_for(|size| size.bytes < bytes);
            if patience.within(frees).await.is_none() {
                return Err(Error::Spool("is full".to_owned()));
            }
        }
    }

    pub(super) async fn first(&self) -> Result<Option<Record>, Error> {
        self.with(Spool::first).await
    }

    /// The oldest body is delivered, and this came of it.
    pub(super) async fn advance(
        &self,
        record: Record,
        outcomes: Vec<Outcome>,
    ) -> Result<(), Error> {
        self.with(move |spool| {
            spool.note_refused(&record.lines, &outcomes)?;
            spool.advance(&record)
        })
        .await
    }
}
