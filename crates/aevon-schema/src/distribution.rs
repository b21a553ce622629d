//! The rules by which a statement runs as one task on one node of a distributed Postgres, held to all.
//!
//! They were measured on Citus, which the tests don't have: what is looked at is text. A statement that is
//! about many partitions by nature is named, with the reason; there it is planned over all nodes.

use crate::migrate::CITUS;
use aevon_testkit::TestDatabase;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// What is distributed by `partition`.
const DISTRIBUTED: &str = "partitions|principals|tenants|events|voids|series|pre_aggregates|\
                           sweep_checkpoints|sweep_leases|discards";

/// About many partitions, and why.
const OF_MANY: [(&str, &str); 34] = [
    ("discards_due", "what is to be deleted, wherever"),
    ("export_heads", "the whole log"),
    ("export_holds", "the whole log"),
    ("export_principals", "all principals"),
    ("import_principals_here", "all principals"),
    ("import_standing", "whether anything is here"),
    ("log_ahead", "where a tenant's feed is"),
    ("log_feed", "a tenant's feed"),
    ("log_heads", "the heads of all partitions"),
    ("principals_list", "the principals of a tenant"),
    ("principals_list_at", "the principals of a tenant"),
    ("ranked_added_few", "a list by value"),
    ("ranked_added_groups", "a list by value"),
    ("ranked_buckets_of_series", "a list by value"),
    ("ranked_buckets_of_time", "a list by value"),
    ("ranked_events", "a list by value"),
    ("ranked_name", "a list by value"),
    ("ranked_name_of_series", "a list by value"),
    ("ranked_part", "a list by value"),
    ("ranked_principals", "a list by value"),
    ("ranked_refined", "a list by value"),
    ("ranked_rows", "a list by value"),
    ("ranked_series_of", "a list by value"),
    ("ranked_sums", "a list by value"),
    ("ranked_totals", "a list by value"),
    ("rebuild_standing", "how far a rebuild is"),
    ("rebuild_switch", "whether a rebuild is complete"),
    ("rules_activate", "whether a version has caught up"),
    ("rules_list", "how far rules are behind"),
    ("state_positions", "the positions of a tenant's total"),
    ("state_rules_of", "the checkpoints of a tenant's total"),
    ("status_lag", "how far rules are behind"),
    ("sweep_backlogs", "where there is something to sweep"),
    ("verify_count", "how many principals there are"),
];

/// Words that may stand behind a table which has no alias.
const NO_ALIAS: [&str; 12] = [
    "WHERE", "ON", "SET", "JOIN", "ORDER", "LEFT", "CROSS", "LIMIT", "GROUP", "USING", "FOR",
    "UNION",
];

