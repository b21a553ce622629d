//! `aevon openapi`: what OpenAPI says of every route of every service, as a document.

use aevon_service::openapi::{self, Document};
use anyhow::Context;
use utoipa::openapi::OpenApi;

fn services() -> [OpenApi; 2] {
    [ingest_svc::openapi(), projection_svc::openapi()]
}

/// The document that the whole system in one process serves.
pub(crate) fn document() -> Document {
    Document::of(services())
}

/// The same, to be read and compared by people.
///
/// # Errors
/// Never in practice: where the document is no JSON.
pub(crate) fn reference() -> anyhow::Result<String> {
    let document = openapi::merged(services()).to_pretty_json();
    Ok(document.context("the document is no JSON")? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aevon_service::http;
    use aevon_service::metrics::Metrics;
    use aevon_service::problem::Code;
    use aevon_service::settings::{Secret, Settings};
    use ingest_svc::Ingest;
    use projection_svc::Projection;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_is_current() {
        let written = include_str!("../../../docs/openapi.json");
        assert!(written == reference().unwrap(), "run `make reference`");
    }

    #[tokio::test]
    async fn what_is_served_is_what_is_documented() {
        // Nothing is reached: the services are made, and not started.
        let mut settings = Settings::default();
        settings.database.url = Some(Secret::new("postgres://localhost/aevon"));
        let metrics = Metrics::new().unwrap();
        let ingest = Ingest::new(&settings, &metrics).unwrap().configure();
        let projection = Projection::new(&settings, &metrics).unwrap().configure();
        let registered = http::registered(|routes| {
            ingest(routes);
            projection(routes);
        });
        let text = |(method, pattern): &(_, String)| format!("{method} {pattern}");
        let served: BTreeSet<String> = registered.iter().map(text).collect();

        let document: Value = serde_json::from_str(&reference().unwrap()).unwrap();
        let mut documented = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                documented.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        assert_eq!(served, documented);
        assert_eq!(served.len(), registered.len(), "a route is added once");
    }

    #[test]
    fn every_code_is_in_the_document_and_every_id_stands_for_one_operation() {
        let document: Value = serde_json::from_str(&reference().unwrap()).unwrap();
        let types = &document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"];
        let about = document["info"]["description"].as_str().unwrap();
        for code in Code::ALL {
            let urn = Value::from(format!("urn:aevon:problem:{code}"));
            assert!(types.as_array().unwrap().contains(&urn), "{code}");
            let row = format!("| {} | `{code}` |", code.status().as_u16());
            assert!(about.contains(&row), "{code}");
        }
        let items = document["paths"].as_object().unwrap().values();
        let operations: Vec<_> = items
            .flat_map(|item| item.as_object().unwrap().values())
            .collect();
        let ids: BTreeSet<_> = operations
            .iter()
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        assert_eq!(ids.len(), operations.len());
    }
}
