//! `aevon verify` as an operator runs it: silent where buckets are what the log says, and exact about
//! what is wrong where they are not.

use crate::support::{DEADLINE, Service, apply, array, command, event, finish, rules, text};
use aevon_testkit::{TestDatabase, eventually};

const RULES: [(&str, &str); 6] = [
    (
        "count.yaml",
        "name: calls\nsource_event: t\noperator: count\ngroup_by: [model]\n",
    ),
    (
        "sum.yaml",
        "name: total\nsource_event: t\noperator: sum\nfield: n\n",
    ),
    (
        "latest.yaml",
        "name: last\nsource_event: t\noperator: latest\nfield: n\n",
    ),
    (
        "unique.yaml",
        "name: users\nsource_event: t\noperator: unique_count\nfield: user\n",
    ),
    (
        "level.yaml",
        "name: level\nsource_event: t\noperator: weighted_sum\nfield: n\n",
    ),
    (
        "never.yaml",
        "name: never\nsource_event: other\noperator: count\n",
    ),
];

struct Swept {
    db: TestDatabase,
    _ingest: Service,
}

/// What one run said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Swept {
    async fn new() -> Self {
        let db = TestDatabase::create().await;
        apply(&db, &RULES);
        let ingest = Service::start("ingest-svc", db.url(), &[]).await;
        let mut events = Vec::new();
        for (n, principal) in ["p", "q", "r"].into_iter().enumerate() {
            for m in 0..4 {
                let data = format!(r#"{{"n":{},"model":"m{}","user":"u{m}"}}"#, 1 << m, m % 2);
                events.push(event(principal, &format!("e{n}-{m}"), &data));
            }
            // Without a usable value.
            events.push(event(principal, &format!("e{n}"), r#"{"model":null}"#));
        }
        assert_eq!(ingest.post(array(&events)).await.status, 202);
        let system = Self {
            db,
            _ingest: ingest,
        };
        system.sweep().await;
        system
    }

    /// Runs an aggregator until nothing is left.
    async fn sweep(&self) {
        let folder = rules(&RULES);
        let settings = [
            (
                "AEVON_AGGREGATION__CONFIG_DIR",
                folder.path().to_str().unwrap(),
            ),
            ("AEVON_AGGREGATION__CRON_INTERVAL", "20ms"),
        ];
        let _aggregator = Service::start("aggregator-svc", self.db.url(), &settings).await;
        let client = self.db.client().await;
        let left = "SELECT count(*) FROM rules r CROSS JOIN events e
            LEFT JOIN sweep_checkpoints c ON c.rule_no = r.rule_no AND c.partition = e.partition
            WHERE e.seq > coalesce(c.seq, 0)";
        eventually(DEADLINE, "everything is swept", async || {
            let left: i64 = client.query_one(left, &[]).await.unwrap().get(0);
            left == 0
        })
        .await;
    }

    fn verify(&self, flags: &[&str]) -> Said {
        verify(self.db.url(), flags)
    }
}

fn verify(url: &str, flags: &[&str]) -> Said {
    let output = finish(command("aevon", url).arg("verify").args(flags));
    Said {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_that_are_what_the_log_says_exit_0_and_are_counted() {
    let system = Swept::new().await;
    let said = system.verify(&[]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (Some(0), ""),
        "{}",
        said.out
    );
    let client = system.db.client().await;
    let count = client.query_one("SELECT count(*) FROM pre_aggregates", &[]);
    let buckets: i64 = count.await.unwrap().get(0);
    let count = client.query_one("SELECT count(*) FROM tenants", &[]);
    let totals: i64 = count.await.unwrap().get(0);
    let expected = format!(
        "principals: 3, totals: {totals}, events: 15, buckets: {buckets}, rule versions: 6, \
         differences: 0\n"
    );
    assert_eq!(said.out, expected);
    let one = ["--tenant", "acme", "--principal", "p", "--rule", "total:1"];
    assert_eq!(
        system.verify(&one).out,
        "principals: 1, totals: 0, events: 5, buckets: 3, rule versions: 1, differences: 0\n"
    );
    let other = system.verify(&["--tenant", "other"]);
    assert_eq!(other.code, Some(1));
    assert!(
        other
            .err
            .contains("the log has no principal of tenant other"),
        "{}",
        other.err
    );
    let sampled = |part: &str| {
        let said = system.verify(&["--sample", part]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        let first = said.out.split([' ', ',']).nth(1).unwrap().parse::<u32>();
        first.unwrap()
    };
    assert_eq!(sampled("0.000001"), 0);
    assert!(sampled("0.5") <= sampled("0.9"));
    assert_eq!(sampled("1"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_difference_in_any_column_is_named_and_exits_1() {
    let system = Swept::new().await;
    let client = system.db.client().await;
    for (rule, column, change, says) in [
        ("calls", "operator", "operator = 2", "stored 2, folded 1"),
        (
            "calls",
            "event_count",
            "event_count = 7",
            "stored 7, folded",
        ),
        (
            "total",
            "skipped_count",
            "skipped_count = 0",
            "stored 0, folded 1",
        ),
        ("total", "value", "value = 15.5", "stored 15.5, folded 15"),
        ("total", "value", "value = NULL", "stored null, folded 15"),
        ("total", "first_seq", "first_seq = first_seq + 1", "stored "),
        ("total", "last_seq", "last_seq = last_seq + 1", "stored "),
        (
            "last",
            "latest_at",
            "latest_at = latest_at + interval '1 microsecond'",
            "stored 2026-01-01T09:30:20.500001Z, folded 2026-01-01T09:30:20.5",
        ),
        (
            "last",
            "latest_seq",
            "latest_seq = latest_seq - 1",
            "stored ",
        ),
        ("level", "moment", "moment = 0", "stored 0, folded "),
        (
            "users",
            "sketch",
            r"sketch = '\x0102'",
            "stored 2 bytes that are no set",
        ),
        (
            "users",
            "sketch",
            "sketch = NULL",
            "stored null, folded 4 values",
        ),
    ] {
        let its = format!(
            "FROM series s JOIN rules r USING (rule_no) JOIN principals q USING (principal_no)
             WHERE s.series_no = b.series_no AND b.grain = 60
               AND r.name = '{rule}' AND q.principal_id = 'q'"
        );
        let keep = format!(
            "CREATE TEMP TABLE kept AS SELECT b.* FROM pre_aggregates b, series s0
            WHERE s0.series_no = b.series_no AND EXISTS (SELECT {its})"
        );
        client.batch_execute(&keep).await.unwrap();
        let planted = format!("UPDATE pre_aggregates b SET {change} {its}");
        let planted = client.execute(&planted, &[]).await.unwrap();
        assert!(planted > 0, "{rule} {change}");
        let said = system.verify(&[]);
        assert_eq!(said.code, Some(1), "{change}: {}", said.out);
        assert!(
            said.out.contains(&format!("differences: {planted}\n")),
            "{}",
            said.out
        );
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
        let (principal, rule) = ("tenant acme, principal q", format!("rule {rule}:1, "));
        let place = "grain 1h, window 2026-01-01T09:00:00Z, epoch 2";
        let column = format!("column {column}: {says}");
        for expected in [principal, &rule, place, &column] {
            assert!(said.err.contains(expected), "{expected} in {}", said.err);
        }
        client
            .batch_execute(
                "DELETE FROM pre_aggregates b USING kept k
                 WHERE (b.series_no, b.grain, b.window_start) = (k.series_no, k.grain, k.window_start);
                 INSERT INTO pre_aggregates SELECT * FROM kept; DROP TABLE kept",
            )
            .await
            .unwrap();
        assert_eq!(system.verify(&[]).code, Some(0), "as it was: {change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_gone_or_too_many_are_named_and_what_is_unswept_is_not_wrong() {
    let system = Swept::new().await;
    let client = system.db.client().await;
    let gone = "DELETE FROM pre_aggregates b USING series s
                WHERE s.series_no = b.series_no AND b.grain = 1 AND s.labels->>'/model' = 'm1'";
    let gone = client.execute(gone, &[]).await.unwrap();
    assert!(gone > 3, "of three principals, and totals: {gone}");
    let said = system.verify(&["--rule", "calls"]);
    assert_eq!(said.code, Some(1));
    let says = format!("differences: {gone}\n");
    assert!(said.out.contains(&says), "{}", said.out);
    let expected = "group {\"/model\":\"m1\"}, grain 1m, window 2026-01-01T09:30:00Z";
    assert!(said.err.contains(expected), "{}", said.err);
    assert!(
        said.err
            .contains("column row: stored none, folded event_count 2, "),
        "{}",
        said.err
    );
    // Another rule's buckets are what they were.
    assert_eq!(system.verify(&["--rule", "total"]).code, Some(0));
    let dropped = "DELETE FROM sweep_checkpoints c USING rules r
                   WHERE r.rule_no = c.rule_no AND r.name = 'calls'";
    client.execute(dropped, &[]).await.unwrap();
    let said = system.verify(&[]);
    assert_eq!(said.code, Some(0), "no licence, no claim: {}", said.err);
    assert!(
        said.out.contains("unswept: calls:1 has no checkpoint in "),
        "{}",
        said.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_read_may_verify_and_wrong_questions_are_named() {
    let system = Swept::new().await;
    let client = system.db.client().await;
    let role = format!("{}_reader", system.db.name());
    client
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'secret'; \
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
        ))
        .await
        .unwrap();
    let url: reqwest::Url = system.db.url().parse().unwrap();
    let mut reader = url.clone();
    reader.set_username(&role).unwrap();
    reader.set_password(Some("secret")).unwrap();
    let said = verify(reader.as_str(), &[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    client
        .batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .unwrap();
    for (flags, code, says) in [
        (&["--principal", "p"][..], 2, "--tenant"),
        (&["--tenant", ""], 2, "must not be empty"),
        (&["--sample", "2"], 2, "above 0, and 1 at most"),
        (&["--rule", "total:x"], 2, "not the number of a version"),
        (&["--rule", "nothing"], 1, "there is no rule nothing"),
        (&["--rule", "total:9"], 1, "there is no rule total:9"),
        (
            &["--tenant", "acme", "--principal", "nobody"],
            1,
            "no principal nobody of tenant acme",
        ),
    ] {
        let said = system.verify(flags);
        assert_eq!(said.code, Some(code), "{flags:?}: {}", said.err);
        assert!(said.err.contains(says), "{flags:?}: {}", said.err);
    }
}
