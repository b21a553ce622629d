//! The loop around the sweep: when to begin, how far to go, what to do when it fails.

use crate::metrics::AggregatorMetrics;
use crate::schedule::{Schedule, jittered};
use aevon_schema::sweep::{self, Backlog, Whose};
use aevon_schema::with_causes;
use aevon_schema::{Connection, Database, StoreError, discards, rules, status};
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
/// Between two looks at how far each rule is behind, where nothing is swept.
const LAG_INTERVAL: Duration = Duration::from_secs(10);
/// How long one step may take: longer than any statement of it, as Postgres counts it.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(90);
/// After a failure; twice as long after each further one in a row, but where Postgres is away: to ask
/// whether it is back costs next to nothing.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// After many failures in a row.
const LONGEST_RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// Most steps of deleting between two looks at the backlog.
const MAX_DISCARDS: usize = 100;

/// What the loop works with.
#[derive(Debug)]
pub(crate) struct Driver<'a> {
    pub(crate) database: &'a Database,
    pub(crate) settings: &'a AggregationSettings,
    pub(crate) schedule: &'a Schedule,
    /// How long the buckets of a retired version stay; none is for ever.
    pub(crate) keep_retired: Option<Duration>,
    pub(crate) metrics: &'a AggregatorMetrics,
    pub(crate) shutdown: &'a Shutdown,
}

impl Driver<'_> {
    /// Sweeps as scheduled, and early when the backlog is too long, until the shutdown. One sweep
    /// at a time: it never overlaps itself.
    pub(crate) async fn run(&self) {
        let mut connection: Option<Connection> = None;
        let mut failures = 0;
        while !self.shutdown.is_triggered() {
            match self.catch_up(&mut connection).await {
                Ok(()) => {
                    failures = 0;
                    self.wait().await;
                }
                Err(error) => {
                    self.metrics.failed(error.kind());
                    tracing::warn!(error = with_causes(&error), "a sweep failed");
                    // Whatever was open on it is undone when it is closed.
                    let was_reached = connection.take().is_some();
                    if !was_reached || matches!(error, StoreError::Unavailable(_)) {
                        failures = 0;
                    }
                    tokio::select! {
                        () = self.shutdown.triggered() => {}
                        () = sleep(retry_interval(failures)) => {}
                    }
                    failures += 1;
                }
            }
        }
    }

    async fn wait(&self) {
        let wait = self
            .schedule
            .wait(&Timestamp::now().to_zoned(TimeZone::UTC));
        let next = Instant::now() + jittered(wait);
        let early = async {
            let mut looked_at = Instant::now();
            loop {
                sleep(BACKLOG_INTERVAL).await;
                let is_lag_due = looked_at.elapsed() > LAG_INTERVAL;
                // A database that is away is met again by the next sweep.
                if self.is_early(is_lag_due).await.unwrap_or(false) {
                    return;
                }
                if is_lag_due {
                    looked_at = Instant::now();
                }
            }
        };
        tokio::select! {
            () = self.shutdown.triggered() => {}
            () = sleep_until(next) => {}
            () = early => tracing::debug!("the backlog is long, or a rule is new: sweeping early"),
        }
    }

    /// Whether there is so much to do that it can't wait.
    async fn is_early(&self, is_lag_due: bool) -> Result<bool, StoreError> {
        let mut connection = self.database.get().await?;
        let backlogs = sweep::backlogs(&mut connection).await?;
        self.metrics.set_backlogs(&backlogs);
        if is_lag_due {
            self.look_at_lags(&mut connection).await?;
        }
        let events: i64 = backlogs.iter().map(Backlog::events).sum();
        Ok(events > self.settings.max_backlog || rules::any_building(&mut connection).await?)
    }

    async fn look_at_lags(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let look = status::read(connection, None);
        self.metrics
            .set_lags(&within("looking at lags", look).await?);
        Ok(())
    }

    /// Sweeps everything that is in the log now, slice by slice.
    async fn catch_up(&self, connection: &mut Option<Connection>) -> Result<(), StoreError> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.database.connect().await?),
        };
        let mut backlogs = self.look(connection).await?;
        let goals: BTreeMap<i32, i64> = backlogs.iter().map(|b| (b.partition, b.head)).collect();
        let mut next = Whose::Front;
        while !backlogs.is_empty() && !self.shutdown.is_triggered() {
            let mut swept = false;
            for backlog in &backlogs {
                if self.shutdown.is_triggered() {
                    return Ok(());
                }
                swept |= self
                    .sweep_slice(connection, backlog.partition, next)
                    .await?;
            }
            activate(connection, self.settings.slice_events).await?;
            if !swept {
                // Others hold the leases of what is left.
                return Ok(());
            }
            next = match next {
                Whose::Front => Whose::Behind,
                Whose::Behind => Whose::Front,
            };
            let is_short = |b: &Backlog| {
                goals
                    .get(&b.partition)
                    .is_some_and(|goal| b.checkpoint < *goal)
            };
            backlogs = self.look(connection).await?;
            backlogs.retain(is_short);
        }
        activate(connection, self.settings.slice_events).await?;
        let counted = within("counting the rules", rules::count(connection)).await?;
        self.metrics.set_rules(&counted);
        self.look_at_lags(connection).await?;
        if backlogs.is_empty() {
            self.metrics.caught_up(SystemTime::now());
            self.discard(connection).await?;
        }
        Ok(())
    }

    async fn look(&self, connection: &mut Connection) -> Result<Vec<Backlog>, StoreError> {
        let backlogs = within("looking for backlogs", sweep::backlogs(connection)).await?;
        self.metrics.set_backlogs(&backlogs);
        Ok(backlogs)
    }

    /// Sweeps one slice; false where there was nothing to do.
    async fn sweep_slice(
        &self,
        connection: &mut Connection,
        partition: i32,
        whose: Whose,
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
        let sweep = sweep::sweep_once(connection, partition, self.settings.slice_events, whose);
        let swept = within("a sweep", sweep).instrument(span.clone()).await?;
        if let Some(swept) = &swept {
            span.record("from", swept.from);
            span.record("to", swept.to);
            span.record("rows", swept.rows);
            tracing::debug!(?swept, "swept");
            self.metrics.swept(swept, begun.elapsed());
        }
        Ok(swept.is_some())
    }

    /// Deletes buckets that nobody needs any more, a bounded number of steps.
    async fn discard(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let mut steps = 0;
        for due in within(
            "looking for discards",
            discards::due(connection, self.keep_retired),
        )
        .await?
        {
            let mut is_left = true;
            while is_left && steps < MAX_DISCARDS && !self.shutdown.is_triggered() {
                let step = discards::delete_some(connection, &due);
                // None where a sweeper has the partition: the next time it comes by again.
                is_left = within("deleting buckets", step).await?.unwrap_or(false);
                self.metrics.discarded();
                steps += 1;
            }
        }
        Ok(())
    }
}

/// How long to wait after one more failure, when there were `failures` in a row before.
fn retry_interval(failures: u32) -> Duration {
    let doubled = RETRY_INTERVAL.saturating_mul(2_u32.saturating_pow(failures));
    jittered(doubled.min(LONGEST_RETRY_INTERVAL))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_come_later_and_later_up_to_half_a_minute() {
        let seconds = |failures| retry_interval(failures).as_secs_f64();
        assert!((1.0..=1.1).contains(&seconds(0)));
        assert!((4.0..=4.4).contains(&seconds(2)));
        assert!((30.0..=33.0).contains(&seconds(5)));
        assert!((30.0..=33.0).contains(&seconds(u32::MAX)));
    }
}
