//! From the bytes of a body to events, or to every reason why not.

use super::answer;
use crate::queue::Unstored;
use crate::{MAX_BODY_BYTES, MAX_BODY_EVENTS, now};
use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::web::Payload;
use aevon_core::event::{self, Limits, NewEvent, Refusal};
use aevon_service::problem::{Code, Problem};
use futures_util::StreamExt;
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a body may take to arrive.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// What a body holds.
#[derive(Debug)]
pub(crate) enum Body {
    /// One event.
    One(Box<Result<NewEvent, Refusal>>),
    /// An array of events.
    Many(Vec<Result<NewEvent, Refusal>>),
}

/// Only Aevon's own JSON format is taken, as it is. Parameters of the media type are ignored.
///
/// # Errors
/// 415.
pub(crate) fn check_coding(request: &HttpRequest) -> Result<(), Problem> {
    if let Some(coding) = request.headers().get(CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let detail = "content-encoding is not taken; send the body as it is".to_owned();
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let Some(given) = request.headers().get(CONTENT_TYPE) else {
        return Ok(());
    };
    let given = given.to_str().unwrap_or("");
    let essence = given.split(';').next().unwrap_or("").trim();
    if essence.is_empty() || essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = format!("{essence} is not taken; send application/json");
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

/// A body that has arrived.
#[derive(Debug)]
pub(crate) struct Arrived<'a> {
    pub(crate) bytes: Vec<u8>,
    /// A permit a byte, given back when the bytes are gone.
    room: SemaphorePermit<'a>,
}

/// The whole body, within its bounds: its own size, its time, and what all bodies together may
/// take, of which `arriving` has a permit a byte.
///
/// # Errors
/// 400 where it broke off, 408, 413; 503 where too much arrives at once.
pub(crate) async fn receive(
    arriving: &Semaphore,
    payload: Payload,
) -> Result<Arrived<'_>, Problem> {
    let received = tokio::time::timeout(ARRIVAL_TIMEOUT, receive_unbounded(arriving, payload));
    received.await.unwrap_or_else(|_| {
        let detail = format!("the body took longer than {ARRIVAL_TIMEOUT:?} to arrive");
        Err(Problem::new(Code::RequestTimeout, detail))
    })
}

async fn receive_unbounded(
    arriving: &Semaphore,
    mut payload: Payload,
) -> Result<Arrived<'_>, Problem> {
    let full = |_| answer::unstored(&Unstored::Full);
    let mut body = Arrived {
        bytes: Vec::new(),
        room: arriving.try_acquire_many(0).map_err(full)?,
    };
    while let Some(chunk) = payload.next().await {
        let broke_off = |error| format!("the body broke off: {error}");
        let chunk = chunk.map_err(|e| Problem::new(Code::MalformedBody, broke_off(e)))?;
        if body.bytes.len() + chunk.len() > MAX_BODY_BYTES {
            let detail = format!("a body may have {MAX_BODY_BYTES} bytes");
            return Err(Problem::new(Code::BodyTooLarge, detail));
        }
        let permits = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        body.room
            .merge(arriving.try_acquire_many(permits).map_err(full)?);
        body.bytes.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads a body.
///
/// # Errors
/// 400 where it is not JSON, or neither an object nor an array; 413 where it holds too many events.
pub(crate) fn read(bytes: &[u8], limits: &Limits) -> Result<Body, Problem> {
    let malformed = |detail: String| Problem::new(Code::MalformedBody, detail);
    let text = std::str::from_utf8(bytes)
        .map_err(|error| malformed(format!("the body is not UTF-8: {error}")))?;
    let received_at = now();
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => {
            let whole: &RawValue = serde_json::from_str(text)
                .map_err(|error| malformed(format!("the body is not JSON: {error}")))?;
            let event = event::parse(whole.get(), received_at, limits);
            Ok(Body::One(Box::new(event)))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)
                .map_err(|error| malformed(format!("the body is not JSON: {error}")))?;
            if items.len() > MAX_BODY_EVENTS {
                let detail = format!("{} events; a body may have {MAX_BODY_EVENTS}", items.len());
                return Err(Problem::new(Code::TooManyEvents, detail));
            }
            let parse = |item: &RawValue| event::parse(item.get(), received_at, limits);
            Ok(Body::Many(items.into_iter().map(parse).collect()))
        }
        Some(_) => Err(malformed(
            "a body is one event or an array of events".to_owned(),
        )),
        None => Err(malformed("the body is empty".to_owned())),
    }
}
