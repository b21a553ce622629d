//! The heads of the log as many who wait look at them: one question to the database serves all.

use aevon_core::position::Position;
use aevon_service::problem::Problem;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What was seen last, and when. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heads(Arc<Mutex<Option<Seen>>>);

#[derive(Debug)]
struct Seen {
    at: Instant,
    heads: Vec<Position>,
}

impl Heads {
    /// The heads as they were at most `age` ago. Whoever finds them older looks, the others wait for
    /// what it sees.
    pub(crate) async fn get(
        &self,
        age: Duration,
        look: impl AsyncFnOnce() -> Result<Vec<Position>, Problem>,
    ) -> Result<Vec<Position>, Problem> {
        let mut seen = self.0.lock().await;
        match &*seen {
            Some(seen) if seen.at.elapsed() < age => Ok(seen.heads.clone()),
            _ => {
                let at = Instant::now();
                let heads = look().await?;
                *seen = Some(Seen {
                    at,
                    heads: heads.clone(),
                });
                Ok(heads)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[tokio::test]
    async fn many_who_wait_look_once() {
        let (heads, looks) = (Heads::default(), AtomicI64::new(0));
        let look = async || {
            let seq = looks.fetch_add(1, Ordering::SeqCst);
            Ok(vec![Position { partition: 0, seq }])
        };
        let minute = Duration::from_secs(60);
        let all = (0..10).map(|_| heads.get(minute, look));
        let seen = futures_util::future::try_join_all(all).await.unwrap();
        assert!(seen.iter().all(|heads| heads[0].seq == 0));
        assert_eq!(heads.get(Duration::ZERO, look).await.unwrap()[0].seq, 1);
    }
}
