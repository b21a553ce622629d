//! What a request says: identifiers of the path, parameters of the query.
//!
//! Invariant: bytes are taken as they were sent. What is not UTF-8 is refused, never replaced, so
//! that no two requests could be taken for one another.

use actix_web::HttpRequest;
use aevon_core::identity;
use aevon_core::time::Timestamp;
use aevon_service::problem::{Code, Problem};
use percent_encoding::percent_decode_str;

/// Most parameters of a request.
const MAX_PARAMETERS: usize = 200;

/// A problem that names a parameter.
pub(crate) fn invalid(name: &str, reason: impl std::fmt::Display) -> Problem {
    Problem::new(Code::InvalidParameter, format!("{name}: {reason}"))
}

/// An identifier of the path: its `index`th part, from 0.
///
/// # Errors
/// 400.
pub(crate) fn path_identifier(
    request: &HttpRequest,
    name: &str,
    index: usize,
) -> Result<String, Problem> {
    // Raw: the router has decoded a part of it already.
    let part = request.uri().path().split('/').nth(index + 1);
    identifier(name, decode(name, part.unwrap_or_default(), false)?)
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

/// The parameters of a query, each to be taken once.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads the query of a request.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let mut found = Vec::new();
        for pair in request.query_string().split('&').filter(|p| !p.is_empty()) {
            if found.len() == MAX_PARAMETERS {
                let detail = format!("a request may have {MAX_PARAMETERS} parameters");
                return Err(Problem::new(Code::InvalidParameter, detail));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode("the query", name, true)?;
            let value = decode(&name, value, true)?;
            found.push((name, value));
        }
        Ok(Self(found))
    }

    /// Takes every value of a parameter, in order.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        let is_it = |(found, _): &mut (String, String)| found == name;
        self.0
            .extract_if(.., is_it)
            .map(|(_, value)| value)
            .collect()
    }

    /// Takes the value of a parameter that may be given once.
    ///
    /// # Errors
    /// 400 where it is given more than once.
    pub(crate) fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(invalid(name, "is given more than once")),
        }
    }

    /// Takes a parameter that is an instant.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn instant(&mut self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(mut text) = self.one(name)? else {
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

    /// All parameters must have been taken: one that promises something is not passed over in
    /// silence.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(invalid(name, "is no parameter of this route")),
        }
    }
}

/// Percent-decodes a text; in a query `+` is a space.
fn decode(name: &str, text: &str, in_query: bool) -> Result<String, Problem> {
    let spaced = match in_query && text.contains('+') {
        true => text.replace('+', " "),
        false => text.to_owned(),
    };
    percent_decode_str(&spaced)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| invalid(name, "is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn parameters(query: &str) -> Result<Parameters, Problem> {
        let uri = format!("/x?{query}");
        Parameters::of(&TestRequest::with_uri(&uri).to_http_request())
    }

    #[test]
    fn parameters_are_decoded_once_and_what_is_left_over_is_refused() {
        let mut found = parameters("a=1%2B&b=x+y&a=%252F&c").unwrap();
        assert_eq!(found.all("a"), ["1+", "%2F"]);
        assert_eq!(found.one("b").unwrap().as_deref(), Some("x y"));
        assert!(found.finish().unwrap_err().detail.starts_with("c: "));
        assert!(parameters("a=%ff").is_err());
        assert!(parameters("a=1&a=2").unwrap().one("a").is_err());
        assert!(parameters("").unwrap().finish().is_ok());
        assert!(parameters(&"a&".repeat(MAX_PARAMETERS + 1)).is_err());
    }

    #[test]
    fn an_offset_whose_plus_was_not_encoded_is_understood() {
        let read = |query: &str| parameters(query).unwrap().instant("start");
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
    fn identifiers_of_the_path_are_taken_byte_by_byte() {
        let read = |uri: &str, index| {
            let request = TestRequest::with_uri(uri).to_http_request();
            path_identifier(&request, "tenant", index)
        };
        assert_eq!(read("/v1/state/a%2Fb+c/%2525", 2).unwrap(), "a/b+c");
        assert_eq!(read("/v1/state/a%2Fb+c/%2525?x=/", 3).unwrap(), "%25");
        for wrong in ["/v1/state/%00", "/v1/state/%ff", "/v1/state/"] {
            assert_eq!(read(wrong, 2).unwrap_err().code, Code::InvalidParameter);
        }
    }
}
