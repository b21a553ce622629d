//! `aevon metrics`: every metric of every service, as a document.

use aevon_service::http;
use aevon_service::metrics::Metrics;
use aevon_service::settings::{Secret, Settings};
use aggregator_svc::Aggregator;
use ingest_svc::Ingest;
use projection_svc::Projection;

const HEAD: &str = "\
# Metrics

Written by `make reference`; a test holds it to the programs.

Every service has them at `/metrics`, in the text format of Prometheus, without a key: it names no
tenant, no principal and no path. `aevon_http_*`, `aevon_database_*`, `aevon_build_info` and
`process_*` (on Linux) are those of every service, the others of the one in their name. Counters and
histograms begin at 0 with the process. A series appears with its first event where its label's
values are not known before. [What to look at](operating.md#what-to-watch).

";

/// The document.
///
/// # Errors
/// Never in practice: where two metrics have one name.
pub(crate) fn reference() -> anyhow::Result<String> {
    // Nothing is reached: the services are made, and not started.
    let mut settings = Settings::default();
    settings.database.url = Some(Secret::new("postgres://localhost/aevon"));
    settings.aggregation.apply_on_start = false;
    let metrics = Metrics::new()?;
    http::register_metrics(&metrics)?;
    Ingest::new(&settings, &metrics)?;
    Projection::new(&settings, &metrics)?;
    Aggregator::new(&settings, &metrics)?;
    Ok(format!("{HEAD}{}", metrics.markdown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_document_is_current() {
        let written = include_str!("../../../docs/metrics.md");
        let current = reference().unwrap();
        assert!(written == current, "run `make reference`");
    }
}
