//! Connections that are cut at the worst moments.

use crate::support::{World, at, event, open};
use aevon_core::append::Verdict;
use aevon_core::event::NewEvent;
use aevon_schema::append::{AppendError, Appender};
use aevon_testkit::Proxy;

struct Cut {
    world: World,
    proxy: Proxy,
    appender: Appender,
}

impl Cut {
    /// An appender behind a proxy; warm where its connection has appended before.
    async fn new(warm: bool) -> Self {
        let world = World::new().await;
        let (proxy, url) = Proxy::in_front_of(world.db.url()).await;
        let mut appender = Appender::new(open(&url), world.partitions);
        if warm {
            let first = event("warm", "warm", at("2026-01-01T00:00:00Z"), "1");
            appender.append(&[&first]).await.unwrap();
        }
        Self {
            world,
            proxy,
            appender,
        }
    }

    /// Every event lies under the number of its own principal.
    async fn check_numbers(&self, expected: &[(&str, &str, &str)]) {
        let client = self.world.db.client().await;
        for (tenant, principal, id) in expected {
            let found: i64 = client
                .query_one(
                    "SELECT count(*) FROM events e JOIN principals q USING (principal_no, partition)
                     WHERE q.tenant_id = $1 AND q.principal_id = $2 AND e.event_id = $3",
                    &[tenant, principal, id],
                )
                .await
                .unwrap()
                .get(0);
            assert_eq!(found, 1, "{tenant} {principal} {id}");
        }
    }
}

fn of(tenant: &str, principal: &str, id: &str) -> NewEvent {
    let mut event = event(principal, id, at("2026-01-01T00:00:00Z"), "1");
    event.tenant_id = tenant.to_owned();
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_never_arrived_leaves_no_principal_number_in_the_cache() {
    for warm in [false, true] {
        let mut cut = Cut::new(warm).await;
        let known = cut.appender.cached_principals();
        cut.proxy.cut_before(b"COMMIT\0");
        let first = of("acme", "new", "e");
        let error = cut.appender.append(&[&first]).await.unwrap_err();
        assert!(matches!(error, AppendError::Unknown(_)), "{error}");
        assert_eq!(cut.appender.cached_principals(), known);
        assert_eq!(cut.world.count("events").await, i64::from(warm));
        // Another tenant takes the next number, over the same appender; then the first tries again.
        let other = of("other", "new", "e");
        cut.appender.append(&[&other]).await.unwrap();
        let retried = cut.appender.append(&[&first]).await.unwrap();
        assert!(
            matches!(retried[0], Verdict::Accepted { .. }),
            "{retried:?}"
        );
        cut.check_numbers(&[("acme", "new", "e"), ("other", "new", "e")])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_unknown_and_its_retry_a_duplicate() {
    for warm in [false, true] {
        let mut cut = Cut::new(warm).await;
        let known = cut.appender.cached_principals();
        cut.proxy.swallow_after(b"COMMIT\0");
        let first = of("acme", "new", "e");
        let error = cut.appender.append(&[&first]).await.unwrap_err();
        assert!(matches!(error, AppendError::Unknown(_)), "{error}");
        assert_eq!(cut.appender.cached_principals(), known);
        let retried = cut
            .appender
            .append(&[&first, &of("other", "new", "e")])
            .await
            .unwrap();
        assert!(
            matches!(retried[0], Verdict::Duplicate { .. }),
            "{retried:?}"
        );
        assert!(
            matches!(retried[1], Verdict::Accepted { .. }),
            "{retried:?}"
        );
        cut.check_numbers(&[("acme", "new", "e"), ("other", "new", "e")])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_died_while_idle_costs_the_caller_nothing() {
    let mut cut = Cut::new(true).await;
    cut.proxy.cut();
    cut.proxy.heal();
    let verdicts = cut
        .appender
        .append(&[&of("acme", "new", "e")])
        .await
        .unwrap();
    assert!(
        matches!(verdicts[0], Verdict::Accepted { .. }),
        "{verdicts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_while_the_database_is_away() {
    let mut cut = Cut::new(true).await;
    cut.proxy.cut();
    let error = cut
        .appender
        .append(&[&of("acme", "new", "e")])
        .await
        .unwrap_err();
    assert!(matches!(error, AppendError::NotStored(_)), "{error}");
    cut.proxy.heal();
    let verdicts = cut
        .appender
        .append(&[&of("acme", "new", "e")])
        .await
        .unwrap();
    assert!(
        matches!(verdicts[0], Verdict::Accepted { .. }),
        "{verdicts:?}"
    );
}

/// What a server is without all that it had: a standby that had not got so far, or a backup.
const EARLIER: &str = "
    ALTER TABLE events DISABLE TRIGGER ALL; DELETE FROM events; DELETE FROM principals;
    ALTER SEQUENCE principal_numbers RESTART";

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_a_server_that_an_earlier_one_has_replaced_are_forgotten() {
    let mut cut = Cut::new(false).await;
    let lost = of("acme", "new", "lost");
    cut.appender.append(&[&lost]).await.unwrap();
    cut.proxy.cut();
    cut.world
        .db
        .client()
        .await
        .batch_execute(EARLIER)
        .await
        .unwrap();
    cut.proxy.heal();
    // Another tenant gets the number that was lost.
    let other = of("other", "new", "e");
    cut.world.appender().append(&[&other]).await.unwrap();
    cut.appender
        .append(&[&of("acme", "new", "e")])
        .await
        .unwrap();
    cut.check_numbers(&[("acme", "new", "e"), ("other", "new", "e")])
        .await;
}
