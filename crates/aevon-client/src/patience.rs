//! When to give up.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// An end of waiting, which whoever stops everything may bring forward.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    until: Option<Instant>,
    stop: watch::Receiver<Option<Instant>>,
}

impl Patience {
    /// For so long.
    pub(crate) fn lasting(within: Duration) -> Self {
        let (_, stop) = watch::channel(None);
        Self {
            until: Instant::now().checked_add(within),
            stop,
        }
    }

    /// Until it is stopped, and for so long at most.
    pub(crate) fn until_stopped(
        within: Option<Duration>,
        stop: watch::Receiver<Option<Instant>>,
    ) -> Self {
        let until = within.and_then(|within| Instant::now().checked_add(within));
        Self { until, stop }
    }

    fn end(&self) -> Option<Instant> {
        let stop = *self.stop.borrow();
        match (self.until, stop) {
            (Some(until), Some(stop)) => Some(until.min(stop)),
            (until, stop) => until.or(stop),
        }
    }

    /// What comes of it; none where it was given up.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let mut stop = self.stop.clone();
        loop {
            let end = self.end();
            let over = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            // Nobody is left who could stop it.
            let changed = async {
                if stop.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = over => return None,
                () = changed => {}
            }
        }
    }
}
