//! `POST /api/v1/events`: what the SDKs of OpenMeter send, answered as they expect. Events are
//! CloudEvents; their tenant is the key's.
//!
//! Invariant: 204 only where every event is stored, as that answer has no room for exceptions.

use super::answer::{self, Item};
use super::body::{self, Body};
use super::events::{check_query, store};
use super::format::{Coding, Format};
use crate::{Ingest, now};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::event::Receipt;
use aevon_service::auth::Scope;
use aevon_service::problem::Problem;

/// Stores what it can; 204 where that was everything.
pub(crate) async fn post(
    ingest: Data<Ingest>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let caller = ingest.auth.caller(&request, Scope::Ingest).await?;
    let coding = Coding::of(&request)?;
    let format = match Format::of(&request)? {
        // Here JSON without further words is CloudEvents too.
        Format::Json => Format::CloudEvents,
        other => other,
    };
    check_query(&request)?;
    body::check_length(&request)?;
    let receipt = Receipt {
        at: now(),
        tenant: caller.tenant(),
        is_data_optional: true,
        limits: &ingest.limits,
    };
    let events = match body::read(format, coding, payload, &ingest.arriving, &receipt).await? {
        Body::One(event) => vec![*event],
        Body::Many(events) => events,
    };
    let items: Vec<Item> = store(&ingest, events).await?;
    answer::nothing_but_stored(items)
}
