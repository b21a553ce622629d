//! Windows of time as the clocks of a zone show them: hours, days, ISO weeks, months.
//!
//! Invariant: the windows of a calendar are half-open, never overlap and leave no gap, whatever its
//! clock did. A day, week or month begins at the first instant at which the clock shows it, or a
//! later one: where midnight does not exist, right behind it; where it comes twice, with the first;
//! a day that was skipped has no window. An hour begins whenever the clock shows a full hour, or
//! jumps from one hour into another: where one comes twice it has two windows.
//! Invariant: a minute is that of UTC in every zone.

mod zone;

pub use zone::{Zone, tzdb};

use crate::state::Range;
use crate::time::{DAY_US, Grain, HOUR_US, Timestamp};

/// What a window is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// A minute of UTC.
    Minute,
    /// An hour of the clock.
    Hour,
    /// A day.
    Day,
    /// A week of ISO 8601: it begins on Monday.
    Week,
    /// A month.
    Month,
}

/// A window of a calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first instant inside.
    pub start: Timestamp,
    /// The first instant outside.
    pub end: Timestamp,
}

impl Window {
    /// True where `at` lies inside.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// What of it lies in a range.
    pub fn cut_by(&self, range: Range) -> Range {
        Range {
            start: Some(range.start.map_or(self.start, |at| at.max(self.start))),
            end: Some(range.end.map_or(self.end, |at| at.min(self.end))),
        }
    }
}

/// The windows of one period in one zone.
#[derive(Clone, Copy, Debug)]
pub struct Calendar<'z> {
    zone: &'z Zone,
    period: Period,
}

impl<'z> Calendar<'z> {
    /// The calendar of a zone's periods.
    pub fn new(zone: &'z Zone, period: Period) -> Self {
        Self { zone, period }
    }

    /// The grain whose windows are just those of the calendar, if any.
    pub fn grain(&self) -> Option<Grain> {
        match self.period {
            Period::Minute => Some(Grain::Minute),
            Period::Hour if self.zone.is_utc() => Some(Grain::Hour),
            Period::Day if self.zone.is_utc() => Some(Grain::Day),
            _ => None,
        }
    }

    /// The window that an instant lies in.
    pub fn window(&self, at: Timestamp) -> Window {
        match (self.grain(), self.period) {
            (Some(grain), _) => {
                let start = grain.floor(at);
                Window {
                    start,
                    end: start.plus_micros(grain.width_us()),
                }
            }
            (None, Period::Hour) => Window {
                start: self.hour_start(at),
                end: self.hour_end(at),
            },
            (None, _) => self.date_window(at),
        }
    }

    /// The windows that have a part in a range, if both its ends are known and these are not more
    /// than `most`.
    pub fn windows_of(&self, range: Range, most: usize) -> Option<Vec<Window>> {
        if !self.has_at_most(range, most) {
            return None;
        }
        let (start, end) = (range.start?, range.end?);
        Some(self.windows_between(start, end).collect())
    }

    /// True where both ends of a range are known, and no more than so many windows have a part in it.
    /// They are counted, not kept.
    pub fn has_at_most(&self, range: Range, most: usize) -> bool {
        let (Some(start), Some(end)) = (range.start, range.end) else {
            return false;
        };
        match self.grain() {
            Some(grain) => {
                let whole = grain.ceil(end).as_micros() - grain.floor(start).as_micros();
                whole / grain.width_us() <= most as i64
            }
            None => self.windows_between(start, end).nth(most).is_none(),
        }
    }

    fn windows_between(&self, start: Timestamp, end: Timestamp) -> impl Iterator<Item = Window> {
        let next = move |window: &Window| Some(self.window(window.end));
        let windows = std::iter::successors(Some(self.window(start)), next);
        windows.take_while(move |window| window.start < end)
    }

    /// The window of a day or of days, which begin where the clock shows them first.
    fn date_window(&self, at: Timestamp) -> Window {
        let clock = at.as_micros() + self.zone.stretch_at(at).offset_us;
        let mut begins = self.period.floor(clock);
        loop {
            let next = self.period.next(begins);
            let end = self.zone.first_at(next);
            if at < end {
                let start = self.zone.first_at(begins);
                return Window { start, end };
            }
            // The clock was put back since it showed the next one.
            begins = next;
        }
    }

