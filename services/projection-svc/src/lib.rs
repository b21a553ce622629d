//! Answers: the state of a principal from buckets, edges and tail, and the rules that answer.
//!
//! Invariant: writes nothing and locks nothing, so that it runs against a hot standby too.
//! Invariant: an answer may be refused (a budget, a bound); it is never another one.

use actix_web::web;
use aevon_core::state::Question;
use aevon_core::time::Timestamp;
use aevon_schema::access::Unfit;
use aevon_schema::state::{State, StateQuery};
use aevon_schema::{
    Budget, Connection, Database, DatabaseOptions, StoreError, api_keys, migrate, state,
};
use aevon_service::auth::{Auth, StoredKey};
use aevon_service::health::Readiness;
use aevon_service::http::{self as shell, HttpOptions, Routes};
use aevon_service::metrics::Metrics;
use aevon_service::openapi::Document;
use aevon_service::problem::{Code, Problem};
use aevon_service::request::Parameters;
use aevon_service::settings::Settings;
use aevon_service::shutdown::Shutdown;
use serde::Serialize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

mod heads;
mod http;
mod metrics;

use heads::Heads;
use metrics::ProjectionMetrics;

/// What `GET /v1/state` sends as the answer to a query, for whoever has read one.
pub fn answer_body<'a>(query: &'a StateQuery, state: &'a State) -> impl Serialize + use<'a> {
    http::state::body(query, state)
}

/// What a query asks of a state, as `GET /v1/state` reads it, for whoever tries what it makes of queries.
///
/// # Errors
/// 400.
pub fn read_question(query: &str) -> Result<Question, Problem> {
    http::state::question(&mut Parameters::parse(query)?)
}

/// The condition of readiness that the database is.
pub const READY_DATABASE: &str = "database";
/// How much later than the service Postgres gives a statement up: the service's deadline comes
/// first and says what to do.
const AFTER_BUDGET: Duration = Duration::from_secs(1);

/// The service's state. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Projection {
    database: Database,
    auth: Auth,
    connections: Budget,
    /// How long one question may take.
    budget: Duration,
    /// How far an `as_of` may lie ahead of the clock, in microseconds: as far as an event.
    max_future_skew_us: i64,
    /// Whether `/` is the explorer.
    has_explorer: bool,
    /// Empty until the database was reached: only it knows how many there are.
    partitions: Arc<OnceLock<i32>>,
    metrics: ProjectionMetrics,
    heads: Heads,
}

impl Projection {
    /// The service's state; nothing is reached yet.
    ///
    /// # Errors
    /// Where a setting is wrong.
    pub fn new(settings: &Settings, metrics: &Metrics) -> anyhow::Result<Self> {
        let budget = settings.projection.query_budget.get();
        let skew = settings.ingest.max_future_skew.get();
        let database = Database::new(DatabaseOptions {
            url: settings.database_url()?.to_owned(),
            max_connections: settings.database.max_connections,
            application_name: "projection-svc",
            statement_timeout: budget + AFTER_BUDGET,
        })?;
        let keys = database.clone();
        let auth = Auth::new(settings.auth.mode, move |key_no| {
            let keys = keys.clone();
            async move {
                let found = api_keys::find(&keys, key_no).await;
                let key = found.map_err(|error| http::store_problem(&error))?;
                Ok(key.map(|key| StoredKey::new(key.secret_hash, key.tenant_id, &key.scopes)))
            }
        });
        metrics.register_all(database.metrics()?)?;
        Ok(Self {
            database,
            auth,
            connections: Budget {
                of_process: settings.database.max_connections,
                replicas: settings.database.replicas,
            },
            budget,
            max_future_skew_us: i64::try_from(skew.as_micros()).unwrap_or(i64::MAX / 4),
            has_explorer: settings.explorer.enabled,
            partitions: Arc::default(),
            metrics: ProjectionMetrics::new(metrics)?,
            heads: Heads::default(),
        })
    }

    /// Reaches the database and checks its schema; [`Self::watch`] says then whether it is ready.
    ///
    /// # Errors
    /// Where the database was reached and its schema is not the one that this program knows.
    pub async fn prepare(&self, readiness: &Readiness) -> anyhow::Result<()> {
        let trouble = |reason: String| {
            tracing::warn!(reason, "the database is away; trying again");
            readiness.set_failing(READY_DATABASE, reason);
        };
        let partitions = migrate::wait(&self.database, trouble).await?;
        self.connections.tell(&self.database).await;
        self.partitions.get_or_init(|| partitions);
        Ok(())
    }

    /// Keeps readiness true to the database: that it answers, and grants what is needed. Never
    /// returns.
    pub async fn watch(&self, readiness: Readiness) {
        let report = async |answer: Result<(), Unfit>| match answer {
            Ok(()) => readiness.set_ready(READY_DATABASE),
            Err(error) => readiness.set_failing(READY_DATABASE, error.to_string()),
        };
        self.database.watch(&state::ACCESS, report).await;
    }

    /// Asks the database, within the budget.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, Problem> {
        let asked = async { question(&mut *self.database.get().await?).await };
        match tokio::time::timeout(self.budget, asked).await {
            Ok(answer) => answer.map_err(|error| http::store_problem(&error)),
            Err(_) => {
                let detail = format!(
                    "the answer took longer than {:?}; ask for less",
                    self.budget
                );
                Err(Problem::new(Code::QueryBudgetExceeded, detail))
            }
        }
    }

    /// The latest instant that is not in the future; the clock is read here alone.
    fn latest(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(since.as_micros()).unwrap_or(i64::MAX / 4);
        Timestamp::from_micros(now + self.max_future_skew_us)
    }

    /// Adds the routes.
    pub fn configure(&self) -> impl Fn(&mut Routes<'_>) + Clone + Send + use<> {
        let projection = self.clone();
        move |routes| {
            routes
                .data(web::Data::new(projection.clone()))
                .get("/v1/state/{tenant}", http::state::get_by_parameter)
                .get("/v1/state/{tenant}/{principal}", http::state::get)
                .get(
                    "/v1/state/{tenant}/{principal}/explain",
                    http::state::explain::get,
                )
                .get(
                    "/v1/state/{tenant}/{principal}/verify",
                    http::state::verify::get,
                )
                .get(
                    "/v1/explain/{tenant}",
                    http::state::explain::get_by_parameter,
                )
                .get("/v1/verify/{tenant}", http::state::verify::get_by_parameter)
                .get("/v1/events/{tenant}", http::feed::follow)
                .get("/v1/events/{tenant}/{principal}", http::events::list)
                .get("/v1/events/{tenant}/{principal}/{id}", http::events::get)
                .get("/v1/principals/{tenant}", http::principals::list)
                .get("/v1/rules", http::rules::list)
                .get("/v1/rules/{name}", http::rules::get)
                .get("/api/v1/meters/{meter}/query", http::openmeter::query)
                .get("/", http::explorer::get);
        }
    }
}

/// What the OpenAPI document says of the routes.
#[must_use]
pub fn openapi() -> OpenApi {
    http::Documented::openapi()
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
    let projection = Projection::new(&settings, &metrics)?;
    let serve = shell::serve(
        listener,
        options,
        readiness.clone(),
        metrics,
        shutdown.clone(),
        Document::of([openapi()]),
        projection.configure(),
    );
    let prepare = async {
        projection.prepare(&readiness).await?;
        projection.watch(readiness.clone()).await;
        Ok(())
    };
    // Served from the first moment, so that `/readyz` says what is missing.
    tokio::select! {
        served = serve => served,
        prepared = prepare => prepared,
    }
}
