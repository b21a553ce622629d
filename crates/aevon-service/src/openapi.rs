//! The OpenAPI document of a program: what its services say of their routes, and what is true of
//! every route; and the page that shows it, which needs no network.
//!
//! Invariant: made once, when the program starts; a request for it copies a pointer.
//! Invariant: a route's own file says what is special about it; only what holds for all of them
//! stands here.

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use std::sync::Arc;
use utoipa::OpenApi as _;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{Components, Object, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, Ref, RefOr, Required, Schema};
use utoipa_swagger_ui::Config;
use web::Bytes;

use crate::problem::{Code, Problem};
use crate::request::path_part;

mod problems;

pub(crate) use problems::code_of_item;
pub use problems::{
    ByStatus, of_open_route as problems_of_open_route, of_route as problems_of_route,
};

/// The name of the one security scheme.
const KEY: &str = "key";
const REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";
/// The version of an answer, for routes to refer to.
pub const VERSION_HEADER: &str = "aevon-version";

const ABOUT: &str = "\
An event-sourced state platform: services send it immutable events, and it answers, exactly and for
any moment, the state that those events add up to.

Every answer carries `x-request-id`. Instants are RFC 3339, any offset in, UTC out, in microseconds.
Amounts are exact decimals: numbers or numeric strings in events, strings in answers. Identifiers in
paths are percent-encoded. A parameter that a route does not have is refused.

Every error is a problem (RFC 9457). Its `type` is `urn:aevon:problem:` and one of these codes:

";

/// A document that can be served. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Document(Bytes);

#[derive(utoipa::OpenApi)]
#[openapi(
    paths(
        crate::health::healthz,
        crate::health::readyz,
        crate::metrics::get,
        get,
        page,
        file
    ),
    components(schemas(Problem))
)]
struct Own;

impl Document {
    /// The document of a program with these services.
    #[must_use]
    pub fn of(services: impl IntoIterator<Item = OpenApi>) -> Self {
        let text = merged(services).to_json().unwrap_or_default();
        Self(Bytes::from(text))
    }
}

/// What the document of a program with these services says.
#[must_use]
pub fn merged(services: impl IntoIterator<Item = OpenApi>) -> OpenApi {
    let mut document = Own::openapi();
    document.info = InfoBuilder::new()
        .title("Aevon")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(format!("{ABOUT}{}", problems::table())))
        .license(Some(
            LicenseBuilder::new()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ))
        .build();
    for service in services {
        document.merge(service);
    }
    let components = document.components.get_or_insert_default();
    add_common(components);
    for (path, item) in &mut document.paths.paths {
        if matches!(path.as_str(), "/healthz" | "/readyz") {
            item.head = item.get.clone().map(without_bodies);
        }
        operations(item).for_each(complete);
    }
    document
}

/// The operations of a path, whatever their method.
fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get, head, post, ..
    } = item;
    [get, head, post].into_iter().flatten()
}

/// What HEAD answers where GET answers this.
fn without_bodies(mut operation: Operation) -> Operation {
    let id = operation.operation_id.unwrap_or_default();
    operation.operation_id = Some(format!("{id}Head"));
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.content.clear();
        }
    }
    operation
}

/// Adds what every request may say and every answer says.
fn complete(operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    for parameter in parameters.iter_mut() {
        if let RefOr::T(parameter) = parameter
            && let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
        {
            not_null(schema);
        }
    }
    for name in [REQUEST_ID, TRACEPARENT] {
        let reference = format!("#/components/parameters/{name}");
        parameters.push(RefOr::Ref(Ref::new(reference)));
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            let reference = Ref::new(format!("#/components/headers/{REQUEST_ID}"));
            response
                .headers
                .insert(REQUEST_ID.to_owned(), RefOr::Ref(reference));
            refer_to_version(response);
        }
    }
}

