//! The bytes of a body: received as they arrive, within their bounds.

use super::format::Coding;
use super::unpack::{Sink, Unpacker};
use crate::MAX_BODY_BYTES;
use crate::shares::Share;
use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::Payload;
use aevon_service::problem::{Code, Problem};
use futures_util::StreamExt;
use std::time::Duration;

/// How long a body may take to arrive.
pub(super) const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nothing of it may arrive: what a body holds of the bound for all of them is worth more
/// than a sender that has gone away.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);

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

/// Receives a body as it is.
///
/// # Errors
/// As [`receive`].
pub(crate) async fn whole(
    coding: Coding,
    payload: Payload,
    room: Share,
) -> Result<Vec<u8>, Problem> {
    let whole = Unpacker::new(coding, Vec::new(), room)?;
    receive(payload, whole).await.map(|(bytes, _)| bytes)
}

/// Receives a body into whatever takes it.
///
/// # Errors
/// 400 where it broke off or is not what it was said to be, 408, 413; 503 where too much arrives at
/// once.
pub(super) async fn receive<S: Sink>(
    payload: Payload,
    unpacker: Unpacker<S>,
) -> Result<(S, Share), Problem> {
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

/// Of a body.
pub(super) fn malformed(detail: String) -> Problem {
    Problem::new(Code::MalformedBody, detail)
}
