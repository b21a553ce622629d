//! Waiting on a condition instead of sleeping for a time.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

const POLL: Duration = Duration::from_millis(10);

/// Asks `condition` every 10 ms until it is true. An answer that comes behind the deadline is none.
///
/// # Panics
/// It was not true before the deadline; the message says `what` was waited for.
pub async fn eventually<F>(deadline: Duration, what: &str, mut condition: F)
where
    F: AsyncFnMut() -> bool,
{
    let end = Instant::now() + deadline;
    while timeout_at(end, condition()).await != Ok(true) {
        assert!(
            Instant::now() < end,
            "did not come within {deadline:?}: {what}"
        );
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_returns_as_soon_as_the_condition_is_true() {
        let mut asked = 0;
        eventually(Duration::from_secs(10), "the third answer", async || {
            asked += 1;
            asked == 3
        })
        .await;
        assert_eq!(asked, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "too late")]
    async fn what_comes_behind_the_deadline_has_not_come() {
        eventually(Duration::from_millis(20), "too late", async || {
            sleep(Duration::from_millis(200)).await;
            true
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "the moon")]
    async fn it_panics_with_what_did_not_come() {
        eventually(Duration::ZERO, "the moon", async || false).await;
    }
}
