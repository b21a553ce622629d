//! `POST /api/v1/events`: what the SDKs of OpenMeter send, answered as they expect. Events are
//! CloudEvents; their tenant is the key's.
//!
//! Invariant: 204 only where every event is stored, as that answer has no room for exceptions.

use super::answer;
use super::format::Dialect;
use super::held::hold;
use super::shapes::{CloudEvent, EventProblems, OpenMeterEvents};
use super::take::{Taken, take};
use crate::Ingest;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use aevon_service::problem::Problem;

/// Store events as OpenMeter's SDKs send them
///
/// CloudEvents whose `subject` is the principal; the tenant is the key's, or `tenantid` with a
/// platform key. What is good is stored whatever becomes of the rest, and sending it again is safe.
#[utoipa::path(
    post,
    path = "/api/v1/events",
    operation_id = "storeOpenMeterEvents",
    tag = "ingest",
    security(("key" = [])),
    request_body(description = "One CloudEvent, or an array of them.", content(
        (OpenMeterEvents = "application/json", example = json!({
            "specversion": "1.0", "id": "evt-101", "source": "gateway", "type": "model.call",
            "subject": "user_123", "time": "2026-02-11T10:36:00Z", "tenantid": "acme",
            "data": {"tokens": "11", "model": "m1"}
        })),
        (CloudEvent = "application/cloudevents+json", example = json!({
            "specversion": "1.0", "id": "evt-102", "source": "gateway", "type": "model.call",
            "subject": "user_123", "time": "2026-02-11T10:36:01Z", "tenantid": "acme",
            "data": {"tokens": 12, "model": "m1"}
        })),
        (Vec<CloudEvent> = "application/cloudevents-batch+json", example = json!([{
            "specversion": "1.0", "id": "evt-103", "source": "gateway", "type": "model.call",
            "subject": "user_123", "time": "2026-02-11T10:36:02Z", "tenantid": "acme",
            "data": {"tokens": 13, "model": "m1"}
        }])),
    )),
    responses((status = 204, description = "Every event is stored, now or before"), EventProblems)
)]
pub(crate) async fn post(
    ingest: Data<Ingest>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    match take(&ingest, &request, payload, Dialect::OpenMeter).await? {
        Taken::One(item) => answer::nothing_but_stored(vec![*item]),
        Taken::Many(items, share, _) => {
            let answer = answer::nothing_but_stored(items);
            let answer = answer.unwrap_or_else(|problem| problem.error_response());
            Ok(hold(answer, share))
        }
    }
}
