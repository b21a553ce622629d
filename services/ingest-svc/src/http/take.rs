//! What every route that takes events does: let the caller in, receive and read the body, store what
//! can be stored, keep what was refused.

use super::answer;
use super::format::{Coding, Dialect, Format};
use super::item::Item;
use super::read::{self, Body, Read, Reading};
use super::receive;
use crate::queue::Unstored;
use crate::rejected::{Circumstances, Keeping};
use crate::shares::{Flow, Share, Size};
use crate::{Ingest, now};
use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Payload;
use aevon_core::event::{NewEvent, Receipt};
use aevon_core::schema::SchemaCheck;
use aevon_service::auth::Scope;
use aevon_service::http::request_id;
use aevon_service::problem::{Code, Problem};
use aevon_service::request::{Parameters, invalid};
use std::cell::Cell;

/// Bytes of a body that is received only to be kept.
const MAX_SEEN_BYTES: usize = 256 * 1024;
/// What an answer takes for each event of a list, whatever became of it.
const LISTED_BYTES: usize = 150;

/// What became of a body's events.
pub(super) enum Taken {
    /// It was one event.
    One(Box<Item>),
    /// It was a list, of any length; the share is what the answer takes of the bound for answers. True
    /// where it is stored whole or not at all.
    Many(Vec<Item>, Share, bool),
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
    let received = events_of(ingest, request, payload, dialect, &circumstances, &keeping);
    let (body, is_atomic) = received.await.inspect_err(&refused)?;
    match body {
        Body::One(event) => {
            let stored = store(ingest, vec![*event], false).await;
            let mut items = stored.inspect_err(&refused)?;
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
            let stored = store(ingest, events, is_atomic).await;
            let mut items = stored.inspect_err(&refused)?;
            keeper.keep_items(&mut items, false, &keeping, &circumstances);
            Ok(Taken::Many(items, share, is_atomic))
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

/// Receives and reads the body; true where it is stored whole or not at all.
async fn events_of(
    ingest: &Ingest,
    request: &HttpRequest,
    payload: Payload,
    dialect: Dialect,
    circumstances: &Circumstances<'_>,
    keeping: &Keeping,
) -> Result<(Body, bool), Problem> {
    let room = ingest.arriving.nothing(flow(circumstances.tenant));
    let length = receive::length(request);
    keeping.length(length);
    let (format, coding, is_atomic) = match announced(request, dialect) {
        Ok(announced) => announced,
        Err(problem) => {
            // Whoever looks for the fault wants to see what was sent.
            if circumstances.tenant.is_some()
                && length.is_some_and(|length| length <= MAX_SEEN_BYTES)
            {
                let bytes = receive::whole(Coding::Identity, payload, room).await?;
                keeping.body(&bytes);
            }
            return Err(problem);
        }
    };
    receive::check_length(request)?;
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
    let body = read::read(format, coding, payload, room, &reading).await?;
    Ok((body, is_atomic))
}

/// What a request says that its body is, and whether it is stored whole or not at all.
fn announced(request: &HttpRequest, dialect: Dialect) -> Result<(Format, Coding, bool), Problem> {
    let (format, coding) = (Format::of(request, dialect)?, Coding::of(request)?);
    let mut parameters = Parameters::of(request)?;
    let is_atomic = match dialect {
        Dialect::Aevon => match parameters.one("atomic")?.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                let reason = format!("{other:?} is neither true nor false");
                return Err(invalid("atomic", reason));
            }
        },
        Dialect::OpenMeter => false,
    };
    // A parameter that promises something is not passed over in silence.
    parameters.finish()?;
    Ok((format, coding, is_atomic))
}

/// Stores the events that could be read; an item for each that was sent, in order.
async fn store(ingest: &Ingest, events: Vec<Read>, is_atomic: bool) -> Result<Vec<Item>, Problem> {
    if is_atomic {
        check_one_principal(&events)?;
        if events.iter().any(Result::is_err) {
            let items = events.into_iter().map(|event| match event {
                Ok(event) => Item::withheld(event.id().to_owned()),
                Err(refused) => Item::refused(refused),
            });
            return Ok(counted(ingest, items));
        }
    }
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
        let stored = queue.store(readable, is_atomic).await;
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
    Ok(counted(ingest, items))
}

fn counted(ingest: &Ingest, items: impl Iterator<Item = Item>) -> Vec<Item> {
    items
        .inspect(|item| ingest.metrics.decided(&item.outcome))
        .collect()
}

/// What is stored whole or not at all has one place: that of its principal.
fn check_one_principal(events: &[Read]) -> Result<(), Problem> {
    let mut read = events.iter().flatten();
    let Some(first) = read.next() else {
        return Ok(());
    };
    let is_other = |event: &NewEvent| {
        event.tenant_id != first.tenant_id || event.principal_id != first.principal_id
    };
    match read.any(is_other) {
        true => Err(invalid(
            "atomic",
            "the events are of more than one principal",
        )),
        false => Ok(()),
    }
}
