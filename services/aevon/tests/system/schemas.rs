//! Schemas: what events are checked against, as producers and operators see it.

use crate::support::{Answer, Service, array, command, event, finish, text};
use aevon_testkit::TestDatabase;
use reqwest::Method;
use serde_json::json;
use std::path::Path;

const CALL: &str = r#"{"title":"A call","type":"object","required":["n"],"additionalProperties":false,
    "properties":{"n":{"type":"integer","minimum":0},"tags":{"items":{"enum":["a","b"]}}}}"#;

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn of_version(version: i32, id: &str, data: &str) -> String {
    let with = format!(r#""schema_version":{version},"data""#);
    event("p", id, data).replace(r#""data""#, &with)
}

fn code(answer: &Answer) -> (u16, &str) {
    let code = answer.body["type"].as_str().unwrap_or_default();
    (
        answer.status,
        code.strip_prefix("urn:aevon:problem:").unwrap_or(code),
    )
}

struct System {
    db: TestDatabase,
    ingest: Service,
    folder: tempfile::TempDir,
}

async fn start() -> System {
    let db = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "_platform/t/v1.json", CALL);
    write(
        folder.path(),
        "_platform/t/v2.yaml",
        "type: object\nrequired: [n, m]",
    );
    write(
        folder.path(),
        "acme/t/v2.yaml",
        "type: object\nrequired: [k]",
    );
    write(folder.path(), "other/u/v1.yaml", "type: object");
    let path = folder.path().to_str().unwrap();
    let ingest = Service::start("ingest-svc", db.url(), &[("AEVON_SCHEMA__PATH", path)]).await;
    System { db, ingest, folder }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_must_match_the_schema_that_it_names() {
    let system = start().await;
    let post = async |body: String| system.ingest.post(body).await;
    assert_eq!(post(of_version(1, "a", r#"{"n":1}"#)).await.status, 202);
    assert_eq!(post(event("p", "b", r#"{"n":"any"}"#)).await.status, 202);
    let one = post(of_version(1, "c", r#"{"n":1,"tags":["a","c"]}"#)).await;
    assert_eq!(code(&one), (422, "schema-mismatch"), "{one:?}");
    assert_eq!(one.body["errors"][0]["field"], "/data/tags/1");
    let several = post(of_version(1, "c", r#"{"n":-1,"tags":[1],"more":1}"#)).await;
    assert_eq!(code(&several), (422, "invalid-event"), "{several:?}");
    let fields: Vec<_> = several.body["errors"].as_array().unwrap().iter().collect();
    assert_eq!(fields.len(), 3, "{several:?}");
    let unknown = post(of_version(9, "c", "{}")).await;
    assert_eq!(code(&unknown), (422, "unknown-schema"), "{unknown:?}");
    // The tenant's own schema goes before the platform's.
    assert_eq!(post(of_version(2, "d", r#"{"k":1}"#)).await.status, 202);
    let mixed = post(array(&[
        of_version(2, "e", r#"{"k":1}"#),
        of_version(2, "f", r#"{"n":1,"m":1}"#),
    ]))
    .await;
    assert_eq!(mixed.status, 207);
    assert_eq!(mixed.body["results"][0]["error"]["code"], "schema-mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_a_duplicate_although_its_schema_has_changed_since() {
    let System { db, ingest, folder } = start().await;
    let stored = of_version(1, "a", r#"{"n":1}"#);
    assert_eq!(ingest.post(stored.clone()).await.status, 202);
    drop(ingest);
    write(
        folder.path(),
        "_platform/t/v1.json",
        r#"{"required":["never"]}"#,
    );
    let path = folder.path().to_str().unwrap();
    let ingest = Service::start("ingest-svc", db.url(), &[("AEVON_SCHEMA__PATH", path)]).await;
    assert_eq!(ingest.post(stored).await.status, 200);
    let conflict = ingest.post(of_version(1, "a", r#"{"n":2}"#)).await;
    assert_eq!(code(&conflict), (409, "event-conflict"));
    let new = ingest.post(of_version(1, "b", r#"{"n":1}"#)).await;
    assert_eq!(code(&new), (422, "schema-mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_listed_in_pages_and_checked_without_storing() {
    let system = start().await;
    let page = system.ingest.get("/v1/schemas?limit=3").await;
    let key = |item: &serde_json::Value| json!([item["tenant_id"], item["type"], item["version"]]);
    let keys = |answer: &Answer| {
        let items = answer.body["items"].as_array().unwrap();
        items.iter().map(key).collect::<Vec<_>>()
    };
    let first = [
        json!([null, "t", 1]),
        json!([null, "t", 2]),
        json!(["acme", "t", 2]),
    ];
    assert_eq!(keys(&page), first);
    assert_eq!(page.body["items"][0]["title"], "A call");
    let next = page.body["next"].as_str().unwrap();
    let rest = system
        .ingest
        .get(&format!("/v1/schemas?cursor={next}"))
        .await;
    assert_eq!(keys(&rest), [json!(["other", "u", 1])]);
    assert_eq!(rest.body["next"], json!(null));
    assert_eq!(
        keys(&system.ingest.get("/v1/schemas?type=u").await).len(),
        1
    );

    let validate = async |path: &str, data: &str| {
        let path = format!("/v1/schemas/{path}");
        system
            .ingest
            .send(Method::POST, &path, &[], data.to_owned())
            .await
    };
    let good = validate("t/1/validate", r#"{"n":1}"#).await;
    assert_eq!(
        (good.status, &good.body["valid"]),
        (200, &json!(true)),
        "{good:?}"
    );
    let bad = validate("t/1/validate", r#"{"n":"1"}"#).await;
    assert_eq!(code(&bad), (422, "schema-mismatch"));
    assert_eq!(bad.body["errors"][0]["field"], "/n");
    assert_eq!(
        code(&validate("t/2/validate?tenant_id=acme", "{}").await).0,
        422
    );
    assert_eq!(
        validate("t/2/validate?tenant_id=acme", r#"{"k":1}"#)
            .await
            .status,
        200
    );
    assert_eq!(
        code(&validate("t/9/validate", "{}").await),
        (422, "unknown-schema")
    );
    assert_eq!(
        code(&validate("t/1/validate", "{").await),
        (400, "malformed-body")
    );
    assert_eq!(
        code(&validate("t/1/validate", "[]").await),
        (400, "malformed-body")
    );
    assert_eq!(
        code(&validate("t/x/validate", "{}").await),
        (400, "invalid-parameter")
    );
    let events: i64 = {
        let client = system.db.client().await;
        client
            .query_one("SELECT count(*) FROM events", &[])
            .await
            .unwrap()
            .get(0)
    };
    assert_eq!(events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_schema_stops_the_start_with_file_place_and_reason() {
    let db = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "_platform/t/v1.yaml",
        "properties: {n: {type: integr}}",
    );
    for check_only in [true, false] {
        let mut command = command("ingest-svc", db.url());
        command.env("AEVON_SCHEMA__PATH", folder.path());
        if check_only {
            command.arg("--check-config");
        }
        let output = finish(&mut command);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.trim().lines().count(), 1, "{said}");
        assert!(
            said.contains("_platform/t/v1.yaml: /properties/n/type: "),
            "{said}"
        );
    }
}
