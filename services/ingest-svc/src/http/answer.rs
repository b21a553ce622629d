//! From verdicts to what the caller reads.
//!
//! Invariant: the status is 2xx only where something is stored, now or before.

use super::item::{Item, Outcome, Rejection, items, whole_code};
use crate::queue::Unstored;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use aevon_core::event::Fault;
use aevon_core::position::{Position, Version};
use aevon_core::time::Timestamp;
use aevon_schema::with_causes;
use aevon_service::problem::{Code, Problem, ProblemItem};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Longest `aevon-version` header. A body may touch thousands of partitions, and proxies refuse
/// long heads; the version stands in the body as well.
const MAX_VERSION_HEADER_BYTES: usize = 2048;
/// Most faults that one answer lists.
pub(super) const MAX_LISTED_FAULTS: usize = 20_000;
/// When to come back after a 503.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The problem of one thing with these faults.
pub(crate) fn problem(faults: &[Fault]) -> Problem {
    of_one(None, faults, whole_code(faults))
}

fn of_one(id: Option<&str>, faults: &[Fault], code: Code) -> Problem {
    Problem::new(code, summary(faults, code)).with_errors(items(None, id, faults, code))
}

/// What became of the one event of a body.
#[derive(Serialize, ToSchema)]
#[schema(as = Stored)]
pub(super) struct One {
    /// `accepted`, or `duplicate`: then the rest is what was said of the first one.
    #[schema(pattern = "^(accepted|duplicate)$")]
    status: &'static str,
    id: String,
    /// `partition:seq`.
    #[schema(value_type = String)]
    position: Position,
    /// The same, as a version of the log.
    #[schema(value_type = String)]
    version: Version,
    #[schema(value_type = String, format = DateTime)]
    ingested_at: Timestamp,
}

/// The answer to a body of one event.
pub(crate) fn one(Item { id, outcome }: Item) -> Result<HttpResponse, Problem> {
    let (http, status, position, ingested_at) = match outcome {
        Outcome::Accepted(position, at) => (StatusCode::ACCEPTED, "accepted", position, at),
        Outcome::Duplicate(position, at) => (StatusCode::OK, "duplicate", position, at),
        Outcome::Rejected(rejection) => {
            return Err(of_one(id.as_deref(), &rejection.faults, rejection.code));
        }
        // It is the whole body.
        Outcome::Withheld => return Err(all_rejected(&[])),
    };
    let version = Version::from(position);
    let header = version.to_string();
    let body = One {
        status,
        id: id.unwrap_or_default(),
        position,
        version,
        ingested_at,
    };
    Ok(HttpResponse::build(http)
        .insert_header(("aevon-version", header))
        .json(body))
}

/// What became of the events of an array or of lines.
#[derive(Serialize, ToSchema)]
#[schema(as = StoredMany)]
pub(super) struct Many<'a> {
    accepted: usize,
    duplicate: usize,
    rejected: usize,
    /// The newest position of each partition that was touched.
    #[schema(value_type = Option<String>, required)]
    version: Option<Version>,
    /// What was not plainly accepted.
    results: Vec<ManyItem<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = StoredItem)]
struct ManyItem<'a> {
    /// Its place in the array, or its line, from 0.
    index: usize,
    /// Where it could be read.
    #[schema(required)]
    id: Option<&'a str>,
    #[schema(pattern = "^(duplicate|rejected)$")]
    status: &'static str,
    /// Where the first one stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    position: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<ItemError>,
}

#[derive(Serialize, ToSchema)]
struct ItemError {
    /// One of the codes of problems.
    code: &'static str,
    detail: String,
    errors: Vec<ProblemItem>,
}

/// The answer where nothing was refused.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what is answered")]
pub(super) enum Accepted<'a> {
    One(One),
    Many(Many<'a>),
}

/// The answer to an array, or to one that is stored whole or not at all.
pub(crate) fn many(outcomes: &[Item], is_atomic: bool) -> Result<HttpResponse, Problem> {
    if is_atomic && outcomes.iter().any(Item::is_rejected) {
        return Err(all_rejected(outcomes));
    }
    let mut body = Many {
        accepted: 0,
        duplicate: 0,
        rejected: 0,
        version: None,
        results: Vec::new(),
    };
    let mut version = Version::default();
    let mut room = MAX_LISTED_FAULTS;
    for (index, item) in outcomes.iter().enumerate() {
        let id = item.id.as_deref();
        match &item.outcome {
            Outcome::Accepted(position, _) => {
                body.accepted += 1;
                version.raise(*position);
            }
            Outcome::Duplicate(position, _) => {
                body.duplicate += 1;
                version.raise(*position);
                let position = Some(*position);
                body.results.push(ManyItem {
                    index,
                    id,
                    status: "duplicate",
                    position,
                    error: None,
                });
            }
            Outcome::Withheld => body.rejected += 1,
            Outcome::Rejected(rejection) => {
                let Rejection { faults, code, .. } = &**rejection;
                body.rejected += 1;
                let listed = &faults[..faults.len().min(room)];
                room -= listed.len();
                let error = Some(ItemError {
                    code: code.as_str(),
                    detail: summary(faults, *code),
                    errors: items(None, None, listed, *code),
                });
                body.results.push(ManyItem {
                    index,
                    id,
                    status: "rejected",
                    position: None,
                    error,
                });
            }
        }
    }
    if body.rejected == outcomes.len() && !outcomes.is_empty() {
        return Err(all_rejected(outcomes));
    }
    let status = if body.rejected == 0 {
        StatusCode::ACCEPTED
    } else {
        StatusCode::MULTI_STATUS
    };
    let mut response = HttpResponse::build(status);
    if !version.is_empty() {
        let text = version.to_string();
        if text.len() <= MAX_VERSION_HEADER_BYTES {
            response.insert_header(("aevon-version", text));
        }
        body.version = Some(version);
    }
    Ok(response.json(body))
}

