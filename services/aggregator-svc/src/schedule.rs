//! When to sweep: every so often, or at the times of a cron expression (UTC).

use croner::Cron;
use jiff::Zoned;
use std::str::FromStr;
use std::time::Duration;

/// A schedule.
#[derive(Clone, Debug)]
pub(crate) enum Schedule {
    /// Again this long after the last sweep ended.
    Every(Duration),
    /// At these times.
    At(Box<Cron>),
}

/// The shortest interval: below it sweeps would only wait for each other.
const SHORTEST: Duration = Duration::from_millis(10);

/// The longest: beyond it buckets would be of no use.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

impl Schedule {
    /// Reads `2m`, or `*/2 * * * *`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(interval) = humantime::parse_duration(text) {
            return match (SHORTEST..=LONGEST).contains(&interval) {
                true => Ok(Self::Every(interval)),
                false => Err(format!("{text} is not between 10ms and 7days")),
            };
        }
        let cron = Cron::from_str(text).map_err(|error| {
            format!("{text:?} is neither a duration such as 2m nor a cron expression: {error}")
        })?;
        if cron.find_next_occurrence(&Zoned::default(), false).is_err() {
            return Err(format!("{text:?} never comes"));
        }
        Ok(Self::At(Box::new(cron)))
    }

    /// How long to wait from `now` on.
    pub(crate) fn wait(&self, now: &Zoned) -> Duration {
        match self {
            Self::Every(interval) => *interval,
            Self::At(cron) => cron
                .find_next_occurrence(now, false)
                .ok()
                .and_then(|next| Duration::try_from(now.duration_until(&next)).ok())
                // An expression without a next time: look again tomorrow.
                .unwrap_or(Duration::from_secs(86_400)),
        }
    }
}

/// Up to a tenth longer, 5 s at most, by chance: so that what waits for the same moment does not all
/// come at once.
pub(crate) fn jittered(wait: Duration) -> Duration {
    let most = (wait / 10).min(Duration::from_secs(5));
    wait + most.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{Timestamp, tz::TimeZone};
    use proptest::prelude::*;

    #[test]
    fn what_waits_for_the_same_moment_comes_a_little_apart() {
        let minute = Duration::from_secs(60);
        let waits: Vec<Duration> = (0..100).map(|_| jittered(minute)).collect();
        let is_near = |wait: &Duration| (minute..=minute + Duration::from_secs(5)).contains(wait);
        assert!(waits.iter().all(is_near));
        assert!(waits.iter().any(|wait| *wait != waits[0]));
        assert_eq!(jittered(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_schedule_is_a_duration_or_a_cron_expression() {
        let now: Zoned = "2026-02-11T10:30:30+00:00[UTC]".parse().unwrap();
        let wait = |text: &str| Schedule::parse(text).map(|schedule| schedule.wait(&now));
        assert_eq!(wait("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(wait("*/2 * * * *"), Ok(Duration::from_secs(90)));
        assert!(wait("often").unwrap_err().contains("neither"));
        assert!(wait("0s").unwrap_err().contains("not between"));
        assert!(wait("100000y").unwrap_err().contains("not between"));
        assert!(wait("0 0 31 2 *").unwrap_err().contains("never comes"));
        assert!(wait("61 * * * *").is_err() && wait("-5s").is_err());
    }

    /// Something like one of the five fields.
    fn field() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => Just("*".to_owned()),
            3 => "(\\*|[0-9]{1,2})(/[0-9]{1,2})?",
            1 => "[0-9]{1,2}(-[0-9]{1,2})?(,[0-9]{1,2}){0,3}",
            1 => "[A-Z]{3}|L|#|[0-9]L|[0-9]#[0-9]|\\PC{0,3}",
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_refused_in_one_line_or_comes_within_years(
            text in prop_oneof![
                prop::collection::vec(field(), 4..7).prop_map(|fields| fields.join(" ")),
                "-?[0-9]{1,20}(ms|s|m|h|d|w|y| )?[0-9a-z ]{0,5}",
                any::<String>(),
            ],
            now in 0..4_000_000_000_i64,
        ) {
            let now = Timestamp::from_second(now).unwrap().to_zoned(TimeZone::UTC);
            match Schedule::parse(&text) {
                Err(reason) => {
                    prop_assert!(!reason.is_empty() && reason.lines().count() == 1, "{reason:?}");
                }
                Ok(Schedule::Every(interval)) => {
                    prop_assert!((SHORTEST..=LONGEST).contains(&interval), "{interval:?}");
                }
                Ok(schedule @ Schedule::At(_)) => {
                    let wait = schedule.wait(&now);
                    let years = Duration::from_secs(12 * 366 * 86_400);
                    prop_assert!(wait > Duration::ZERO && wait < years, "{wait:?}");
                }
            }
        }
    }
}
