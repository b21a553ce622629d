//! Statements sent together: one round trip for several.
//!
//! Ordering: tokio-postgres sends a statement when its future is polled for the first time, and
//! Postgres answers in that order. So statements are polled once in order, then awaited in order.
//! A statement that the connection has not prepared yet would send its `Parse` there and itself
//! later, out of order: a transaction runs one statement after another until its connection is
//! warm for it, see [`crate::database::Connection::is_warm`].

use futures_util::future::{BoxFuture, FutureExt, MaybeDone, maybe_done};
use futures_util::poll;

/// A statement that may be on its way.
pub(crate) struct Sent<'a, T>(MaybeDone<BoxFuture<'a, T>>);

impl<'a, T> Sent<'a, T> {
    /// Sends the statement now if the connection is warm; otherwise it goes when it is awaited.
    pub(crate) async fn new(future: impl Future<Output = T> + Send + 'a, warm: bool) -> Self {
        let mut statement = maybe_done(future.boxed());
        if warm {
            let _ = poll!(&mut statement);
        }
        Self(statement)
    }

    /// Waits for the answer.
    pub(crate) async fn answer(mut self) -> T {
        (&mut self.0).await;
        match std::pin::Pin::new(&mut self.0).take_output() {
            Some(output) => output,
            None => unreachable!("a finished statement has its output until it is taken once"),
        }
    }
}
