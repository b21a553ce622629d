//! What the tasks of a producer share: how a body is delivered, or kept.

use super::stats::Counts;
use super::store::Store;
use super::{Item, Options, Ticket};
use crate::client::Client;
use crate::error::Error;
use crate::event::Written;
use crate::outcome::Outcome;
use crate::patience::Patience;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

#[derive(Debug)]
pub(super) struct Engine {
    client: Client,
    pub(super) options: Options,
    pub(super) store: Option<Store>,
    stopped: watch::Receiver<Option<Instant>>,
    pub(super) counts: Counts,
}

impl Engine {
    pub(super) fn new(
        client: Client,
        options: Options,
        store: Option<Store>,
        stopped: watch::Receiver<Option<Instant>>,
    ) -> Self {
        Self {
            client,
            options,
            store,
            stopped,
            counts: Counts::default(),
        }
    }

    fn patience(&self, within: Option<Duration>) -> Patience {
        Patience::until_stopped(within, self.stopped.clone())
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        self.counts.decided(&outcome);
        // Whoever asked may have gone.
        let _ = ticket.outcome.send(outcome);
    }

    /// Delivers a batch, or spools it.
    ///
    /// Ordering: while anything lies in the spool, what comes later goes there as well.
    pub(super) async fn deliver(&self, batch: Vec<Item>) {
        let batch = batch.into_iter().map(|item| (item.written, item.ticket));
        let (mut lines, tickets): (Vec<Written>, Vec<Ticket>) = batch.unzip();
        let mut tickets = tickets.into_iter();
        let error = match &self.store {
            Some(store) if store.size().events > 0 => Error::Spool("is not empty".to_owned()),
            _ => {
                let patience = self.patience(Some(self.options.delivery_timeout));
                let delivered = self.client.deliver(&lines, &patience).await;
                self.counts.retried(delivered.retries);
                lines.drain(..delivered.outcomes.len());
                for (outcome, ticket) in delivered.outcomes.into_iter().zip(&mut tickets) {
                    self.settle(ticket, outcome);
                }
                match delivered.error {
                    None => return,
                    Some(error) => {
                        self.counts.failed(error.clone());
                        error
                    }
                }
            }
        };
        let outcome = self.keep(lines, error).await;
        for ticket in tickets {
            self.settle(ticket, outcome.clone());
        }
    }

    /// Spools lines that could not be delivered.
    async fn keep(&self, lines: Vec<Written>, error: Error) -> Outcome {
        let Some(store) = &self.store else {
            return Outcome::Undelivered(error);
        };
        let patience = self.patience(Some(self.options.delivery_timeout));
        match store.append(&Arc::new(lines), &patience).await {
            Ok(()) => Outcome::Spooled,
            Err(error) => {
                self.counts.failed(error.clone());
                Outcome::Undelivered(error)
            }
        }
    }

    /// Delivers what lies in the spool, until it is stopped; behind a stop only until it is empty.
    pub(super) async fn drain(&self) {
        let Some(store) = &self.store else {
            return;
        };
        let patience = self.patience(None);
        let mut stopped = self.stopped.clone();
        loop {
            tokio::select! {
                biased;
                () = store.is_filled() => {}
                _ = stopped.wait_for(Option::is_some) => return,
            }
            match self.drain_one(store, &patience).await {
                Ok(()) => {}
                Err(error) => {
                    self.counts.failed(error);
                    // Whatever it is, somebody may mend it: a key, a disk, a service.
                    let pause = sleep(self.client.longest_wait());
                    if patience.within(pause).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    async fn drain_one(&self, store: &Store, patience: &Patience) -> Result<(), Error> {
        let Some(record) = store.first().await? else {
            return Ok(());
        };
        let delivered = self.client.deliver(&record.lines, patience).await;
        self.counts.retried(delivered.retries);
        if let Some(error) = delivered.error {
            return Err(error);
        }
        let outcomes = delivered.outcomes.clone();
        store.advance(record, outcomes).await?;
        delivered
            .outcomes
            .iter()
            .for_each(|outcome| self.counts.came(outcome));
        Ok(())
    }
}