/// The answer that has no room for exceptions: 204 where everything is stored, else a problem.
pub(crate) fn nothing_but_stored(mut outcomes: Vec<Item>) -> Result<HttpResponse, Problem> {
    let rejected = outcomes.iter().filter(|item| item.is_rejected()).count();
    if rejected == 0 {
        return Ok(HttpResponse::NoContent().finish());
    }
    if outcomes.len() == 1
        && let Some(only) = outcomes.pop()
    {
        return one(only);
    }
    if rejected == outcomes.len() {
        return Err(all_rejected(&outcomes));
    }
    let total = outcomes.len();
    let detail = format!("{rejected} of {total} events were refused; the others are stored");
    Err(Problem::new(Code::InvalidEvent, detail).with_errors(all_faults(&outcomes).1))
}

/// Every item was refused, or one of a body that is stored whole or not at all: a problem that lists every fault of every item.
fn all_rejected(outcomes: &[Item]) -> Problem {
    let (codes, errors) = all_faults(outcomes);
    match (codes.as_slice(), errors.as_slice()) {
        // The status of an array that is refused whole is 422, whatever the one fault is.
        ([code], [fault]) if code.status() == StatusCode::UNPROCESSABLE_ENTITY => {
            let detail = fault.detail.clone();
            Problem::new(*code, detail).with_errors(errors)
        }
        _ => {
            let mut detail = format!("none of the {} events was stored", outcomes.len());
            if errors.len() == MAX_LISTED_FAULTS {
                detail.push_str("; not every fault is listed");
            }
            Problem::new(Code::AllRejected, detail).with_errors(errors)
        }
    }
}

/// The code of each item that was refused, and every fault of all of them, within the bound.
fn all_faults(outcomes: &[Item]) -> (Vec<Code>, Vec<ProblemItem>) {
    let (mut codes, mut errors) = (Vec::new(), Vec::new());
    for (index, item) in outcomes.iter().enumerate() {
        if let Outcome::Rejected(rejection) = &item.outcome {
            let Rejection { faults, code, .. } = &**rejection;
            let room = MAX_LISTED_FAULTS - errors.len();
            let listed = &faults[..faults.len().min(room)];
            errors.extend(items(Some(index), item.id.as_deref(), listed, *code));
            codes.push(*code);
        }
    }
    (codes, errors)
}

fn summary(faults: &[Fault], code: Code) -> String {
    let field = |fault: &Fault| {
        fault
            .field
            .clone()
            .unwrap_or_else(|| "the event".to_owned())
    };
    match (faults, code) {
        (faults, Code::EventConflict) => {
            let fields: Vec<String> = faults.iter().map(field).collect();
            format!(
                "another event is stored under this id; it differs in {}",
                fields.join(", ")
            )
        }
        ([fault], _) => format!("{}: {}", field(fault), fault.detail),
        (faults, _) => format!("the event has {} faults", faults.len()),
    }
}

/// What a caller is told where nothing can be acknowledged.
pub(crate) fn unstored(error: &Unstored) -> Problem {
    match error {
        Unstored::Full | Unstored::Late(_) | Unstored::Stopping => {
            let detail = format!("{error}; sending the same body again is safe");
            Problem::new(Code::Overloaded, detail).with_retry_after(RETRY_AFTER)
        }
        Unstored::Database(error) => unavailable(error),
    }
}

/// What a caller is told where the database failed; the detail is for the log.
pub(crate) fn unavailable(error: &(dyn std::error::Error + 'static)) -> Problem {
    Problem::new(Code::DatabaseUnavailable, with_causes(error)).with_retry_after(RETRY_AFTER)
}

/// What a caller is told before the database was ever reached.
pub(crate) fn not_ready() -> Problem {
    let detail = "the database was not reached yet";
    Problem::new(Code::DatabaseUnavailable, detail).with_retry_after(RETRY_AFTER)
}
