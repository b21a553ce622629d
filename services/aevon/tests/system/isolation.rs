//! Every route of the OpenAPI documents, by its own examples, with the key of another tenant: nothing
//! is told of the first one, not even whether it is there.

use crate::openapi::{EXAMPLES, Example, Operation, operations};
use crate::support::{Answer, Service, apply_folder, command, finish, text};
use aevon_testkit::TestDatabase;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;

/// Stands in everything that is acme's, and must never be told to others.
const MARK: &str = "acmes-own-secret";

struct System {
    db: TestDatabase,
    services: [Service; 2],
    _schemas: tempfile::TempDir,
}

async fn start() -> System {
    let db = TestDatabase::create().await;
    apply_folder(&db, Path::new(&format!("{EXAMPLES}/rules")));
    let schemas = tempfile::tempdir().unwrap();
    for (folder, name) in [("_platform", "plain"), ("acme", MARK)] {
        let folder = schemas.path().join(folder).join("model.call");
        std::fs::create_dir_all(&folder).unwrap();
        let schema = format!("title: {name}\ntype: object\n");
        std::fs::write(folder.join("v1.yaml"), schema).unwrap();
    }
    let settings = [
        ("AEVON_AUTH__MODE", "api_key"),
        ("AEVON_SERVER__HOST", "127.0.0.1"),
        ("AEVON_SCHEMA__PATH", schemas.path().to_str().unwrap()),
    ];
    let ingest = Service::start("ingest-svc", db.url(), &settings).await;
    let projection = Service::start("projection-svc", db.url(), &settings).await;
    System {
        db,
        services: [ingest, projection],
        _schemas: schemas,
    }
}

impl System {
    fn key(&self, arguments: &[&str]) -> String {
        let output = finish(
            command("aevon", self.db.url())
                .args(["key", "create"])
                .args(arguments),
        );
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }
}

/// Sends an example with a key.
async fn send(service: &Service, method: &Method, example: &Example<'_>, key: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    let mut headers = example.headers.clone();
    headers.push(("authorization", &bearer));
    let (path, body) = (&example.path, example.body.clone());
    service.send(method.clone(), path, &headers, body).await
}

/// The same about a tenant, and a principal, whom nobody has heard of.
fn about_nobody<'a>(example: &Example<'a>) -> Example<'a> {
    let renamed = |text: &str| text.replace("acme", "nixx").replace("user_123", "user_000");
    Example {
        path: renamed(&example.path),
        headers: example.headers.clone(),
        body: renamed(&example.body),
    }
}

/// What a caller can tell answers apart by.
fn told(answer: &Answer) -> (u16, String) {
    let body = answer.body.to_string();
    (
        answer.status,
        body.replace("nixx", "acme").replace("user_000", "user_123"),
    )
}

async fn fill(system: &System, platform: &str) {
    let event = |id: &str, kind: &str| {
        json!({
            "tenant_id": "acme", "principal_id": "user_123", "id": id, "source": "gateway",
            "type": kind, "occurred_at": "2026-02-11T10:30:00Z",
            "data": {"tokens": 1, "model": MARK}, "metadata": {"note": MARK}
        })
    };
    // The last one is refused, and so can be looked at.
    let body = json!([
        event("evt-001", "model.call"),
        event(MARK, "model.call"),
        event(MARK, "aevon.x")
    ]);
    let example = Example {
        path: "/v1/events".to_owned(),
        headers: Vec::new(),
        body: body.to_string(),
    };
    let sent = send(&system.services[0], &Method::POST, &example, platform).await;
    assert_eq!(sent.status, 207, "{sent:?}");
}

/// Whether a route is about a tenant that the caller names.
fn names_tenant(operation: &Operation<'_>) -> bool {
    operation.path.contains("{tenant}")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_key_learns_nothing_on_any_route() {
    let system = start().await;
    let platform = system.key(&["--platform", "--scope", "ingest,read"]);
    let acme = system.key(&["--tenant", "acme", "--scope", "ingest,read"]);
    let other = system.key(&["--tenant", "other", "--scope", "ingest,read,admin"]);
    let scopeless = system.key(&["--tenant", "acme", "--scope", "admin"]);
    fill(&system, &platform).await;
    let (mut walked, mut marked) = (0, 0);
    for service in &system.services {
        let document = service.get("/openapi.json").await.body;
        for operation in operations(&document) {
            if operation.says.get("security").is_none() {
                continue;
            }
            let method = &operation.method;
            for example in operation.examples() {
                let what = format!("{method} {} {}", example.path, example.body);
                let own = send(service, method, &example, &acme).await;
                marked += usize::from(own.body.to_string().contains(MARK));
                let refused = send(service, method, &example, &other).await;
                assert!(
                    !refused.body.to_string().contains(MARK),
                    "{what}: {refused:?}"
                );
                if names_tenant(&operation) {
                    assert_eq!(refused.status, 403, "{what}: {refused:?}");
                    let of_nobody = send(service, method, &about_nobody(&example), &other).await;
                    assert_eq!(told(&refused), told(&of_nobody), "{what}");
                } else if example.path.contains("tenant_id=acme") || example.body.contains("acme") {
                    // Of several events each is refused by itself.
                    let is_refused = refused.body.to_string().contains("forbidden");
                    assert!(refused.status >= 400 && is_refused, "{what}: {refused:?}");
                }
                let scopeless = send(service, method, &example, &scopeless).await;
                assert_eq!(scopeless.status, 403, "{what}: {scopeless:?}");
                let keyless = service.send(method.clone(), &example.path, &[], "").await;
                assert_eq!(keyless.status, 401, "{what}: {keyless:?}");
                walked += 1;
            }
        }
    }
    assert!(
        walked > 100 && marked > 20,
        "{walked} requests, {marked} tell acme its own"
    );
    // And nothing came of what was sent in acme's name.
    let feed = Example {
        path: "/v1/events/acme?limit=1000".to_owned(),
        headers: Vec::new(),
        body: String::new(),
    };
    let feed = send(&system.services[1], &Method::GET, &feed, &acme).await;
    let items = feed.body["items"].as_array().unwrap();
    let is_others = |item: &Value| item.to_string().contains("other");
    assert!(!items.is_empty() && !items.iter().any(is_others));
}
