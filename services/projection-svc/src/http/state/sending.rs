//! How an answer is sent: in the format that was asked for, with its version and its tag, and not again
//! to those who have it.
//!
//! Invariant: a tag is a digest of all that an answer, but for its `meta`, is a function of: another
//! answer has another one.

use super::lines;
use super::shown::RuleAnswer;
use crate::http::format::{Format, Known, insert_next, tagged};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use aevon_core::calendar::tzdb;
use aevon_core::position::Version;
use aevon_core::state::Question;
use aevon_service::openapi::VERSION_HEADER;
use aevon_service::problem::Problem;
use serde::Serialize;
use std::iter::once;

/// Longest version that stands in a header, too.
const MAX_HEADER: usize = 2_048;

/// How an answer is sent to a caller.
pub(super) struct Sending {
    format: Format,
    known: Known,
}

impl Sending {
    pub(super) fn of(request: &HttpRequest) -> Self {
        Self {
            format: Format::of(request),
            known: Known::of(request),
        }
    }

    /// Sends an answer that is a function of its version and of these, but for `meta`; not again where
    /// the caller has it.
    pub(super) fn send<'a>(
        &self,
        question: &Question,
        (version, determinants): (&Version, Vec<String>),
        (whole, next): (&impl Serialize, Option<&str>),
        states: impl Iterator<Item = (Option<&'a str>, &'a [RuleAnswer<'a>])> + Clone,
    ) -> Result<HttpResponse, Problem> {
        let determinants = once(version.to_string()).chain(determinants);
        let tag = self.format.tag(&determinants.collect::<Vec<_>>());
        let not_modified = self.known.not_modified(&tag);
        let is_known = not_modified.is_some();
        let mut response = not_modified.unwrap_or_else(|| tagged(self.format.ok(), tag));
        insert_version(&mut response, version);
        if !is_known {
            insert_next(&mut response, self.format, next);
        }
        Ok(match self.format {
            _ if is_known => response.finish(),
            Format::Json => response.json(whole),
            Format::Csv => response.body(lines::as_csv(&question.grouping.by, states)?),
            Format::Ndjson => response.body(lines::as_ndjson(states)?),
        })
    }
}

/// Names the version in the header, too, where it is not too long for that.
pub(crate) fn insert_version(response: &mut HttpResponseBuilder, version: &Version) {
    let version = version.to_string();
    if version.len() <= MAX_HEADER {
        response.insert_header((VERSION_HEADER, version));
    }
}

/// The single thing that changes an answer at a version.
pub(super) fn erasures(count: i64) -> String {
    format!("erasures {count}")
}

/// What every answer is a function of, beside its version and its rules.
pub(super) fn of_question(tenant_id: &str, question: &Question) -> Vec<String> {
    let mut parts = vec![tenant_id.to_owned(), format!("{question:?}")];
    if !question.zone.is_utc() {
        // The same zone may have other rules in another release.
        parts.push(tzdb().to_owned());
    }
    parts
}

pub(super) fn rules_of<'a>(states: impl IntoIterator<Item = &'a RuleAnswer<'a>>) -> Vec<String> {
    let named = |state: &RuleAnswer<'_>| format!("{}:{}", state.rule, state.rule_version);
    states.into_iter().map(named).collect()
}
