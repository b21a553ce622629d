//! What became of an event.

use crate::error::{Error, Fault, Problem, excerpt};
use crate::version::Version;
use serde::Deserialize;
use std::fmt;

/// What became of an event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It is stored: committed and synced.
    Stored,
    /// It was stored before, with the same content: success.
    Duplicate,
    /// Under its id stands another content, which stays.
    Conflict(Refusal),
    /// It is not stored, and never will be as it is.
    Rejected(Refusal),
    /// It could not be delivered yet, and lies in the spool, synced.
    Spooled,
    /// It was not delivered, and is kept nowhere.
    Undelivered(Error),
}

impl Outcome {
    /// Whether it is stored, now or before.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        matches!(self, Self::Stored | Self::Duplicate)
    }

    /// Why it was refused, if it was.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Conflict(refusal) | Self::Rejected(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored => f.write_str("stored"),
            Self::Duplicate => f.write_str("duplicate"),
            Self::Conflict(refusal) | Self::Rejected(refusal) => refusal.fmt(f),
            Self::Spooled => f.write_str("spooled"),
            Self::Undelivered(error) => error.fmt(f),
        }
    }
}

/// Why an event was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Refusal {
    /// For programs, such as `event-conflict` or `missing-field`.
    pub code: String,
    /// For people.
    pub detail: String,
    /// Every single fault.
    #[serde(default)]
    pub errors: Vec<Fault>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            detail,
            errors,
        } = self;
        match errors.as_slice() {
            [] => write!(f, "{code}: {detail}"),
            faults => {
                write!(f, "{code}: ")?;
                for (nth, fault) in faults.iter().enumerate() {
                    let comma = if nth == 0 { "" } else { "; " };
                    write!(f, "{comma}{fault}")?;
                }
                Ok(())
            }
        }
    }
}

const CONFLICT: &str = "event-conflict";

fn refused(refusal: Refusal) -> Outcome {
    match refusal.code.as_str() {
        CONFLICT => Outcome::Conflict(refusal),
        _ => Outcome::Rejected(refusal),
    }
}

/// The answer to lines of which something is stored.
#[derive(Deserialize)]
struct Many {
    accepted: usize,
    duplicate: usize,
    rejected: usize,
    version: Option<String>,
    results: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    status: String,
    #[serde(default)]
    error: Option<Refusal>,
}

/// What an answer with a status of 2xx says of so many lines, and up to where they are visible.
pub(crate) fn stored(body: &[u8], lines: usize) -> Result<(Vec<Outcome>, Version), Error> {
    let unreadable = || Error::Unreadable(excerpt(body));
    let many: Many = serde_json::from_slice(body).map_err(|_| unreadable())?;
    if many.accepted + many.duplicate + many.rejected != lines {
        return Err(unreadable());
    }
    let mut outcomes = vec![Outcome::Stored; lines];
    for item in many.results {
        let outcome = outcomes.get_mut(item.index).ok_or_else(unreadable)?;
        *outcome = match item.status.as_str() {
            "duplicate" => Outcome::Duplicate,
            _ => refused(item.error.unwrap_or_default()),
        };
    }
    let count = outcomes.iter().filter(|one| one.is_stored()).count();
    if count != many.accepted + many.duplicate {
        return Err(unreadable());
    }
    let version = many.version.as_deref().unwrap_or_default();
    Ok((outcomes, version.parse().map_err(|_| unreadable())?))
}

/// What a problem says of each of so many lines; none where it is not about them.
pub(crate) fn all_refused(problem: &Problem, lines: usize) -> Option<Vec<Outcome>> {
    if problem.status == 413 && lines == 1 {
        let (code, detail) = (problem.code().to_owned(), problem.detail.clone());
        let errors = Vec::new();
        return Some(vec![refused(Refusal {
            code,
            detail,
            errors,
        })]);
    }
    if problem.status != 422 {
        return None;
    }
    let mut of_line = vec![Vec::new(); lines];
    for fault in &problem.errors {
        of_line.get_mut(fault.index?)?.push(fault.clone());
    }
    let refusal = |errors: Vec<Fault>| Refusal {
        code: match errors.as_slice() {
            [] => problem.code().to_owned(),
            [first, more @ ..] if more.iter().all(|fault| fault.code == first.code) => {
                first.code.clone()
            }
            _ => "invalid-event".to_owned(),
        },
        detail: problem.detail.clone(),
        errors,
    };
    Some(of_line.into_iter().map(refusal).map(refused).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_gets_its_own_outcome_and_an_answer_that_does_not_add_up_is_none() {
        let body = br#"{"accepted":1,"duplicate":1,"rejected":2,"version":"3:17","results":[
            {"index":0,"id":"a","status":"duplicate","position":"3:2"},
            {"index":2,"id":"c","status":"rejected","error":{"code":"event-conflict","detail":"d","errors":[]}},
            {"index":3,"id":null,"status":"rejected","error":{"code":"missing-field","detail":"x","errors":[
              {"field":"id","code":"missing-field","detail":"is required"}]}}]}"#;
        let (outcomes, version) = stored(body, 4).unwrap();
        let texts: Vec<String> = outcomes.iter().map(ToString::to_string).collect();
        let expected = [
            "duplicate",
            "stored",
            "event-conflict: d",
            "missing-field: id is required (missing-field)",
        ];
        assert_eq!(texts, expected);
        assert!(matches!(outcomes[2], Outcome::Conflict(_)));
        assert_eq!(version.to_string(), "3:17");
        assert!(stored(body, 5).is_err());
        assert!(stored(b"<html>", 1).is_err());
    }

    #[test]
    fn a_body_that_is_refused_whole_is_refused_line_by_line() {
        let body =
            br#"{"type":"urn:aevon:problem:all-rejected","status":422,"detail":"none","errors":[
            {"index":1,"field":"a","code":"unknown-field","detail":"is none"},
            {"index":1,"field":"id","code":"missing-field","detail":"is required"},
            {"index":0,"field":"data","code":"event-conflict","detail":"differs"}]}"#;
        let problem = Problem::read(422, body);
        let outcomes = all_refused(&problem, 2).unwrap();
        assert!(matches!(outcomes[0], Outcome::Conflict(_)), "{outcomes:?}");
        assert_eq!(outcomes[1].refusal().unwrap().code, "invalid-event");
        assert!(all_refused(&problem, 1).is_none(), "it is about more lines");
        assert!(all_refused(&Problem::read(401, b""), 1).is_none());
    }
}
