//! The verification of buckets: silent where sweeps were right, whatever they did, and never silent
//! where a row is not what the log says.

use crate::support::{World, at, event};
use aevon_core::event::NewEvent;
use aevon_core::time::MINUTE_US;
use aevon_schema::sweep::{Whose, sweep_once};
use aevon_schema::verify::{self, Checked, Principal, Versions};

const RULES: [&str; 6] = [
    "name: a_count\nsource_event: t\noperator: count\ngroup_by: [m]",
    "name: b_sum\nsource_event: t\noperator: sum\nfield: n",
    "name: c_last\nsource_event: t\noperator: latest\nfield: n\ngroup_by: [m, n]",
    "name: d_users\nsource_event: t\noperator: unique_count\nfield: n",
    "name: e_seats\nsource_event: t\noperator: weighted_sum\nfield: n",
    "name: f_large\nsource_event: t\noperator: max\nfield: n\nfilter: data.n > 3 && principal_id != 'q'",
];

fn events(from: i64, to: i64) -> Vec<NewEvent> {
    let one = |n: i64| {
        // Late ones among them, over more than two days.
        let minutes = (n * 7_919) % 3_000;
        let occurred_at = at("2026-01-01T00:00:30Z").plus_micros(minutes * MINUTE_US);
        let principal = ["p", "q", "r"][(n % 3) as usize];
        let mut event = event(principal, &format!("e{n}"), occurred_at, "0");
        event.data = format!("{{\"n\":{},\"m\":\"m{}\"}}", n % 11, n % 2);
        event
    };
    (from..to).map(one).collect()
}

