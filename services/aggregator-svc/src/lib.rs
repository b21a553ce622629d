//! Folds the log into buckets: applies the set of rules, then sweeps, again and again.
//!
//! Invariant: an answer does not depend on this service, only its speed does. Any number of
//! aggregators may run, and any of them may die at any moment.

use aevon_core::rule::Rule;
use aevon_schema::access::Unfit;
use aevon_schema::{
    Budget, Database, DatabaseOptions, StoreError, migrate, rules, sweep, with_causes,
};
use aevon_service::health::Readiness;
use aevon_service::http::{self as shell, HttpOptions};
use aevon_service::metrics::Metrics;
use aevon_service::openapi::Document;
use aevon_service::settings::{AggregationSettings, HumanDuration, Settings};
use aevon_service::shutdown::Shutdown;
use std::time::Duration;

mod driver;
mod metrics;
pub mod rule_files;
mod schedule;

use driver::Driver;
use metrics::AggregatorMetrics;
use schedule::Schedule;

/// The condition of readiness that the database is.
pub const READY_DATABASE: &str = "database";
/// The condition of readiness that the set of rules is.
pub const READY_RULES: &str = "rules";
/// Connections of the pool.
const POOL_CONNECTIONS: usize = 2;
/// How long one statement of a sweep may take: a slice's upserts, on a busy disk.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// The service's state.
#[derive(Clone, Debug)]
pub struct Aggregator {
    database: Database,
    budget: Budget,
    settings: AggregationSettings,
    schedule: Schedule,
    metrics: AggregatorMetrics,
    /// The set to apply at the start; `None` where that is turned off.
    set: Option<Vec<Rule>>,
}

/// That the schedule is one and the rule files have no faults.
///
/// # Errors
/// What is wrong.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    read(&settings.aggregation).map(|_| ())
}

/// The schedule and, unless that is turned off, the set of rules to apply at the start.
fn read(settings: &AggregationSettings) -> anyhow::Result<(Schedule, Option<Vec<Rule>>)> {
    let schedule = Schedule::parse(&settings.cron_interval)
        .map_err(|reason| anyhow::anyhow!("aggregation.cron_interval: {reason}"))?;
    let set = match settings.apply_on_start {
        true => Some(rule_files::load(&settings.config_dir)?),
        false => None,
    };
    Ok((schedule, set))
}

impl Aggregator {
    /// The service's state: rule files are read, nothing is reached yet.
    ///
    /// # Errors
    /// Where a setting or a rule file is wrong; the error names every fault.
    pub fn new(settings: &Settings, metrics: &Metrics) -> anyhow::Result<Self> {
        let aggregation = settings.aggregation.clone();
        let (schedule, set) = read(&aggregation)?;
        let database = Database::new(DatabaseOptions {
            url: settings.database_url()?.to_owned(),
            max_connections: POOL_CONNECTIONS,
            application_name: "aggregator-svc",
            statement_timeout: STATEMENT_TIMEOUT,
        })?;
        metrics.register_all(database.metrics()?)?;
        let budget = Budget {
            of_process: POOL_CONNECTIONS,
            replicas: settings.database.replicas,
        };
        Ok(Self {
            database,
            budget,
            settings: aggregation,
            schedule,
            metrics: AggregatorMetrics::new(metrics)?,
            set,
        })
    }

    /// Reaches the database, checks its schema and applies the set of rules.
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
        self.metrics.set_partitions(partitions);
        readiness.set_ready(READY_DATABASE);
        while let Err(error) = self.apply().await {
            tracing::warn!(error = with_causes(&error), "rules are not applied yet");
            readiness.set_failing(READY_RULES, error.to_string());
            tokio::time::sleep(driver::RETRY_INTERVAL).await;
        }
        readiness.set_ready(READY_RULES);
        Ok(())
    }

    async fn apply(&self) -> Result<(), StoreError> {
        let Some(set) = &self.set else { return Ok(()) };
        let mut connection = self.database.get().await?;
        let apply = rules::apply(&mut connection, set);
        let applied = driver::within("applying the rules", apply).await?;
        for (name, version) in &applied.registered {
            tracing::info!(rule = name, version, "registered a rule");
        }
        for name in &applied.retired {
            tracing::info!(rule = name, "retired a rule: its file is gone");
        }
        Ok(())
    }

    /// Sweeps until the shutdown; ends between two slices.
    pub async fn sweep(&self, shutdown: &Shutdown) {
        let driver = Driver {
            database: &self.database,
            settings: &self.settings,
            schedule: &self.schedule,
            keep_retired: self.settings.keep_retired.map(HumanDuration::get),
            metrics: &self.metrics,
            shutdown,
        };
        driver.run().await;
    }

    /// Keeps readiness true to the database: that it answers, and grants what is needed. Never
    /// returns.
    pub async fn watch(&self, readiness: Readiness) {
        let report = async |answer: Result<(), Unfit>| match answer {
            Ok(()) => readiness.set_ready(READY_DATABASE),
            Err(error) => readiness.set_failing(READY_DATABASE, error.to_string()),
        };
        self.database.watch(&sweep::ACCESS, report).await;
    }
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// Where it can't start, or the database's schema is missing or unknown.
pub async fn run(settings: Settings, shutdown: Shutdown) -> anyhow::Result<()> {
    let metrics = Metrics::new()?;
    let aggregator = Aggregator::new(&settings, &metrics)?;
    let options = HttpOptions::from_settings(&settings)?;
    let listener = shell::bind(&options)?;
    // Health is all that is asked of it.
    let options = HttpOptions {
        workers: 1,
        ..options
    };
    let readiness = Readiness::new(&[READY_DATABASE, READY_RULES]);
    let serve = shell::serve(
        listener,
        options,
        readiness.clone(),
        metrics,
        shutdown.clone(),
        Document::of([]),
        |_| {},
    );
    let work = async {
        tokio::select! {
            () = shutdown.triggered() => return Ok(()),
            prepared = aggregator.prepare(&readiness) => prepared?,
        }
        tokio::select! {
            () = aggregator.sweep(&shutdown) => {}
            () = aggregator.watch(readiness.clone()) => {}
        }
        anyhow::Ok(())
    };
    tokio::try_join!(serve, work).map(|_| ())
}
