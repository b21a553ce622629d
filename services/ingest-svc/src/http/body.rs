//! From the bytes of a body to events, or to every reason why not.

use super::answer;
use super::format::{Coding, Format};
use super::unpack::{Sink, Unpacker};
use crate::queue::Unstored;
use crate::rejected::{Keeping, Kept};
use crate::shares::Share;
use crate::{MAX_BODY_BYTES, MAX_BODY_EVENTS};
use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::Payload;
use aevon_core::event::{Fault, FaultCode, NewEvent, Receipt, Refusal, cloud, is_foreign, native};
use aevon_service::problem::{Code, Problem};
use futures_util::StreamExt;
use serde_json::value::RawValue;
use std::cell::Cell;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a body may take to arrive.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nothing of it may arrive: what a body holds of the bound for all of them is worth more
/// than a sender that has gone away.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);

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

/// A body that says beforehand that it is too large is not waited for. Packed or not: nothing
/// grows by being packed, but for a few bytes.
///
/// # Errors
/// 413.
pub(crate) fn check_length(request: &HttpRequest) -> Result<(), Problem> {
    match length(request) {
        Some(length) if length > MAX_BODY_BYTES => Err(too_large()),
        _ => Ok(()),
    }
}

/// How many bytes a body has, where the request says so.
pub(crate) fn length(request: &HttpRequest) -> Option<usize> {
    let length = request.headers().get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// Of a body.
pub(super) fn too_large() -> Problem {
    let detail = format!("a body may have {MAX_BODY_BYTES} bytes");
    Problem::new(Code::BodyTooLarge, detail)
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

/// Receives a body as it is.
///
/// # Errors
/// As [`read`].
pub(crate) async fn whole(
    coding: Coding,
    payload: Payload,
    room: Share,
) -> Result<Vec<u8>, Problem> {
    let whole = Unpacker::new(coding, Vec::new(), room)?;
    receive(payload, whole).await.map(|(bytes, _)| bytes)
}

/// The text of a body.
///
/// # Errors
/// 400.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| malformed(format!("the body is not UTF-8: {error}")))
}

async fn receive<S: Sink>(payload: Payload, unpacker: Unpacker<S>) -> Result<(S, Share), Problem> {
    let received = tokio::time::timeout(ARRIVAL_TIMEOUT, receive_chunks(payload, unpacker)).await;
    received.unwrap_or_else(|_| {
        let detail = format!("the body took longer than {ARRIVAL_TIMEOUT:?} to arrive");
        Err(Problem::new(Code::RequestTimeout, detail))
    })
}

async fn receive_chunks<S: Sink>(
    mut payload: Payload,
    mut unpacker: Unpacker<S>,
) -> Result<(S, Share), Problem> {
    let stalled = |_| {
        let detail = format!("nothing of the body arrived for {STALL_TIMEOUT:?}");
        Problem::new(Code::RequestTimeout, detail)
    };
    while let Some(chunk) = tokio::time::timeout(STALL_TIMEOUT, payload.next())
        .await
        .map_err(stalled)?
    {
        let chunk = chunk.map_err(|error| malformed(format!("the body broke off: {error}")))?;
        unpacker.take(&chunk)?;
    }
    unpacker.finish()
}

fn malformed(detail: String) -> Problem {
    Problem::new(Code::MalformedBody, detail)
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

/// One event a line. Keeps the events and the line that is arriving, never the body.
struct Lines<'l> {
    reading: &'l Reading<'l>,
    line: Vec<u8>,
    /// How long the line is that is arriving, as far as it goes; only so much of it is kept as an
    /// event may have.
    line_bytes: usize,
    events: Vec<Read>,
}

impl<'l> Lines<'l> {
    fn new(reading: &'l Reading<'l>) -> Self {
        Self {
            reading,
            line: Vec::new(),
            line_bytes: 0,
            events: Vec::new(),
        }
    }

    fn extend(&mut self, part: &[u8]) {
        self.line_bytes += part.len();
        // Room for a carriage return and other blanks behind an event of the largest size.
        let room = (self.reading.receipt.limits.event_bytes + 64).saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// The line has ended; an empty one is none.
    fn end(&mut self) -> Result<(), Problem> {
        let (line, bytes) = (std::mem::take(&mut self.line), self.line_bytes);
        self.line_bytes = 0;
        let text = line.trim_ascii();
        if text.is_empty() && bytes == line.len() {
            self.line = line;
            self.line.clear();
            return Ok(());
        }
        if self.events.len() == MAX_BODY_EVENTS {
            return Err(too_many());
        }
        let event = if bytes > line.len() {
            let limit = self.reading.receipt.limits.event_bytes;
            let detail = format!("has {bytes} bytes; an event may have {limit}");
            let refusal = Refusal::whole(FaultCode::EventTooLarge, detail);
            Err(self.reading.refused(&line, bytes, refusal))
        } else {
            match std::str::from_utf8(text) {
                Ok(text) => self.reading.native(text),
                Err(error) => {
                    let detail = format!("is not UTF-8: {error}");
                    let refusal = Refusal::whole(FaultCode::MalformedBody, detail);
                    Err(self.reading.refused(text, text.len(), refusal))
                }
            }
        };
        self.events.push(event);
        self.line = line;
        self.line.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Read>, Problem> {
        self.end()?;
        if self.events.is_empty() {
            return Err(malformed("the body is empty".to_owned()));
        }
        Ok(self.events)
    }
}

impl Sink for Lines<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let mut parts = bytes.split(|byte| *byte == b'\n');
        if let Some(first) = parts.next() {
            self.extend(first);
        }
        for part in parts {
            self.end()?;
            self.extend(part);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aevon_core::event::Limits;
    use aevon_core::schema::{SchemaCheck, Schemas};
    use aevon_core::time::Timestamp;

    fn event(id: &str) -> String {
        format!(
            r#"{{"tenant_id":"a","principal_id":"p","id":"{id}","type":"t","data":{{}},
                "occurred_at":"2026-02-11T10:30:00Z"}}"#
        )
        .replace('\n', "")
    }

    /// Hands how events are read to whoever reads some.
    pub(super) fn with_reading<T>(read: impl FnOnce(&Reading<'_>) -> T) -> T {
        let schemas = Schemas::default();
        let receipt = Receipt {
            at: Timestamp::from_micros(1_800_000_000_000_000),
            tenant: None,
            is_data_optional: false,
            limits: &Limits::default(),
            schemas: &SchemaCheck::new(&schemas),
        };
        read(&Reading {
            receipt,
            keeping: &Keeping::new(),
            turns: &Turns::new(),
            faults_left: Cell::new(usize::MAX),
        })
    }

    /// Events of lines that arrive in chunks of so many bytes.
    pub(super) fn lines(body: &[u8], chunk: usize) -> Result<Vec<Read>, Problem> {
        with_reading(|reading| {
            let mut lines = Lines::new(reading);
            let mut chunks = body.chunks(chunk);
            chunks.try_for_each(|chunk| lines.take(chunk))?;
            lines.finish()
        })
    }

    fn read_lines(body: &[u8], chunk: usize) -> Result<Vec<Result<String, &'static str>>, Code> {
        let events = lines(body, chunk).map_err(|problem| problem.code)?;
        let outcome = |event: Read| match event {
            Ok(event) => Ok(event.event_id),
            Err(refused) => Err(refused.refusal.faults[0].code.as_str()),
        };
        Ok(events.into_iter().map(outcome).collect())
    }

    #[test]
    fn lines_are_read_whatever_the_chunks_and_a_bad_one_is_refused_alone() {
        let large = event(&"x".repeat(300 << 10));
        let body = [
            &event("a"),
            "",
            &format!("  {}\r", event("b")),
            "{\"id\":",
            &large,
            &format!("{} {}", event("c"), event("d")),
            &event("e"),
        ]
        .join("\n");
        let expected = vec![
            Ok("a".to_owned()),
            Ok("b".to_owned()),
            Err("malformed-body"),
            Err("event-too-large"),
            Err("malformed-body"),
            Ok("e".to_owned()),
        ];
        for chunk in [1 << 20, 1000, 13] {
            assert_eq!(read_lines(body.as_bytes(), chunk), Ok(expected.clone()));
        }
        let not_utf8 = [event("a").as_bytes(), b"\n{\"id\":\"\xff\"}\n"].concat();
        let expected = vec![Ok("a".to_owned()), Err("malformed-body")];
        assert_eq!(read_lines(&not_utf8, 5), Ok(expected));
    }

    #[test]
    fn no_line_is_no_body_and_too_many_are_refused_whole() {
        assert_eq!(read_lines(b"\n \r\n", 1), Err(Code::MalformedBody));
        let many = "{}\n".repeat(MAX_BODY_EVENTS + 1);
        assert_eq!(read_lines(many.as_bytes(), 4096), Err(Code::TooManyEvents));
        let most = "{}\n".repeat(MAX_BODY_EVENTS);
        assert_eq!(
            read_lines(most.as_bytes(), 4096).map(|e| e.len()),
            Ok(MAX_BODY_EVENTS)
        );
    }
}

#[cfg(test)]
#[path = "body_properties.rs"]
mod properties;
