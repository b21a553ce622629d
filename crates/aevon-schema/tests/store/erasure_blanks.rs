//! What an erasure leaves of a document: every rule reads of it what it read before.

use crate::dice::Dice;
use crate::support::{World, at};
use aevon_core::erasure::{Choice, Extent, Extents, Version as RuleVersion, plan};
use aevon_core::filter::Subject;
use aevon_core::fold::Fact;
use aevon_core::position::Position;
use aevon_core::reading::Reading;
use aevon_core::rule::Rule;
use std::collections::BTreeSet;

/// A document of whatever shape, and one of few keys, so that paths meet it.
fn document(dice: &mut Dice, depth: u64) -> String {
    match dice.roll(if depth == 0 { 5 } else { 9 }) {
        0 => dice.pick(&["1", "-2.50", "0", "12e3"]).to_owned(),
        1 => dice
            .pick(&["\"x\"", "\"\"", "\"7\"", "\"1e2\"", "\"ann\"", "\"E.\""])
            .to_owned(),
        2 => dice.pick(&["true", "false"]).to_owned(),
        3 => "null".to_owned(),
        4 => dice.pick(&["[]", "{}"]).to_owned(),
        5 | 6 => {
            let items = (0..=dice.roll(3)).map(|_| document(dice, depth - 1));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        _ => object(dice, depth - 1),
    }
}

fn object(dice: &mut Dice, depth: u64) -> String {
    let mut members = Vec::new();
    for key in ["a", "b", "0", "c.d", "l"] {
        if dice.roll(3) > 0 {
            members.push(format!("\"{key}\":{}", document(dice, depth)));
        }
    }
    format!("{{{}}}", members.join(","))
}

const PATHS: [&str; 8] = ["a", "b", "a.b", "l.0", "l.1.a", "/c.d", "a.0.b", "l.01"];
const FILTERS: [&str; 12] = [
    "data.a.b == 1",
    "has(data.a.b)",
    "data.l[0] == data.b",
    "data[\"c.d\"] != ''",
    "size(data.a) > 1",
    "size(data.l) == 2 || 'b' in data.a",
    "data.l.exists(x, x == data.b)",
    "data.l.all(x, has(x.a) && x.a.b > 0)",
    "data[data.b].a == 1",
    "type(data.a) == string || data.b.a == 'x'",
    "metadata.a == data.a.b",
    "size(metadata) > 2 && string(data.b) != '0'",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_reads_of_what_is_left_what_it_read_before() {
    let world = World::new().await;
    let client = world.db.client().await;
    let mut dice = Dice::new(0x5DEE_CE66_D123_4567);
    let mut changed = 0;
    for round in 0..150 {
        let mut versions = Vec::new();
        for rule_no in 0..=dice.roll(2) as i32 {
            let operator = dice.pick(&["count", "sum", "latest", "unique_count", "weighted_sum"]);
            let mut text = format!("name: r{rule_no}\nsource_event: t\noperator: {operator}\n");
            if operator != "count" {
                text += &format!("field: {}\n", dice.pick(&PATHS));
            }
            if dice.roll(2) == 0 {
                text += &format!("filter: {}\n", serde_json::json!(dice.pick(&FILTERS)));
            }
            if dice.roll(2) == 0 {
                text += &format!("group_by: [{}]\n", dice.pick(&PATHS));
            }
            versions.push(RuleVersion {
                rule_no,
                version: 1,
                rule: Rule::from_yaml(&text).unwrap(),
            });
        }
        let extents = Extents::from([(
            "t".to_owned(),
            Extent {
                data: 2_000,
                metadata: 2_000,
            },
        )]);
        // All that is in the way is to stay.
        let all = plan(&versions, &extents, &Choice::default()).obstacles;
        let choice = Choice {
            keep: all.into_iter().map(|obstacle| obstacle.place).collect(),
            blank: BTreeSet::new(),
        };
        let plan = plan(&versions, &extents, &choice);
        assert_eq!((plan.obstacles, plan.unread), (vec![], vec![]));
        let documents: Vec<String> = (0..40).map(|_| object(&mut dice, 4)).collect();
        let query =
            "SELECT d::jsonb::text, blanked(d::jsonb, $2::text::jsonb -> 't' -> 'data')::text,
                            blanked(d::jsonb, $2::text::jsonb -> 't' -> 'metadata')::text
                     FROM unnest($1::text[]) AS d";
        let rows = client
            .query(query, &[&documents, &plan.kept])
            .await
            .unwrap();
        for rows in rows.windows(2) {
            let (data, left): (String, String) = (rows[0].get(0), rows[0].get(1));
            let (metadata, left_metadata): (String, String) = (rows[1].get(0), rows[1].get(2));
            changed += usize::from(left != data);
            assert!(
                left.len() <= data.len(),
                "round {round}: {data} became {left}"
            );
            for version in &versions {
                let reading = |data: &str, metadata: &str| {
                    let fact = Fact {
                        position: Position {
                            partition: 0,
                            seq: 1,
                        },
                        occurred_at: at("2026-01-01T00:00:00Z"),
                        event_type: "t",
                        schema_version: 0,
                        principal_id: "p",
                        data,
                        metadata,
                    };
                    Reading::of(&version.rule, &Subject::new(fact))
                };
                assert_eq!(
                    reading(&left, &left_metadata),
                    reading(&data, &metadata),
                    "round {round}: {} of {data}, of which {left} is left",
                    version.rule.definition()
                );
            }
        }
    }
    assert!(changed > 3_000, "{changed} documents lost something");
}
