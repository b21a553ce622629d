//! What every route that takes events does: let the caller in, receive and read the body, store what
//! can be stored, keep what was refused.

use super::answer::{self, Item};
use super::body::{self, Body, Read, Reading};
use super::format::{Coding, Dialect, Format};
use crate::queue::Unstored;
use crate::rejected::{Circumstances, Keeping};
use crate::shares::{Flow, Share, Size};
use crate::{Ingest, now};
use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Payload;
use aevon_core::event::Receipt;
use aevon_core::schema::SchemaCheck;
use aevon_service::auth::Scope;
use aevon_service::http::request_id;
use aevon_service::problem::{Code, Problem};
use aevon_service::request::Parameters;
use std::cell::Cell;

/// Bytes of a body that is received only to be kept.
const MAX_SEEN_BYTES: usize = 256 * 1024;
/// What an answer takes for each event of a list, whatever became of it.
const LISTED_BYTES: usize = 150;

/// What became of a body's events.
pub(super) enum Taken {
    /// It was one event.
    One(Box<Item>),
    /// It was a list, of any length; the share is what the answer takes of the bound for answers.
    Many(Vec<Item>, Share),
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
    let caller = ingest.auth.caller(request, Scope::Ingest).await;
    let caller = caller.inspect_err(|problem| ingest.metrics.not_let_in(problem))?;
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
    let keeper = &ingest.keeper;
    let refused = |problem: &Problem| {
        ingest.metrics.refused(problem);
        keeper.keep_whole(problem, &keeping, &circumstances);
    };
    let received = receive(ingest, request, payload, dialect, &circumstances, &keeping);
    let body = received.await.inspect_err(&refused)?;
    match body {
        Body::One(event) => {
            let mut items = store(ingest, vec![*event]).await.inspect_err(&refused)?;
            keeper.keep_items(&mut items, true, &keeping, &circumstances);
            let item = items.pop().ok_or_else(answer::not_ready)?;
            Ok(Taken::One(Box::new(item)))
        }
        Body::Many(events) => {
            // What is said about each is held in memory until the caller has read it.
            let mut share = ingest.answers.nothing(flow(caller.tenant()));
            if !share.grow(Size::of_bytes(answer_bytes(&events))) {
                ingest.metrics.unstored(&Unstored::Full);
                return Err(answer::unstored(&Unstored::Full));
            }
            let mut items = store(ingest, events).await.inspect_err(&refused)?;
            keeper.keep_items(&mut items, false, &keeping, &circumstances);
            Ok(Taken::Many(items, share))
        }
    }
}

/// The traffic that a caller's is part of: what the platform sends is one flow.
pub(super) fn flow(tenant: Option<&str>) -> Flow {
    Flow::from(tenant.unwrap_or_default())
}

/// Every thread that serves is given them with the routes.
fn no_turns() -> Problem {
    Problem::new(Code::Internal, "the thread has no turns at reading bodies")
}

/// About how many bytes the answer takes, and what it is made of.
fn answer_bytes(events: &[Read]) -> usize {
    let of_event = |event: &Read| {
        let faults = event
            .as_ref()
            .err()
            .map_or(0, |refused| 2 * refused.size_bytes());
        LISTED_BYTES + faults
    };
    events.iter().map(of_event).sum()
}

/// Receives and reads the body.
async fn receive(
    ingest: &Ingest,
    request: &HttpRequest,
    payload: Payload,
    dialect: Dialect,
    circumstances: &Circumstances<'_>,
    keeping: &Keeping,
) -> Result<Body, Problem> {
    let room = ingest.arriving.nothing(flow(circumstances.tenant));
    let length = body::length(request);
    keeping.length(length);
    let (format, coding) = match announced(request, dialect) {
        Ok(announced) => announced,
        Err(problem) => {
            // Whoever looks for the fault wants to see what was sent.
            if circumstances.tenant.is_some()
                && length.is_some_and(|length| length <= MAX_SEEN_BYTES)
            {
                let bytes = body::whole(Coding::Identity, payload, room).await?;
                keeping.body(&bytes);
            }
            return Err(problem);
        }
    };
    body::check_length(request)?;
    let reading = Reading {
        receipt: Receipt {
            at: circumstances.received_at,
            tenant: circumstances.tenant,
            is_data_optional: dialect == Dialect::OpenMeter,
            limits: &ingest.limits,
            schemas: &SchemaCheck::new(&ingest.schemas),
        },
        keeping,
        turns: request.app_data().ok_or_else(no_turns)?,
        faults_left: Cell::new(answer::MAX_LISTED_FAULTS),
    };
    body::read(format, coding, payload, room, &reading).await
}

/// What a request says that its body is.
fn announced(request: &HttpRequest, dialect: Dialect) -> Result<(Format, Coding), Problem> {
    let announced = (Format::of(request, dialect)?, Coding::of(request)?);
    // No parameter is known here; one that promises something is not passed over in silence.
    Parameters::of(request)?.finish()?;
    Ok(announced)
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
        stored
            .inspect_err(|error| ingest.metrics.unstored(error))
            .map_err(|error| answer::unstored(&error))?
    };
    let mut decided = ids
        .into_iter()
        .zip(decided)
        .map(|(id, decided)| Item::decided(id, decided));
    let items = items
        .into_iter()
        .filter_map(|item| item.or_else(|| decided.next()));
    Ok(items
        .inspect(|item| ingest.metrics.decided(&item.outcome))
        .collect())
}
