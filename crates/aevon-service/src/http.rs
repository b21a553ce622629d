//! The HTTP server of a service: bind, serve, drain. Health routes, problems for whatever goes
//! wrong, and a request id on every answer are part of it.
//!
//! Invariant: every answer that a route or the lack of one gives carries `x-request-id`, and
//! every error among them is a problem.
//! Ordering: bind before anything slow, so that a port in use is found at once.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::{App, HttpServer, web};
use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};

use crate::health::{self, Readiness};
use crate::metrics::{self, Metrics};
use crate::openapi::{self, Document};
use crate::problem::{Code, Problem};
use crate::settings::{Settings, SettingsError};
use crate::shutdown::Shutdown;

mod convert;
mod measure;
mod outermost;
mod request_id;
mod routes;

pub use request_id::request_id;
pub use routes::{Routes, registered};

use measure::HttpMetrics;
use outermost::Outermost;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long a connection without a request stays open.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long the head of a request may take to arrive; then 408.
const CLIENT_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections of a process; others wait to be accepted until one is closed.
const MAX_CONNECTIONS: usize = 8192;

/// Where and how to serve.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port; 0 lets the operating system choose one.
    pub port: u16,
    /// How long requests in flight may take after the shutdown is triggered.
    pub grace: Duration,
    /// Threads that serve.
    pub workers: usize,
}

impl HttpOptions {
    /// As the settings say, with a thread for each core.
    ///
    /// # Errors
    /// As [`Settings::bind_host`].
    pub fn from_settings(settings: &Settings) -> Result<Self, SettingsError> {
        Ok(Self {
            host: settings.bind_host()?,
            port: settings.server.port,
            grace: settings.shutdown.grace.get(),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }
}

/// Listens on the address of the options.
///
/// # Errors
/// When it cannot; the error names the address.
pub fn bind(options: &HttpOptions) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(options.host, options.port);
    listen(address).with_context(|| format!("cannot listen on {address}"))
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves what `configure` adds, health, metrics and the document, until the shutdown is triggered
/// and the requests in flight are answered or the grace is over. Needs a tokio runtime.
///
/// # Errors
/// When the server cannot start or breaks down.
pub async fn serve(
    listener: TcpListener,
    options: HttpOptions,
    readiness: Readiness,
    metrics: Metrics,
    shutdown: Shutdown,
    document: Document,
    configure: impl Fn(&mut Routes<'_>) + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let address = listener
        .local_addr()
        .context("cannot read the address of the listener")?;
    let stop = shutdown.clone();
    let counted = HttpMetrics::new(&metrics)?;
    let app = move || {
        App::new()
            .wrap(Outermost(counted.clone()))
            .app_data(web::Data::new(metrics.clone()))
            .app_data(web::Data::new(readiness.clone()))
            .app_data(web::Data::new(stop.clone()))
            .app_data(web::Data::new(document.clone()))
            .configure(|config| {
                Routes::add_to(config, |routes| {
                    add_own(routes);
                    configure(routes);
                });
            })
            .default_service(web::to(not_found))
    };
    let whole_seconds = options.grace.as_secs() + u64::from(options.grace.subsec_nanos() > 0);
    let server = HttpServer::new(app)
        .workers(options.workers.max(1))
        .max_connections(MAX_CONNECTIONS.div_ceil(options.workers.max(1)))
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(CLIENT_REQUEST_TIMEOUT)
        .disable_signals()
        .shutdown_signal(shutdown.triggered())
        .shutdown_timeout(whole_seconds)
        .listen(listener)
        .with_context(|| format!("cannot serve on {address}"))?
        .run();
    tracing::info!(%address, workers = options.workers, "listening");
    let out_of_grace = async {
        shutdown.triggered().await;
        tokio::time::sleep(options.grace).await;
    };
    tokio::select! {
        result = server => result.with_context(|| format!("the server on {address} broke down")),
        // Dropping the server closes what is left.
        () = out_of_grace => {
            tracing::warn!(%address, "requests were still in flight at the end of the grace");
            Ok(())
        }
    }
}

/// Makes what [`serve`] counts, for whoever only wants to know what there is.
///
/// # Errors
/// As [`Metrics::new`].
pub fn register_metrics(metrics: &Metrics) -> anyhow::Result<()> {
    HttpMetrics::new(metrics).map(|_| ())
}

/// The routes of every program.
fn add_own(routes: &mut Routes<'_>) {
    routes
        .get("/healthz", health::healthz)
        .head("/healthz", health::healthz)
        .get("/readyz", health::readyz)
        .head("/readyz", health::readyz)
        .get("/metrics", metrics::get)
        .get("/openapi.json", openapi::get)
        .get("/docs", openapi::page)
        .get("/docs/{file}", openapi::file);
}

async fn not_found() -> Result<actix_web::HttpResponse, Problem> {
    Err(Problem::new(Code::NotFound, "no route has this path"))
}
