//! Tests of the table of codes and of the body that callers read.

use actix_web::body::to_bytes;
use serde_json::{Value, json};

use super::*;

/// The list of the HTTP contract, copied by hand.
const CONTRACT: &[(u16, &[&str])] = &[
    (
        400,
        &[
            "malformed-body",
            "invalid-parameter",
            "range-reversed",
            "range-required",
            "incomplete-version",
            "too-many-windows",
            "too-many-groups",
            "version-of-another-partition",
            "as-of-in-future",
        ],
    ),
    (401, &["unauthenticated"]),
    (403, &["forbidden"]),
    (
        404,
        &[
            "unknown-rule",
            "unknown-version",
            "unknown-event",
            "not-found",
        ],
    ),
    (405, &["method-not-allowed"]),
    (408, &["request-timeout"]),
    (409, &["event-conflict"]),
    (
        413,
        &["body-too-large", "event-too-large", "too-many-events"],
    ),
    (415, &["unsupported-media-type"]),
    (
        422,
        &[
            "missing-field",
            "unknown-field",
            "invalid-field",
            "number-out-of-bounds",
            "identifier-too-long",
            "occurred-at-in-future",
            "reserved-type",
            "unknown-schema",
            "schema-mismatch",
            "unknown-void-target",
            "already-voided",
            "invalid-event",
            "all-rejected",
        ],
    ),
    (429, &["rate-limited"]),
    (500, &["internal"]),
    (503, &["overloaded", "database-unavailable"]),
    (504, &["query-budget-exceeded", "version-not-visible"]),
];

fn body(problem: &Problem) -> Value {
    serde_json::to_value(problem).unwrap()
}

#[test]
fn the_table_is_the_list_of_the_contract() {
    let mut contract: Vec<(u16, &str)> = CONTRACT
        .iter()
        .flat_map(|(status, codes)| codes.iter().map(|code| (*status, *code)))
        .collect();
    let mut table: Vec<(u16, &str)> = Code::ALL
        .iter()
        .map(|code| (code.status().as_u16(), code.as_str()))
        .collect();
    contract.sort_unstable();
    table.sort_unstable();
    assert_eq!(table, contract);
}

#[test]
fn the_body_is_rfc_9457() {
    assert_eq!(
        body(&Problem::new(Code::RangeReversed, "end is before start")),
        json!({
            "type": "urn:aevon:problem:range-reversed",
            "title": "The range ends before it begins",
            "status": 400,
            "detail": "end is before start",
        })
    );
}

#[test]
fn single_faults_name_only_what_is_known_of_them() {
    let item = ProblemItem {
        index: Some(3),
        id: None,
        field: Some("data".into()),
        code: Code::MissingField.to_string(),
        detail: "data is required".into(),
    };
    let problem = Problem::new(Code::AllRejected, "1 of 1").with_errors(vec![item]);
    assert_eq!(
        body(&problem)["errors"],
        json!([{"index": 3, "field": "data", "code": "missing-field", "detail": "data is required"}])
    );
}

#[test]
fn the_detail_of_an_internal_error_stays_in_the_log() {
    for code in [Code::Internal, Code::DatabaseUnavailable] {
        let problem = Problem::new(code, "SELECT secret FROM /var/lib");
        assert!(!body(&problem).to_string().contains("SELECT"), "{code}");
        assert!(problem.to_string().contains("SELECT"), "{code}");
    }
}

#[actix_web::test]
async fn the_response_has_the_media_type_and_whole_seconds_of_retry_after() {
    for (after, header) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (90_000, "90")] {
        let response = Problem::new(Code::Overloaded, "full")
            .with_retry_after(Duration::from_millis(after))
            .error_response();
        assert_eq!(response.status(), 503);
        assert_eq!(
            response.headers().get("content-type").unwrap(),
            CONTENT_TYPE_PROBLEM
        );
        assert_eq!(response.headers().get("retry-after").unwrap(), header);
        let bytes = to_bytes(response.into_body()).await.unwrap();
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body["detail"], "full");
    }
}
