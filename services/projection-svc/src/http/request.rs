//! What a request says in the words of the domain: identifiers, instants.

use actix_web::HttpRequest;
use aevon_core::identity;
use aevon_core::state::Range;
use aevon_core::time::Timestamp;
use aevon_service::problem::{Code, Problem};
use aevon_service::request::path_part;
pub(crate) use aevon_service::request::{Parameters, invalid};
use aevon_service::settings::HumanDuration;
use std::time::Duration;

/// An identifier of the path: its `index`th part, from 0.
///
/// # Errors
/// 400.
pub(crate) fn path_identifier(
    request: &HttpRequest,
    name: &str,
    index: usize,
) -> Result<String, Problem> {
    identifier(name, path_part(request, name, index)?)
}

/// A text that must be an identifier.
///
/// # Errors
/// 400.
pub(crate) fn identifier(name: &str, text: String) -> Result<String, Problem> {
    match identity::check(&text) {
        Ok(()) => Ok(text),
        Err(fault) => Err(invalid(name, fault)),
    }
}

/// Takes a parameter that is an instant.
///
/// # Errors
/// 400.
pub(crate) fn instant(
    parameters: &mut Parameters,
    name: &str,
) -> Result<Option<Timestamp>, Problem> {
    let Some(mut text) = parameters.one(name)? else {
        return Ok(None);
    };
    // `+02:00` that was not percent-encoded arrives as a space, which no instant has there.
    if let Some(at) = text.len().checked_sub("+02:00".len())
        && text.as_bytes()[at] == b' '
    {
        text.replace_range(at..=at, "+");
    }
    let instant = Timestamp::parse(&text);
    instant
        .map(Some)
        .map_err(|reason| invalid(name, format!("{text:?} {reason}")))
}

/// Takes the two ends of a range, by name.
///
/// # Errors
/// 400.
pub(crate) fn range(parameters: &mut Parameters, names: [&str; 2]) -> Result<Range, Problem> {
    let [first, last] = names;
    let (start, end) = (instant(parameters, first)?, instant(parameters, last)?);
    match (start, end) {
        (Some(start), Some(end)) if start > end => Err(Problem::new(
            Code::RangeReversed,
            format!("{first} {start} lies behind {last} {end}"),
        )),
        _ => Ok(Range { start, end }),
    }
}

/// Takes `wait`: a duration of at most so long; none is not at all.
///
/// # Errors
/// 400.
pub(crate) fn wait(parameters: &mut Parameters, most: Duration) -> Result<Duration, Problem> {
    let Some(text) = parameters.one("wait")? else {
        return Ok(Duration::ZERO);
    };
    let wait: HumanDuration = text.parse().map_err(|reason| invalid("wait", reason))?;
    match wait.get() > most {
        true => Err(invalid(
            "wait",
            format!("is at most {}", HumanDuration(most)),
        )),
        false => Ok(wait.get()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn an_offset_whose_plus_was_not_encoded_is_understood() {
        let parameters = |query: &str| {
            let request = TestRequest::with_uri(&format!("/x?{query}")).to_http_request();
            Parameters::of(&request).unwrap()
        };
        let read = |query: &str| instant(&mut parameters(query), "start");
        let expected = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        for query in [
            "start=2026-01-01T02:00:00+02:00",
            "start=2026-01-01T02:00:00%2B02:00",
            "start=2026-01-01T00:00:00Z",
        ] {
            assert_eq!(read(query).unwrap(), Some(expected), "{query}");
        }
        assert_eq!(read("").unwrap(), None);
        assert!(read("start=").is_err() && read("start=12:00").is_err());
    }

    #[test]
    fn what_is_no_identifier_is_refused() {
        for wrong in ["/v1/state/%00", "/v1/state/%ff", "/v1/state/"] {
            let request = TestRequest::with_uri(wrong).to_http_request();
            let refused = path_identifier(&request, "tenant", 2).unwrap_err();
            assert_eq!(refused.code, Code::InvalidParameter, "{wrong}");
        }
    }
}
