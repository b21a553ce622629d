//! What an erasure touches, what it leaves alone, and when it is refused.

use crate::erasure::{ANN, erase_of, refusal_of, traces, verify_of};
use crate::support::{World, at, event};
use aevon_core::append::Verdict;
use aevon_core::erasure::Spelled;
use aevon_core::event::NewEvent;
use aevon_schema::erasure::{ErasureError, Found, Refusal};
use aevon_schema::rejected_events::{self, Rejected};
use aevon_schema::sweep::{Whose, sweep_once};
use aevon_testkit::eventually;
use std::time::Duration;

/// Longer than anything waits here.
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_knew_the_old_name_sees_that_it_is_somebody_new() {
    let world = World::new().await;
    let mut appender = world.appender();
    let first = event(ANN, "e1", at("2026-01-01T00:00:00Z"), "1");
    let twin = event("bob@example.org", "e1", at("2026-01-01T00:00:00Z"), "1");
    appender.append(&[&first, &twin]).await.unwrap();
    let stored = appender.append(&[&first, &twin]).await.unwrap();
    assert!(
        stored
            .iter()
            .all(|verdict| matches!(verdict, Verdict::Duplicate { .. }))
    );
    let rehearsed = erase_of(&world, &[], false, true).await.unwrap();
    assert_eq!((rehearsed.events, world.count("erasures").await), (1, 0));
    let again = appender.append(&[&first]).await.unwrap();
    assert!(matches!(again[0], Verdict::Duplicate { .. }), "{again:?}");

    let erased = erase_of(&world, &[], false, false).await.unwrap();
    // What was stored is nobody's any more, so that the same event is a new one, of somebody new.
    let again = appender.append(&[&first, &twin]).await.unwrap();
    assert!(matches!(again[0], Verdict::Accepted { .. }), "{again:?}");
    assert!(matches!(again[1], Verdict::Duplicate { .. }), "{again:?}");
    assert_eq!(world.count("principals").await, 3);
    let client = world.db.client().await;
    let row = client.query_one(
        "SELECT pseudonym, erased_by, events, is_forced FROM erasures",
        &[],
    );
    let row = row.await.unwrap();
    assert_eq!(row.get::<_, Option<String>>(0), erased.pseudonym);
    assert_eq!((row.get::<_, i64>(2), row.get::<_, bool>(3)), (1, false));
    assert!(!row.get::<_, String>(1).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rejected_of_the_principal_goes_and_of_others_stays() {
    let world = World::new().await;
    let rejected = |body: &str, faults: &str| Rejected {
        received_at: at("2026-01-01T00:00:00Z"),
        tenant_id: "acme".to_owned(),
        codes: vec!["malformed-body"],
        request_id: "r".to_owned(),
        item_index: None,
        event_id: None,
        content_type: None,
        faults: faults.to_owned(),
        body: body.as_bytes().to_vec(),
        body_bytes: None,
    };
    let mut others = rejected(&format!("{{\"principal_id\":\"{ANN}\"}}"), "[]");
    others.tenant_id = "other".to_owned();
    let list = [
        rejected(&format!("[{{\"principal_id\":\"{ANN}\"}}]"), "[]"),
        rejected("{\"principal_id\":\"ann\\u0040example.org\"", "[]"),
        rejected("{\"principal_id\":\"ann@exam", "[]"),
        rejected("", &format!("[{{\"detail\":\"{ANN} is none\"}}]")),
        // Where the field that says whose it is was the fault.
        rejected(&format!("{{\"principalId\":\"{ANN}\"}}"), "[]"),
        rejected(&format!("{{\"principal_id\":[\"{ANN}\"]}}"), "[]"),
        rejected(
            &format!("{{\"principal_id\":\"{ANN}\",\"principal_id\":\"bob\"}}"),
            "[]",
        ),
        rejected(&format!("{{\"principal_id\":{{\"{ANN}\":1}}}}"), "[]"),
        rejected("{\"principalId\":\"joann@example.org\"}", "[]"),
        rejected(
            &format!("{{\"principal_id\":\"bob\",\"friend\":\"{ANN}\"}}"),
            "[]",
        ),
        rejected("{\"principal_id\":\"joann@example.org\"}", "[]"),
        others,
    ];
    let mut connection = world.connection().await;
    rejected_events::insert(&mut connection, &list)
        .await
        .unwrap();
    let erased = erase_of(&world, &[], false, false).await.unwrap();
    assert_eq!((erased.rejected, erased.pseudonym), (8, None));
    assert_eq!(world.count("rejected_events").await, 4);
    let again = erase_of(&world, &[], false, false).await.unwrap_err();
    assert_eq!(refusal_of(again), (Found::default(), Refusal::Nobody));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_spell_the_name_out_keep_it_and_are_named() {
    let world = World::new().await;
    let rule = |who: &str| {
        format!("name: r\nsource_event: u\noperator: count\nfilter: principal_id != '{who}'")
    };
    let other = "name: other\nsource_event: u\noperator: count";
    world.apply(&[&rule("ann\\x40example.org"), other]).await;
    world.apply(&[&rule("bob"), other]).await;
    world
        .store(&[event(ANN, "e1", at("2026-01-01T00:00:00Z"), "1")])
        .await;
    let spelled = [Spelled {
        rule: "r:1".to_owned(),
        fields: vec!["filter"],
    }];
    for is_rehearsal in [true, false] {
        let erased = erase_of(&world, &[], false, is_rehearsal).await.unwrap();
        assert_eq!((erased.events, &erased.spelled[..]), (1, &spelled[..]));
    }
    // Also where there is nothing more to erase.
    let again = erase_of(&world, &[], false, false).await.unwrap_err();
    let (found, why) = refusal_of(again);
    assert_eq!((&found.spelled[..], why), (&spelled[..], Refusal::Nobody));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_changes_the_log_nor_may_anybody_else_ask_for_it() {
    let world = World::new().await;
    world
        .apply(&["name: r\nsource_event: t\noperator: count\ngroup_by: [n]"])
        .await;
    world
        .store(&[event(ANN, "e1", at("2026-01-01T00:00:00Z"), "1")])
        .await;
    let unread = erase_of(&world, &["data.m"], true, false)
        .await
        .unwrap_err();
    let (found, why) = refusal_of(unread);
    assert_eq!(
        (found.events, why),
        (1, Refusal::Unread(vec!["data.m".to_owned()]))
    );
    let refused = erase_of(&world, &[], false, false).await.unwrap_err();
    let (found, Refusal::InTheWay(obstacles)) = refusal_of(refused) else {
        panic!("rules are in the way")
    };
    assert_eq!(found.events, 1);
    assert_eq!(
        (obstacles[0].place.as_str(), obstacles[0].rule.as_str()),
        ("data.n", "r:1")
    );
    assert_eq!(world.count("erasures").await, 0);
    assert_eq!(traces(&world, ANN).await.len(), 1);

    let client = world.db.client().await;
    let ask = "SELECT erase_principal('acme', 'bob', 0, 'x', '{}', '{}', false, NULL)";
    for change in ["DELETE FROM events", "TRUNCATE events", "DELETE FROM voids"] {
        let refused = client.batch_execute(&format!("{ask}; {change}")).await;
        let refused = refused.unwrap_err();
        let says = refused
            .as_db_error()
            .map(|error| error.message().to_owned());
        assert!(says.unwrap().contains("append-only"), "{change}");
    }
    client.batch_execute(ask).await.unwrap();
    let later = client.batch_execute("UPDATE events SET data = '{}'").await;
    assert!(later.is_err(), "an erasure that is over opens nothing");
    let asked = format!("SET ROLE aevon_aggregator; {ask}");
    let refused = client.batch_execute(&asked).await.unwrap_err();
    let says = refused
        .as_db_error()
        .map(|error| error.message().to_owned());
    assert!(says.unwrap().contains("permission denied for function"));
    // As a dump leaves it that is put back where the roles are missing.
    let granted = format!(
        "GRANT EXECUTE ON FUNCTION erase_principal TO PUBLIC; SET SESSION AUTHORIZATION aevon_aggregator; {ask}"
    );
    let refused = client.batch_execute(&granted).await.unwrap_err();
    let says = refused
        .as_db_error()
        .map(|error| error.message().to_owned());
    assert!(says.unwrap().contains("only the owner"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_behind_the_look_is_looked_at_before_it_is_blanked() {
    let labels = "name: who\nsource_event: u\noperator: count\ngroup_by: [mail]";
    let dear = "name: dear\nsource_event: t\noperator: count\n\
                filter: data.l.exists(x, data.l.exists(y, x == y))";
    let pad = format!(r#"{{"l":[1],"pad":"{}"}}"#, "x".repeat(200_000));
    for (rule, keep, event_type, data) in [
        (labels, &[][..], "u", r#"{"mail":"ann@example.org"}"#),
        (dear, &["data.l"][..], "t", &pad),
        // Nothing new is in the way; but more of what came in has to be kept.
        (dear, &["data.l", "data"][..], "t", &pad),
    ] {
        let world = World::new().await;
        world.apply(&[rule]).await;
        let mut first = event(ANN, "e1", at("2026-01-01T00:00:00Z"), "1");
        first.event_type = "t".to_owned();
        first.data = r#"{"l":[1]}"#.to_owned();
        world.store(&[first.clone()]).await;
        // Holds an erasure up between its look and its first step.
        let mut holder = world.db.client().await;
        let held = holder.transaction().await.unwrap();
        held.batch_execute("LOCK TABLE erasures IN SHARE MODE")
            .await
            .unwrap();
        let erasing = erase_of(&world, keep, false, false);
        let meanwhile = async {
            let watcher = world.db.client().await;
            let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted
                         AND relation = 'erasures'::regclass";
            while watcher
                .query_one(waits, &[])
                .await
                .unwrap()
                .get::<_, i64>(0)
                == 0
            {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let late = NewEvent {
                event_id: "e2".to_owned(),
                event_type: event_type.to_owned(),
                data: data.to_owned(),
                ..first
            };
            world.store(&[late]).await;
            held.commit().await.unwrap();
        };
        let (erased, ()) = tokio::join!(erasing, meanwhile);
        let refused = erased.unwrap_err();
        assert!(matches!(refused, ErasureError::Moved), "{rule}: {refused}");
        assert_eq!(world.count("erasures").await, 0);
    }
}

/// A sweep that has the right to write the buckets when an erasure begins, and reads its slice only after
/// more has come in.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_swept_while_an_erasure_waits_is_blanked_before_it_is_refolded() {
    let world = World::new().await;
    let rule = "name: where\nsource_event: t\noperator: count\ngroup_by: [region]";
    world.apply(&[rule]).await;
    let of_ann = |id: &str| {
        let mut event = event(ANN, id, at("2026-01-01T00:00:00Z"), "1");
        event.event_type = "t".to_owned();
        event.data = r#"{"region":"where ann@example.org lives"}"#.to_owned();
        event
    };
    let [first] = world.store(&[of_ann("e1")]).await[..] else {
        panic!("one is stored");
    };
    world.sweep(50).await;
    let mut holder = world.db.client().await;
    let watcher = world.db.client().await;
    let waiting = async |sessions: i64| {
        let query = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid IN (
                     SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
        eventually(DEADLINE, "they wait", async || {
            let waiting: i64 = watcher.query_one(query, &[]).await.unwrap().get(0);
            waiting == sessions
        })
        .await;
    };
    let held = holder.transaction().await.unwrap();
    held.batch_execute("LOCK TABLE sweep_checkpoints IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let mut sweeper = world.connection().await;
    let sweeping = sweep_once(&mut sweeper, first.partition, 50, Whose::Front);
    let erasing = async {
        waiting(1).await;
        erase_of(&world, &[], true, false).await
    };
    let meanwhile = async {
        waiting(2).await;
        world.store(&[of_ann("e2"), of_ann("e3")]).await;
        held.rollback().await.unwrap();
    };
    let (swept, erased, ()) = tokio::join!(sweeping, erasing, meanwhile);
    assert_eq!(swept.unwrap().unwrap().to, first.seq + 2);
    assert_eq!(erased.unwrap().events, 3);
    verify_of(&world, "after the erasure").await;
    assert_eq!(traces(&world, ANN).await, [""; 0]);
}
