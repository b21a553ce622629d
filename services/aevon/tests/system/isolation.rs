//! Every route of every service's OpenAPI document, by its own examples, with the key of another tenant:
//! nothing is told of the first one, not even whether it is there, and nothing is stored in its name.

use crate::openapi::{EXAMPLES, Example, Operation, operations};
use crate::support::{Answer, DEADLINE, Service, apply_folder, command, finish, text};
use aevon_testkit::{TestDatabase, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;

/// Stands in everything that is acme's, and must never be told to others.
const MARK: &str = "acmes-own-secret";
/// What the ids of events begin with that acme sends itself, and that others send in its name.
const OWN: &str = "own-";
const FORGED: &str = "forged-";

struct System {
    db: TestDatabase,
    ingest: Service,
    projection: Service,
    aggregator: Service,
    _schemas: tempfile::TempDir,
}

async fn start() -> System {
    let db = TestDatabase::create().await;
    let rules = format!("{EXAMPLES}/rules");
    apply_folder(&db, Path::new(&rules));
    let schemas = tempfile::tempdir().unwrap();
    for (folder, name) in [("_platform", "plain"), ("acme", MARK)] {
        let folder = schemas.path().join(folder).join("model.call");
        std::fs::create_dir_all(&folder).unwrap();
        let schema =
            format!("title: {name}\ntype: object\nproperties: {{guess: {{const: {name}}}}}\n");
        std::fs::write(folder.join("v1.yaml"), schema).unwrap();
    }
    let settings = [
        ("AEVON_AUTH__MODE", "api_key"),
        ("AEVON_SERVER__HOST", "127.0.0.1"),
        ("AEVON_SCHEMA__PATH", schemas.path().to_str().unwrap()),
        ("AEVON_AGGREGATION__CONFIG_DIR", &rules),
        ("AEVON_AGGREGATION__CRON_INTERVAL", "20ms"),
    ];
    let ingest = Service::start("ingest-svc", db.url(), &settings).await;
    let projection = Service::start("projection-svc", db.url(), &settings).await;
    let aggregator = Service::start("aggregator-svc", db.url(), &settings).await;
    System {
        db,
        ingest,
        projection,
        aggregator,
        _schemas: schemas,
    }
}

impl System {
    fn services(&self) -> [&Service; 3] {
        [&self.ingest, &self.projection, &self.aggregator]
    }

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

/// The same with other ids of events: whoever sends it, what comes of it can be told from the rest.
fn with_ids<'a>(example: &Example<'a>, ids: &'static str) -> Example<'a> {
    let lines = example.body.lines().map(|line| renamed(line, ids));
    let whole = renamed(&example.body, ids);
    let body = whole.or_else(|| {
        lines
            .collect::<Option<Vec<_>>>()
            .map(|lines| lines.join("\n"))
    });
    let headers = example.headers.iter().map(|(name, value)| match *name {
        "ce-id" => (*name, ids),
        _ => (*name, *value),
    });
    Example {
        path: example.path.clone(),
        headers: headers.collect(),
        body: body.unwrap_or_else(|| example.body.clone()),
    }
}

/// A document of JSON with every `id` in it begun so.
fn renamed(document: &str, ids: &str) -> Option<String> {
    fn rename(value: &mut Value, ids: &str) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| rename(value, ids)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), &mut *value) {
                        ("id", Value::String(id)) => id.insert_str(0, ids),
                        (_, value) => rename(value, ids),
                    }
                }
            }
            _ => {}
        }
    }
    let mut value = serde_json::from_str(document).ok()?;
    rename(&mut value, ids);
    Some(value.to_string())
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

/// Stores events of acme, and waits until they are swept.
async fn fill(system: &System, platform: &str) {
    let event = |principal: &str, id: &str, kind: &str| {
        json!({
            "tenant_id": "acme", "principal_id": principal, "id": id, "source": "gateway",
            "type": kind, "occurred_at": "2026-02-11T10:30:00Z",
            "data": {"tokens": 1, "model": MARK}, "metadata": {"note": MARK}
        })
    };
    // The last one is refused, and so can be looked at.
    let body = json!([
        event("user_123", "evt-001", "model.call"),
        event("user_123", MARK, "model.call"),
        event(MARK, "evt-001", "model.call"),
        event("user_123", MARK, "aevon.x")
    ]);
    let sent = send(
        &system.ingest,
        &Method::POST,
        &plain("/v1/events", body.to_string()),
        platform,
    )
    .await;
    assert_eq!(sent.status, 207, "{sent:?}");
    settled(system, platform).await;
}

/// Waits until all events are swept.
async fn settled(system: &System, platform: &str) {
    eventually(DEADLINE, "every event is swept", async || {
        let rules = plain("/v1/rules", String::new());
        let rules = send(&system.projection, &Method::GET, &rules, platform).await;
        let mut rules = rules.body["rules"].as_array().unwrap().iter();
        rules.all(|rule| rule["lag_events"] == 0)
    })
    .await;
}

