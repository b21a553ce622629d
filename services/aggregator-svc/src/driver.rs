//! The loop around the sweep: when to begin, how far to go, what to do when it fails.

use crate::metrics::AggregatorMetrics;
use crate::schedule::Schedule;
use aevon_schema::sweep::{self, Backlog, Turn};
use aevon_schema::{Connection, Database, StoreError, rules, with_causes};
use aevon_service::settings::AggregationSettings;
use aevon_service::shutdown::Shutdown;
use aevon_service::telemetry;
use jiff::{Timestamp, tz::TimeZone};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument;
use tracing::field::Empty;

/// Between two looks at how long the backlog is.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(1);
/// How long one step may take: longer than any statement of it, as Postgres counts it.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(90);
/// After a failure.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Sweeps as scheduled, and early when the backlog is too long, until the shutdown.
pub(crate) async fn run(
    database: &Database,
    settings: &AggregationSettings,
    schedule: &Schedule,
    metrics: &AggregatorMetrics,
    shutdown: &Shutdown,
) {
    let mut connection: Option<Connection> = None;
    while !shutdown.is_triggered() {
        match turn(database, &mut connection, settings, metrics, shutdown).await {
            Ok(()) => wait(database, settings, schedule, metrics, shutdown).await,
            Err(error) => {
                metrics.failed(error.kind());
                tracing::warn!(error = with_causes(&error), "a sweep failed");
                // Whatever was open on it is undone when it is closed.
                connection = None;
                tokio::select! {
                    () = shutdown.triggered() => {}
                    () = sleep(RETRY_INTERVAL) => {}
                }
            }
        }
    }
}

async fn wait(
    database: &Database,
    settings: &AggregationSettings,
    schedule: &Schedule,
    metrics: &AggregatorMetrics,
    shutdown: &Shutdown,
) {
    let next = Instant::now() + schedule.wait(&Timestamp::now().to_zoned(TimeZone::UTC));
    let too_long = async {
        loop {
            sleep(BACKLOG_INTERVAL).await;
            if is_backlog_over(database, settings.max_backlog, metrics).await {
                return;
            }
        }
    };
    tokio::select! {
        () = shutdown.triggered() => {}
        () = sleep_until(next) => {}
        () = too_long => tracing::debug!("the backlog is long: sweeping early"),
    }
}

async fn is_backlog_over(database: &Database, max: i64, metrics: &AggregatorMetrics) -> bool {
    let Ok(mut connection) = database.get().await else {
        return false;
    };
    match sweep::backlogs(&mut connection).await {
        Ok(backlogs) => {
            metrics.set_backlogs(&backlogs);
            backlogs.iter().map(Backlog::events).sum::<i64>() > max
        }
        Err(_) => false,
    }
}

/// Sweeps everything that is in the log now, slice by slice.
async fn turn(
    database: &Database,
    connection: &mut Option<Connection>,
    settings: &AggregationSettings,
    metrics: &AggregatorMetrics,
    shutdown: &Shutdown,
) -> Result<(), StoreError> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(database.connect().await?),
    };
    let mut backlogs = look(connection, metrics).await?;
    let goals: BTreeMap<i32, i64> = backlogs.iter().map(|b| (b.partition, b.head)).collect();
    let mut next = Turn::Front;
    while !backlogs.is_empty() && !shutdown.is_triggered() {
        let mut swept = false;
        for backlog in &backlogs {
            if shutdown.is_triggered() {
                return Ok(());
            }
            let slice = settings.slice_events;
            swept |= sweep_slice(connection, backlog.partition, slice, next, metrics).await?;
        }
        activate(connection, settings.slice_events).await?;
        if !swept {
            // Others hold the leases of what is left.
            return Ok(());
        }
        next = if next == Turn::Front {
            Turn::Behind
        } else {
            Turn::Front
        };
        let is_short = |b: &Backlog| {
            goals
                .get(&b.partition)
                .is_some_and(|goal| b.checkpoint < *goal)
        };
        backlogs = look(connection, metrics).await?;
        backlogs.retain(is_short);
    }
    activate(connection, settings.slice_events).await?;
    metrics.set_rules(&within("counting the rules", rules::count(connection)).await?);
    if backlogs.is_empty() {
        metrics.caught_up(SystemTime::now());
    }
    Ok(())
}

async fn look(
    connection: &mut Connection,
    metrics: &AggregatorMetrics,
) -> Result<Vec<Backlog>, StoreError> {
    let backlogs = within("looking for backlogs", sweep::backlogs(connection)).await?;
    metrics.set_backlogs(&backlogs);
    Ok(backlogs)
}

/// Sweeps one slice; false where there was nothing to do.
async fn sweep_slice(
    connection: &mut Connection,
    partition: i32,
    slice: i64,
    turn: Turn,
    metrics: &AggregatorMetrics,
) -> Result<bool, StoreError> {
    let span = tracing::debug_span!(
        target: telemetry::WORK,
        "sweep",
        partition,
        from = Empty,
        to = Empty,
        rows = Empty,
    );
    let begun = Instant::now();
    let sweep = sweep::sweep_once(connection, partition, slice, turn);
    let swept = within("a sweep", sweep).instrument(span.clone()).await?;
    if let Some(swept) = &swept {
        span.record("from", swept.from);
        span.record("to", swept.to);
        span.record("rows", swept.rows);
        tracing::debug!(?swept, "swept");
        metrics.swept(swept, begun.elapsed());
    }
    Ok(swept.is_some())
}

/// Gives a step up that takes too long, whatever became of the server.
pub(crate) async fn within<T>(
    what: &'static str,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let done = tokio::time::timeout(STEP_TIMEOUT, step).await;
    done.unwrap_or(Err(StoreError::DeadlineExceeded(what)))
}

/// Switches rules over that have caught up.
async fn activate(connection: &mut Connection, slack: i64) -> Result<(), StoreError> {
    let switch = async {
        match rules::any_building(connection).await? {
            true => rules::activate(connection, slack).await,
            false => Ok(Vec::new()),
        }
    };
    for rule in within("switching rules over", switch).await? {
        tracing::info!(rule, "the new version has caught up and answers now");
    }
    Ok(())
}
