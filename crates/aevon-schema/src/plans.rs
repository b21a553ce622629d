//! Golden plans: every hot statement is served by the index that it was written for, with
//! statistics and without, on an empty table and on one that has grown since it was analyzed.
//!
//! Plans are generic, as a prepared statement gets them, and made under the settings that every
//! connection of ours has.

use crate::database::{Connection, Database, DatabaseOptions};
use crate::state::ranked;
use aevon_core::operator::Operator;
use aevon_testkit::TestDatabase;
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use std::time::Duration;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    line: String,
}

async fn connect(db: &TestDatabase) -> Connection {
    let options = DatabaseOptions {
        url: db.url().to_owned(),
        max_connections: 1,
        application_name: "plans",
        statement_timeout: Duration::from_secs(30),
    };
    Database::new(options).unwrap().connect().await.unwrap()
}

struct Golden<'a> {
    name: &'static str,
    sql: &'a str,
    types: &'static str,
    arguments: &'static str,
    /// The lines that the plan must hold.
    wanted: &'static [&'static str],
}

const SELECTED: &str = "1, true, '{}', '{}', '{}'";

const GOLDEN: [Golden<'static>; 36] = [
    Golden {
        name: "heads",
        sql: include_str!("sql/events_heads.sql"),
        types: "int[], timestamptz",
        arguments: "'{1,2}', NULL",
        wanted: &["Index Scan Backward using events_order"],
    },
    Golden {
        name: "standing",
        sql: include_str!("sql/events_standing.sql"),
        types: "int[], text[], bigint[], int[]",
        arguments: "'{1,2}', '{a,b}', '{1,2}', '{1,2}'",
        wanted: &[
            "Index Scan using events_identity",
            "(event_id = u.event_id) AND (ROW(principal_no",
        ],
    },
    Golden {
        name: "standing by name",
        sql: include_str!("sql/events_standing_named.sql"),
        types: "int[], text[], text[], text[], int[]",
        arguments: "'{1,2}', '{a,b}', '{t,t}', '{a,b}', '{1,2}'",
        wanted: &[
            "principals_identity",
            "Index Scan using events_identity",
            "(event_id = u.event_id) AND (ROW(principal_no",
        ],
    },
    Golden {
        name: "principals",
        sql: include_str!("sql/principals_find.sql"),
        types: "int[], text[], text[], int[]",
        arguments: "'{1,2}', '{a,b}', '{a,b}', '{1,2}'",
        wanted: &["principals_identity"],
    },
    Golden {
        name: "slice",
        sql: include_str!("sql/sweep_slice.sql"),
        types: "int, bigint, bigint, text[]",
        arguments: "1, 1, 2, '{t}'",
        wanted: &[
            "Index Scan using events_order",
            "(seq > $2) AND (seq <= $3)",
        ],
    },
    Golden {
        name: "filtered slice",
        sql: include_str!("sql/sweep_slice_filtered.sql"),
        types: "int, bigint, bigint, text[], bool, bool",
        arguments: "1, 1, 2, '{t}', true, true",
        wanted: &[
            "Index Scan using events_order",
            "(seq > $2) AND (seq <= $3)",
            "Index Scan using principals_pkey",
            "(ROW(principal_no, partition) >= ROW(e.principal_no, $1))",
        ],
    },
    Golden {
        name: "series",
        sql: include_str!("sql/series_find.sql"),
        types: "int, bigint[], int[], int[], bytea[]",
        arguments: "1, '{1}', '{1}', '{1}', '{x}'",
        wanted: &[
            "Index Scan using series_identity",
            "(principal_no = u.principal_no) AND (rule_no = u.rule_no) AND (generation = u.generation)",
        ],
    },
    Golden {
        name: "new series",
        sql: include_str!("sql/series_insert.sql"),
        types: "int, bigint[], int[], int[], bytea[], jsonb[]",
        arguments: "1, '{1}', '{1}', '{1}', '{x}', '{null}'",
        wanted: &[
            "(principal_no = u.principal_no) AND (rule_no = u.rule_no) AND (generation = u.generation)",
        ],
    },
    Golden {
        name: "sketches",
        sql: include_str!("sql/pre_aggregates_sketches.sql"),
        types: "int, smallint, bigint[], timestamptz[], int[]",
        arguments: "1, 60::smallint, '{1}', '{now}', '{1}'",
        wanted: &["(series_no = u.series_no) AND (grain = $2) AND (window_start = u.window_start)"],
    },
    Golden {
        name: "buckets",
        sql: include_str!("sql/state_buckets.sql"),
        types: "int, bool, text[], text[], int[], smallint[], timestamptz[], timestamptz[], bool[], \
                text, text, bytea, bytea, jsonb, text[]",
        arguments: "{selected}, '{1}', '{now}', '{now}', '{f}', 'acme', 'p', '', '', '{}', \
                    '{weighted_sum}'",
        wanted: &[
            "(labels_hash >= $12) AND (labels_hash <= $13)",
            "pre_aggregates_1m_pkey",
            "pre_aggregates_1h_pkey",
            "pre_aggregates_1d_pkey",
            "(window_start >= u.window_from) AND (window_start < u.window_to)",
        ],
    },
    Golden {
        name: "raw",
        sql: include_str!("sql/state_raw.sql"),
        types: "int, bool, text[], text[], int[], text, text, timestamptz[], timestamptz[], \
                timestamptz[], timestamptz[], bool[], timestamptz, timestamptz, text[]",
        arguments: "{selected}, 'acme', 'p', '{now}', '{now}', '{now}', '{now}', '{f}', '-infinity', \
                    'infinity', '{weighted_sum}'",
        wanted: &[
            "(principal_no = mt.principal_no) AND (seq > mt.seq)",
            "(principal_no = me.principal_no) AND (seq >= p.first_seq) AND (seq <= LEAST(p.last_seq",
            "(series_no = s.series_no) AND (grain = 1) AND (window_start >= d.window_from)",
            "(principal_no = t.principal_no) AND (ROW(target_seq, partition) >= ROW(t.seq",
            "(principal_no = g.principal_no) AND (ROW(target_seq, partition) >= ROW(g.seq",
        ],
    },
    Golden {
        name: "feed",
        sql: include_str!("sql/log_feed.sql"),
        types: "text, int[], bigint[], bigint[], text[], bigint",
        arguments: "'acme', '{1}', '{0}', '{9}', '{}', 5",
        wanted: &[
            "Index Scan using events_order",
            "(partition = u.partition) AND (seq > u.after) AND (seq <= u.upto)",
            "Index Scan using principals_pkey",
        ],
    },
    Golden {
        name: "list",
        sql: include_str!("sql/log_by_position_back.sql"),
        types: "int, text, text, bigint, timestamptz, timestamptz, text[], bigint, bigint",
        arguments: "1, 'acme', 'p', 9, '-infinity', 'infinity', '{}', 9, 5",
        wanted: &[
            "Index Scan using principals_identity",
            "Index Scan Backward using events_by_principal",
            "(principal_no = q.principal_no) AND (seq <= $4) AND (seq < $8)",
        ],
    },
    Golden {
        name: "principals",
        sql: include_str!("sql/principals_list.sql"),
        types: "text, text, text, text, bigint",
        arguments: "'acme', '', 'a', 'b', 5",
        wanted: &[
            "principals_identity",
            "(principal_id > $2) AND (principal_id >= $3)",
        ],
    },
    Golden {
        name: "previewed events",
        sql: include_str!("sql/preview_events.sql"),
        types: "int, text, text, text, timestamptz, timestamptz, bool",
        arguments: "1, 'acme', 'p', 't', '-infinity', 'infinity', true",
        wanted: &[
            "principals_identity",
            "Index Scan using events_by_principal",
        ],
    },
    Golden {
        name: "principals to verify",
        sql: include_str!("sql/verify_principals.sql"),
        types: "int, text, text, bigint",
        arguments: "1, 'acme', 'p', 9",
        wanted: &[
            "principals_identity",
            "(ROW(tenant_id, principal_id) > ROW($2, $3))",
        ],
    },
    Golden {
        name: "events to verify",
        sql: include_str!("sql/verify_events.sql"),
        types: "int, bigint[], bigint, text[], bool",
        arguments: "1, '{1}', 2, '{t}', true",
        wanted: &[
            "Index Scan using events_by_principal",
            "(principal_no = ANY ($2)) AND (seq <= $3)",
        ],
    },
    Golden {
        name: "buckets to verify",
        sql: include_str!("sql/verify_buckets.sql"),
        types: "int, bigint[], smallint[], timestamptz[], timestamptz[], int[], int[]",
        arguments: "1, '{1}', '{1}', '{now}', '{now}', '{1}', '{1}'",
        wanted: &[
            "Index Scan using series_identity",
            "(series_no = s.series_no) AND (grain = u.grain)",
            "(window_start >= u.window_from) AND (window_start < u.window_to)",
        ],
    },
    Golden {
        name: "head",
        sql: include_str!("sql/state_head.sql"),
        types: "int, text, text",
        arguments: "1, 'acme', 'p'",
        wanted: &[
            "Index Scan Backward using events_order",
            "Index Scan Backward using voids_by_principal",
        ],
    },
    Golden {
        name: "position",
        sql: include_str!("sql/state_position.sql"),
        types: "int, bigint, timestamptz",
        arguments: "1, NULL, now()",
        wanted: &[
            "Scan Backward using events_order",
            "(seq = ((s.low + s.high) / 2))",
            "(seq = f.seq)",
        ],
    },
    Golden {
        name: "tree",
        sql: include_str!("sql/state_tree.sql"),
        types: "int, bool, text[], text[], int[], smallint[], timestamptz[], timestamptz[], bool[], \
                text, text, bytea, bytea, jsonb, bigint, bool[], text[], bool",
        arguments: "{selected}, '{1}', '{now}', '{now}', '{f}', 'acme', 'p', '', '', '{}', 5, '{f}', \
                    '{weighted_sum}', true",
        wanted: &[
            "(generation = r.generation) AND (labels_hash >= $12) AND (labels_hash <= $13)",
            "(tenant_id = $10) AND (principal_id = $11)",
            "tenants_identity",
            "(principal_no = q_1.principal_no) AND (void_seq >",
            "Index Scan using voids_order",
            "pre_aggregates_1m_pkey",
            "pre_aggregates_1h_pkey",
            "pre_aggregates_1d_pkey",
            "(window_start >= u.window_from) AND (window_start < u.window_to)",
            "(series_no = d.series_no) AND (grain = 60) AND (window_start >= d.window_start)",
            "(series_no = h.series_no) AND (grain = 1) AND (window_start >= h.window_start)",
            "(series_no = s.series_no) AND (grain = 60) AND (window_start >= b.window_start)",
        ],
    },
    Golden {
        name: "items",
        sql: include_str!("sql/explain_items.sql"),
        types: "int, text, text, bigint, bigint, bigint, bigint, text, timestamptz, timestamptz, \
                bigint, bigint, bool",
        arguments: "1, 'acme', 'p', 0, 9, 9, 0, 't', '-infinity', 'infinity', 5, 5, true",
        wanted: &[
            "principals_identity",
            "(principal_no = q.principal_no) AND (seq > $4) AND (seq <= $5)",
            "(principal_no = k.principal_no) AND (seq > $4) AND (seq <= k.upto)",
            "AND (ROW(target_seq, partition) >= ROW(",
            "(ROW(partition, void_seq) >= ROW($1, n.seq))",
            "(seq = w.target_seq)",
        ],
    },
    Golden {
        name: "voided events",
        sql: include_str!("sql/explain_voids.sql"),
        types: "int, text, text, bigint, timestamptz, timestamptz, text, bool",
        arguments: "1, 'acme', 'p', 9, '-infinity', 'infinity', 't', true",
        wanted: &[
            "principals_identity",
            "(principal_no = q.principal_no) AND (void_seq <= $4)",
            "(seq = n.target_seq)",
        ],
    },
    Golden {
        name: "events of spans",
        sql: include_str!("sql/state_events.sql"),
        types: "int, text, text, bigint, bigint[], bigint[], timestamptz[], timestamptz[], bool, \
                text[]",
        arguments: "1, 'acme', 'p', 5, '{1}', '{2}', '{-infinity}', '{infinity}', true, '{t}'",
        wanted: &[
            "(principal_no = q.principal_no) AND (seq >= u.first_seq) AND (seq <= u.last_seq)",
            "(principal_no = n.principal_no) AND (ROW(target_seq, partition) >= ROW(n.seq",
        ],
    },
    Golden {
        name: "events of several principals",
        sql: include_str!("sql/ranked_events.sql"),
        types: "bigint[], int[], bigint[], bigint[], timestamptz[], timestamptz[], bigint[], bool, text",
        arguments: "'{1,2}', '{0,1}', '{1,1}', '{2,2}', '{-infinity,-infinity}', \
                    '{infinity,infinity}', '{9,9}', true, 't'",
        wanted: &[
            "(principal_no = u.principal_no) AND (seq >= u.first_seq) AND (seq <= u.last_seq)",
            "(principal_no = n.principal_no) AND (ROW(target_seq, partition) >= ROW(n.seq",
        ],
    },
    Golden {
        name: "positions",
        sql: include_str!("sql/state_positions.sql"),
        types: "text, int[], bigint[], timestamptz",
        arguments: "'acme', '{0,1}', '{NULL,NULL}', now()",
        wanted: &[
            "Scan Backward using events_order",
            "(seq = ((s.low + s.high) / 2))",
            "(seq = f.seq)",
            "principals_identity",
        ],
    },
    Golden {
        name: "events of a tenant",
        sql: include_str!("sql/state_events_of_tenant.sql"),
        types: "int, text, bigint, bigint[], bigint[], timestamptz[], timestamptz[], bool, text[]",
        arguments: "1, 'acme', 5, '{1}', '{2}', '{-infinity}', '{infinity}', true, '{t}'",
        wanted: &[
            "Index Scan using events_order",
            "(partition = $1) AND (seq >= u.first_seq) AND (seq <= u.last_seq)",
            "(ROW(principal_no, partition) >= ROW(n.principal_no",
            "(principal_no = n.principal_no) AND (ROW(target_seq, partition) >= ROW(n.seq",
        ],
    },
    Golden {
        name: "principals at a version",
        sql: include_str!("sql/principals_list_at.sql"),
        types: "text, text, bigint, bigint[]",
        arguments: "'acme', '', 5, '{9,9}'",
        wanted: &[
            "Index Scan using principals_identity",
            "(principal_id > $2)",
            "Index Scan using events_by_principal",
            "(principal_no = p.principal_no)",
        ],
    },
    Golden {
        name: "tenants of principals",
        sql: include_str!("sql/tenants_find.sql"),
        types: "int, bigint[]",
        arguments: "1, '{1,2}'",
        wanted: &[
            "(ROW(principal_no, partition) >= ROW(u.principal_no",
            "tenants_identity",
        ],
    },
    Golden {
        name: "new tenants",
        sql: include_str!("sql/tenants_insert.sql"),
        types: "int, bigint[]",
        arguments: "1, '{1,2}'",
        wanted: &[
            "(ROW(principal_no, partition) >= ROW(u.principal_no",
            "tenants_identity",
        ],
    },
    Golden {
        name: "parts of tenants",
        sql: include_str!("sql/pre_aggregates_parts_of_tenants.sql"),
        types: "int, bigint[], int[], int[], bytea[], timestamptz[], int[]",
        arguments: "1, '{1}', '{1}', '{1}', '{x}', '{now}', '{1}'",
        wanted: &[
            "tenants_numbers",
            "principals_identity",
            "Index Scan using series_identity",
            "(series_no = n.series_no) AND (grain = 1) AND (window_start = u.window_start)",
        ],
    },
    Golden {
        name: "voided",
        sql: include_str!("sql/voids_standing.sql"),
        types: "int[], text[], text[], text[], int[]",
        arguments: "'{1,2}', '{a,b}', '{t,t}', '{a,b}', '{1,2}'",
        wanted: &[
            "principals_identity",
            "Index Scan using events_identity",
            "(event_id = u.event_id) AND (ROW(principal_no",
            "(ROW(target_seq, partition) >= ROW(",
        ],
    },
    Golden {
        name: "voids of a slice",
        sql: include_str!("sql/sweep_voids.sql"),
        types: "int, bigint, bigint, text[], bool, bool",
        arguments: "1, 1, 2, '{t}', true, true",
        wanted: &[
            "Index Scan using voids_order",
            "(void_seq > $2) AND (void_seq <= $3)",
            "(seq = w.target_seq)",
        ],
    },
    Golden {
        name: "refold",
        sql: include_str!("sql/sweep_refold.sql"),
        types: "int, bigint, bigint[], bigint[], timestamptz[], int[], text[], bool, bool",
        arguments: "1, 9, '{1}', '{1}', '{now}', '{1}', '{t}', true, true",
        wanted: &[
            "(series_no = u.series_no) AND (grain = 1) AND (window_start = u.window_start)",
            "(principal_no = s.principal_no) AND (seq >= s.first_seq)",
            "(principal_no = g.principal_no) AND (ROW(target_seq, partition) >= ROW(g.seq",
        ],
    },
    Golden {
        name: "replace",
        sql: include_str!("sql/pre_aggregates_replace.sql"),
        types: "int, smallint, bigint[], timestamptz[], int[], numeric[], timestamptz[], bigint[], \
                numeric[], bytea[]",
        arguments: "1, 60::smallint, '{1}', '{now}', '{1}', '{1}', '{now}', '{1}', '{1}', '{x}'",
        wanted: &["(series_no = u.series_no) AND (grain = $2) AND (window_start = u.window_start)"],
    },
    Golden {
        name: "parts",
        sql: include_str!("sql/pre_aggregates_parts.sql"),
        types: "int, smallint, bigint[], timestamptz[], timestamptz[], int[]",
        arguments: "1, 60::smallint, '{1}', '{now}', '{now}', '{1}'",
        wanted: &["(series_no = u.series_no) AND (grain = $2)"],
    },
];

