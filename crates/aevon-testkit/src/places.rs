//! Zones, and instants at which something happens to their clocks.

use aevon_core::calendar::Zone;
use aevon_core::time::Timestamp;

/// Clocks that do what clocks seldom do, each with the instant at which it does; where nothing is said
/// it is put forward or back by an hour.
const PLACES: [(&str, &str); 24] = [
    ("UTC", "1970-01-01T00:00:00Z"),
    ("UTC", "2026-03-01T00:00:00Z"),
    ("Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    // Its offset is 0 in winter: its days are then those of UTC.
    ("Europe/London", "2026-10-25T01:00:00Z"),
    ("Asia/Kathmandu", "1985-12-31T18:30:00Z"),
    ("Asia/Kathmandu", "2026-01-01T18:15:00Z"),
    // By half an hour.
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    // The 30th of December is skipped.
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    // The 21st of August 1969 comes twice, nearly.
    ("Pacific/Kwajalein", "1993-08-21T12:00:00Z"),
    ("Pacific/Kwajalein", "1969-09-30T13:00:00Z"),
    // There is no midnight; or two.
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    ("America/Sao_Paulo", "2019-02-17T02:00:00Z"),
    // One minute behind midnight, back into the day before.
    ("America/St_Johns", "2006-10-29T02:31:00Z"),
    // From half an hour before midnight to half an hour behind it.
    ("America/Toronto", "1919-03-31T04:30:00Z"),
    // Offsets with seconds.
    ("Africa/Monrovia", "1972-01-07T00:44:30Z"),
    ("Europe/Berlin", "1893-03-31T23:06:32Z"),
    ("America/New_York", "1883-11-18T17:00:00Z"),
    // A day is skipped, and one comes twice, by offsets with seconds.
    ("Asia/Manila", "1844-12-31T15:56:08Z"),
    ("America/Juneau", "1867-10-19T00:31:13Z"),
    // By two hours.
    ("Antarctica/Troll", "2026-03-29T01:00:00Z"),
    ("Africa/Casablanca", "2026-02-15T02:00:00Z"),
    ("Pacific/Kiritimati", "1994-12-31T10:40:00Z"),
];

/// How many places there are.
pub const COUNT: usize = PLACES.len();

/// A zone, and an instant at which something happens to its clock.
pub fn place(nth: usize) -> (Zone, Timestamp) {
    let (name, at) = PLACES[nth % COUNT];
    let zone = Zone::named(name).expect("the database has the zone");
    (zone, Timestamp::parse(at).expect("an instant"))
}