/// A request without any header.
fn plain(path: &str, body: String) -> Example<'static> {
    Example {
        path: path.to_owned(),
        headers: Vec::new(),
        body,
    }
}

/// Whether a route is about a tenant that the caller names.
fn names_tenant(operation: &Operation<'_>) -> bool {
    operation.path.contains("{tenant}")
}

/// The keys of everybody.
struct Keys {
    acme: String,
    other: String,
    scopeless: String,
}

/// How many requests were made of each kind.
#[derive(Default)]
struct Walked {
    public: usize,
    guarded: usize,
    /// Those that tell acme its own.
    marked: usize,
}

impl Walked {
    /// A route that asks for no key tells nobody anything of anybody.
    async fn public(
        &mut self,
        service: &Service,
        method: &Method,
        example: &Example<'_>,
        key: &str,
    ) {
        let keyless = service.send(method.clone(), &example.path, &[], "").await;
        let keyed = send(service, method, example, key).await;
        for told in [keyless, keyed] {
            assert!(told.status < 300, "{method} {}: {told:?}", example.path);
            let body = told.body.to_string();
            assert!(!body.contains(MARK), "{method} {}: {body}", example.path);
        }
        self.public += 1;
    }

    async fn guarded(
        &mut self,
        service: &Service,
        operation: &Operation<'_>,
        example: &Example<'_>,
        keys: &Keys,
    ) {
        let method = &operation.method;
        let what = format!("{method} {} {}", example.path, example.body);
        let own = send(service, method, &with_ids(example, OWN), &keys.acme).await;
        self.marked += usize::from(own.body.to_string().contains(MARK));
        let forged = with_ids(example, FORGED);
        let refused = send(service, method, &forged, &keys.other).await;
        assert!(
            !refused.body.to_string().contains(MARK),
            "{what}: {refused:?}"
        );
        if names_tenant(operation) {
            assert_eq!(refused.status, 403, "{what}: {refused:?}");
            let of_nobody = send(service, method, &about_nobody(&forged), &keys.other).await;
            assert_eq!(told(&refused), told(&of_nobody), "{what}");
        } else if example.path.contains("tenant_id=acme") || example.body.contains("acme") {
            // Of several events each is refused by itself.
            let is_refused = refused.body.to_string().contains("forbidden");
            assert!(refused.status >= 400 && is_refused, "{what}: {refused:?}");
            let of_nobody = send(service, method, &about_nobody(&forged), &keys.other).await;
            assert_eq!(told(&refused), told(&of_nobody), "{what}");
        }
        let scopeless = send(service, method, &forged, &keys.scopeless).await;
        assert_eq!(scopeless.status, 403, "{what}: {scopeless:?}");
        let keyless = service.send(method.clone(), &example.path, &[], "").await;
        assert_eq!(keyless.status, 401, "{what}: {keyless:?}");
        self.guarded += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_key_learns_nothing_on_any_route() {
    let system = start().await;
    let keys = Keys {
        acme: system.key(&["--tenant", "acme", "--scope", "ingest,read"]),
        other: system.key(&["--tenant", "other", "--scope", "ingest,read,admin"]),
        scopeless: system.key(&["--tenant", "acme", "--scope", "admin"]),
    };
    let platform = system.key(&["--platform", "--scope", "ingest,read"]);
    fill(&system, &platform).await;
    let mut walked = Walked::default();
    for service in system.services() {
        let document = service.get("/openapi.json").await.body;
        let before = walked.public;
        for operation in operations(&document) {
            let is_public = operation.says.get("security").is_none();
            for example in operation.examples() {
                match is_public {
                    true => {
                        let method = &operation.method;
                        walked.public(service, method, &example, &keys.other).await;
                    }
                    false => walked.guarded(service, &operation, &example, &keys).await,
                }
            }
        }
        assert!(
            walked.public > before + 4,
            "{} routes of its process",
            walked.public
        );
    }
    let Walked {
        public,
        guarded,
        marked,
    } = walked;
    assert!(
        guarded > 100 && marked > 20,
        "{guarded} requests with keys, {public} without, {marked} tell acme its own"
    );
    no_schema_is_told(&system, &keys).await;
    nothing_is_forged(&system, &keys.acme).await;
}

/// Whoever sends in acme's name is not told what acme's own schema asks for, and hears the same as in the name
/// of a tenant that is not there.
async fn no_schema_is_told(system: &System, keys: &Keys) {
    let event = json!({
        "tenant_id": "acme", "principal_id": "user_123", "id": "e1", "type": "model.call",
        "schema_version": 1, "occurred_at": "2026-02-11T10:30:00Z", "data": {"guess": "a guess"},
    });
    for body in [event.clone(), json!([event, event])] {
        let forged = plain("/v1/events", body.to_string());
        let own = send(&system.ingest, &Method::POST, &forged, &keys.acme).await;
        assert!(own.body.to_string().contains(MARK), "{own:?}");
        let refused = send(&system.ingest, &Method::POST, &forged, &keys.other).await;
        assert!(!refused.body.to_string().contains("guess"), "{refused:?}");
        let of_nobody = about_nobody(&forged);
        let of_nobody = send(&system.ingest, &Method::POST, &of_nobody, &keys.other).await;
        assert_eq!(told(&refused), told(&of_nobody));
    }
}

/// Nothing came of what others sent in acme's name: neither an event, nor one that was refused. What it
/// sent itself is there, under ids that begin otherwise.
async fn nothing_is_forged(system: &System, acme: &str) {
    let feed = plain("/v1/events/acme?limit=1000", String::new());
    let feed = send(&system.projection, &Method::GET, &feed, acme).await;
    let items = feed.body["items"].as_array().unwrap();
    let begin = |ids: &str| {
        let ours = items.iter().filter(|item| {
            let id = item["id"].as_str().unwrap();
            id.starts_with(ids)
        });
        ours.count()
    };
    assert!(begin(OWN) > 5 && begin(FORGED) == 0, "{feed:?}");
    let client = system.db.client().await;
    for stored in [
        "SELECT count(*) FROM events e WHERE e::text LIKE '%' || $1 || '%'",
        "SELECT count(*) FROM rejected_events r WHERE tenant_id = 'acme' AND r::text LIKE '%' || $1 || '%'",
    ] {
        let forged = client.query_one(stored, &[&FORGED]).await.unwrap();
        assert_eq!(forged.get::<_, i64>(0), 0, "{stored}");
    }
}

/// What a tenant's answers have of the log that it shares with others: places in partitions and their
/// stamps, and how far rules have come there.
const OF_PARTITIONS: [&str; 15] = [
    "version",
    "as_of",
    "meta",
    "next",
    "checkpoint",
    "lag_events",
    "lag_seconds",
    "last_swept_at",
    "partitions",
    "from_seq",
    "to_seq",
    "seconds",
    "sweep_seconds",
    "raw",
    "head",
];

/// An answer without them.
fn of_tenant(mut answer: Value) -> Value {
    match &mut answer {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let is_own =
                    name == "rule_version" || value.as_i64().is_some() && name == "version";
                is_own || !OF_PARTITIONS.contains(&name.as_str())
            });
            for value in fields.values_mut() {
                *value = of_tenant(value.take());
            }
        }
        Value::Array(values) => {
            for value in values {
                *value = of_tenant(value.take());
            }
        }
        _ => {}
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_changes_nothing_of_a_tenants_answers_but_places_in_the_log() {
    let system = start().await;
    let platform = system.key(&["--platform", "--scope", "ingest,read"]);
    let other = system.key(&["--tenant", "nixx", "--scope", "ingest,read,admin"]);
    let event = |tenant: &str, id: &str, n: u32| {
        json!({
            "tenant_id": tenant, "principal_id": "user_123", "id": id, "type": "model.call",
            "occurred_at": "2026-02-11T10:30:00Z", "data": {"tokens": n, "model": tenant}
        })
    };
    let post = async |events: Vec<Value>| {
        let body = plain("/v1/events", json!(events).to_string());
        let sent = send(&system.ingest, &Method::POST, &body, &platform).await;
        assert_eq!(sent.status, 202, "{sent:?}");
    };
    // The same principal of another tenant, and so many that all partitions have some.
    post((0..3).map(|n| event("nixx", &format!("e{n}"), n)).collect()).await;
    let document = system.projection.get("/openapi.json").await.body;
    let mut asked = Vec::new();
    for operation in operations(&document) {
        if operation.method == Method::GET && operation.says.get("security").is_some() {
            asked.extend(
                operation
                    .examples()
                    .iter()
                    .map(|one| plain(&one.path.replace("acme", "nixx"), String::new())),
            );
        }
    }
    let answers = async || {
        let mut answers = Vec::new();
        for example in &asked {
            let answer = send(&system.projection, &Method::GET, example, &other).await;
            answers.push((example.path.clone(), answer.status, of_tenant(answer.body)));
        }
        answers
    };
    settled(&system, &platform).await;
    let before = answers().await;
    let of_others = |n: u32| {
        let mut one = event("acme", &format!("{MARK}-{n}"), 1_000);
        one["principal_id"] = json!(format!("user_{n}"));
        one
    };
    post((0..200).map(of_others).collect()).await;
    post(vec![event("acme", MARK, 1_000)]).await;
    settled(&system, &platform).await;
    let answered = before
        .iter()
        .filter(|(_, status, _)| *status == 200)
        .count();
    assert!(answered > 50, "{answered} of {} are answered", before.len());
    for (before, now) in before.iter().zip(answers().await) {
        assert_eq!(*before, now);
    }
}
