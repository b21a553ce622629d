//! Two programs at once: one is held at a point of its line while the other comes.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::wire::{DEADLINE, Wire};

/// Between two looks whether somebody waits for a lock.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// Sessions of this database that wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// What becomes of two programs, of which the first goes on when the other is done, or waits for it;
/// and whether it came to the point that its line was told to hold it at.
pub(super) async fn two_at_once<A, B>(
    observer: &Client,
    wire: &Wire,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (bool, A, B) {
    let (is_done, is_other_done, came) = (Cell::new(false), Cell::new(false), Cell::new(false));
    let held = async {
        let done = first.await;
        is_done.set(true);
        done
    };
    let meanwhile = async {
        let done = second.await;
        is_other_done.set(true);
        done
    };
    let directed = async {
        // Either the first one gets there, or it never goes by there.
        tokio::select! {
            biased;
            () = wire.sprung() => came.set(true),
            () = until(|| is_done.get()) => {}
        }
        let (done, ()) = tokio::join!(meanwhile, async {
            let deadline = Instant::now() + DEADLINE;
            while came.get() && !is_other_done.get() && Instant::now() < deadline {
                let waiting = observer.query_one(WAITING, &[]).await;
                if waiting.is_ok_and(|row| row.get::<_, i64>(0) > 0) {
                    break;
                }
                sleep(LOOK_INTERVAL).await;
            }
            wire.release();
        });
        done
    };
    let (done, other_done) = tokio::join!(held, directed);
    (came.get(), done, other_done)
}

/// Waits until it is so.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        sleep(LOOK_INTERVAL).await;
    }
}
