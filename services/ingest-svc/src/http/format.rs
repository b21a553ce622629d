//! What a request says its body is: media type, CloudEvents' headers, content coding.

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use aevon_service::problem::{Code, Problem};
use percent_encoding::percent_decode;

/// How a body holds events.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One event, or an array of them.
    Json,
    /// One event a line.
    Ndjson,
    /// One CloudEvent.
    CloudEvent,
    /// An array of CloudEvents.
    CloudEventBatch,
    /// One CloudEvent, or an array of them.
    CloudEvents,
    /// The data of one CloudEvent, whose attributes are these.
    BinaryCloudEvent(Vec<(String, String)>),
}

/// Whose words a route speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Ours.
    Aevon,
    /// OpenMeter's: JSON without further words is CloudEvents, whose data may be absent.
    OpenMeter,
}

/// How a body was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

const CE_PREFIX: &str = "ce-";

impl Format {
    /// By `content-type`, without its parameters; JSON where there is none. A CloudEvent's own
    /// media types win over `ce-` headers, as the HTTP binding of CloudEvents says.
    ///
    /// # Errors
    /// 415, and 400 for headers that are not text.
    pub(crate) fn of(request: &HttpRequest, dialect: Dialect) -> Result<Self, Problem> {
        let given = essence(request.headers(), &CONTENT_TYPE)?;
        match given.as_str() {
            "application/cloudevents+json" => return Ok(Self::CloudEvent),
            "application/cloudevents-batch+json" => return Ok(Self::CloudEventBatch),
            _ => {}
        }
        if request
            .headers()
            .keys()
            .any(|name| name.as_str().starts_with(CE_PREFIX))
        {
            return attributes(request.headers()).map(Self::BinaryCloudEvent);
        }
        match given.as_str() {
            "" | "application/json" => Ok(match dialect {
                Dialect::Aevon => Self::Json,
                Dialect::OpenMeter => Self::CloudEvents,
            }),
            "application/x-ndjson" => Ok(Self::Ndjson),
            _ => Err(Problem::new(
                Code::UnsupportedMediaType,
                format!(
                    "{given} is not taken; send application/json, application/x-ndjson, \
                     application/cloudevents+json or application/cloudevents-batch+json"
                ),
            )),
        }
    }
}

impl Coding {
    /// By `content-encoding`.
    ///
    /// # Errors
    /// 415.
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        match essence(request.headers(), &CONTENT_ENCODING)?.as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => Err(Problem::new(
                Code::UnsupportedMediaType,
                format!("content-encoding {other} is not taken; send gzip, zstd or none"),
            )),
        }
    }
}

/// A header without parameters, in lower case; empty where it is absent.
fn essence(headers: &HeaderMap, name: &HeaderName) -> Result<String, Problem> {
    let Some(value) = headers.get(name) else {
        return Ok(String::new());
    };
    let text = value.to_str().map_err(|_| {
        let detail = format!("{name} is not text");
        Problem::new(Code::UnsupportedMediaType, detail)
    })?;
    let essence = text.split(';').next().unwrap_or_default();
    Ok(essence.trim().to_ascii_lowercase())
}

/// The attributes of binary mode; values are percent-encoded UTF-8. The body's media type is an
/// attribute too.
fn attributes(headers: &HeaderMap) -> Result<Vec<(String, String)>, Problem> {
    let mut attributes = Vec::new();
    for (header, value) in headers {
        let name = match header.as_str().strip_prefix(CE_PREFIX) {
            Some(name) => name,
            None if *header == CONTENT_TYPE => "datacontenttype",
            None => continue,
        };
        let value = percent_decode(value.as_bytes()).decode_utf8();
        let value = value.map_err(|_| {
            let detail = format!("{header} is not percent-encoded UTF-8");
            Problem::new(Code::MalformedBody, detail)
        })?;
        attributes.push((name.to_owned(), value.into_owned()));
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn format(headers: &[(&str, &str)]) -> Result<Format, Code> {
        let mut request = TestRequest::default();
        for header in headers {
            request = request.append_header(*header);
        }
        Format::of(&request.to_http_request(), Dialect::Aevon).map_err(|problem| problem.code)
    }

    #[test]
    fn media_types_count_without_parameters_and_case_and_none_is_json() {
        assert_eq!(format(&[]), Ok(Format::Json));
        let json = ("content-type", "Application/JSON; charset=utf-8");
        assert_eq!(format(&[json]), Ok(Format::Json));
        assert_eq!(
            format(&[("content-type", "application/x-ndjson")]),
            Ok(Format::Ndjson)
        );
        let batch = (
            "content-type",
            "application/cloudevents-batch+json; charset=utf-8",
        );
        assert_eq!(format(&[batch]), Ok(Format::CloudEventBatch));
        assert_eq!(
            format(&[("content-type", "text/xml")]),
            Err(Code::UnsupportedMediaType)
        );
    }

    #[test]
    fn headers_make_a_binary_cloud_event_unless_the_body_is_a_structured_one() {
        let (id, of_body) = (("ce-id", "a%20b%C3%BC"), ("content-type", "text/plain"));
        let attributes = |list: &[(&str, &str)]| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Format::BinaryCloudEvent(list.iter().map(own).collect())
        };
        assert_eq!(format(&[id]), Ok(attributes(&[("id", "a bü")])));
        let with_type = format(&[id, of_body]).unwrap();
        let Format::BinaryCloudEvent(found) = with_type else {
            panic!("{with_type:?}")
        };
        assert!(found.contains(&("datacontenttype".to_owned(), "text/plain".to_owned())));
        let structured = ("content-type", "application/cloudevents+json");
        assert_eq!(format(&[id, structured]), Ok(Format::CloudEvent));
        assert_eq!(format(&[("ce-id", "%ff")]), Err(Code::MalformedBody));
    }
}
