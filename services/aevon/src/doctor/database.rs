//! The database: whether it is reached, by whom, its clock, its schema, and how far rules are behind.

use super::{Check, Report};
use aevon_core::time::Timestamp;
use aevon_schema::migrate::{self, SchemaError, newest_known};
use aevon_schema::rules::Status;
use aevon_schema::server::{self, Server};
use aevon_schema::status::{self, Progress, VersionStatus};
use aevon_schema::{Connection, Database, DatabaseOptions, import, with_causes};
use aevon_service::settings::{HumanDuration, Settings};
use std::time::Duration;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Clocks that differ by more than this mislead people, and refuse events in the end.
pub(super) const MAX_SKEW: Duration = Duration::from_secs(2);
/// A rule that is behind for so many intervals of sweeping is not being swept.
const INTERVALS: u32 = 3;
/// The same, where sweeps have no interval but a cron expression.
const LONG: Duration = Duration::from_secs(15 * 60);

const DATABASE: &str = "database";
const SCHEMA: &str = "schema";
const IMPORT: &str = "import";
const LAG: &str = "lag";

/// What to do where a role may not read.
const READER: &str = "connect as a role that reads, such as the owner of the schema";

/// Looks at it, in the order in which one thing needs the other.
pub(super) async fn look(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let late = |what: &str| {
        let found = format!("no answer within {PATIENCE:?}");
        Check::bad(
            what,
            found,
            "is Postgres overloaded, or is somebody holding locks?",
        )
    };
    let url = match settings.database_url() {
        Ok(url) => url.to_owned(),
        Err(error) => {
            let to_do = "set AEVON_DATABASE__URL, or database.url in the file of --config";
            return report.add(Check::bad(DATABASE, error.to_string(), to_do));
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reach(url)).await;
    let (database, mut connection, server, off) = match reached {
        Err(_) => return report.add(late(DATABASE)),
        Ok(Err(error)) => {
            let to_do = "does the URL name host, port, user, password and database, and does pg_hba.conf let \
                         this machine in?";
            return report.add(Check::bad(DATABASE, format!("{error:#}"), to_do));
        }
        Ok(Ok(reached)) => reached,
    };
    report.add(of_server(&server))?;
    report.add(of_clock(off))?;
    match tokio::time::timeout(PATIENCE, migrate::check(&database)).await {
        Err(_) => return report.add(late(SCHEMA)),
        Ok(Err(error)) => return report.add(of_schema(&error)),
        Ok(Ok(partitions)) => {
            let found = format!(
                "{} serves this program, {partitions} partitions",
                newest_known()
            );
            report.add(Check::well(SCHEMA, found))?;
        }
    }
    match tokio::time::timeout(PATIENCE, import::unfinished(&mut connection)).await {
        Err(_) => return report.add(late(IMPORT)),
        Ok(Err(error)) => report.add(Check::bad(IMPORT, with_causes(&error), READER))?,
        Ok(Ok(None)) => {}
        Ok(Ok(Some(unfinished))) => {
            let to_do = "stop services that write until it is: it can't go on where somebody else has written";
            report.add(Check::bad(IMPORT, unfinished.to_string(), to_do))?;
        }
    }
    match tokio::time::timeout(PATIENCE, status::read(&mut connection, None)).await {
        Err(_) => report.add(late(LAG)),
        Ok(Err(error)) => report.add(Check::bad(LAG, with_causes(&error), READER)),
        Ok(Ok(versions)) => {
            for check in of_lag(&versions, settings, server.clock) {
                report.add(check)?;
            }
            Ok(())
        }
    }
}

/// A connection, what is behind it, and by how many seconds its clock is ahead.
async fn reach(url: String) -> anyhow::Result<(Database, Connection, Server, f64)> {
    let database = Database::new(DatabaseOptions {
        url,
        max_connections: 2,
        application_name: "aevon doctor",
        statement_timeout: PATIENCE,
    })?;
    let mut connection = database.connect().await?;
    // Once for the way, so that the second is quick.
    server::look(&mut connection).await?;
    let asked = jiff::Timestamp::now();
    let server = server::look(&mut connection).await?;
    let answered = jiff::Timestamp::now();
    let at = server.clock.as_micros() / 1_000;
    let off = skew(at, asked.as_millisecond(), answered.as_millisecond());
    Ok((database, connection, server, off))
}

/// By how many seconds a clock that was read between two instants of ours is ahead (all in ms).
pub(super) fn skew(at: i64, asked: i64, answered: i64) -> f64 {
    match at {
        at if at < asked => (at - asked) as f64 / 1_000.0,
        at if at > answered => (at - answered) as f64 / 1_000.0,
        _ => 0.0,
    }
}

fn of_server(server: &Server) -> Check {
    let who = match (server.is_owner, server.is_standby) {
        (true, false) => "the owner of the log",
        (true, true) => "the owner of the log; it is a standby, which projection-svc alone can use",
        (false, false) => "not the owner of the log",
        (false, true) => {
            "not the owner of the log; it is a standby, which projection-svc alone can use"
        }
    };
    let found = format!("PostgreSQL {}, as {}, {who}", server.version, server.role);
    Check::well(DATABASE, found)
}

fn of_clock(off: f64) -> Check {
    let name = "clock of Postgres";
    match off.abs() > MAX_SKEW.as_secs_f64() {
        true => {
            let found = format!("{off:+.1} s from here");
            let to_do = "run NTP on both machines: events ahead of the clock are refused, by ingest.max_future_skew";
            Check::bad(name, found, to_do)
        }
        false => Check::well(
            name,
            format!("agrees with the one here within {MAX_SKEW:?}"),
        ),
    }
}

fn of_schema(error: &SchemaError) -> Check {
    let to_do = match error {
        SchemaError::Missing => {
            "AEVON_DATABASE__URL=… aevon migrate --partitions 16 --roles, as the owner"
        }
        SchemaError::Old { .. } => "run `aevon migrate` as the owner, then restart services",
        SchemaError::Unknown { .. } => "use programs of the release that migrated it",
        SchemaError::Lacks(_) => {
            "run `aevon migrate --roles` as the owner, and grant the role to this user"
        }
        SchemaError::Store(_) => "see the log of Postgres",
    };
    Check::bad(SCHEMA, with_causes(error), to_do)
}

/// One check for each version that is swept.
fn of_lag(versions: &[VersionStatus], settings: &Settings, now: Timestamp) -> Vec<Check> {
    let mut swept = versions
        .iter()
        .filter(|version| version.status != Status::Retired)
        .peekable();
    if swept.peek().is_none() {
        let to_do = "`aevon rules apply DIR`, or start aggregator-svc with aggregation.config_dir";
        return vec![Check::bad("rules", "none is registered", to_do)];
    }
    let interval = settings.aggregation.cron_interval.parse::<HumanDuration>();
    let most = interval.map_or(LONG, |interval| interval.get().saturating_mul(INTERVALS));
    swept
        .map(|version| of_version(version, most, now))
        .collect()
}

fn of_version(version: &VersionStatus, most: Duration, now: Timestamp) -> Check {
    let name = format!("{LAG} of {}:{}", version.name, version.version);
    let events: i64 = version.partitions.iter().map(Progress::lag_events).sum();
    let behind = version.partitions.iter().filter(|one| one.lag_events() > 0);
    let seconds = behind.map(|one| one.age_seconds).fold(0.0, f64::max);
    let found = match events {
        0 => "none".to_owned(),
        events => format!("{events} events, the oldest of {seconds:.0} s"),
    };
    // What is being built is behind for as long as that takes, but somebody has to be at it.
    let swept = version.partitions.iter().filter_map(|one| one.swept_at);
    let since = swept.max().map(|at| now.as_micros() - at.as_micros());
    let is_swept = since.is_some_and(|since| i128::from(since) < most.as_micros() as i128);
    let is_built = version.status == Status::Building || version.is_rebuilding;
    match seconds > most.as_secs_f64() {
        true if is_built && is_swept => Check::well(
            &name,
            format!("{found}; it is being built: `aevon rules status`"),
        ),
        true => {
            let to_do = "is aggregator-svc running and ready? `aevon rules status` shows whether it gains; answers \
                         are right all the same";
            Check::bad(&name, found, to_do)
        }
        false => Check::well(&name, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_by_what_the_way_does_not_explain() {
        assert_eq!(skew(1_500, 1_000, 2_000), 0.0);
        assert_eq!(skew(7_000, 1_000, 2_000), 5.0);
        assert_eq!(skew(-500, 1_000, 2_000), -1.5);
        assert!(of_clock(1.9).is_well && of_clock(-1.9).is_well);
        assert!(!of_clock(2.1).is_well && !of_clock(-2.1).is_well);
    }

    #[test]
    fn a_rule_that_nobody_sweeps_is_behind_and_one_that_is_built_is_not() {
        let now = Timestamp::from_micros(1_000_000_000);
        let version = |status, checkpoint, age_seconds| VersionStatus {
            name: "r".to_owned(),
            version: 2,
            status,
            is_rebuilding: false,
            partitions: vec![Progress {
                partition: 0,
                checkpoint,
                head: 10,
                age_seconds,
                swept_at: None,
                sweep_seconds: None,
            }],
        };
        let settings = Settings::default();
        let look = |version| of_lag(&[version], &settings, now).remove(0);
        assert!(look(version(Status::Active, 10, 0.0)).is_well);
        assert!(look(version(Status::Active, 3, 359.0)).is_well);
        let behind = look(version(Status::Active, 3, 361.0));
        assert_eq!(behind.found, "7 events, the oldest of 361 s");
        assert!(!behind.is_well);
        assert!(!look(version(Status::Building, 3, 361.0)).is_well);
        let swept = |ago: i64| {
            let mut built = version(Status::Building, 3, 361.0);
            built.partitions[0].swept_at = Some(now.plus_micros(-ago));
            built
        };
        assert!(look(swept(359_000_000)).is_well);
        assert!(!look(swept(361_000_000)).is_well);
        // Only what was retired is left.
        assert_eq!(look(version(Status::Retired, 3, 361.0)).what, "rules");
    }
}
