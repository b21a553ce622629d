//! What a caller is told when a request fails: RFC 9457, one table of public codes.
//!
//! Invariant: the table below is the only place that pairs a code with a status.
//! Invariant: the detail of `internal` and `database-unavailable` never reaches a caller; it is
//! for the log, so that no 5xx leaks SQL or a path.

use std::fmt;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// The media type of every error.
pub const CONTENT_TYPE_PROBLEM: &str = "application/problem+json";

macro_rules! codes {
    ($($variant:ident $code:literal $status:literal $title:literal;)*) => {
        /// Every code that a caller can see; clients may match on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = concat!("`", $code, "` (", $status, "): ", $title, ".")] $variant,)*
        }

        impl Code {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            const fn row(self) -> (&'static str, u16, &'static str) {
                match self {
                    $(Code::$variant => ($code, $status, $title),)*
                }
            }
        }
    };
}

codes! {
    MalformedBody "malformed-body" 400 "The body cannot be read";
    InvalidParameter "invalid-parameter" 400 "A parameter is not valid";
    RangeReversed "range-reversed" 400 "The range ends before it begins";
    RangeRequired "range-required" 400 "This needs both start and end";
    IncompleteVersion "incomplete-version" 400 "The version lacks a partition of this answer";
    TooManyWindows "too-many-windows" 400 "The answer would have too many windows";
    TooManyGroups "too-many-groups" 400 "The answer would have too many groups";
    VersionOfAnotherPartition "version-of-another-partition" 400
        "The version names another partition";
    AsOfInFuture "as-of-in-future" 400 "as_of lies in the future";
    Unauthenticated "unauthenticated" 401 "A key is needed";
    Forbidden "forbidden" 403 "The key does not allow this";
    UnknownRule "unknown-rule" 404 "There is no such rule";
    UnknownVersion "unknown-version" 404 "There is no such version";
    UnknownEvent "unknown-event" 404 "There is no such event";
    NotFound "not-found" 404 "There is nothing here";
    MethodNotAllowed "method-not-allowed" 405 "This path does not take this method";
    RequestTimeout "request-timeout" 408 "The request did not arrive in time";
    EventConflict "event-conflict" 409 "Another event has this id";
    BodyTooLarge "body-too-large" 413 "The body is too large";
    EventTooLarge "event-too-large" 413 "An event is too large";
    TooManyEvents "too-many-events" 413 "The body has too many events";
    UnsupportedMediaType "unsupported-media-type" 415 "This media type is not accepted";
    MissingField "missing-field" 422 "A required field is missing";
    UnknownField "unknown-field" 422 "A field is not known";
    InvalidField "invalid-field" 422 "A field is not valid";
    NumberOutOfBounds "number-out-of-bounds" 422 "A number is out of bounds";
    IdentifierTooLong "identifier-too-long" 422 "An identifier is too long";
    OccurredAtInFuture "occurred-at-in-future" 422 "occurred_at lies in the future";
    ReservedType "reserved-type" 422 "This type is reserved";
    UnknownSchema "unknown-schema" 422 "There is no such schema";
    SchemaMismatch "schema-mismatch" 422 "The data does not match its schema";
    UnknownVoidTarget "unknown-void-target" 422 "There is no such event to void";
    AlreadyVoided "already-voided" 422 "The event is voided already";
    InvalidEvent "invalid-event" 422 "The event has several faults";
    AllRejected "all-rejected" 422 "Every event was refused";
    RateLimited "rate-limited" 429 "Too many requests";
    Internal "internal" 500 "Something unexpected went wrong";
    Overloaded "overloaded" 503 "There is more work than can be taken now";
    DatabaseUnavailable "database-unavailable" 503 "The database cannot serve this now";
    QueryBudgetExceeded "query-budget-exceeded" 504 "The question took too long";
    VersionNotVisible "version-not-visible" 504 "The version is not visible yet";
}

impl Code {
    /// The code as callers see it, e.g. `malformed-body`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status that it comes with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// A short sentence that is the same for every occurrence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// What callers read in place of the detail, where that is for the log only.
    const fn fixed_detail(self) -> Option<&'static str> {
        match self {
            Code::Internal => Some("the log of the service has more, under this x-request-id"),
            Code::DatabaseUnavailable => Some("sending the same request again later is safe"),
            _ => None,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One of several things that are wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ProblemItem {
    /// Which item of the body, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub index: Option<usize>,
    /// The item's own id, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub id: Option<String>,
    /// Which field of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub field: Option<String>,
    /// One of [`Code`], as text.
    #[schema(schema_with = crate::openapi::code_of_item)]
    pub code: String,
    /// What is wrong, for a person.
    pub detail: String,
}

/// A failed request, as its caller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which of the public codes.
    pub code: Code,
    /// What is wrong here, for a person; for `internal` and `database-unavailable` the log's.
    pub detail: String,
    /// The single faults, where there are several.
    pub errors: Vec<ProblemItem>,
    /// When to come back; told in whole seconds, at least one.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem without single faults.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// The same, listing single faults.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<ProblemItem>) -> Self {
        self.errors = errors;
        self
    }

    /// The same, saying when to come back.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_map(None)?;
        body.serialize_entry("type", &format_args!("urn:aevon:problem:{}", self.code))?;
        body.serialize_entry("title", self.code.title())?;
        body.serialize_entry("status", &self.code.status().as_u16())?;
        body.serialize_entry("detail", self.code.fixed_detail().unwrap_or(&self.detail))?;
        if !self.errors.is_empty() {
            body.serialize_entry("errors", &self.errors)?;
        }
        body.end()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let body = serde_json::to_vec(self).unwrap_or_default();
        let mut response = HttpResponse::new(self.code.status()).set_body(BoxBody::new(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_PROBLEM));
        if self.code == Code::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

#[cfg(test)]
#[path = "problem_tests.rs"]
mod tests;
