//! An attempt at an answer: wait until what is asked for is visible, within a budget, once more where
//! the connection died.

use super::StateError;
use crate::database::{Connection, Database};
use crate::error::StoreError;
use crate::events;
use aevon_core::position::Position;
use std::time::{Duration, Instant};

/// Between two looks whether a position is visible: at first, and at most.
const LOOK_INTERVALS: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(50)];

/// Answers within `budget`; where what is asked for is not visible yet, once it is, or `wait` is over.
pub(super) async fn within<T, A: Future<Output = Result<T, StateError>>>(
    database: &Database,
    wait: Duration,
    budget: Duration,
    answer: impl Fn() -> A,
) -> Result<T, StateError> {
    let until = Instant::now() + wait;
    loop {
        let answered = tokio::time::timeout(budget, answer()).await;
        match answered.unwrap_or(Err(StateError::BudgetExceeded(budget))) {
            Err(StateError::NotVisible { wanted, .. }) if Instant::now() < until => {
                wait_for(database, wanted, until).await?;
            }
            answered => return answered,
        }
    }
}

/// Waits until a position is visible, or time is up.
async fn wait_for(database: &Database, wanted: Position, until: Instant) -> Result<(), StateError> {
    let [mut interval, longest] = LOOK_INTERVALS;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        tokio::time::sleep(interval.min(left)).await;
        if left.is_zero() {
            return Ok(());
        }
        let mut connection = database.get().await?;
        let connection: &mut Connection = &mut connection;
        connection.begin_use();
        let heads = events::heads(&connection.pg, &[wanted.partition], None).await;
        let heads = heads.map_err(StoreError::from)?;
        connection.end_use();
        if heads
            .get(&wanted.partition)
            .is_some_and(|head| head.seq >= wanted.seq)
        {
            return Ok(());
        }
        interval = (2 * interval).min(longest);
    }
}

/// Answers, once more where the connection failed.
pub(super) async fn retried<T, A: Future<Output = Result<T, StateError>>>(
    once: impl Fn() -> A,
) -> Result<T, StateError> {
    match once().await {
        // A read changes nothing. The connection may have died since it was used last, and a
        // server on its way down refuses before it is gone: another connection tells.
        Err(StateError::Store(StoreError::Unavailable(_) | StoreError::Refused(_))) => once().await,
        answered => answered,
    }
}
