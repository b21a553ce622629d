//! Roles: each program has what it needs, and is refused everything else. All tests here run each
//! program as a member of its role; this one asks what these members may not do.

use crate::support::{command, finish, text};
use aevon_testkit::template::{connect, make_users};
use aevon_testkit::{TestDatabase, with_user};
use std::collections::BTreeMap;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

const USERS: [&str; 6] = [
    "ingest",
    "aggregator",
    "projection",
    "rules",
    "keys",
    "verify",
];

/// The letters of the matrix in docs/data-model.md: user, then table.
fn matrix() -> BTreeMap<String, BTreeMap<String, String>> {
    let page = include_str!("../../../../docs/data-model.md");
    let mut rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| table |"))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let titles = rows.next().unwrap();
    let mut users: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for row in rows.skip(1) {
        for (title, letter) in titles.iter().zip(&row).skip(2) {
            let user = title.trim_end_matches('`').rsplit('`').next().unwrap();
            let table = row[1].trim_matches('`').to_owned();
            let of_user = users.entry(user.to_owned()).or_default();
            of_user.insert(table, letter.to_string());
        }
    }
    users
}

/// What a user may do with a relation, on any of its columns.
async fn rights(client: &Client, user: &str) -> BTreeMap<String, Vec<String>> {
    let query = "SELECT c.relname::text, array(
             SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE',
                                        'REFERENCES', 'TRIGGER']) AS p
             WHERE CASE WHEN p IN ('DELETE', 'TRUNCATE', 'TRIGGER')
                        THEN has_table_privilege($1, c.oid, p)
                        ELSE has_any_column_privilege($1, c.oid, p) END)
         FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')";
    let rows = client.query(query, &[&user]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_has_the_rights_of_the_matrix_and_no_others() {
    let db = TestDatabase::create().await;
    let client = db.client().await;
    // What somebody granted by hand is taken back.
    let excess = "GRANT INSERT ON events TO aevon_projection; GRANT TRIGGER ON rules TO aevon_verify; \
                  GRANT UPDATE (seq) ON events TO aevon_ingest; GRANT ALL ON partitions TO PUBLIC; \
                  GRANT CREATE ON SCHEMA public TO PUBLIC, aevon_aggregator";
    client.batch_execute(excess).await.unwrap();
    make_users(db.url()).await.unwrap();
    let matrix = matrix();
    for user in USERS {
        let letters = &matrix[user];
        for (relation, rights) in rights(&client, user).await {
            let rights: Vec<&str> = rights.iter().map(String::as_str).collect();
            let writes = rights.iter().any(|right| *right != "SELECT");
            let excess = ["TRUNCATE", "REFERENCES", "TRIGGER"];
            let fits = match letters.get(&relation).map(|letter| letter.get(..1)) {
                // Their parent is asked for, and views show what their tables do.
                None if relation.starts_with("pre_aggregates_") => rights.is_empty(),
                None => !writes,
                Some(None) => rights.is_empty(),
                Some(Some("r")) => rights == ["SELECT"],
                Some(Some("L")) => rights == ["SELECT", "UPDATE"],
                Some(Some("W")) => writes && !excess.iter().any(|right| rights.contains(right)),
                Some(Some(other)) => panic!("{other} is no letter"),
            };
            assert!(fits, "{user}, {relation}: {rights:?}");
        }
        let query = "SELECT proname::text FROM pg_proc WHERE prosecdef \
                     AND pronamespace = 'public'::regnamespace AND has_function_privilege($1, oid, 'EXECUTE')";
        let functions = client.query(query, &[&user]).await.unwrap();
        assert!(
            functions.is_empty(),
            "{user} may become the owner: {functions:?}"
        );
    }
}

/// Statements that everybody is refused but the owner.
const NOBODY: [&str; 10] = [
    "CREATE TABLE mine (n integer)",
    "CREATE TEMPORARY TABLE mine (n integer)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "ALTER TABLE events ADD COLUMN mine integer",
    "DROP TABLE discards",
    "TRUNCATE pre_aggregates",
    "CREATE INDEX ON events (type)",
    "UPDATE compatibility SET oldest_schema = '1'",
    "DELETE FROM __diesel_schema_migrations",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_refused_what_is_not_its_business() {
    let db = TestDatabase::create().await;
    // Rights on a database are not copied with it.
    make_users(db.url()).await.unwrap();
    let insert = "INSERT INTO pre_aggregates (series_no, window_start, event_count, skipped_count, \
                  first_seq, last_seq, partition, epoch, grain, operator) \
                  VALUES (1, now(), 1, 0, 1, 1, 0, 0, 1, 1)";
    let voids = "UPDATE voids SET void_seq = void_seq + 1";
    let refused: [(&str, &[&str]); 6] = [
        (
            "ingest",
            &[
                insert,
                voids,
                "UPDATE events SET data = '{}'",
                "DELETE FROM events",
                "UPDATE partitions SET erasures = 1",
                "UPDATE partitions SET partition = partition + 1",
                "INSERT INTO partitions (partition) VALUES (99)",
                "DELETE FROM principals",
                "UPDATE principals SET tenant_id = 'other'",
                "SELECT FROM rules",
                "INSERT INTO api_keys (secret_hash, scopes) VALUES ('', '{read}')",
                "UPDATE rejected_events SET tenant_id = 'other'",
                "DELETE FROM sweep_checkpoints",
            ],
        ),
        (
            "aggregator",
            &[
                voids,
                "INSERT INTO events SELECT * FROM events",
                "DELETE FROM events",
                "INSERT INTO principals (partition, tenant_id, principal_id) VALUES (0, 't', 'p')",
                "SELECT FROM api_keys",
                "SELECT FROM rejected_events",
                "UPDATE sweep_leases SET partition = 7",
                "SELECT FROM partitions FOR UPDATE",
                "DELETE FROM rules",
            ],
        ),
        (
            "projection",
            &[
                insert,
                voids,
                "INSERT INTO events SELECT * FROM events",
                "UPDATE api_keys SET revoked_at = NULL",
                "DELETE FROM pre_aggregates",
                "SELECT FROM rejected_events",
                "SELECT FROM events FOR SHARE",
                "SELECT nextval('principal_numbers')",
            ],
        ),
        (
            "rules",
            &[
                insert,
                "SELECT FROM events",
                "SELECT FROM api_keys",
                "DELETE FROM rules",
                "SELECT FROM principals",
            ],
        ),
        (
            "keys",
            &[
                "SELECT FROM events",
                "SELECT FROM pre_aggregates",
                "DELETE FROM api_keys",
                "UPDATE rules SET status = 'retired'",
            ],
        ),
        (
            "verify",
            &[
                insert,
                "SELECT FROM api_keys",
                "SELECT FROM rejected_events",
                "UPDATE rules SET status = 'retired'",
                "DELETE FROM events",
            ],
        ),
    ];
    assert_eq!(refused.map(|(user, _)| user), USERS);
    for (user, statements) in refused {
        let client = connect(&with_user(db.url(), user)).await.unwrap();
        for statement in statements.iter().chain(&NOBODY) {
            let said = client.batch_execute(statement).await.unwrap_err();
            let code = said.code();
            assert_eq!(
                code,
                Some(&SqlState::INSUFFICIENT_PRIVILEGE),
                "{user}: {statement}: {said:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_locks_a_row_can_change_nothing_of_it() {
    let db = TestDatabase::create().await;
    let owner = db.client().await;
    let rows =
        "SELECT array_agg(partition ORDER BY partition)::text, sum(erasures)::text FROM partitions";
    let before = owner.query_one(rows, &[]).await.unwrap();
    let ingest = connect(&with_user(db.url(), "ingest")).await.unwrap();
    let lock = "BEGIN; SELECT FROM partitions FOR UPDATE; COMMIT";
    ingest.batch_execute(lock).await.unwrap();
    for value in ["true", "false", "NULL"] {
        let change = format!("UPDATE partitions SET row_lock = {value}");
        let said = ingest.batch_execute(&change).await.unwrap_err();
        assert_eq!(said.code().map(SqlState::code), Some("428C9"), "{said:?}");
    }
    let nothing = "UPDATE partitions SET row_lock = DEFAULT";
    ingest.batch_execute(nothing).await.unwrap();
    let after = owner.query_one(rows, &[]).await.unwrap();
    let of = |row: &tokio_postgres::Row| (row.get::<_, String>(0), row.get::<_, String>(1));
    assert_eq!(of(&before), of(&after));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_may_not_make_roles_is_told_what_to_have_run() {
    let db = TestDatabase::empty().await;
    let admin = db.client().await;
    let (owner, prefix) = (format!("{}_owner", db.name()), "app");
    let make = format!(
        "CREATE ROLE {owner} LOGIN; ALTER DATABASE {} OWNER TO {owner}",
        db.name()
    );
    admin.batch_execute(&make).await.unwrap();
    let url = with_user(db.url(), &owner);
    let migrate = || {
        let arguments = ["migrate", "--roles", "--role-prefix", prefix];
        finish(command("aevon", &url).args(arguments))
    };
    let refused = migrate();
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let (_, statements) = said.split_once("again this: ").unwrap();
    assert_eq!(statements.matches("CREATE ROLE app_").count(), 6, "{said}");
    admin.batch_execute(statements).await.unwrap();
    let done = migrate();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let said = text(&done.stdout);
    assert!(
        said.contains("granted app_ingest what ingest-svc needs"),
        "{said}"
    );
    let member = format!("{}_member", db.name());
    let make = format!("CREATE ROLE {member} LOGIN IN ROLE app_verify");
    admin.batch_execute(&make).await.unwrap();
    let verified = finish(command("aevon", &with_user(db.url(), &member)).arg("verify"));
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    let clean = format!(
        "DROP ROLE {member}; REASSIGN OWNED BY {owner} TO CURRENT_USER; DROP OWNED BY {owner}, {}; \
         DROP ROLE {}; ALTER DATABASE {} OWNER TO CURRENT_USER; DROP ROLE {owner}",
        USERS.map(|user| format!("app_{user}")).join(", "),
        USERS.map(|user| format!("app_{user}")).join(", "),
        db.name(),
    );
    admin.batch_execute(&clean).await.unwrap();
}
