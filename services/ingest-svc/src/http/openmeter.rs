//! `POST /api/v1/events`: what the SDKs of OpenMeter send, answered as they expect. Events are
//! CloudEvents; their tenant is the key's.
//!
//! Invariant: 204 only where every event is stored, as that answer has no room for exceptions.

use super::answer;
use super::format::Dialect;
use super::held::hold;
use super::take::{Taken, take};
use crate::Ingest;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use aevon_service::problem::Problem;

/// Stores what it can; 204 where that was everything.
pub(crate) async fn post(
    ingest: Data<Ingest>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    match take(&ingest, &request, payload, Dialect::OpenMeter).await? {
        Taken::One(item) => answer::nothing_but_stored(vec![*item]),
        Taken::Many(items, share) => {
            let answer = answer::nothing_but_stored(items);
            let answer = answer.unwrap_or_else(|problem| problem.error_response());
            Ok(hold(answer, share))
        }
    }
}
