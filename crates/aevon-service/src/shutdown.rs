//! The one signal that tells every task of a process to stop.
//!
//! Invariant: once triggered it stays triggered; every clone sees it.

use std::future::Future;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A shared request to stop; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// One that nobody has triggered.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody to stop. Asking again changes nothing.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Resolves once somebody has asked to stop; at once if that has happened already.
    pub fn triggered(&self) -> impl Future<Output = ()> + Send + use<> {
        self.token.clone().cancelled_owned()
    }

    /// Whether somebody has asked to stop.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Triggers on the first SIGTERM or SIGINT and then returns; returns too when it was
    /// triggered otherwise. The handlers are installed by the first poll and stay.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub async fn signals(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = self.triggered() => return Ok(()),
        };
        tracing::info!(signal = name, "stopping");
        self.trigger();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_clone_sees_the_trigger_and_keeps_seeing_it() {
        let shutdown = Shutdown::new();
        let clone = shutdown.clone();
        assert!(!clone.is_triggered());
        let waiting = clone.triggered();
        shutdown.trigger();
        shutdown.trigger();
        waiting.await;
        clone.triggered().await;
        assert!(clone.is_triggered());
    }

    #[tokio::test]
    async fn waiting_for_signals_ends_when_somebody_else_triggers() {
        let shutdown = Shutdown::new();
        shutdown.trigger();
        shutdown.signals().await.unwrap();
    }
}
