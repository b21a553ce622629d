//! Keys: whose data a caller may touch, and what with.

use crate::support::{Answer, DEADLINE, SUM, Service, apply, array, command, event, finish, text};
use aevon_testkit::{TestDatabase, eventually};
use reqwest::Method;
use serde_json::json;
use std::fs::File;

const API_KEYS: [(&str, &str); 3] = [
    ("AEVON_AUTH__MODE", "api_key"),
    ("AEVON_SERVER__HOST", "127.0.0.1"),
    ("AEVON_LOG__LEVEL", "trace"),
];

struct System {
    db: TestDatabase,
    ingest: Service,
    projection: Service,
    logs: tempfile::TempDir,
}

async fn start() -> System {
    let db = TestDatabase::create().await;
    apply(&db, &[SUM]);
    let logs = tempfile::tempdir().unwrap();
    let spawn = |name: &str| {
        let log = File::create(logs.path().join(name)).unwrap();
        Service::spawn_with_log(name, db.url(), &API_KEYS, log)
    };
    let (ingest, projection) = (spawn("ingest-svc"), spawn("projection-svc"));
    ingest.ready().await;
    projection.ready().await;
    System {
        db,
        ingest,
        projection,
        logs,
    }
}

impl System {
    /// What `aevon key` says on standard output.
    fn key(&self, arguments: &[&str]) -> String {
        let output = finish(command("aevon", self.db.url()).arg("key").args(arguments));
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    fn create(&self, whose: &[&str], scope: &str) -> String {
        self.key(&[&["create", "--scope", scope], whose].concat())
    }

    async fn post(&self, key: &str, body: String) -> Answer {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        self.ingest
            .send(Method::POST, "/v1/events", &headers, body)
            .await
    }

    async fn get(&self, key: &str, path: &str) -> Answer {
        let bearer = format!("bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        self.projection.send(Method::GET, path, &headers, "").await
    }
}

fn outcome(answer: &Answer) -> (u16, &str) {
    let code = answer.body["type"].as_str().unwrap_or_default();
    (
        answer.status,
        code.strip_prefix("urn:aevon:problem:").unwrap_or(code),
    )
}

const FORBIDDEN: (u16, &str) = (403, "forbidden");
const UNKNOWN: (u16, &str) = (401, "unauthenticated");

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_its_tenant_and_its_scopes_and_nothing_else() {
    let system = start().await;
    let acme = system.create(&["--tenant", "acme"], "ingest,read");
    let reader = system.create(&["--tenant", "acme"], "read");
    let other = system.create(&["--tenant", "other"], "ingest,read");
    let platform = system.create(&["--platform"], "ingest,read");
    for key in [&acme, &reader, &other, &platform] {
        assert!(
            key.starts_with("aevon_") && key.lines().count() == 1,
            "{key}"
        );
    }
    // The tenant is the key's, whether it is named or not.
    let unnamed = event("p", "a", r#"{"n":1}"#).replace(r#""tenant_id":"acme","#, "");
    assert_eq!(system.post(&acme, unnamed.clone()).await.status, 202);
    assert_eq!(
        system
            .post(&acme, event("p", "a", r#"{"n":1}"#))
            .await
            .status,
        200
    );
    assert_eq!(
        system
            .post(&platform, event("p", "b", r#"{"n":2}"#))
            .await
            .status,
        202
    );
    assert_eq!(
        outcome(&system.post(&platform, unnamed).await),
        (422, "missing-field")
    );
    assert_eq!(
        outcome(&system.post(&other, event("p", "c", "{}")).await),
        FORBIDDEN
    );
    assert_eq!(
        outcome(&system.post(&reader, event("p", "c", "{}")).await),
        FORBIDDEN
    );
    let mixed = array(&[
        event("p", "d", r#"{"n":4}"#),
        event("p", "e", r#"{"n":8}"#).replace("acme", "other"),
    ]);
    let mixed = system.post(&acme, mixed).await;
    assert_eq!(
        (mixed.status, &mixed.body["accepted"]),
        (207, &json!(1)),
        "{mixed:?}"
    );
    assert_eq!(mixed.body["results"][0]["error"]["code"], "forbidden");

    let path = "/v1/state/acme/p?rule=total";
    for key in [&acme, &reader, &platform] {
        let state = system.get(key, path).await;
        assert_eq!(state.body["values"][0]["value"], "7", "{state:?}");
    }
    // Whether there is such a tenant or principal makes no difference.
    for path in [
        path,
        "/v1/state/nobody/nobody",
        "/v1/state/acme?principal_id=p",
        "/v1/state/acme/p/explain?rule=total",
        "/v1/state/acme/p/verify?rule=total",
        "/v1/explain/acme?principal_id=p&rule=total",
        "/v1/verify/acme?principal_id=p&rule=total",
    ] {
        assert_eq!(
            outcome(&system.get(&other, path).await),
            FORBIDDEN,
            "{path}"
        );
    }
    for wrong in ["", "aevon_1_00", "nonsense", &acme[..acme.len() - 1]] {
        let refused = system.get(wrong, path).await;
        assert_eq!(outcome(&refused), UNKNOWN, "{wrong}");
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
        assert_eq!(
            outcome(&system.post(wrong, event("p", "f", "{}")).await),
            UNKNOWN
        );
    }
    assert_eq!(outcome(&system.projection.get("/v1/rules").await), UNKNOWN);
    assert_eq!(system.get(&reader, "/v1/rules").await.status, 200);
    assert_eq!(system.projection.get("/healthz").await.status, 200);

    for service in ["ingest-svc", "projection-svc"] {
        let log = std::fs::read_to_string(system.logs.path().join(service)).unwrap();
        assert!(
            log.contains("\"path\":") || log.len() > 1000,
            "it logs at all: {log}"
        );
        for key in [&acme, &reader, &other, &platform] {
            let secret = key.rsplit('_').next().unwrap();
            assert!(!log.contains(secret), "{service} logs a secret");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_and_rotated_keys_are_refused_within_seconds() {
    let system = start().await;
    let first = system.create(&["--tenant", "acme"], "ingest");
    let post = async |key: &str, id: &str| system.post(key, event("p", id, "{}")).await.status;
    assert_eq!(post(&first, "a").await, 202);
    let number = first.split('_').nth(1).unwrap();
    let second = system.key(&["rotate", number, "--overlap", "1h"]);
    assert_eq!(
        (post(&first, "b").await, post(&second, "c").await),
        (202, 202)
    );
    let third = system.key(&["rotate", number, "--overlap", "0s"]);
    system.key(&["revoke", second.split('_').nth(1).unwrap()]);
    eventually(DEADLINE, "both are refused", async || {
        post(&first, "b").await == 401 && post(&second, "c").await == 401
    })
    .await;
    assert_eq!(post(&third, "d").await, 202);
    let list = system.key(&["list"]);
    assert_eq!(list.matches("revoked").count(), 2, "{list}");
    for key in [&first, &second, &third] {
        assert!(!list.contains(key.rsplit('_').next().unwrap()));
    }
    let again = finish(command("aevon", system.db.url()).args(["key", "revoke", number]));
    assert_eq!(again.status.code(), Some(1));
    let wrong = ["key", "create", "--tenant", "acme", "--scope", "everything"];
    let wrong = finish(command("aevon", system.db.url()).args(wrong));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("ingest, read, admin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn openmeters_route_takes_cloud_events_of_the_keys_tenant_and_says_nothing_when_all_is_stored()
 {
    let system = start().await;
    let key = format!("Bearer {}", system.create(&["--tenant", "acme"], "ingest"));
    let send = async |content_type: &str, body: String| {
        let headers = [
            ("authorization", key.as_str()),
            ("content-type", content_type),
        ];
        let path = "/api/v1/events";
        system.ingest.send(Method::POST, path, &headers, body).await
    };
    let one = |id: &str, data: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"s","type":"t","subject":"p",
                "time":"2026-02-11T10:30:00Z"{data}}}"#
        )
    };
    let data = r#","data":{"n":"1"}"#;
    for (content_type, body) in [
        ("application/cloudevents+json", one("a", data)),
        ("application/cloudevents+json", one("a", data)),
        ("application/json", one("b", r#","data":null"#)),
        ("application/json", array(&[one("c", data), one("d", "")])),
        (
            "application/cloudevents-batch+json",
            array(&[one("d", ""), one("e", data)]),
        ),
    ] {
        let answer = send(content_type, body).await;
        assert_eq!(
            (answer.status, &answer.body),
            (204, &json!("")),
            "{answer:?}"
        );
    }
    let mixed = send("application/json", array(&[one("f", data), one("a", "")])).await;
    assert_eq!(outcome(&mixed), (422, "invalid-event"));
    assert_eq!(
        mixed.body["errors"][0]["code"], "event-conflict",
        "{mixed:?}"
    );
    let conflict = send("application/json", one("a", "")).await;
    assert_eq!(outcome(&conflict), (409, "event-conflict"));
    let count = "SELECT count(*) FROM events e JOIN principals USING (principal_no)
                 WHERE tenant_id = 'acme' AND principal_id = 'p'";
    let count: i64 = system
        .db
        .client()
        .await
        .query_one(count, &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 6);
}
