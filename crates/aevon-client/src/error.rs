//! What can go wrong, and whether the same again may go well.

use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// Longest text of an answer that is no problem which is kept of it.
const MAX_EXCERPT: usize = 300;

/// Why nothing came of it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was given can't be sent.
    #[error("{0}")]
    Invalid(String),
    /// The service refused, and said why.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// Nobody answered, or the connection broke off.
    #[error("cannot reach {0}")]
    Unreachable(String),
    /// No answer came in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The answer is not one of Aevon's.
    #[error("the answer is not one of Aevon's: {0}")]
    Unreadable(String),
    /// The queue has no room, and had none for as long as was waited.
    #[error("the queue is full")]
    Full,
    /// The producer was shut down.
    #[error("the producer is shut down")]
    Closed,
    /// The spool can't be used.
    #[error("the spool: {0}")]
    Spool(String),
}

impl Error {
    /// Whether the very same request may be answered otherwise a little later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut(_) => true,
            // What takes too long takes as long again.
            Self::Refused(problem) if problem.code() == "query-budget-exceeded" => false,
            Self::Refused(problem) => {
                matches!(problem.status, 408 | 425 | 429 | 500 | 502..=504 | 507 | 520..=599)
            }
            _ => false,
        }
    }

    /// How long the service asked to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after,
            _ => None,
        }
    }

    /// Whether the body was too large, so that a part of it may pass.
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.status == 413)
    }
}

/// An answer that says no, as RFC 9457 has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// The status of HTTP.
    #[serde(default)]
    pub status: u16,
    /// `urn:aevon:problem:<code>`.
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    /// The kind of problem in words.
    #[serde(default)]
    pub title: String,
    /// This very one.
    #[serde(default)]
    pub detail: String,
    /// Every single fault, where there are several, or where they have a place.
    #[serde(default)]
    pub errors: Vec<Fault>,
    /// How long to wait before the next attempt.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// Under which the service's log has more.
    #[serde(skip)]
    pub request_id: Option<String>,
}

/// One thing that is wrong with a request or an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Fault {
    /// Which event of a body, from 0.
    #[serde(default)]
    pub index: Option<usize>,
    /// Its id.
    #[serde(default)]
    pub id: Option<String>,
    /// Where in it.
    #[serde(default)]
    pub field: Option<String>,
    /// What is wrong, for programs.
    #[serde(default)]
    pub code: String,
    /// What is wrong, for people.
    #[serde(default)]
    pub detail: String,
}

impl Problem {
    /// The code, such as `event-conflict`; empty where somebody else than Aevon answered.
    #[must_use]
    pub fn code(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or_default()
    }

    /// What a body says that came with this status.
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        let read = serde_json::from_slice::<Self>(body).ok();
        let mut problem = read
            .filter(|problem| problem.kind.starts_with("urn:aevon:problem:"))
            .unwrap_or_else(|| Self {
                detail: excerpt(body),
                ..Self::default()
            });
        problem.status = status;
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code(), self.detail.as_str()) {
            ("", detail) => write!(f, "{}: {detail}", self.status),
            (code, detail) => write!(f, "{code} ({}): {detail}", self.status),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "{field} ")?;
        }
        write!(f, "{} ({})", self.detail, self.code)
    }
}

/// The beginning of a text from anywhere.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.trim().chars().take(MAX_EXCERPT).collect()
}
