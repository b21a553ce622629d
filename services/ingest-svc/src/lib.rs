//! Takes events in: parse, queue, group commit, one verdict an event.
//!
//! Invariant: acknowledged means committed. No event is stored that was refused, none is
//! acknowledged that was not stored.
//! Invariant: every wait has a deadline and the queue has bounds, in events and in bytes.

use actix_web::web;
use aevon_core::event::Limits;
use aevon_core::schema::Schemas;
use aevon_core::time::Timestamp;
use aevon_schema::access::Unfit;
use aevon_schema::append::{self, Appender};
use aevon_schema::{Budget, Database, DatabaseOptions, api_keys, migrate};
use aevon_service::auth::{Auth, StoredKey};
use aevon_service::health::Readiness;
use aevon_service::http::{self as shell, HttpOptions, Routes};
use aevon_service::metrics::Metrics;
use aevon_service::openapi::Document;
use aevon_service::problem::Problem;
use aevon_service::settings::{IngestSettings, Settings};
use aevon_service::shutdown::Shutdown;
use anyhow::Context;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

mod health;
mod http;
mod lane;
mod metrics;
mod queue;
mod rate;
mod rejected;
pub mod schema_files;
mod shares;
mod writer;

use health::AppendHealth;
use metrics::IngestMetrics;
use queue::Queue;
use rate::RateLimits;
use rejected::{Bounds, Keeper, Waiting};
use shares::{Shares, Size};
use writer::Writer;

/// The condition of readiness that the database is.
pub const READY_DATABASE: &str = "database";
/// Bytes of a body, after decoding.
pub const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;
/// Events of a body.
pub const MAX_BODY_EVENTS: usize = 10_000;
/// Bytes of all bodies that are being received and read.
const MAX_ARRIVING_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of all lists of what became of events, from reading the events to the end of the answer.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// Connections of the pool.
const POOL_CONNECTIONS: usize = 4;
/// How long one statement of an append may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request may wait for its commit: what the settings say, and within the grace of a
/// shutdown, so that whatever was taken in is answered before the end.
fn answered_within(settings: &Settings) -> Duration {
    let (timeout, grace) = (
        settings.ingest.request_timeout.get(),
        settings.shutdown.grace.get(),
    );
    match grace.is_zero() {
        true => timeout,
        false => timeout.min(grace * 9 / 10),
    }
}

/// The service's state. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ingest {
    database: Database,
    auth: Auth,
    settings: IngestSettings,
    limits: Arc<Limits>,
    schemas: Arc<Schemas>,
    /// The bodies that are being received and read.
    arriving: Shares,
    /// The answers that callers have not read yet.
    answers: Shares,
    rates: Arc<RateLimits>,
    keeper: Keeper,
    /// Taken by the task that writes what was refused.
    refused: Arc<Mutex<Option<Waiting>>>,
    /// Connections of this service.
    budget: Budget,
    /// Empty until the database was reached: only it knows how many partitions there are.
    queue: Arc<OnceLock<Queue>>,
    metrics: IngestMetrics,
    health: AppendHealth,
}

impl Ingest {
    /// The service's state; nothing is reached yet.
    ///
    /// # Errors
    /// Where a setting is wrong.
    pub fn new(settings: &Settings, metrics: &Metrics) -> anyhow::Result<Self> {
        let database = Database::new(DatabaseOptions {
            url: settings.database_url()?.to_owned(),
            // Writers have connections of their own; the pool is for keys, for what was refused, and
            // for looking after the database.
            max_connections: POOL_CONNECTIONS,
            application_name: "ingest-svc",
            statement_timeout: STATEMENT_TIMEOUT,
        })?;
        let keys = database.clone();
        let auth = Auth::new(settings.auth.mode, move |key_no| {
            let keys = keys.clone();
            async move {
                let found = api_keys::find(&keys, key_no).await;
                let key = found.map_err(|error| http::unavailable(&error))?;
                Ok(key.map(|key| StoredKey::new(key.secret_hash, key.tenant_id, &key.scopes)))
            }
        });
        let skew = settings.ingest.max_future_skew.get().as_micros();
        let limits = Limits {
            max_future_skew_us: i64::try_from(skew).unwrap_or(i64::MAX / 4),
            ..Limits::default()
        };
        let schemas = schema_files::load(settings.schema.path.as_deref())?;
        metrics.register_all(database.metrics()?)?;
        let queue = Arc::new(OnceLock::new());
        let arriving = Shares::new(Size::of_bytes(MAX_ARRIVING_BYTES));
        let answers = Shares::new(Size::of_bytes(MAX_ANSWER_BYTES));
        metrics::register_levels(metrics, &queue, &arriving, &answers)?;
        let metrics = IngestMetrics::new(metrics)?;
        let (keeper, waiting) = Keeper::new(metrics.unkept());
        let rates = RateLimits::new(&settings.ingest);
        let budget = Budget {
            of_process: POOL_CONNECTIONS + settings.ingest.writers,
            replicas: settings.database.replicas,
        };
        let settings = IngestSettings {
            request_timeout: answered_within(settings).into(),
            ..settings.ingest.clone()
        };
        Ok(Self {
            database,
            auth,
            settings,
            limits: Arc::new(limits),
            schemas: Arc::new(schemas),
            arriving,
            answers,
            rates: Arc::new(rates),
            keeper,
            refused: Arc::new(Mutex::new(Some(waiting))),
            budget,
            queue,
            metrics,
            health: AppendHealth::default(),
        })
    }

