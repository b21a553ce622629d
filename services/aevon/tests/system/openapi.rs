//! The OpenAPI document against the services that serve it: examples work, answers are as it says.

use crate::support::{Answer, Service, apply_folder};
use aevon_testkit::TestDatabase;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;

/// Where examples of rules and schemas stand.
pub(crate) const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");

/// One operation of the document.
pub(crate) struct Operation<'a> {
    document: &'a Value,
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) says: &'a Value,
}

/// A request made of examples alone.
pub(crate) struct Example<'a> {
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'a str, &'a str)>,
    pub(crate) body: String,
}

pub(crate) fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, says) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            found.push(Operation {
                document,
                method,
                path,
                says,
            });
        }
    }
    // What is written is read afterwards.
    found.sort_by_key(|operation| operation.method != Method::POST);
    found
}

/// The examples of a media type, by name.
fn examples(media: &Value) -> Vec<(&str, &Value)> {
    let several = media["examples"].as_object().into_iter().flatten();
    let several = several.map(|(name, example)| (name.as_str(), &example["value"]));
    let one = media.get("example").map(|example| ("", example));
    several.chain(one).collect()
}

/// A parameter of the query as it is sent.
fn pairs(name: &str, example: &Value) -> Vec<String> {
    let plain = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    match example {
        Value::Array(values) => values
            .iter()
            .map(|v| format!("{name}={}", plain(v)))
            .collect(),
        Value::Object(keyed) => keyed
            .iter()
            .map(|(key, value)| format!("{name}[{key}]={}", plain(value)))
            .collect(),
        value => vec![format!("{name}={}", plain(value))],
    }
}

