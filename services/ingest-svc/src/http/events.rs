//! `POST /v1/events`: events in any of the formats that are taken.

use super::answer::{self, Accepted, Many, One};
use super::format::Dialect;
use super::held::hold;
use super::shapes::{CloudEvent, EventProblems, Events};
use super::take::{Taken, take};
use crate::Ingest;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use aevon_service::problem::Problem;

/// Store events
///
/// An acknowledgement means committed and synced. The same event again is a duplicate, which is
/// success; other content under the same id is a conflict. Of an array or of lines what is good is
/// stored, and what is not is named; with `atomic` all or nothing is. An event of type `aevon.void`
/// takes an earlier one of its principal out of every answer, from its own position on. `content-encoding` may be `gzip` or `zstd`; media types count
/// without their parameters, and none is `application/json`.
///
/// A CloudEvent in binary mode has its attributes in `ce-` headers, and its data for a body:
///
/// ```sh
/// curl localhost:8080/v1/events -H 'content-type: application/json' -H 'ce-specversion: 1.0' \
///   -H 'ce-id: evt-006' -H 'ce-source: gateway' -H 'ce-type: model.call' -H 'ce-subject: user_123' \
///   -H 'ce-tenantid: acme' -d '{"tokens":7,"model":"m1"}'
/// ```
#[utoipa::path(
    post,
    path = "/v1/events",
    operation_id = "storeEvents",
    tag = "ingest",
    security(("key" = [])),
    params(
        ("atomic" = Option<bool>, Query,
         description = "Store all events of the body, which are one principal's, or none."),
        ("content-encoding" = Option<String>, Header, description = "`gzip`, `zstd` or `identity`.",
         pattern = "^(gzip|zstd|identity)$"),
        ("ce-specversion" = Option<String>, Header, description = "Binary mode: `1.0`.",
         pattern = "^1\\.0$", example = "1.0"),
        ("ce-id" = Option<String>, Header, description = "Binary mode: the id.",
         min_length = 1, example = "evt-006"),
        ("ce-source" = Option<String>, Header, description = "Binary mode: the source.",
         min_length = 1, example = "gateway"),
        ("ce-type" = Option<String>, Header, description = "Binary mode: the type.",
         min_length = 1, example = "model.call"),
        ("ce-subject" = Option<String>, Header, description = "Binary mode: the principal.",
         min_length = 1, example = "user_123"),
        ("ce-time" = Option<String>, Header, description = "Binary mode: when it occurred.",
         pattern = "^[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}(\\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$",
         example = "2026-02-11T10:35:00Z"),
        ("ce-tenantid" = Option<String>, Header, description = "Binary mode: the tenant.",
         min_length = 1, example = "acme"),
    ),
    request_body(description = "One event, or many.", content(
        (Events = "application/json", examples(
            ("event" = (summary = "One event", value = json!({
                "tenant_id": "acme", "principal_id": "user_123", "id": "evt-001",
                "source": "gateway", "type": "model.call", "occurred_at": "2026-02-11T10:30:00Z",
                "schema_version": 1, "data": {"tokens": 123, "model": "m1"},
                "metadata": {"region": "eu"}
            }))),
            ("array" = (summary = "An array of events", value = json!([
                {"tenant_id": "acme", "principal_id": "user_123", "id": "evt-002",
                 "type": "model.call", "occurred_at": "2026-02-11T12:31:00.5+02:00",
                 "data": {"tokens": "0.25", "model": "m2"}},
                {"tenant_id": "acme", "principal_id": "user_456", "id": "evt-002",
                 "type": "api.request", "occurred_at": "2026-02-11T10:31:01Z", "data": {}}
            ]))),
            ("binary" = (summary = "A CloudEvent in binary mode, with the ce- headers",
                value = json!({"tokens": 7, "model": "m1"}))),
            ("void" = (summary = "A correction: a void and what should have been sent, with \
                                       `?atomic=true`", value = json!([
                {"tenant_id": "acme", "principal_id": "user_123", "id": "void-001",
                 "type": "aevon.void", "occurred_at": "2026-02-12T09:00:00Z",
                 "data": {"event_id": "evt-001", "source": "gateway", "reason": "counted twice"}},
                {"tenant_id": "acme", "principal_id": "user_123", "id": "evt-001-amended",
                 "type": "model.call", "occurred_at": "2026-02-11T10:30:00Z",
                 "data": {"tokens": 61, "model": "m1"}}
            ])))
        )),
        (String = "application/x-ndjson", example = json!(concat!(
            r#"{"tenant_id":"acme","principal_id":"user_123","id":"evt-003","type":"model.call","#,
            r#""occurred_at":"2026-02-11T10:32:00Z","data":{"tokens":5,"model":"m1"}}"#, "\n",
            r#"{"tenant_id":"acme","principal_id":"user_456","id":"evt-003","type":"model.call","#,
            r#""occurred_at":"2026-02-11T10:32:01Z","data":{"tokens":6,"model":"m2"}}"#, "\n",
        ))),
        (CloudEvent = "application/cloudevents+json", example = json!({
            "specversion": "1.0", "id": "evt-004", "source": "gateway", "type": "model.call",
            "subject": "user_123", "time": "2026-02-11T10:33:00Z", "tenantid": "acme",
            "data": {"tokens": 8, "model": "m1"}
        })),
        (Vec<CloudEvent> = "application/cloudevents-batch+json", example = json!([{
            "specversion": "1.0", "id": "evt-005", "source": "gateway", "type": "model.call",
            "subject": "user_456", "time": "2026-02-11T10:34:00Z", "tenantid": "acme",
            "data": {"tokens": 9, "model": "m1"}
        }])),
    )),
    responses(
        (status = 200, description = "One event, stored before", body = One,
         headers(("aevon-version" = String)), example = json!({
            "status": "duplicate", "id": "evt-001", "position": "7:90210", "version": "7:90210",
            "ingested_at": "2026-02-11T10:30:00.125Z"
        })),
        (status = 202, description = "One event, stored now; or all of an array or of lines",
         body = Accepted, headers(("aevon-version" = String)), examples(
            ("event" = (summary = "One event", value = json!({
                "status": "accepted", "id": "evt-001", "position": "7:90210",
                "version": "7:90210", "ingested_at": "2026-02-11T10:30:00.125Z"
            }))),
            ("array" = (summary = "An array, or lines", value = json!({
                "accepted": 998, "duplicate": 1, "rejected": 0, "version": "3:17,7:90210",
                "results": [{"index": 4, "id": "evt-9", "status": "duplicate",
                             "position": "3:12"}]
            })))
        )),
        (status = 207, description = "Some of an array or of lines were refused, the others stored",
         body = Many, headers(("aevon-version" = String)), example = json!({
            "accepted": 1, "duplicate": 0, "rejected": 1, "version": "3:17",
            "results": [{"index": 1, "id": "evt-9", "status": "rejected", "error": {
                "code": "missing-field", "detail": "occurred_at: is required",
                "errors": [{"field": "occurred_at", "code": "missing-field",
                            "detail": "is required"}]
            }}]
        })),
        EventProblems
    )
)]
pub(crate) async fn post(
    ingest: Data<Ingest>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    match take(&ingest, &request, payload, Dialect::Aevon).await? {
        Taken::One(item) => answer::one(*item),
        Taken::Many(items, share, is_atomic) => {
            let answer = answer::many(&items, is_atomic);
            let answer = answer.unwrap_or_else(|problem| problem.error_response());
            Ok(hold(answer, share))
        }
    }
}
