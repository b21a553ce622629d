//! What every route that takes events does: let the caller in, receive and read the body, store what
//! can be stored, keep what was refused.

use super::answer::{self, Item};
use super::body::{self, Body, Read, Reading};
use super::format::{Coding, Dialect, Format};
use crate::rejected::{Circumstances, Keeping};
use crate::{Ingest, now};
use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Payload;
use aevon_core::event::Receipt;
use aevon_core::schema::SchemaCheck;
use aevon_service::auth::{Caller, Scope};
use aevon_service::http::request_id;
use aevon_service::problem::Problem;
use aevon_service::request::Parameters;

/// What became of a body's events.
pub(super) enum Taken {
    /// It was one event.
    One(Box<Item>),
    /// It was a list, of any length.
    Many(Vec<Item>),
}

/// Takes a body's events.
///
/// # Errors
/// Where the body as a whole is refused, or nothing can be acknowledged.
pub(super) async fn take(
    ingest: &Ingest,
    request: &HttpRequest,
    payload: Payload,
    dialect: Dialect,
) -> Result<Taken, Problem> {
    let caller = ingest.auth.caller(request, Scope::Ingest).await?;
    // Before the body is read: refusing a flood must cost less than taking it.
    ingest.check_room(caller.tenant())?;
    let content_type = request.headers().get(CONTENT_TYPE);
    let circumstances = Circumstances {
        received_at: now(),
        tenant: caller.tenant(),
        request_id: request_id(request),
        content_type: content_type.and_then(|value| value.to_str().ok()),
    };
    let keeping = Keeping::new();
    let received = receive(
        ingest,
        request,
        payload,
        dialect,
        &caller,
        &circumstances,
        &keeping,
    );
    let (mut items, is_one) = match received.await {
        Ok(Body::One(event)) => (store(ingest, vec![*event]).await?, true),
        Ok(Body::Many(events)) => (store(ingest, events).await?, false),
        Err(problem) => {
            ingest.keeper.keep_whole(&problem, &keeping, &circumstances);
            return Err(problem);
        }
    };
    ingest
        .keeper
        .keep_items(&mut items, is_one, &keeping, &circumstances);
    Ok(match items.pop() {
        Some(item) if is_one => Taken::One(Box::new(item)),
        last => {
            items.extend(last);
            Taken::Many(items)
        }
    })
}

/// Receives and reads the body.
async fn receive(
    ingest: &Ingest,
    request: &HttpRequest,
    payload: Payload,
    dialect: Dialect,
    caller: &Caller,
    circumstances: &Circumstances<'_>,
    keeping: &Keeping,
) -> Result<Body, Problem> {
    let (format, coding) = (Format::of(request, dialect)?, Coding::of(request)?);
    // No parameter is known here; one that promises something is not passed over in silence.
    Parameters::of(request)?.finish()?;
    body::check_length(request)?;
    let reading = Reading {
        receipt: Receipt {
            at: circumstances.received_at,
            tenant: caller.tenant(),
            is_data_optional: dialect == Dialect::OpenMeter,
            limits: &ingest.limits,
            schemas: &SchemaCheck::new(&ingest.schemas),
        },
        keeping,
    };
    let arriving = ingest.arriving(caller);
    body::read(format, coding, payload, arriving, &reading).await
}

/// Stores the events that could be read; an item for each that was sent, in order.
async fn store(ingest: &Ingest, events: Vec<Read>) -> Result<Vec<Item>, Problem> {
    let mut items: Vec<Option<Item>> = Vec::with_capacity(events.len());
    let (mut readable, mut ids) = (Vec::with_capacity(events.len()), Vec::new());
    for event in events {
        match event {
            Ok(event) => {
                ids.push(event.id().to_owned());
                readable.push(event);
                items.push(None);
            }
            Err(refused) => items.push(Some(Item::refused(refused))),
        }
    }
    let decided = if readable.is_empty() {
        Vec::new()
    } else {
        ingest.rates.check(&readable)?;
        let queue = ingest.queue.get().ok_or_else(answer::not_ready)?;
        let stored = queue.store(readable).await;
        stored.map_err(|error| answer::unstored(&error))?
    };
    let mut decided = ids
        .into_iter()
        .zip(decided)
        .map(|(id, decided)| Item::decided(id, decided));
    Ok(items
        .into_iter()
        .filter_map(|item| item.or_else(|| decided.next()))
        .collect())
}