/// What lists by value ask of few principals, whose buckets are looked up one by one.
const RANKED_TYPES: &str = "text, int, int, bigint[], bigint[], timestamptz[], timestamptz[], bytea, \
                            bytea, jsonb, text[], bigint, bool, numeric";
const RANKED_ARGUMENTS: &str = "'acme', 1, 2, '{5,5}', '{9,9}', '{now,NULL,NULL,NULL,NULL,NULL,NULL,NULL}', \
                                '{now,NULL,NULL,NULL,NULL,NULL,NULL,NULL}', '', '', '{}', '{}', 11, false, NULL";
const RANKED: &[&str] = &[
    "(tenant_id = $1)",
    ".principal_no) AND (rule_no = $2) AND (generation = ",
    ") AND (labels_hash >= $8) AND (labels_hash <= $9)",
    ".series_no) AND (grain = u",
    ".window_from) AND (window_start < u",
];

async fn check(connection: &mut Connection, moment: &str) {
    let statement = |operator| ranked::statement(operator, None, false);
    let [sums, rows] = [Operator::Sum, Operator::Latest].map(statement);
    let refined = ranked::refined(Operator::Sum, None);
    let refined = Golden {
        name: "what changed buckets of several principals were made of",
        sql: &refined,
        types: "bigint[], int, bigint[], bigint[], timestamptz[], timestamptz[], bytea, bytea, jsonb",
        arguments: "'{1,2}', 1, '{5,5}', '{9,9}', '{now,NULL,NULL,NULL,NULL,NULL,NULL,NULL}', \
                    '{now,NULL,NULL,NULL,NULL,NULL,NULL,NULL}', '', '', '{}'",
        wanted: &[
            "(principal_no = w.no) AND (rule_no = $2) AND (generation = ",
            ".series_no) AND (grain = u.grain) AND (window_start >= u.window_from)",
            ".series_no) AND (grain = 60) AND (window_start >= d",
            ".series_no) AND (grain = 1) AND (window_start >= h",
        ],
    };
    let ranked = [("ranked sums", &sums), ("ranked rows", &rows)].map(|(name, sql)| Golden {
        name,
        sql,
        types: RANKED_TYPES,
        arguments: RANKED_ARGUMENTS,
        wanted: RANKED,
    });
    for golden in GOLDEN.into_iter().chain(ranked).chain([refined]) {
        let Golden {
            name,
            sql,
            types,
            arguments,
            wanted,
        } = golden;
        let arguments = arguments.replace("{selected}", SELECTED);
        // What a cursor runs over is planned like any other.
        let sql = sql.split_once("CURSOR FOR").map_or(sql, |(_, query)| query);
        connection
            .pg
            .batch_execute(&format!(
                "SET plan_cache_mode = force_generic_plan; DEALLOCATE ALL; \
                 PREPARE golden ({types}) AS {sql}"
            ))
            .await
            .unwrap();
        let explain = format!("EXPLAIN (COSTS OFF) EXECUTE golden ({arguments})");
        let lines: Vec<Line> = diesel::sql_query(explain)
            .load(&mut connection.pg)
            .await
            .unwrap();
        let plan: Vec<String> = lines.into_iter().map(|line| line.line).collect();
        let plan = plan.join("\n");
        for wanted in wanted {
            assert!(
                plan.contains(wanted),
                "{name}, {moment}: no {wanted} in\n{plan}"
            );
        }
        assert!(
            !plan.contains("Seq Scan on events"),
            "{name}, {moment}\n{plan}"
        );
    }
}

const GROW: &str = "INSERT INTO events
    SELECT i, i % 50 + 1, now(), now(), 1, 0, i::text, 't', '{\"n\": 1}', '{}'
    FROM generate_series((SELECT coalesce(max(seq), 0) + 1 FROM events), $1) i";

#[tokio::test(flavor = "multi_thread")]
async fn hot_statements_use_their_index_whatever_the_statistics_say() {
    let db = TestDatabase::create().await;
    let mut connection = connect(&db).await;
    check(&mut connection, "empty").await;
    connection.pg.batch_execute("ANALYZE").await.unwrap();
    check(&mut connection, "empty, analyzed").await;
    let grow = |rows: i64| GROW.replace("$1", &rows.to_string());
    connection.pg.batch_execute(&grow(1)).await.unwrap();
    connection.pg.batch_execute("VACUUM ANALYZE").await.unwrap();
    check(&mut connection, "one row, analyzed").await;
    connection.pg.batch_execute(&grow(50_000)).await.unwrap();
    check(&mut connection, "grown since").await;
    connection.pg.batch_execute("VACUUM ANALYZE").await.unwrap();
    check(&mut connection, "grown and analyzed").await;
}