/// Verifies everything.
async fn check(world: &World, versions: &Versions) -> Checked {
    let mut connection = world.connection().await;
    let mut all = Checked::default();
    for partition in 0..world.partitions {
        let page = verify::principals(&mut connection, partition, ("", ""), 1_000);
        let page = page.await.unwrap();
        let checked = verify::check(&mut connection, partition, &page, versions);
        let checked = checked.await.unwrap();
        all.events += checked.events;
        all.buckets += checked.buckets;
        all.differences += checked.differences;
        all.first = all.first.or(checked.first);
        all.ahead.extend(checked.ahead);
        if !page.is_empty() {
            all.swept.extend(checked.swept);
            all.unswept.extend(checked.unswept);
        }
        let tenants = verify::tenants(&mut connection, partition, "", 1_000);
        for tenant in tenants.await.unwrap() {
            let checked = verify::check_totals(&mut connection, partition, &tenant, versions);
            let checked = checked.await.unwrap();
            all.buckets += checked.buckets;
            all.differences += checked.differences;
            all.first = all.first.or(checked.first);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sweeps_made_is_what_the_log_says_whatever_they_did() {
    let world = World::new().await;
    world.apply(&RULES[..4]).await;
    world.store(&events(0, 200)).await;
    world.sweep(37).await;
    // Rules that come later, and one that changes its meaning, so that a retired version stands.
    let changed = RULES[1].replace("sum\nfield", "min\nfield");
    let set = [RULES[0], &changed, RULES[2], RULES[3], RULES[4], RULES[5]];
    world.apply(&set).await;
    world.store(&events(200, 320)).await;
    world.sweep(19).await;
    // A tail behind the checkpoints, which differ: one slice of one partition.
    let positions = world.store(&events(320, 380)).await;
    let mut connection = world.connection().await;
    let partition = positions[0].partition;
    sweep_once(&mut connection, partition, 7, Whose::Front)
        .await
        .unwrap()
        .unwrap();
    let checked = check(&world, &Versions::default()).await;
    assert_eq!((checked.differences, checked.first), (0, None));
    assert_eq!(checked.buckets, world.count("pre_aggregates").await as u64);
    assert!((320..380).contains(&checked.events), "{}", checked.events);
    assert!(checked.swept.contains(&"b_sum:1".to_owned()));
    assert!(checked.swept.contains(&"b_sum:2".to_owned()));
    assert!(checked.unswept.is_empty(), "{:?}", checked.unswept);
    // One rule alone, one version alone.
    let b_sum = |version| Versions {
        name: Some("b_sum".to_owned()),
        version,
    };
    let both = check(&world, &b_sum(None)).await;
    let first = check(&world, &b_sum(Some(1))).await;
    assert!(first.buckets > 0 && both.buckets > first.buckets && checked.buckets > both.buckets);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_changed_gone_or_invented_is_found_and_a_rule_without_a_licence_is_not_wrong()
{
    let world = World::new().await;
    world.apply(&RULES).await;
    world.store(&events(0, 60)).await;
    world.sweep(1_000).await;
    let client = world.db.client().await;
    for (column, change) in [
        ("value", "UPDATE pre_aggregates SET value = value + 1 WHERE operator = 2"),
        ("value", "UPDATE pre_aggregates SET value = 'NaN' WHERE operator = 4"),
        ("moment", "UPDATE pre_aggregates SET moment = '-Infinity' WHERE operator = 8 AND grain = 60"),
        ("latest_at", "UPDATE pre_aggregates SET latest_at = now() WHERE operator = 2 AND grain = 60"),
        ("latest_seq", "UPDATE pre_aggregates SET latest_seq = 7 WHERE operator = 1 AND grain = 60"),
        ("row", "DELETE FROM pre_aggregates WHERE operator = 1 AND grain = 1440"),
        (
            "row",
            "INSERT INTO pre_aggregates
             SELECT series_no, window_start - interval '9 days', event_count, skipped_count, first_seq,
                    last_seq, last_void_seq, latest_seq, latest_at, partition, epoch, grain, operator,
                    value, moment, sketch
             FROM pre_aggregates WHERE operator = 4 AND grain = 60",
        ),
    ] {
        client.batch_execute("BEGIN").await.unwrap();
        let changed = client.execute(change, &[]).await.unwrap();
        assert!(changed > 0, "{change}");
        client.batch_execute("COMMIT").await.unwrap();
        let checked = check(&world, &Versions::default()).await;
        assert_eq!(checked.differences, changed, "{change}");
        assert_eq!(checked.first.unwrap().column, column, "{change}");
        // Buckets may be dropped at any time: a new start for the next change.
        client
            .batch_execute("BEGIN; DELETE FROM sweep_checkpoints; DELETE FROM pre_aggregates; COMMIT")
            .await
            .unwrap();
        let checked = check(&world, &Versions::default()).await;
        assert_eq!((checked.differences, checked.buckets), (0, 0));
        assert!(checked.unswept.contains(&"b_sum:1".to_owned()) && checked.swept.is_empty());
        world.sweep(1_000).await;
        assert_eq!(check(&world, &Versions::default()).await.differences, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_are_not_those_of_their_hash_and_checkpoints_ahead_of_the_log_are_found() {
    let world = World::new().await;
    world.apply(&RULES[..1]).await;
    world.store(&events(0, 60)).await;
    world.sweep(1_000).await;
    let client = world.db.client().await;
    let change = "UPDATE series SET labels_hash = sha256('x') WHERE labels ->> '/m' = 'm1'";
    assert!(client.execute(change, &[]).await.unwrap() > 0);
    let checked = check(&world, &Versions::default()).await;
    assert_eq!(checked.first.unwrap().column, "labels_hash");
    assert!(checked.ahead.is_empty());
    let change = "UPDATE sweep_checkpoints SET seq = seq + 7";
    client.execute(change, &[]).await.unwrap();
    let checked = check(&world, &Versions::default()).await;
    let ahead = checked.ahead.first().expect("it is found");
    assert_eq!(
        (ahead.rule.as_str(), ahead.checkpoint.seq),
        ("a_count:1", ahead.head + 7)
    );
}

/// More minutes than are compared at once, of one principal, written as they would be by HTTP.
const WHALE: &str = "
    WITH who AS (
        INSERT INTO principals (tenant_id, principal_id, partition) VALUES ('acme', 'whale', $1)
        RETURNING principal_no, partition)
    INSERT INTO events
    SELECT n, principal_no, '2026-01-01Z'::timestamptz + (n * 7919 % 30011) * interval '1 minute',
           now(), partition, 0, 'e' || n, 't', '{\"n\": 0.1, \"m\": \"m1\"}', '{}'
    FROM who, generate_series(1, 30000) n";

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_with_more_rows_than_are_held_is_verified_part_by_part() {
    let world = World::new().await;
    world.apply(&RULES[..1]).await;
    let partition = aevon_core::identity::partition_of("acme", "whale", world.partitions);
    let client = world.db.client().await;
    client.execute(WHALE, &[&partition]).await.unwrap();
    // Others beside it, in the same partition and snapshot.
    world.store(&events(0, 30)).await;
    world.sweep(4_000).await;
    let checked = check(&world, &Versions::default()).await;
    assert_eq!((checked.differences, checked.first), (0, None));
    assert_eq!(checked.buckets, world.count("pre_aggregates").await as u64);
    assert_eq!(checked.events, 30_030);
    let change = "UPDATE pre_aggregates SET event_count = event_count + 1
                  WHERE (grain, window_start) IN (
                      SELECT grain, max(window_start) FROM pre_aggregates GROUP BY grain)";
    let changed = client.execute(change, &[]).await.unwrap();
    let checked = check(&world, &Versions::default()).await;
    assert_eq!(
        (checked.differences, changed),
        (changed, 12),
        "two series, and two of totals"
    );
    let first = checked.first.unwrap();
    assert_eq!(
        (first.principal.principal_id.as_str(), first.column),
        ("whale", "event_count")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_while_a_batch_is_verified_is_not_seen_by_it() {
    let world = World::new().await;
    world.apply(&RULES[..2]).await;
    world.store(&events(0, 60)).await;
    world.sweep(1_000).await;
    // An upsert that is not committed: nobody waits for it, and nothing of it is seen.
    let client = world.db.client().await;
    client
        .batch_execute("BEGIN; LOCK TABLE sweep_leases; UPDATE pre_aggregates SET event_count = 99")
        .await
        .unwrap();
    assert_eq!(check(&world, &Versions::default()).await.differences, 0);
    client.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_swept_never_again_is_not_waited_for() {
    let world = World::new().await;
    world.apply(&RULES[..1]).await;
    world.apply(&RULES[1..2]).await;
    world.store(&events(0, 1)).await;
    let checked = check(&world, &Versions::default()).await;
    assert_eq!(checked.unswept, ["b_sum:1"], "a_count:1 is retired");
}

#[tokio::test(flavor = "multi_thread")]
async fn principals_come_in_pages_and_one_is_found_by_name() {
    let world = World::new().await;
    world.store(&events(0, 30)).await;
    let mut connection = world.connection().await;
    let mut seen: Vec<Principal> = Vec::new();
    for partition in 0..world.partitions {
        let mut after = (String::new(), String::new());
        loop {
            let behind = (after.0.as_str(), after.1.as_str());
            let page = verify::principals(&mut connection, partition, behind, 1);
            let page = page.await.unwrap();
            let Some(last) = page.last() else { break };
            after = (last.tenant_id.clone(), last.principal_id.clone());
            let named = verify::principal(&mut connection, partition, ("acme", &last.principal_id));
            assert_eq!(named.await.unwrap().as_ref(), Some(last));
            seen.extend(page);
        }
    }
    let mut names: Vec<&str> = seen.iter().map(|p| p.principal_id.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["p", "q", "r"]);
    for (tenant, count) in [(None, 3), (Some("acme"), 3), (Some("other"), 0)] {
        assert_eq!(verify::count(&mut connection, tenant).await.unwrap(), count);
    }
    let nobody = verify::principal(&mut connection, 0, ("acme", "nobody"));
    assert_eq!(nobody.await.unwrap(), None);
}
