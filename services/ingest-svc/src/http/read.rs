//! From the bytes of a body to events, or to every reason why not.

use super::answer;
use super::format::{Coding, Format};
use super::receive::{ARRIVAL_TIMEOUT, malformed, receive};
use super::unpack::Unpacker;
use crate::MAX_BODY_EVENTS;
use crate::queue::Unstored;
use crate::rejected::{Keeping, Kept};
use crate::shares::Share;
use actix_web::web::Payload;
use aevon_core::event::{Fault, NewEvent, Receipt, Refusal, cloud, is_foreign, native};
use aevon_service::problem::{Code, Problem};
use lines::Lines;
use serde_json::value::RawValue;
use std::cell::Cell;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

mod lines;
#[cfg(test)]
mod properties;

/// Bytes of a body whose reading takes a turn: it takes 0.1 ms, and 10 ms for the largest.
const LARGE_BYTES: usize = 32 * 1024;

/// An event, or why it is none.
pub(crate) type Read = Result<NewEvent, Refused>;

/// Why something is no event, and what is kept of it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) kept: Option<Kept>,
}

impl Refused {
    /// About how many bytes of memory this holds.
    pub(crate) fn size_bytes(&self) -> usize {
        let of_fault = |fault: &Fault| {
            let field = fault.field.as_ref().map_or(0, String::len);
            size_of::<Fault>() + field + fault.detail.len()
        };
        let faults: usize = self.refusal.faults.iter().map(of_fault).sum();
        size_of::<Self>() + faults + self.kept.as_ref().map_or(0, Kept::size_bytes)
    }
}

/// How long reading a body may keep its thread from others.
const TURN: Duration = Duration::from_millis(1);

/// Turns at reading large bodies: one at a time for each thread that serves. Whoever waits for a
/// turn is not in the way of small requests, which a thread takes up in the order in which they
/// arrive.
#[derive(Debug)]
pub(crate) struct Turns(Semaphore);

impl Turns {
    /// For one thread.
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(1))
    }

    async fn wait(&self, bytes: usize) -> Result<Option<SemaphorePermit<'_>>, Problem> {
        if bytes < LARGE_BYTES {
            return Ok(None);
        }
        match tokio::time::timeout(ARRIVAL_TIMEOUT, self.0.acquire()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(answer::unstored(&Unstored::Full)),
        }
    }
}

/// How the events of one body are read.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) receipt: Receipt<'a>,
    pub(crate) keeping: &'a Keeping,
    pub(crate) turns: &'a Turns,
    /// How many more faults are listed.
    pub(crate) faults_left: Cell<usize>,
}

impl Reading<'_> {
    fn native(&self, text: &str) -> Read {
        self.kept(text, native::parse(text, &self.receipt))
    }

    fn cloud(&self, text: &str) -> Read {
        self.kept(text, cloud::parse(text, &self.receipt))
    }

    fn kept(&self, text: &str, event: Result<NewEvent, Refusal>) -> Read {
        event.map_err(|refusal| self.refused(text.as_bytes(), text.len(), refusal))
    }

    fn refused(&self, bytes: &[u8], sent: usize, mut refusal: Refusal) -> Refused {
        // Beyond the bound the first fault of an event stands for all of them.
        let left = self.faults_left.get();
        if refusal.faults.len() > left {
            refusal.faults.truncate(1);
            refusal.faults.shrink_to_fit();
        }
        self.faults_left
            .set(left.saturating_sub(refusal.faults.len()));
        let kept = match is_foreign(&refusal.faults) {
            true => None,
            false => self.keeping.event(bytes, sent),
        };
        Refused { refusal, kept }
    }
}

/// What a body holds.
#[derive(Debug)]
pub(crate) enum Body {
    /// One event.
    One(Box<Read>),
    /// Any number of events.
    Many(Vec<Read>),
}

/// Receives a body and reads it; lines are read as they arrive.
///
/// # Errors
/// 400 where it broke off or is not what it was said to be, 408, 413; 503 where too much arrives at
/// once. `room` is what the body takes of the bound for all bodies together: nothing yet.
pub(crate) async fn read(
    format: Format,
    coding: Coding,
    payload: Payload,
    room: Share,
    reading: &Reading<'_>,
) -> Result<Body, Problem> {
    if format == Format::Ndjson {
        let lines = Unpacker::new(coding, Lines::new(reading), room)?;
        let (lines, _room) = receive(payload, lines).await?;
        return lines.finish().map(Body::Many);
    }
    let whole = Unpacker::new(coding, Vec::new(), room)?;
    let (bytes, _room) = receive(payload, whole).await?;
    let _turn = reading.turns.wait(bytes.len()).await?;
    let body = match text(&bytes) {
        Ok(text) => parse(&format, text, reading).await,
        Err(problem) => Err(problem),
    };
    body.inspect_err(|_| reading.keeping.body(&bytes))
}

/// The text of a body.
///
/// # Errors
/// 400.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| malformed(format!("the body is not UTF-8: {error}")))
}

/// Reads a body that is there whole.
async fn parse(format: &Format, text: &str, reading: &Reading<'_>) -> Result<Body, Problem> {
    let one = |event| Ok(Body::One(Box::new(event)));
    let first = text.trim_ascii_start().bytes().next();
    match (format, first) {
        (Format::BinaryCloudEvent(attributes), _) => {
            let event = cloud::structured(attributes, text);
            let event =
                event.map_err(|refusal| reading.refused(text.as_bytes(), text.len(), refusal));
            one(event.and_then(|event| reading.cloud(&event)))
        }
        (_, None) => Err(malformed("the body is empty".to_owned())),
        (Format::Json, Some(b'{')) => one(reading.native(value(text)?)),
        (Format::CloudEvent | Format::CloudEvents, Some(b'{')) => one(reading.cloud(value(text)?)),
        (Format::Json, Some(b'[')) => many(text, |event| reading.native(event)).await,
        (Format::CloudEventBatch | Format::CloudEvents, Some(b'[')) => {
            many(text, |event| reading.cloud(event)).await
        }
        (Format::CloudEvent, _) => Err(malformed("this media type is one CloudEvent".to_owned())),
        (Format::CloudEventBatch, _) => Err(malformed(
            "this media type is an array of CloudEvents".to_owned(),
        )),
        (Format::Json | Format::CloudEvents | Format::Ndjson, _) => Err(malformed(
            "a body is one event or an array of events".to_owned(),
        )),
    }
}

/// The one value of a text, without what surrounds it.
fn value(text: &str) -> Result<&str, Problem> {
    let value: &RawValue = serde_json::from_str(text).map_err(not_json)?;
    Ok(value.get())
}

fn not_json(error: serde_json::Error) -> Problem {
    malformed(format!("the body is not JSON: {error}"))
}

/// Reads an array. Whatever else the thread serves has its turn in between.
async fn many(text: &str, read: impl Fn(&str) -> Read) -> Result<Body, Problem> {
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(not_json)?;
    if items.len() > MAX_BODY_EVENTS {
        return Err(too_many());
    }
    // To find where each begins takes a while, too.
    tokio::task::yield_now().await;
    let (mut events, mut since) = (Vec::with_capacity(items.len()), Instant::now());
    for item in items {
        events.push(read(item.get()));
        if since.elapsed() > TURN {
            tokio::task::yield_now().await;
            since = Instant::now();
        }
    }
    Ok(Body::Many(events))
}

fn too_many() -> Problem {
    let detail = format!("a body may have {MAX_BODY_EVENTS} events");
    Problem::new(Code::TooManyEvents, detail)
}
