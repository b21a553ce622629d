//! In which format an answer is sent: JSON, or rows of it as CSV or NDJSON, as `accept` asks.
//!
//! Invariant: a row is the same object in NDJSON, whatever else is in the answer; CSV has its columns
//! from all rows.

use actix_web::http::header::{
    Accept, CACHE_CONTROL, CONTENT_TYPE, ETAG, EntityTag, Header, IF_NONE_MATCH, IfNoneMatch, VARY,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use aevon_service::problem::{Code, Problem};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// A format of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The whole answer.
    Json,
    /// Its rows, with a line of titles.
    Csv,
    /// Its rows, a JSON object a line.
    Ndjson,
}

impl Format {
    /// What `accept` likes best; JSON where it says nothing that is known here.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        let accept = Accept::parse(request).map(|accept| accept.ranked());
        let liked = accept.unwrap_or_default();
        let known = |essence: &str| match essence {
            "text/csv" | "text/*" => Some(Self::Csv),
            "application/x-ndjson" => Some(Self::Ndjson),
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            _ => None,
        };
        let best = liked.iter().find_map(|mime| known(mime.essence_str()));
        best.unwrap_or(Self::Json)
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// The beginning of a 200, for a body of this format.
    pub(crate) fn ok(self) -> HttpResponseBuilder {
        let mut response = HttpResponse::Ok();
        response.insert_header((CONTENT_TYPE, self.media_type()));
        response.insert_header((VARY, "accept"));
        response
    }

    /// The tag of an answer that depends on nothing but these parts.
    pub(crate) fn tag(self, parts: &[String]) -> EntityTag {
        let media_type = digest(&[self.media_type().to_owned()]);
        EntityTag::new_weak(digest(&[media_type, digest(parts)]))
    }
}

/// What tells these parts from any others.
pub(crate) fn digest(parts: &[String]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest.iter().take(16).map(|b| format!("{b:02x}")).collect()
}

/// Where rows have no room for it: what to send for the next page.
const NEXT_HEADER: &str = "aevon-next";

/// Says in a header what only JSON has room for: the next page.
pub(crate) fn insert_next(response: &mut HttpResponseBuilder, format: Format, next: Option<&str>) {
    if let (Some(next), Format::Csv | Format::Ndjson) = (next, format) {
        response.insert_header((NEXT_HEADER, next));
    }
}

/// What the caller has already, and need not be sent again.
pub(crate) struct Known(Option<IfNoneMatch>);

impl Known {
    /// What `if-none-match` lists; nothing where it is no list of tags.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        let is_given = request.headers().contains_key(IF_NONE_MATCH);
        let known = is_given.then(|| IfNoneMatch::parse(request));
        Self(known.and_then(Result::ok))
    }

    /// The answer where the caller has this one.
    pub(crate) fn not_modified(&self, tag: &EntityTag) -> Option<HttpResponseBuilder> {
        let has_it = match self.0.as_ref()? {
            IfNoneMatch::Any => true,
            IfNoneMatch::Items(tags) => tags.iter().any(|known| known.weak_eq(tag)),
        };
        has_it.then(|| {
            let mut response = HttpResponse::NotModified();
            response.insert_header((VARY, "accept"));
            response.insert_header((ETAG, tag.clone()));
            response
        })
    }
}

/// Marks an answer that may be asked for again by its tag, and by nobody else's cache.
pub(crate) fn tagged(mut response: HttpResponseBuilder, tag: EntityTag) -> HttpResponseBuilder {
    response.insert_header((ETAG, tag));
    response.insert_header((CACHE_CONTROL, "private, no-cache"));
    response
}

/// Rows as NDJSON.
///
/// # Errors
/// 500, where one can't be written.
pub(crate) fn ndjson<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Result<Vec<u8>, Problem> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, &row).map_err(|error| unwritten(&error))?;
        text.push(b'\n');
    }
    Ok(text)
}

/// Rows of texts as CSV (RFC 4180), the first of them titles; nothing is an empty cell.
///
/// # Errors
/// 500, where one can't be written.
pub(crate) fn csv<'a, R>(rows: impl IntoIterator<Item = R>) -> Result<Vec<u8>, Problem>
where
    R: IntoIterator<Item = std::borrow::Cow<'a, str>>,
{
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    for row in rows {
        let cells = row.into_iter();
        let written = writer.write_record(cells.map(|cell| cell.into_owned()));
        written.map_err(|error| unwritten(&error))?;
    }
    writer.into_inner().map_err(|error| unwritten(&error))
}

fn unwritten(error: &impl std::fmt::Display) -> Problem {
    Problem::new(Code::Internal, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn the_format_is_what_accept_likes_best_of_what_there_is() {
        for (accept, format) in [
            ("", Format::Json),
            ("*/*", Format::Json),
            ("text/csv", Format::Csv),
            ("text/csv;q=0.5, application/json;q=0.9", Format::Json),
            ("text/csv; charset=utf-8, */*;q=0.1", Format::Csv),
            ("text/html, application/x-ndjson;q=0.4", Format::Ndjson),
            ("image/png", Format::Json),
            (";;", Format::Json),
        ] {
            let request = TestRequest::get().insert_header(("accept", accept));
            assert_eq!(Format::of(&request.to_http_request()), format, "{accept}");
        }
    }

    #[test]
    fn a_tag_is_known_weakly_and_each_part_and_format_makes_another() {
        let parts = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let tag = Format::Json.tag(&parts("ab", "c"));
        assert_ne!(tag, Format::Json.tag(&parts("a", "bc")));
        assert_ne!(tag, Format::Csv.tag(&parts("ab", "c")));
        let has = |header: &str| {
            let request = TestRequest::get().insert_header(("if-none-match", header));
            let known = Known::of(&request.to_http_request());
            known.not_modified(&tag).is_some()
        };
        let text = tag.to_string();
        assert!(has(&text) && has(&text[2..]) && has("*"));
        assert!(has(&format!("\"x\", {text}")) && !has("\"x\""));
        let none = TestRequest::get().to_http_request();
        assert!(Known::of(&none).not_modified(&tag).is_none());
    }
}
