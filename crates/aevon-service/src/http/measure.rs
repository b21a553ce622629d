//! What is counted of requests: by route, method and status, how long, how many at once.
//!
//! Invariant: a route's series are looked up once by each worker; after that a request costs two
//! looks at the clock and a few atomic instructions.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::http::{Method, StatusCode};

use crate::metrics::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};
use crate::metrics::{Metrics, SECONDS};

/// The route of what no route has: a path that nobody serves, or a handler that panicked.
const NO_ROUTE: &str = "none";

/// The metrics of all requests.
#[derive(Clone, Debug)]
pub(super) struct HttpMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGauge,
    abandoned: IntCounter,
}

impl HttpMetrics {
    pub(super) fn new(metrics: &Metrics) -> anyhow::Result<Self> {
        Ok(Self {
            requests: metrics.counters(
                "aevon_http_requests_total",
                "Requests that were answered; the route is `none` where no route has the path.",
                &["route", "method", "status"],
            )?,
            seconds: metrics.histograms(
                "aevon_http_request_duration_seconds",
                "From the head of a request to its answer, with the arrival of its body.",
                SECONDS,
                &["route", "method"],
            )?,
            in_flight: metrics.gauge(
                "aevon_http_requests_in_flight",
                "Requests that are being answered.",
            )?,
            abandoned: metrics.counter(
                "aevon_http_requests_abandoned_total",
                "Requests whose caller went away before the answer.",
            )?,
        })
    }

    fn series(&self, route: &str, method: &'static str, status: StatusCode) -> Series {
        let labels = [route, method, status.as_str()];
        Series {
            method,
            status,
            requests: self.requests.with_label_values(&labels),
            seconds: self.seconds.with_label_values(&labels[..2]),
        }
    }
}

/// One route as one worker serves it.
#[derive(Debug)]
pub(super) struct Route {
    pattern: String,
    /// What was answered so far: a handful.
    series: RefCell<Vec<Series>>,
}

#[derive(Debug)]
struct Series {
    method: &'static str,
    status: StatusCode,
    requests: IntCounter,
    seconds: Histogram,
}

impl Route {
    pub(super) fn new(pattern: &str) -> Self {
        Self {
            pattern: pattern.to_owned(),
            series: RefCell::default(),
        }
    }

    pub(super) fn none() -> Self {
        Self::new(NO_ROUTE)
    }

    /// The route of a request that was answered.
    pub(super) fn of(request: &HttpRequest) -> Option<&Self> {
        request.app_data::<Self>()
    }

    pub(super) fn pattern(&self) -> &str {
        &self.pattern
    }

    fn count(&self, metrics: &HttpMetrics, method: &'static str, status: StatusCode, seconds: f64) {
        let mut series = self.series.borrow_mut();
        let is_it = |one: &Series| one.status == status && one.method == method;
        let found = series.iter().position(is_it).unwrap_or_else(|| {
            series.push(metrics.series(&self.pattern, method, status));
            series.len() - 1
        });
        series[found].requests.inc();
        series[found].seconds.observe(seconds);
    }
}

/// A request that is being answered. Dropped without an answer, it was abandoned.
#[derive(Debug)]
pub(super) struct InFlight {
    metrics: Rc<HttpMetrics>,
    method: &'static str,
    begun: Instant,
    answered: Cell<bool>,
}

impl InFlight {
    pub(super) fn new(metrics: &Rc<HttpMetrics>, method: &Method) -> Self {
        metrics.in_flight.inc();
        Self {
            metrics: Rc::clone(metrics),
            method: known(method),
            begun: Instant::now(),
            answered: Cell::new(false),
        }
    }

    pub(super) fn answered(&self, route: &Route, status: StatusCode) {
        self.answered.set(true);
        let seconds = self.begun.elapsed().as_secs_f64();
        route.count(&self.metrics, self.method, status, seconds);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        if !self.answered.get() {
            self.metrics.abandoned.inc();
        }
    }
}

/// Callers may invent methods; the label has these values.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
