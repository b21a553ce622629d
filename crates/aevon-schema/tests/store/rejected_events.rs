//! Refused events: kept, listed in pages, bounded in age and in size.

use aevon_core::time::Timestamp;
use aevon_schema::Database;
use aevon_schema::rejected_events::{Filter, Rejected, Stored, insert, list, trim};
use aevon_testkit::TestDatabase;
use std::time::Duration;

use crate::support::open;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn rejected(tenant_id: &str, id: &str, codes: &[&'static str], body: &[u8]) -> Rejected {
    Rejected {
        received_at: Timestamp::parse("2026-02-11T10:30:00.000001Z").unwrap(),
        tenant_id: tenant_id.to_owned(),
        codes: codes.to_vec(),
        request_id: "request".to_owned(),
        item_index: Some(7),
        event_id: Some(id.to_owned()),
        content_type: None,
        faults: r#"[{"detail":"\u0000"}]"#.to_owned(),
        body: body.to_vec(),
        body_bytes: Some(body.len() + 1),
    }
}

fn of(tenant_id: &str) -> Filter<'_> {
    Filter {
        tenant_id,
        before: None,
        code: None,
        limit: 100,
        body_bytes: 1 << 20,
    }
}

async fn found(database: &Database, filter: Filter<'_>) -> Vec<Stored> {
    let mut connection = database.get().await.unwrap();
    list(&mut connection, filter).await.unwrap()
}

fn ids(list: &[Stored]) -> Vec<&str> {
    list.iter()
        .map(|one| one.event_id.as_deref().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_listed_newest_first_by_tenant_code_and_page() {
    let db = TestDatabase::create().await;
    let database = open(db.url());
    let several = ["invalid-event", "missing-field", "unknown-field"];
    let rows = [
        rejected("acme", "a", &["event-conflict"], b"\xff\x00"),
        rejected("acme", "b", &several, b"{}"),
        rejected("other", "c", &["unknown-field"], b"{}"),
        rejected("acme", "d", &["unknown-field"], b"{}"),
    ];
    {
        let mut connection = database.get().await.unwrap();
        insert(&mut connection, &rows).await.unwrap();
    }
    let all = found(&database, of("acme")).await;
    assert_eq!(ids(&all), ["d", "b", "a"]);
    let last = &all[2];
    assert_eq!(
        (last.body.as_slice(), last.body_bytes),
        (&b"\xff\x00"[..], Some(3))
    );
    assert_eq!(last.faults, rows[0].faults);
    assert_eq!(
        (last.item_index, last.received_at),
        (Some(7), rows[0].received_at)
    );
    assert_eq!(all[1].codes, several);
    let code = Some("unknown-field");
    assert_eq!(
        ids(&found(&database, Filter { code, ..of("acme") }).await),
        ["d", "b"]
    );

    let first = found(
        &database,
        Filter {
            limit: 2,
            ..of("acme")
        },
    )
    .await;
    assert_eq!(ids(&first), ["d", "b"]);
    assert!(first[1].has_next);
    let before = Some(first[1].rejected_no);
    let second = found(
        &database,
        Filter {
            limit: 2,
            before,
            ..of("acme")
        },
    )
    .await;
    assert_eq!(ids(&second), ["a"]);
    assert!(!second[0].has_next);
    // Bytes end a page too, but never before its first item.
    let cut = found(
        &database,
        Filter {
            body_bytes: 1,
            ..of("acme")
        },
    )
    .await;
    assert_eq!(ids(&cut), ["d"]);
    assert!(cut[0].has_next);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_goes_and_of_too_much_the_oldest_of_the_loudest() {
    let db = TestDatabase::create().await;
    let database = open(db.url());
    let mut connection = database.get().await.unwrap();
    let body = [b'x'; 500];
    let loud: Vec<Rejected> = (0..100)
        .map(|n| rejected("loud", &n.to_string(), &["unknown-field"], &body))
        .collect();
    insert(&mut connection, &loud).await.unwrap();
    let quiet = rejected("quiet", "q", &["unknown-field"], &body);
    insert(&mut connection, &[quiet]).await.unwrap();
    // 101 rows of about 1,000 bytes; half of the bound is each one's share.
    let keep = 365 * DAY;
    assert_eq!(trim(&mut connection, keep, 200_000).await.unwrap(), 0);
    assert_eq!(trim(&mut connection, keep, 20_000).await.unwrap(), 90);
    let left = found(&database, of("loud")).await;
    assert_eq!((left.len(), ids(&left)[0]), (10, "99"));
    assert_eq!(found(&database, of("quiet")).await.len(), 1);
    assert_eq!(trim(&mut connection, keep, 20_000).await.unwrap(), 0);

    let client = db.client().await;
    let aged = "UPDATE rejected_events SET received_at = now() - interval '8 days'
                WHERE tenant_id = 'quiet'";
    client.batch_execute(aged).await.unwrap();
    let young = "UPDATE rejected_events SET received_at = now() WHERE tenant_id = 'loud'";
    client.batch_execute(young).await.unwrap();
    assert_eq!(trim(&mut connection, 7 * DAY, 20_000).await.unwrap(), 1);
    assert_eq!(found(&database, of("quiet")).await, []);
}