    fn hour_start(&self, mut at: Timestamp) -> Timestamp {
        let mut stretch = self.zone.stretch_at(at);
        loop {
            let full = Period::Hour.floor(at.as_micros() + stretch.offset_us) - stretch.offset_us;
            let full = Timestamp::from_micros(full);
            let Some(changed) = stretch.range.start.filter(|changed| full < *changed) else {
                return full;
            };
            if self.is_jump(changed) {
                return changed;
            }
            at = changed.plus_micros(-1);
            stretch = self.zone.stretch_at(at);
        }
    }

    fn hour_end(&self, mut at: Timestamp) -> Timestamp {
        let mut stretch = self.zone.stretch_at(at);
        loop {
            let full = Period::Hour.floor(at.as_micros() + stretch.offset_us) - stretch.offset_us;
            let full = Timestamp::from_micros(full + HOUR_US);
            let Some(changed) = stretch.range.end.filter(|changed| *changed <= full) else {
                return full;
            };
            stretch = self.zone.stretch_at(changed);
            let shown = changed.as_micros() + stretch.offset_us;
            if self.is_jump(changed) || Period::Hour.floor(shown) == shown {
                return changed;
            }
            at = changed;
        }
    }

    /// True where a change of the clock leads from one of its hours into another.
    fn is_jump(&self, changed: Timestamp) -> bool {
        let hour =
            |at: Timestamp| Period::Hour.floor(at.as_micros() + self.zone.stretch_at(at).offset_us);
        hour(changed.plus_micros(-1)) != hour(changed)
    }
}

impl Period {
    /// Where a period begins that holds `local`, in microseconds of a calendar without a zone.
    fn floor(self, local: i64) -> i64 {
        let day = local.div_euclid(DAY_US);
        match self {
            Period::Minute => Grain::Minute
                .floor(Timestamp::from_micros(local))
                .as_micros(),
            Period::Hour => Grain::Hour.floor(Timestamp::from_micros(local)).as_micros(),
            Period::Day => day * DAY_US,
            // 1970 began on a Thursday.
            Period::Week => (day - (day + 3).rem_euclid(7)) * DAY_US,
            Period::Month => first_of_month(month_of(day)) * DAY_US,
        }
    }

    /// Where the next one begins.
    fn next(self, local: i64) -> i64 {
        match self {
            Period::Minute => local + Grain::Minute.width_us(),
            Period::Hour => local + HOUR_US,
            Period::Day => local + DAY_US,
            Period::Week => local + 7 * DAY_US,
            Period::Month => first_of_month(month_of(local.div_euclid(DAY_US)) + 1) * DAY_US,
        }
    }
}

/// Days of 400 years, after which the calendar begins anew.
const CYCLE_DAYS: i64 = 146_097;
/// Days from the first of March of the year 0 to the first of January 1970.
const MARCH_0_DAYS: i64 = 719_468;

/// The month that a day lies in, counted from January of the year 0; days since 1970. By hand, as
/// the clocks of zones reach further than the years of libraries do (Hinnant, "chrono-compatible
/// low-level date algorithms": years begin in March, so that the leap day is their last).
fn month_of(day: i64) -> i64 {
    let days = day + MARCH_0_DAYS;
    let cycle = days.div_euclid(CYCLE_DAYS);
    let of_cycle = days.rem_euclid(CYCLE_DAYS);
    let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    (cycle * 400 + year) * 12 + month + 2
}

/// The first day of such a month, in days since 1970.
fn first_of_month(month: i64) -> i64 {
    let (years, month) = ((month - 2).div_euclid(12), (month - 2).rem_euclid(12));
    let (cycle, year) = (years.div_euclid(400), years.rem_euclid(400));
    let of_year = (153 * month + 2) / 5;
    cycle * CYCLE_DAYS + 365 * year + year / 4 - year / 100 + of_year - MARCH_0_DAYS
}

#[cfg(test)]
#[path = "calendar/tests.rs"]
mod tests;
