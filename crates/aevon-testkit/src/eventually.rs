//! Waiting on a condition instead of sleeping for a time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

const POLL: Duration = Duration::from_millis(10);

/// Asks `condition` every 10 ms until it is true.
///
/// # Panics
/// It was not true before the deadline; the message says `what` was waited for.
pub async fn eventually<F>(deadline: Duration, what: &str, mut condition: F)
where
    F: AsyncFnMut() -> bool,
{
    let end = Instant::now() + deadline;
    while !condition().await {
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
    #[should_panic(expected = "the moon")]
    async fn it_panics_with_what_did_not_come() {
        eventually(Duration::ZERO, "the moon", async || false).await;
    }
}
