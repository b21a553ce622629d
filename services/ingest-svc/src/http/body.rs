//! From the bytes of a body to events, or to every reason why not.

use crate::{MAX_BODY_EVENTS, now};
use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_TYPE;
use aevon_core::event::{self, Limits, NewEvent, Refusal};
use aevon_service::problem::{Code, Problem};
use serde_json::value::RawValue;

/// What a body holds.
#[derive(Debug)]
pub(crate) enum Body {
    /// One event.
    One(Box<Result<NewEvent, Refusal>>),
    /// An array of events.
    Many(Vec<Result<NewEvent, Refusal>>),
}

/// Only Aevon's own JSON format is taken. Parameters of the media type are ignored.
///
/// # Errors
/// 415.
pub(crate) fn check_media_type(request: &HttpRequest) -> Result<(), Problem> {
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