/// A query has no null: a parameter is there or not.
fn not_null(schema: &mut Object) {
    if let SchemaType::Array(types) = &mut schema.schema_type {
        types.retain(|one| *one != Type::Null);
        if let [only] = types.as_slice() {
            schema.schema_type = SchemaType::Type(only.clone());
        }
    }
}

fn refer_to_version(response: &mut Response) {
    if let Some(header) = response.headers.get_mut(VERSION_HEADER) {
        *header = RefOr::Ref(Ref::new(format!("#/components/headers/{VERSION_HEADER}")));
    }
}

fn add_common(components: &mut Components) {
    let key = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.add_security_scheme(KEY, key);
    let id = text()
        .min_length(Some(1))
        .max_length(Some(128))
        .pattern(Some("^[!-~]+$"));
    let request_id = "The id under which the log speaks of this request: the caller's, if it is 1 to \
                      128 visible ASCII characters, or a new one.";
    let traceparent = "The caller's place in a trace, as in W3C Trace Context.";
    let version = "The newest position, `partition:seq`, of each partition that the answer touches. \
                   Left out where it is longer than 2 KiB or names no partition.";
    let parameter = |name: &str, about: &str, schema: ObjectBuilder, example: &str| {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(about))
            .schema(Some(schema))
            .example(Some(example.into()));
        (name.to_owned(), RefOr::T(parameter.build()))
    };
    components.parameters.extend([
        parameter(REQUEST_ID, request_id, text(), "order-4711"),
        parameter(
            TRACEPARENT,
            traceparent,
            text(),
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ]);
    let header = |name: &str, about: &str, schema: ObjectBuilder| {
        let header = HeaderBuilder::new()
            .schema(Some(schema))
            .description(Some(about));
        (name.to_owned(), RefOr::T(header.build()))
    };
    let positions = text().pattern(Some(r"^\d+:\d+(,\d+:\d+)*$"));
    components.headers.extend([
        header(REQUEST_ID, request_id, id),
        header(VERSION_HEADER, version, positions),
    ]);
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getOpenApi",
    tag = "process",
    responses((status = 200, description = "OpenAPI 3.1", body = Object,
               content_type = "application/json"))
)]
pub(crate) async fn get(document: web::Data<Document>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(document.0.clone())
}

/// Relative, so that it works behind a proxy that adds a prefix.
const PAGE: &str = include_str!("openapi/page.html");

/// This document as a page
///
/// Needs no network but the way to this service.
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "getDocs",
    tag = "process",
    responses((status = 200, description = "The page", body = String,
               content_type = "text/html; charset=utf-8"))
)]
pub(crate) async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .body(PAGE)
}

struct FileProblems;

impl utoipa::IntoResponses for FileProblems {
    fn responses() -> ByStatus {
        problems_of_open_route(&[Code::InvalidParameter, Code::NotFound])
    }
}

/// A part of the page
///
/// Packed with gzip, whatever the request accepts: every browser does.
#[utoipa::path(
    get,
    path = "/docs/{file}",
    operation_id = "getDocsFile",
    tag = "process",
    params(("file" = String, Path, description = "Its name", example = "swagger-ui.css")),
    responses(
        (status = 200, description = "The part", content(
            (String = "text/css"),
            (String = "text/javascript"),
            (String = "text/html"),
            (String = "image/png"),
        )),
        FileProblems
    )
)]
pub(crate) async fn file(request: actix_web::HttpRequest) -> Result<HttpResponse, Problem> {
    let name = path_part(&request, "file", 1)?;
    let found = utoipa_swagger_ui::serve(&name, Arc::new(Config::default()));
    match found {
        Ok(Some(file)) if !name.is_empty() => {
            let mut response = HttpResponse::Ok();
            response.insert_header((CONTENT_TYPE, file.content_type));
            if file.gzpipped {
                response.insert_header((CONTENT_ENCODING, "gzip"));
            }
            Ok(response.body(file.bytes.into_owned()))
        }
        Ok(_) => Err(Problem::new(Code::NotFound, "the page has no such part")),
        Err(error) => Err(Problem::new(Code::Internal, error.to_string())),
    }
}