fn matching(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// What of a statement would leave its node.
fn faults(name: &str, sql: &str) -> Vec<String> {
    let sql = matching("--.*").replace_all(sql, "");
    let mut faults = Vec::new();
    let reference =
        format!(r"\b(?:FROM|JOIN|UPDATE|USING)\s+({DISTRIBUTED})\b(?:\s+(?:AS\s+)?(\w+))?");
    let mut references = BTreeMap::<String, usize>::new();
    for found in matching(&reference).captures_iter(&sql) {
        let alias = found.get(2).map(|alias| alias.as_str());
        let alias = alias.filter(|alias| !NO_ALIAS.contains(alias));
        *references
            .entry(alias.unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    for (alias, count) in references {
        let column = match alias.as_str() {
            "" => r"(?:^|[^\w.])partition".to_owned(),
            alias => format!(r"\b{alias}\.partition"),
        };
        let pinned = matching(&format!(r"{column}\s*=\s*(?:ANY\s*\(\s*)?\$\d"));
        if pinned.find_iter(&sql).count() < count {
            faults.push(format!(
                "{name}: {alias} has no partition of its own in every place"
            ));
        }
    }
    let inserts = matching(&format!(r"INSERT INTO (?:{DISTRIBUTED})\b")).is_match(&sql);
    let rules = [
        (
            inserts && !sql.contains("FROM partitions"),
            "no join with partitions sends it to a node",
        ),
        (
            inserts && matching(r"clock_timestamp|nextval").is_match(&sql),
            "a value of the moment",
        ),
        (matching(r"(?i)\bMERGE\s+INTO\b").is_match(&sql), "MERGE"),
        (
            matching(r"\bAS\s+(?:NOT\s+)?(?:MATERIALIZED\s+)?\(\s*(?:INSERT|UPDATE|DELETE)\b")
                .is_match(&sql),
            "a part that writes",
        ),
        (
            matching(r"ON CONFLICT(?:\s+DO\b|\s*$)").is_match(&sql),
            "ON CONFLICT of whatever kind",
        ),
        (
            inserts
                && sql.contains("RETURNING")
                && !matching(r"INSERT INTO \w+ AS \w+").is_match(&sql),
            "RETURNING from a table without another name",
        ),
    ];
    let broken = rules.iter().filter(|(is_broken, _)| *is_broken);
    faults.extend(broken.map(|(_, what)| format!("{name}: {what}")));
    faults
}

#[test]
fn every_statement_about_a_partition_stays_on_its_node() {
    let mut needless: BTreeSet<&str> = OF_MANY.iter().map(|(name, _)| *name).collect();
    let mut found = Vec::new();
    let mut count = 0;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sql");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let faults = faults(&name, &fs::read_to_string(&path).unwrap());
        count += 1;
        match OF_MANY.iter().find(|(many, _)| *many == name) {
            Some((many, _)) if !faults.is_empty() => {
                needless.remove(many);
            }
            _ => found.extend(faults),
        }
    }
    assert!(count > 50, "the statements are found");
    assert!(found.is_empty(), "{found:#?}");
    assert!(needless.is_empty(), "these stay on a node: {needless:?}");
}

#[test]
fn what_leaves_its_node_is_found() {
    let fine = "INSERT INTO voids AS v (partition) SELECT p.partition FROM partitions p \
                WHERE p.partition = $1 ON CONFLICT (partition, void_seq) DO NOTHING RETURNING v.partition";
    assert_eq!(faults("fine", fine), Vec::<String>::new());
    let broken = [
        "SELECT FROM events",
        "SELECT FROM events e WHERE e.seq = $1",
        "SELECT FROM events e JOIN principals p ON p.partition = e.partition WHERE e.partition = $1",
        "SELECT FROM (SELECT n.seq FROM events n WHERE n.partition = $1) a, \
         (SELECT n.seq FROM voids n) b",
        "INSERT INTO voids (partition) SELECT u.n FROM unnest($1) AS u (n)",
        "INSERT INTO events AS e (ingested_at) SELECT clock_timestamp() FROM partitions p \
         WHERE p.partition = $1",
        "WITH gone AS (DELETE FROM voids v WHERE v.partition = $1) SELECT 1",
        "INSERT INTO series AS s (partition) SELECT p.partition FROM partitions p \
         WHERE p.partition = $1 ON CONFLICT DO NOTHING",
        "SELECT FROM sweep_leases FOR UPDATE SKIP LOCKED",
    ];
    for sql in broken {
        assert!(!faults("broken", sql).is_empty(), "{sql}");
    }
}

/// Tables that stay on one node: nothing about a partition reads them.
const LOCAL: [&str; 5] = [
    "api_keys",
    "compatibility",
    "erasures",
    "imports",
    "rejected_events",
];

#[tokio::test(flavor = "multi_thread")]
async fn each_table_is_distributed_by_partition_or_is_on_every_node_or_on_one() {
    let db = TestDatabase::create().await;
    let client = db.client().await;
    let told = |function: &str| -> BTreeSet<String> {
        let call = matching(&format!(r"SELECT {function}\('(\w+)'"));
        let found = call.captures_iter(CITUS).map(|found| found[1].to_owned());
        found.collect()
    };
    let (distributed, everywhere) = (
        told("create_distributed_table"),
        told("create_reference_table"),
    );
    let listed: BTreeSet<String> = DISTRIBUTED.split('|').map(str::to_owned).collect();
    assert_eq!(distributed, listed);
    let query = "SELECT c.relname::text, \
                 EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'partition') \
                 FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace \
                 AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT LIKE '\\_\\_%'";
    for row in client.query(query, &[]).await.unwrap() {
        let (table, has_partition): (String, bool) = (row.get(0), row.get(1));
        assert_eq!(distributed.contains(&table), has_partition, "{table}");
        let places = [
            distributed.contains(&table),
            everywhere.contains(&table),
            LOCAL.contains(&table.as_str()),
        ];
        assert_eq!(places.iter().filter(|is| **is).count(), 1, "{table}");
    }
    // Each unique index of theirs has the partition in it.
    let query = "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
                 WHERE i.indisunique AND c.relname = ANY ($1) AND NOT EXISTS (
                     SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid \
                     AND a.attname = 'partition' AND a.attnum = ANY (i.indkey))";
    let tables: Vec<String> = distributed.into_iter().collect();
    let without = client.query(query, &[&tables]).await.unwrap();
    let without: Vec<String> = without.iter().map(|row| row.get(0)).collect();
    assert_eq!(without, Vec::<String>::new());
    // What of it Postgres itself knows runs; the rest is Citus's.
    let plain = matching(r"SELECT create_\w+\([^;]*;").replace_all(CITUS, "");
    client.batch_execute(&plain).await.unwrap();
    let triggers = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal";
    let triggers: i64 = client.query_one(triggers, &[]).await.unwrap().get(0);
    assert_eq!(triggers, 0, "none is left");
    let insert = "INSERT INTO rules (name, version, fingerprint, definition, status) \
                  VALUES ('r', 1, 'f', '{}', 'building') RETURNING rule_no";
    client.query_one(insert, &[]).await.unwrap();
}
