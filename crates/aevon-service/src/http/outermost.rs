//! The layer around every route: request id, span, problems for errors that are none yet, a
//! problem for a panic, its metrics, and one line of the log for every 5xx.
//!
//! Invariant: without a collector and at level info a request costs nothing here but its id and
//! what [`super::measure`] says.

use std::future::{Future, Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::error::InternalError;
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{Error, ResponseError};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use pin_project_lite::pin_project;
use tracing::Span;
use tracing::field::{Empty, display};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::measure::{HttpMetrics, InFlight, Route};
use super::{convert, request_id};
use crate::problem::{Code, Problem};
use crate::telemetry::REQUEST;

/// Makes the layer for each worker.
pub(super) struct Outermost(pub(super) HttpMetrics);

impl<S, B> Transform<S, ServiceRequest> for Outermost
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = Layer<S>;
    type InitError = ();
    type Future = Ready<Result<Layer<S>, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(Layer {
            inner,
            metrics: Rc::new(self.0.clone()),
            no_route: Rc::new(Route::none()),
        }))
    }
}

/// The layer around the routes of one worker.
pub(super) struct Layer<S> {
    inner: S,
    metrics: Rc<HttpMetrics>,
    no_route: Rc<Route>,
}

impl<S, B> Service<ServiceRequest> for Layer<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = Answer<S::Future>;

    actix_web::dev::forward_ready!(inner);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let in_flight = InFlight::new(&self.metrics, request.method());
        let id = request_id::of(request.headers());
        if request.headers().get(request_id::HEADER) != Some(&id) {
            request.headers_mut().insert(request_id::HEADER, id.clone());
        }
        let span = span(&request, &id);
        let answer = {
            let _entered = span.enter();
            self.inner.call(request)
        };
        Answer {
            answer,
            ended: Ended {
                span,
                id,
                in_flight,
                no_route: Rc::clone(&self.no_route),
            },
        }
    }
}

/// The span of a request; nothing at all unless somebody wants it.
fn span(request: &ServiceRequest, id: &HeaderValue) -> Span {
    let span = tracing::debug_span!(
        target: REQUEST,
        "request",
        id = id.to_str().unwrap_or_default(),
        method = request.method().as_str(),
        path = request.path(),
        route = Empty,
        status = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
    );
    if !span.is_disabled() && request.headers().contains_key("traceparent") {
        let parent = TraceContextPropagator::new().extract(&Headers(request.headers()));
        // Refused where spans are only logged, which is no fault.
        let _ = span.set_parent(parent);
    }
    span
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

pin_project! {
    /// The answer to one request.
    pub(super) struct Answer<F> {
        #[pin]
        answer: F,
        ended: Ended,
    }
}

/// What is done once there is an answer.
struct Ended {
    span: Span,
    id: HeaderValue,
    in_flight: InFlight,
    no_route: Rc<Route>,
}

impl<F, B> Future for Answer<F>
where
    F: Future<Output = Result<ServiceResponse<B>, Error>>,
    B: MessageBody,
{
    type Output = Result<ServiceResponse<EitherBody<B>>, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let ended = this.ended;
        let _entered = ended.span.enter();
        let answer = this.answer;
        // What a panic left half done belongs to this request and is dropped with it.
        let polled = catch_unwind(AssertUnwindSafe(|| answer.poll(context)));
        let result = match polled {
            Ok(polled) => ready!(polled),
            Err(_) => Err(Problem::new(Code::Internal, "a handler panicked").into()),
        };
        Poll::Ready(ended.finish(result))
    }
}

impl Ended {
    fn finish<B: MessageBody>(
        &self,
        result: Result<ServiceResponse<B>, Error>,
    ) -> Result<ServiceResponse<EitherBody<B>>, Error> {
        let Self {
            span,
            id,
            in_flight,
            no_route,
        } = self;
        match result {
            Ok(response) => {
                log(response.status(), response.response().error(), id, span);
                let mut response = match convert::instead_of(response.response()) {
                    Some(problem) => replaced(response, &problem),
                    None => response.map_into_left_body(),
                };
                let route = Route::of(response.request());
                if let Some(route) = route {
                    name(span, response.request().method(), route.pattern());
                }
                in_flight.answered(route.unwrap_or(no_route), response.status());
                response
                    .headers_mut()
                    .insert(request_id::HEADER, id.clone());
                Ok(response)
            }
            // The request is gone, but the server can still answer with a response.
            Err(error) => {
                let mut response = match convert::of_error(&error) {
                    Some(problem) => problem.error_response(),
                    None => error.error_response(),
                };
                log(response.status(), Some(&error), id, span);
                in_flight.answered(no_route, response.status());
                response
                    .headers_mut()
                    .insert(request_id::HEADER, id.clone());
                Err(InternalError::from_response(error, response).into())
            }
        }
    }
}

/// The same response with a problem for its body; headers such as `allow` stay.
fn replaced<B: MessageBody>(
    response: ServiceResponse<B>,
    problem: &Problem,
) -> ServiceResponse<EitherBody<B>> {
    let (request, response) = response.into_parts();
    let mut answer = problem.error_response();
    for (name, value) in response.headers() {
        if !answer.headers().contains_key(name) {
            answer.headers_mut().append(name.clone(), value.clone());
        }
    }
    ServiceResponse::new(request, answer.map_into_right_body())
}

/// Names the span by its route, not by its path: paths are without bound.
fn name(span: &Span, method: &Method, route: &str) {
    if span.is_disabled() {
        return;
    }
    span.record("route", route);
    let context = span.context();
    if context.span().is_recording() {
        // The field `otel.name` is read only when a span begins; the route is known now.
        context.span().update_name(format!("{method} {route}"));
    }
}

fn log(status: StatusCode, error: Option<&Error>, id: &HeaderValue, span: &Span) {
    span.record("status", status.as_u16());
    if !status.is_server_error() {
        return;
    }
    span.record("otel.status_code", "ERROR");
    let id = id.to_str().unwrap_or_default();
    let error = error.map(display);
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(id, status = status.as_u16(), error, "failed");
    } else {
        tracing::warn!(id, status = status.as_u16(), error, "refused");
    }
}
