//! Rules: versions, fingerprints, backfill, the switch.

use crate::support::{COUNT, SUM, World, at, event};
use aevon_core::event::NewEvent;
use aevon_core::rule::Rule;
use aevon_schema::rules::{self, Status};
use aevon_schema::state::{Selection, StateError, StateQuery};

async fn statuses(world: &World) -> Vec<(String, i32, Status)> {
    let listed = rules::list(&mut world.connection().await, None)
        .await
        .unwrap();
    listed
        .into_iter()
        .map(|v| (v.rule.name, v.version, v.status))
        .collect()
}

fn ten() -> Vec<NewEvent> {
    (0..10)
        .map(|n| {
            let value = (1_i64 << n).to_string();
            event(
                &format!("p{}", n % 3),
                &format!("e{n}"),
                at("2026-01-01T00:00:30Z"),
                &value,
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_added_later_counts_the_events_from_before_it() {
    let world = World::new().await;
    world.apply(&[COUNT]).await;
    world.store(&ten()).await;
    world.sweep(100).await;
    world.apply(&[SUM]).await;
    let expected = Some((1 + 8 + 64 + 512).to_string());
    // While it builds it answers from the raw log; afterwards from buckets.
    assert_eq!(world.total("p0").await, expected);
    world.sweep(2).await;
    assert_eq!(world.total("p0").await, expected);
    let expected = [
        ("a_count", 1, Status::Retired),
        ("b_sum", 1, Status::Active),
    ];
    assert_eq!(
        statuses(&world).await,
        expected.map(|(n, v, s)| (n.to_owned(), v, s))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_version_answers_until_the_new_one_has_caught_up() {
    let world = World::new().await;
    world.apply(&[SUM]).await;
    world.store(&ten()).await;
    world.sweep(100).await;
    let changed = SUM.replace("operator: sum", "operator: max");
    world.apply(&[&changed]).await;
    assert_eq!(world.total("p0").await.as_deref(), Some("585"));
    world.sweep(100).await;
    assert_eq!(world.total("p0").await.as_deref(), Some("512"));
    // The retired version still answers where it is named, new events included.
    world
        .store(&[event("p0", "late", at("2026-01-01T00:00:30Z"), "1024")])
        .await;
    let selection = Selection {
        names: Vec::new(),
        pinned: vec![("b_sum".to_owned(), 1)],
    };
    let question = aevon_core::state::Question::default();
    let mut query = StateQuery::newest("acme", "p0", selection, question);
    let budget = crate::support::BUDGET;
    let read = aevon_schema::state::read(&world.database, world.partitions, &query, budget)
        .await
        .unwrap();
    assert_eq!(read.states.len(), 1);
    let shown = read.states[0].values[0].shown(read.states[0].rule.operator);
    assert_eq!(shown.value.as_deref(), Some("1609"));
    query.selection.pinned[0].1 = 9;
    let missing =
        aevon_schema::state::read(&world.database, world.partitions, &query, budget).await;
    assert!(matches!(missing, Err(StateError::UnknownRule(name)) if name == "b_sum:9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_registered_by_fingerprint_and_the_last_one_wins() {
    let world = World::new().await;
    let apply = async |texts: &[String]| {
        let set: Vec<Rule> = texts
            .iter()
            .map(|text| Rule::from_yaml(text).unwrap())
            .collect();
        rules::apply(&mut world.connection().await, &set)
            .await
            .unwrap()
    };
    let (count, sum) = (COUNT.to_owned(), SUM.to_owned());
    let first = apply(&[count.clone(), sum.clone()]).await;
    assert_eq!(
        first.registered,
        [("a_count".to_owned(), 1), ("b_sum".to_owned(), 1)]
    );
    let described = format!("{count}\ndescription: only words");
    let again = apply(&[described, sum.clone()]).await;
    assert_eq!((again.registered.len(), again.unchanged.len()), (0, 2));
    let gone = apply(&[sum]).await;
    assert_eq!(gone.retired, ["a_count"]);
    let back = apply(&[count]).await;
    assert_eq!(back.registered, [("a_count".to_owned(), 2)]);
    assert_eq!(back.retired, ["b_sum"]);
    let found = statuses(&world).await;
    let expected = [
        ("a_count", 1, Status::Retired),
        ("a_count", 2, Status::Building),
        ("b_sum", 1, Status::Retired),
    ];
    assert_eq!(found, expected.map(|(n, v, s)| (n.to_owned(), v, s)));
}
