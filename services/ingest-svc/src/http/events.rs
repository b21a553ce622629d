//! `POST /v1/events`: events in any of the formats that are taken.

use super::answer;
use super::format::Dialect;
use super::held::hold;
use super::take::{Taken, take};
use crate::Ingest;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use aevon_service::problem::Problem;

/// Stores what it can, and says what became of each event.
pub(crate) async fn post(
    ingest: Data<Ingest>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    match take(&ingest, &request, payload, Dialect::Aevon).await? {
        Taken::One(item) => answer::one(*item),
        Taken::Many(items, share) => {
            let answer = answer::many(&items).unwrap_or_else(|problem| problem.error_response());
            Ok(hold(answer, share))
        }
    }
}
