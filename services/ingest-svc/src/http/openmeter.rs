//! `POST /api/v1/events`: what the SDKs of OpenMeter send, answered as they expect. Events are
//! CloudEvents; their tenant is the key's.
//!
//! Invariant: 204 only where every event is stored, as that answer has no room for exceptions.

use super::answer;
use super::body::Body;
use super::events::{receive, store};
use super::format::Dialect;
use crate::Ingest;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use aevon_service::problem::Problem;

/// Stores what it can; 204 where that was everything.
pub(crate) async fn post(
    ingest: Data<Ingest>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let events = match receive(&ingest, &request, payload, Dialect::OpenMeter).await? {
        Body::One(event) => vec![*event],
        Body::Many(events) => events,
    };
    answer::nothing_but_stored(store(&ingest, events).await?)
}
