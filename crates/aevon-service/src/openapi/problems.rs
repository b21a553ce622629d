//! Problems as the document shows them: one schema, and for each route the codes that it can answer.
//!
//! Invariant: codes, statuses and titles come from the one table of codes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{AllOfBuilder, ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::text;
use crate::problem::{CONTENT_TYPE_PROBLEM, Code, Problem, ProblemItem};

/// Answers by their status.
pub type ByStatus = BTreeMap<String, RefOr<Response>>;

/// Problems that every route has which asks for a key.
const OF_A_KEY: [Code; 3] = [
    Code::Unauthenticated,
    Code::Forbidden,
    Code::DatabaseUnavailable,
];

/// The problems of a route that asks for a key: these codes, and those of any such route.
#[must_use]
pub fn of_route(codes: &[Code]) -> ByStatus {
    of_open_route(&[codes, &OF_A_KEY].concat())
}

/// The problems of a route that asks for no key: these codes, and those of any route.
#[must_use]
pub fn of_open_route(codes: &[Code]) -> ByStatus {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in [codes, &[Code::Internal]].concat() {
        let of_status = by_status.entry(code.status().as_u16()).or_default();
        if !of_status.contains(&code) {
            of_status.push(code);
        }
    }
    let response =
        |(status, codes): (u16, Vec<Code>)| (status.to_string(), response(&codes).into());
    by_status.into_iter().map(response).collect()
}

/// The answer with one status: one of these codes.
fn response(codes: &[Code]) -> Response {
    let about: Vec<String> = codes
        .iter()
        .map(|code| format!("`{code}`: {}.", code.title()))
        .collect();
    let narrowed = AllOfBuilder::new()
        .item(Ref::from_schema_name(Problem::name()))
        .item(
            ObjectBuilder::new().property("type", enumerated(codes.iter().map(|code| urn(*code)))),
        );
    let example = |code: &Code| {
        let example = Problem::new(*code, "What is wrong with this request");
        let value = serde_json::to_value(example).ok();
        let example = ExampleBuilder::new().summary(code.title()).value(value);
        (code.as_str(), example.build())
    };
    let content = ContentBuilder::new()
        .schema(Some(narrowed))
        .examples_from_iter(codes.iter().map(example));
    let mut response = ResponseBuilder::new()
        .description(about.join(" "))
        .content(CONTENT_TYPE_PROBLEM, content.build());
    for (status, header, about, schema) in [
        (
            401,
            "www-authenticate",
            "How to say who one is: `Bearer`.",
            text(),
        ),
        (
            429,
            RETRY_AFTER,
            "Seconds after which to come back.",
            seconds(),
        ),
        (
            503,
            RETRY_AFTER,
            "Seconds after which to come back.",
            seconds(),
        ),
    ] {
        if codes.iter().any(|code| code.status().as_u16() == status) {
            let schema = HeaderBuilder::new()
                .schema(Some(schema))
                .description(Some(about));
            response = response.header(header, schema.build());
        }
    }
    response.build()
}

const RETRY_AFTER: &str = "retry-after";

fn seconds() -> ObjectBuilder {
    let whole = ObjectBuilder::new().schema_type(Type::Integer);
    whole.minimum(Some(1))
}

fn urn(code: Code) -> String {
    format!("urn:aevon:problem:{code}")
}

fn enumerated(values: impl Iterator<Item = String>) -> ObjectBuilder {
    text().enum_values(Some(values))
}

/// Every code, as a table.
pub(super) fn table() -> String {
    let mut table = String::from("| status | code | |\n|---|---|---|\n");
    for code in Code::ALL {
        let status = code.status().as_u16();
        // Writing to a string can't fail.
        let _ = writeln!(table, "| {status} | `{code}` | {} |", code.title());
    }
    table
}

impl ToSchema for Problem {
    fn name() -> Cow<'static, str> {
        "Problem".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((ProblemItem::name().into_owned(), ProblemItem::schema()));
    }
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        let status = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(400))
            .maximum(Some(599));
        let errors = ArrayBuilder::new()
            .items(Ref::from_schema_name(ProblemItem::name()))
            .description(Some(
                "Each fault, where there are several or it has a place.",
            ));
        ObjectBuilder::new()
            .description(Some("What went wrong, as in RFC 9457."))
            .property(
                "type",
                enumerated(Code::ALL.iter().map(|code| urn(*code)))
                    .description(Some("Which of the codes; clients may match on it.")),
            )
            .property(
                "title",
                text().description(Some("The same for every occurrence.")),
            )
            .property(
                "status",
                status.description(Some("The status of the answer.")),
            )
            .property(
                "detail",
                text().description(Some("What is wrong here, for a person.")),
            )
            .property("errors", errors)
            .required("type")
            .required("title")
            .required("status")
            .required("detail")
            .into()
    }
}

/// The codes that a single fault can have.
pub(crate) fn code_of_item() -> ObjectBuilder {
    enumerated(Code::ALL.iter().map(|code| code.as_str().to_owned()))
        .description(Some("Which of the codes."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_one_status_share_an_answer_and_come_with_their_headers() {
        let by_status = of_route(&[Code::Overloaded, Code::RateLimited, Code::Overloaded]);
        let statuses: Vec<&String> = by_status.keys().collect();
        assert_eq!(statuses, ["401", "403", "429", "500", "503"]);
        let RefOr::T(unavailable) = &by_status["503"] else {
            panic!("a response stands by itself");
        };
        let examples: Vec<_> = match &unavailable.content[CONTENT_TYPE_PROBLEM] {
            RefOr::T(content) => content.examples.keys().collect(),
            RefOr::Ref(_) => Vec::new(),
        };
        assert_eq!(examples, ["database-unavailable", "overloaded"]);
        assert!(unavailable.headers.contains_key("retry-after"));
    }
}
