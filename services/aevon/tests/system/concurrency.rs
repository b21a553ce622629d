//! Many clients at once, with the times at which they asked and were answered: what they saw is what
//! one log could have shown them, while two aggregators sweep, on the primary and on a standby.

use crate::audit;
use crate::fleet::Fleet;
use crate::load::Load;
use aevon_postgres::{Server, ServerOptions};
use futures_util::future::join_all;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Clients at once.
const CLIENTS: u64 = 24;
/// Events that they get through, and four times fewer states, in so many steps.
const EVENTS: usize = 4000;
const STEPS: usize = 4;
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn what_many_clients_see_at_once_is_what_one_log_could_have_shown_them() {
    let mut primary = Server::start(&ServerOptions::default()).unwrap();
    let standby = primary.standby().unwrap();
    let url = primary.url("postgres");
    let mut fleet = Fleet::start(&url, [&url, &url], &[]).await;
    fleet.read_from(&standby.url("postgres")).await;
    let load = Load::new("c");
    let clients = (0..CLIENTS).map(|seed| load.call(&fleet, seed));
    let end = async {
        for _ in 0..STEPS {
            load.goes_on(EVENTS / STEPS, DEADLINE, "clients get through")
                .await;
        }
        load.end();
    };
    tokio::join!(join_all(clients), end);
    let mut wrong = load.violations(&url).await;
    wrong.extend(audit::violations(&fleet, &url, &load.lists()).await);
    wrong.extend(audit::verify(&url));
    eprintln!("{}, {} violations", load.tally, wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(load.tally.broken.load(Ordering::SeqCst), 0);
}
