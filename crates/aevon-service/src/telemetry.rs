//! The log on standard error and, where a collector is set, traces to it by OTLP over HTTP.
//!
//! Invariant: spans leave on the batch thread through the blocking client; the async one has no
//! reactor there and loses them without a word.
//! Invariant: without a collector the span of a request costs nothing at level info.
//! Invariant: no payload is logged, nor a key, whatever `log.level` says.

use std::time::Duration;

use anyhow::Context;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{EnvFilter, FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{LogFormat, LogSettings, TelemetrySettings};

/// The target of the span that every request has; it is a debug span, and collected always.
pub(crate) const REQUEST: &str = "aevon::request";
/// The target of the spans of what is done for requests: an append, a sweep, a read. They are
/// debug spans, and collected always.
pub const WORK: &str = "aevon::work";

/// How long the last spans may take to leave.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);
/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps the exporter alive; dropping it sends the last spans, for at most 5 s. Blocks: drop it
/// after the runtime.
#[must_use = "dropping it ends the export of traces"]
#[derive(Debug)]
pub struct TelemetryGuard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider
            && let Err(error) = provider.shutdown_with_timeout(FLUSH_DEADLINE)
        {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Sets up the log and the traces of this process; once in its life.
///
/// # Errors
/// When the level or the endpoint cannot be used, or when this was done before.
pub fn init(
    program: &str,
    log: &LogSettings,
    telemetry: &TelemetrySettings,
) -> anyhow::Result<TelemetryGuard> {
    let filter = EnvFilter::try_new(directives(&log.level)).context("log.level")?;
    let provider = match &telemetry.otlp_endpoint {
        Some(endpoint) => {
            Some(provider(program, endpoint).context("telemetry.otlp_endpoint cannot be used")?)
        }
        None => None,
    };
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    tracing_subscriber::registry()
        .with(lines(log.format).with_filter(filter.and(filter_fn(is_discreet))))
        .with(provider.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("aevon"))
                .with_filter(filter_fn(collected).with_max_level_hint(LevelFilter::DEBUG))
        }))
        .try_init()
        .context("cannot set up the log")?;
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "panicked")));
    Ok(TelemetryGuard { provider })
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed(),
        LogFormat::Text => lines.with_ansi(false).boxed(),
    }
}

/// A bare level is ours; libraries say less, their info is about themselves.
fn directives(level: &str) -> String {
    const QUIET: &str = "actix_server=warn,actix_http=warn,actix_web=warn,hyper=warn,\
                         hyper_util=warn,reqwest=warn,h2=warn,opentelemetry=warn,\
                         opentelemetry_sdk=warn,opentelemetry_otlp=warn,tokio_postgres=warn";
    match level {
        "info" | "debug" | "trace" => format!("{level},{QUIET}"),
        other => other.to_owned(),
    }
}

/// False for what holds payloads: the client of Postgres writes down the parameters of statements.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || !metadata.target().starts_with("tokio_postgres")
}

/// What a collector is sent: our info and our spans, nothing of the exporter.
fn collected(metadata: &Metadata<'_>) -> bool {
    [REQUEST, WORK].contains(&metadata.target())
        || (*metadata.level() <= Level::INFO && !metadata.target().starts_with("opentelemetry"))
}

/// Links two spans, each to the other: work that is done for several requests at once is a child
/// of none of them. Nothing unless both are collected.
pub fn link(one: &Span, other: &Span) {
    if one.is_disabled() || other.is_disabled() {
        return;
    }
    let context = |span: &Span| span.context().span().span_context().clone();
    one.add_link(context(other));
    other.add_link(context(one));
}

fn provider(program: &str, endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(traces_url(endpoint))
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    let resource = Resource::builder()
        .with_service_name(program.to_owned())
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

/// The exporter takes the whole address; people write the collector's.
fn traces_url(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with("/v1/traces") {
        endpoint.to_owned()
    } else {
        format!("{endpoint}/v1/traces")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collector_may_be_written_with_or_without_its_path() {
        for endpoint in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"] {
            assert_eq!(traces_url(endpoint), "http://c:4318/v1/traces");
        }
    }

    #[test]
    fn a_bare_level_quiets_libraries_and_directives_stay_as_they_are() {
        assert!(directives("debug").starts_with("debug,actix_server=warn"));
        assert_eq!(directives("warn"), "warn");
        assert_eq!(directives("info,x=debug"), "info,x=debug");
        for level in ["info", "trace", "off", "info,x=debug"] {
            EnvFilter::try_new(directives(level)).unwrap();
        }
    }
}
