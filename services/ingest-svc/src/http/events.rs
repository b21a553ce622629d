//! `POST /v1/events`: events in any of the formats that are taken.

use super::answer::{self, Item};
use super::body::{self, Body};
use super::format::{Coding, Dialect, Format};
use crate::{Ingest, now};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use aevon_core::event::{NewEvent, Receipt, Refusal};
use aevon_core::schema::SchemaCheck;
use aevon_service::auth::Scope;
use aevon_service::problem::{Code, Problem};

/// Stores what it can, and says what became of each event.
pub(crate) async fn post(
    ingest: Data<Ingest>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    match receive(&ingest, &request, payload, Dialect::Aevon).await? {
        Body::One(event) => {
            let mut items = store(&ingest, vec![*event]).await?;
            items.pop().map_or_else(|| answer::many(&[]), answer::one)
        }
        Body::Many(events) => answer::many(&store(&ingest, events).await?),
    }
}

/// Lets the caller in, then receives and reads the body.
pub(super) async fn receive(
    ingest: &Ingest,
    request: &HttpRequest,
    payload: Payload,
    dialect: Dialect,
) -> Result<Body, Problem> {
    let caller = ingest.auth.caller(request, Scope::Ingest).await?;
    let (format, coding) = (Format::of(request, dialect)?, Coding::of(request)?);
    check_query(request)?;
    body::check_length(request)?;
    let schemas = SchemaCheck::new(&ingest.schemas);
    let receipt = Receipt {
        at: now(),
        tenant: caller.tenant(),
        is_data_optional: dialect == Dialect::OpenMeter,
        limits: &ingest.limits,
        schemas: &schemas,
    };
    body::read(format, coding, payload, &ingest.arriving, &receipt).await
}

/// Stores the events that could be read; an item for each that was sent, in order.
pub(super) async fn store(
    ingest: &Ingest,
    events: Vec<Result<NewEvent, Refusal>>,
) -> Result<Vec<Item>, Problem> {
    let mut items: Vec<Option<Item>> = Vec::with_capacity(events.len());
    let (mut readable, mut ids) = (Vec::with_capacity(events.len()), Vec::new());
    for event in events {
        match event {
            Ok(event) => {
                ids.push(event.id().to_owned());
                readable.push(event);
                items.push(None);
            }
            Err(refusal) => items.push(Some(answer::refused(refusal))),
        }
    }
    let verdicts = if readable.is_empty() {
        Vec::new()
    } else {
        let queue = ingest.queue.get().ok_or_else(answer::not_ready)?;
        queue
            .store(readable)
            .await
            .map_err(|error| answer::unstored(&error))?
    };
    let mut decided = ids
        .into_iter()
        .zip(verdicts)
        .map(|(id, v)| answer::decided(id, v));
    Ok(items
        .into_iter()
        .filter_map(|item| item.or_else(|| decided.next()))
        .collect())
}

/// No parameter is known here; one that promises something must not be passed over in silence.
fn check_query(request: &HttpRequest) -> Result<(), Problem> {
    match request.query_string() {
        "" => Ok(()),
        query => {
            let name = query.split(['=', '&']).next().unwrap_or(query);
            let detail = format!("{name} is no parameter of this route");
            Err(Problem::new(Code::InvalidParameter, detail))
        }
    }
}