impl<'a> Operation<'a> {
    /// Parameters of one place that have an example.
    fn parameters(&self, place: &str) -> Vec<&'a Value> {
        let all = self.says["parameters"].as_array().into_iter().flatten();
        all.filter(|one| one["in"] == place && one.get("example").is_some())
            .collect()
    }

    /// Every parameter of the query.
    pub(crate) fn names_in_query(&self) -> Vec<&'a str> {
        let all = self.says["parameters"].as_array().into_iter().flatten();
        let of_query = all.filter(|one| one["in"] == "query");
        of_query.filter_map(|one| one["name"].as_str()).collect()
    }

    /// The path with each parameter of the query alone, with none and with all.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut path = self.path.to_owned();
        for one in self.parameters("path") {
            let value = one["example"].as_str().map(str::to_owned);
            let value = value.unwrap_or_else(|| one["example"].to_string());
            path = path.replace(&format!("{{{}}}", one["name"].as_str().unwrap()), &value);
        }
        let pairs = |one: &&Value| pairs(one["name"].as_str().unwrap(), &one["example"]);
        let (required, others): (Vec<_>, Vec<_>) = self
            .parameters("query")
            .into_iter()
            .partition(|one| one["required"] == true);
        let required: Vec<String> = required.iter().flat_map(pairs).collect();
        let others: Vec<Vec<String>> = others.iter().map(pairs).collect();
        let mut chosen: Vec<Vec<String>> = others.clone();
        chosen.extend([Vec::new(), others.concat()]);
        // A dimension has to be one of every rule that answers.
        for pairs in &mut chosen {
            let is_of_dimension =
                |pair: &String| pair.starts_with("group_by=") || pair.starts_with("filter[");
            let mut all = required.iter().chain(pairs.iter());
            let names_rule = all.any(|pair| pair.starts_with("rule="));
            if pairs.iter().any(is_of_dimension) && !names_rule {
                pairs.push("rule=tokens_used".to_owned());
            }
            // The platform has to say whose meter it asks.
            let names_tenant = pairs.iter().any(|pair| pair.starts_with("tenant_id="));
            if self.path.starts_with("/api/v1/meters/") && !names_tenant {
                pairs.push("tenant_id=acme".to_owned());
            }
        }
        let query = |pairs: Vec<String>| [required.clone(), pairs].concat().join("&");
        let with = |pairs| format!("{path}?{}", query(pairs));
        chosen.into_iter().map(with).collect()
    }

    pub(crate) fn examples(&self) -> Vec<Example<'a>> {
        let mut found = Vec::new();
        for path in self.paths() {
            let Some(contents) = self.says["requestBody"]["content"].as_object() else {
                let (headers, body) = (Vec::new(), String::new());
                found.push(Example {
                    path,
                    headers,
                    body,
                });
                continue;
            };
            for (media, content) in contents {
                for (name, value) in examples(content) {
                    self.check(&content["schema"], value);
                    let mut headers = vec![("content-type", media.as_str())];
                    if name == "binary" {
                        let attributes = self.parameters("header").into_iter();
                        headers.extend(attributes.map(|one| {
                            let text = |key: &str| one[key].as_str().unwrap();
                            (text("name"), text("example"))
                        }));
                    }
                    let body = match value {
                        Value::String(lines) => lines.clone(),
                        value => value.to_string(),
                    };
                    found.push(Example {
                        path: path.clone(),
                        headers,
                        body,
                    });
                }
            }
        }
        found
    }

    /// That a value is what a schema of the document says.
    fn check(&self, schema: &Value, value: &Value) {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "allOf": [schema],
            "components": self.document["components"],
        });
        let validator = jsonschema::validator_for(&schema).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(value)
            .map(|e| e.to_string())
            .collect();
        assert!(
            faults.is_empty(),
            "{} {}: {faults:?} in {value}",
            self.method,
            self.path
        );
    }

    /// That an answer is one of those that the document has for this operation.
    pub(crate) fn check_answer(&self, answer: &Answer) {
        let (method, path) = (&self.method, self.path);
        let says = &self.says["responses"][answer.status.to_string()];
        assert!(says.is_object(), "{method} {path}: {answer:?}");
        for header in says["headers"].as_object().unwrap().keys() {
            let is_there = answer.headers.contains_key(header.as_str());
            assert!(is_there, "{method} {path}: no {header}");
        }
        let Some(contents) = says["content"].as_object() else {
            assert_eq!(answer.body, "", "{method} {path}");
            return;
        };
        let given = answer.headers["content-type"].to_str().unwrap();
        let content = contents.get(given);
        let content = content.unwrap_or_else(|| panic!("{method} {path}: {given}"));
        self.check(&content["schema"], &answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_document_is_accepted_and_answered_as_it_says() {
    let db = TestDatabase::create().await;
    apply_folder(&db, Path::new(&format!("{EXAMPLES}/rules")));
    let schemas = format!("{EXAMPLES}/schemas");
    let with_schemas = [("AEVON_SCHEMA__PATH", schemas.as_str())];
    let ingest = Service::start("ingest-svc", db.url(), &with_schemas).await;
    let projection = Service::start("projection-svc", db.url(), &[]).await;
    let mut sent = 0;
    for service in [&ingest, &projection] {
        let document = service.get("/openapi.json").await.body;
        for operation in operations(&document) {
            for (_, response) in operation.says["responses"].as_object().unwrap() {
                for content in response["content"].as_object().into_iter().flatten() {
                    for (_, example) in examples(content.1) {
                        operation.check(&content.1["schema"], example);
                    }
                }
            }
            for example in operation.examples() {
                let Example {
                    path,
                    headers,
                    body,
                } = example;
                let method = operation.method.clone();
                let answer = service.send(method, &path, &headers, body.clone()).await;
                let is_success = (200..300).contains(&answer.status);
                assert!(is_success, "{} {path} {body}: {answer:?}", operation.method);
                operation.check_answer(&answer);
                sent += 1;
            }
        }
    }
    assert!(sent > 50, "{sent}");
    // What was sent as an example is there, and what was voided is not, so the answers above were
    // about something.
    let state = projection
        .get("/v1/state/acme/user_123?rule=tokens_used")
        .await;
    assert_eq!(state.body["values"][0]["value"], "117.25", "{state:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_answered_as_the_document_says_and_other_methods_are_refused() {
    let db = TestDatabase::create().await;
    let keyed = [
        ("AEVON_AUTH__MODE", "api_key"),
        ("AEVON_SERVER__HOST", "127.0.0.1"),
    ];
    for name in ["ingest-svc", "projection-svc", "aggregator-svc"] {
        let mut settings = keyed.to_vec();
        settings.push(("AEVON_AGGREGATION__APPLY_ON_START", "false"));
        let service = Service::start(name, db.url(), &settings).await;
        let document = service.get("/openapi.json").await.body;
        for operation in operations(&document) {
            let method = operation.method.clone();
            let path = operation.paths().remove(0);
            let answer = service.send(method, &path, &[], "").await;
            let asks_for_a_key = operation.says.get("security").is_some();
            assert_eq!(answer.status == 401, asks_for_a_key, "{path}: {answer:?}");
            operation.check_answer(&answer);

            let other = service.send(Method::DELETE, &path, &[], "").await;
            assert_eq!(other.status, 405, "{path}: {other:?}");
            let allowed = other.headers["allow"].to_str().unwrap();
            let item = document["paths"][operation.path].as_object().unwrap();
            let mut documented: Vec<_> = item.keys().map(|m| m.to_uppercase()).collect();
            let mut allowed: Vec<_> = allowed.split(", ").map(str::to_owned).collect();
            documented.sort();
            allowed.sort();
            assert_eq!(allowed, documented, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_whole_without_any_other_host() {
    let db = TestDatabase::create().await;
    let ingest = Service::start("ingest-svc", db.url(), &[]).await;
    let page = ingest.get("/docs").await;
    let html = page.body.as_str().unwrap();
    assert!(!html.contains("//"), "{html}");
    let parts = html.split('"').filter(|part| part.starts_with("docs/"));
    let parts: Vec<&str> = parts.collect();
    assert_eq!(parts, ["docs/swagger-ui.css", "docs/swagger-ui-bundle.js"]);
    for part in parts {
        let answer = ingest.get(&format!("/{part}")).await;
        assert_eq!(answer.status, 200, "{part}");
        assert_eq!(answer.headers["content-encoding"], "gzip");
    }
    assert_eq!(ingest.get("/docs/nothing.js").await.status, 404);
}