    /// Reaches the database, checks its schema and starts the writers; [`Self::watch`] says then
    /// whether it is ready.
    ///
    /// # Errors
    /// Where the database was reached and its schema is not the one that this program knows.
    pub async fn prepare(&self, readiness: &Readiness) -> anyhow::Result<()> {
        let trouble = |reason: String| {
            tracing::warn!(reason, "the database is away; trying again");
            readiness.set_failing(READY_DATABASE, reason);
        };
        let partitions = migrate::wait(&self.database, trouble).await?;
        self.budget.tell(&self.database).await;
        let writer = |number| {
            let appender = Appender::new(self.database.clone(), partitions);
            Writer::new(appender, number, self.metrics.clone(), self.health.clone())
        };
        let writers = (0..self.settings.writers).map(writer);
        let queue = Queue::start(&self.settings, partitions, writers.collect())
            .context("cannot start the writers")?;
        if self.queue.set(queue).is_err() {
            anyhow::bail!("the writers were started twice");
        }
        let refused = self
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waiting) = refused {
            let bounds = Bounds {
                keep: self.settings.rejected_keep.get(),
                max_bytes: self.settings.rejected_max_bytes,
            };
            tokio::spawn(rejected::run(self.database.clone(), waiting, bounds));
        }
        Ok(())
    }

    /// Waits for what is written after its request was answered. To be called when no request is
    /// under way any more.
    pub async fn finish(&self) {
        if self.queue.get().is_some() {
            self.keeper.flush().await;
        }
    }

    /// That there is room for a caller's events at all.
    fn check_room(&self, tenant: Option<&str>) -> Result<(), Problem> {
        match (tenant, self.queue.get()) {
            (Some(tenant_id), Some(queue)) if !queue.has_room(tenant_id) => {
                self.metrics.unstored(&queue::Unstored::Full);
                Err(http::unstored(&queue::Unstored::Full))
            }
            _ => Ok(()),
        }
    }

    /// Keeps readiness true to the database: that it answers, that it grants what is needed, and
    /// that appends succeed. Never returns.
    pub async fn watch(&self, readiness: Readiness) {
        let report = async |answer: Result<(), Unfit>| {
            let partitions = self.queue.get().map_or(0, Queue::partitions);
            let reason = match answer {
                Err(unfit) => Some(unfit.to_string()),
                Ok(()) => self.health.trouble(&self.database, partitions).await,
            };
            match reason {
                None => readiness.set_ready(READY_DATABASE),
                Some(reason) => readiness.set_failing(READY_DATABASE, reason),
            }
        };
        self.database.watch(&append::ACCESS, report).await;
    }

    /// Adds the routes.
    pub fn configure(&self) -> impl Fn(&mut Routes<'_>) + Clone + Send + use<> {
        let ingest = self.clone();
        move |routes| {
            // Run by each thread that serves, so that each has turns of its own.
            routes
                .data(http::Turns::new())
                .data(web::Data::new(ingest.clone()))
                .post("/v1/events", http::events::post)
                .post("/api/v1/events", http::openmeter::post)
                .get("/v1/rejected/{tenant}", http::rejected::list)
                .get("/v1/schemas", http::schemas::list)
                .post(
                    "/v1/schemas/{type}/{version}/validate",
                    http::schemas::validate,
                );
        }
    }
}

/// What the OpenAPI document says of the routes.
#[must_use]
pub fn openapi() -> OpenApi {
    http::Documented::openapi()
}

/// What must hold of the settings before the service starts.
///
/// # Errors
/// Where a schema can't be used.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    schema_files::load(settings.schema.path.as_deref())?;
    Ok(())
}

/// The clock, read at the edge.
fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// Where it can't start, or the database's schema is missing or unknown.
pub async fn run(settings: Settings, shutdown: Shutdown) -> anyhow::Result<()> {
    let options = HttpOptions::from_settings(&settings)?;
    let listener = shell::bind(&options)?;
    let readiness = Readiness::new(&[READY_DATABASE]);
    let metrics = Metrics::new()?;
    let ingest = Ingest::new(&settings, &metrics)?;
    let serve = shell::serve(
        listener,
        options,
        readiness.clone(),
        metrics,
        shutdown.clone(),
        Document::of([openapi()]),
        ingest.configure(),
    );
    let prepare = async {
        ingest.prepare(&readiness).await?;
        ingest.watch(readiness.clone()).await;
        Ok(())
    };
    // Served from the first moment, so that `/readyz` says what is missing.
    let served = tokio::select! {
        served = serve => served,
        prepared = prepare => prepared,
    };
    ingest.finish().await;
    served
}
