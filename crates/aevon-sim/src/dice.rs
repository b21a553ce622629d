//! The operations of a seed: the same for the same seed, whatever the world makes of them.

use aevon_core::time::{DAY_US, HOUR_US, MINUTE_US};

use crate::model::{LABELS, PARTITIONS, PRINCIPALS, TENANTS, VALUES, ZONES};
use crate::operation::{Ask, At, Body, By, Event, Operation, Point, RuleSet, Says, Slice, Trouble};
use crate::rules::{NAMES, VARIANTS};

mod stories;

/// Operations of a seed, those within others not counted; a story may take it further.
const OPERATIONS: usize = 26;
/// A second in microseconds.
const SECOND_US: i64 = 1_000_000;
const YEAR_US: i64 = 365 * DAY_US;

/// Where an append may be.
pub(crate) const OF_APPENDS: [Point; 12] = [
    Point::Before("partitions_lock"),
    Point::After("partitions_lock"),
    Point::After("events_heads"),
    Point::After("events_standing_named"),
    Point::Before("principals_insert"),
    Point::After("principals_insert"),
    Point::Before("events_insert"),
    Point::After("events_insert"),
    Point::Before("voids_insert"),
    Point::After("voids_insert"),
    Point::Before("COMMIT"),
    Point::After("COMMIT"),
];
/// Where one of two appends is held.
pub(crate) const OF_RACES: [Point; 5] = [
    Point::Before("partitions_lock"),
    Point::After("partitions_lock"),
    Point::Before("events_insert"),
    Point::After("events_insert"),
    Point::Before("COMMIT"),
];
/// Where a sweep may be.
pub(crate) const OF_SWEEPS: [Point; 12] = [
    Point::After("sweep_lease"),
    Point::After("sweep_standing"),
    Point::After("sweep_slice"),
    Point::After("sweep_voids"),
    Point::After("series_insert"),
    Point::After("pre_aggregates_merge"),
    Point::After("pre_aggregates_merge_more"),
    Point::After("sweep_checkpoints_begin"),
    Point::Before("sweep_checkpoints_advance"),
    Point::After("sweep_checkpoints_advance"),
    Point::Before("COMMIT"),
    Point::After("COMMIT"),
];
/// Where the deleting of buckets may be.
pub(crate) const OF_DISCARDS: [Point; 6] = [
    Point::After("sweep_lease"),
    Point::After("discards_begin"),
    Point::After("discards_buckets"),
    Point::After("discards_series_delete"),
    Point::Before("COMMIT"),
    Point::After("COMMIT"),
];

/// Where whoever changes which rules there are, or which of their versions answer, may be.
pub(crate) const OF_RULES: [Point; 9] = [
    Point::Before("LOCK"),
    Point::After("LOCK"),
    Point::After("SELECT"),
    Point::Before("INSERT"),
    Point::After("INSERT"),
    Point::After("UPDATE"),
    Point::After("rebuild_switch"),
    Point::Before("COMMIT"),
    Point::After("COMMIT"),
];
/// Where one of two who apply rules is held.
pub(crate) const OF_CONTESTS: [Point; 6] = [
    Point::Before("LOCK"),
    Point::After("LOCK"),
    Point::After("SELECT"),
    Point::Before("INSERT"),
    Point::After("UPDATE"),
    Point::Before("COMMIT"),
];

/// The operations of a seed.
pub fn operations(seed: u64) -> Vec<Operation> {
    let mut dice = Dice::new(seed);
    let mut operations = vec![Operation::Rules(dice.rules(), None)];
    while operations.len() < OPERATIONS {
        match dice.roll(24) {
            0 => operations.extend(dice.correction()),
            1 => operations.extend(dice.succession()),
            2 => operations.extend(dice.edges()),
            3 => operations.extend(dice.renewal()),
            _ => operations.push(dice.operation()),
        }
    }
    operations
}

/// The edge of a window at or before an instant. The beginning of the world is at 21:00 in UTC.
const fn edge(at: i64, width: i64) -> i64 {
    (at + 21 * HOUR_US).div_euclid(width) * width - 21 * HOUR_US
}

struct Dice {
    state: u64,
    /// What the clock of the world will say, since its beginning.
    now: i64,
    /// Events that were sent, with their principal.
    sent: Vec<(u8, Event)>,
    next_id: u16,
}

impl Dice {
    fn new(seed: u64) -> Self {
        // Neighbouring seeds are to have nothing in common.
        let mixed = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut dice = Self {
            state: mixed | 1,
            now: 0,
            sent: Vec::new(),
            next_id: 0,
        };
        for _ in 0..8 {
            dice.roll(2);
        }
        dice
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % sides
    }

    fn byte(&mut self, sides: u8) -> u8 {
        self.roll(sides.into()) as u8
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len() as u64) as usize]
    }

    fn is_one_in(&mut self, many: u64) -> bool {
        self.roll(many) == 0
    }

    fn operation(&mut self) -> Operation {
        match self.roll(36) {
            0..2 => Operation::Tick(self.tick()),
            2..12 => Operation::Append {
                writer: self.byte(2),
                bodies: self.bodies(),
                trouble: self.trouble(&OF_APPENDS),
            },
            12 | 13 => Operation::Race {
                first: self.bodies(),
                point: self.of(&OF_RACES),
                second: self.bodies(),
            },
            14..20 => Operation::Sweep {
                sweeper: self.byte(2),
                slice: self.slice(),
                trouble: self.trouble(&OF_SWEEPS),
            },
            20 | 21 => Operation::During {
                slice: self.slice(),
                point: self.of(&OF_SWEEPS[..10]),
                meanwhile: (0..=self.roll(3)).map(|_| self.within()).collect(),
            },
            22 => self.applied(),
            23 | 24 => {
                let slack = [0, 3, 50][self.roll(3) as usize];
                Operation::Activate(slack, self.trouble(&OF_RULES))
            }
            25 => {
                let (name, trouble) = (self.byte(NAMES), self.trouble(&OF_RULES));
                match self.roll(6) {
                    0..2 => Operation::Rebuild(name, trouble),
                    2..5 => Operation::Switch(name, trouble),
                    _ => Operation::GiveUp(name, trouble),
                }
            }
            26 => match self.is_one_in(3) {
                true => Operation::Verify,
                false => Operation::Discard(self.trouble(&OF_DISCARDS)),
            },
            _ => self.question(),
        }
    }

    /// What may happen while a sweeper is held.
    fn within(&mut self) -> Operation {
        match self.roll(6) {
            0 | 1 => Operation::Append {
                writer: self.byte(2),
                bodies: self.bodies(),
                trouble: None,
            },
            2 => Operation::Sweep {
                sweeper: 1,
                slice: self.slice(),
                trouble: None,
            },
            3 => Operation::Activate(50, None),
            _ => self.question(),
        }
    }

    fn question(&mut self) -> Operation {
        let ask = self.ask();
        match self.roll(10) {
            0 => Operation::Total {
                tenant: self.byte(TENANTS.len() as u8),
                at: self.at(),
                ask,
            },
            1 => Operation::List {
                tenant: self.byte(TENANTS.len() as u8),
                limit: 2 + self.byte(4),
                ask,
            },
            2 => Operation::Fetch(self.byte(2)),
            3 => Operation::Compare {
                name: self.byte(NAMES),
                principal: self.principal(),
                at: self.at(),
                ask,
            },
            _ => Operation::Read {
                principal: self.principal(),
                at: self.at(),
                by: match self.roll(6) {
                    0 => By::Name(self.byte(NAMES)),
                    1 | 2 => By::Version(self.byte(12)),
                    _ => By::Every,
                },
                ask,
            },
        }
    }

    fn tick(&mut self) -> i64 {
        let widths = [1, SECOND_US, MINUTE_US, HOUR_US, DAY_US / 3, DAY_US];
        let micros = self.of(&widths) * (1 + self.roll(3) as i64);
        self.now += micros;
        micros
    }

    /// Most about a few, so that much happens to them.
    fn principal(&mut self) -> u8 {
        let some = 2 + self.roll(PRINCIPALS.len() as u64 - 1);
        self.roll(some) as u8 % PRINCIPALS.len() as u8
    }

    fn bodies(&mut self) -> Vec<Body> {
        (0..=self.roll(3)).map(|_| self.body()).collect()
    }

    fn body(&mut self) -> Body {
        let principal = self.principal();
        Body {
            principal,
            is_atomic: self.is_one_in(3),
            events: (0..=self.roll(4)).map(|_| self.event(principal)).collect(),
        }
    }

    fn event(&mut self, principal: u8) -> Event {
        let ours = self.sent.iter().filter(|(of, _)| *of == principal);
        let ours: Vec<Event> = ours.map(|(_, event)| event.clone()).collect();
        let event = match (self.roll(10), ours.is_empty()) {
            // The caller tries again.
            (0, false) => ours[self.roll(ours.len() as u64) as usize].clone(),
            // Another event under an id that is taken.
            (1, false) => Event {
                id: ours[self.roll(ours.len() as u64) as usize].id,
                ..self.usage()
            },
            (2..4, false) => {
                let target = ours[self.roll(ours.len() as u64) as usize].id;
                Event {
                    says: Says::Void(target),
                    ..self.usage()
                }
            }
            _ => self.usage(),
        };
        self.sent.push((principal, event.clone()));
        event
    }

    fn usage(&mut self) -> Event {
        self.next_id += 1;
        let value = self.byte(VALUES.len() as u8);
        Event {
            id: self.next_id,
            at: self.instant(),
            says: Says::Usage(value, self.byte(LABELS.len() as u8), self.byte(4)),
        }
    }

    /// When an event occurs: now, or late by seconds to years, and often at the edge of a window.
    fn instant(&mut self) -> i64 {
        let late = [
            0,
            0,
            SECOND_US,
            MINUTE_US,
            HOUR_US,
            DAY_US,
            40 * DAY_US,
            3 * YEAR_US,
        ];
        let at = self.now - self.of(&late) * (1 + self.roll(2) as i64);
        let width = self.of(&[MINUTE_US, HOUR_US, DAY_US]);
        let edge = edge(at, width);
        match self.roll(6) {
            0 => edge,
            1 => edge + 1,
            2 => edge - 1,
            3 => edge + width / 2,
            _ => at,
        }
    }

    /// Where a range begins or ends: often where the bucket of an event does.
    fn bound(&mut self) -> i64 {
        let near = self.roll(1 + self.sent.len() as u64) as usize;
        match self.sent.get(near).map(|(_, event)| event.at) {
            Some(at) => {
                let width = self.of(&[1, MINUTE_US, MINUTE_US, HOUR_US, HOUR_US, DAY_US]);
                edge(at, width) + if self.is_one_in(3) { width } else { 0 }
            }
            None => self.instant(),
        }
    }

    fn slice(&mut self) -> Slice {
        Slice {
            partition: self.byte(PARTITIONS as u8),
            events: self.of(&[1, 2, 3, 5, 8, 13, 40, 200]),
            is_front: self.is_one_in(2),
        }
    }

    fn trouble(&mut self, points: &[Point]) -> Option<Trouble> {
        self.is_one_in(3).then(|| Trouble {
            point: self.of(points),
            is_killed: self.is_one_in(2),
        })
    }

    /// Rules are applied by one aggregator, or by two at once.
    fn applied(&mut self) -> Operation {
        match self.is_one_in(3) {
            true => Operation::Contest {
                first: self.rules(),
                point: self.of(&OF_CONTESTS),
                second: self.rules(),
            },
            false => Operation::Rules(self.rules(), self.trouble(&OF_RULES)),
        }
    }

    fn rules(&mut self) -> RuleSet {
        let mut set = Vec::new();
        for name in 0..NAMES {
            if !self.is_one_in(4) {
                set.push((name, self.byte(VARIANTS)));
            }
        }
        set
    }

    fn at(&mut self) -> At {
        match self.roll(5) {
            0 | 1 => At::Newest,
            2 => At::Ago(self.of(&[0, 1, SECOND_US, MINUTE_US, HOUR_US, DAY_US])),
            // Now and then up to the beginning of the log.
            3 => At::Back(self.roll(1 + self.sent.len() as u64) as u16),
            _ => At::Back(self.roll(12) as u16),
        }
    }

    fn ask(&mut self) -> Ask {
        let granularity = self.byte(6);
        let mut ask = Ask {
            start: None,
            end: None,
            granularity,
            groups: self.byte(3),
            is_narrowed: self.is_one_in(4),
            zone: self.byte(ZONES.len() as u8),
            fill: self.byte(2),
            is_cumulative: self.is_one_in(4),
        };
        if self.is_one_in(12) {
            ask.fill = 2;
        }
        // Windows are few where each takes part in an answer.
        let longest = [
            5 * YEAR_US,
            40 * MINUTE_US,
            50 * HOUR_US,
            60 * DAY_US,
            YEAR_US,
            YEAR_US,
        ];
        let longest = longest[usize::from(granularity)];
        let is_open = granularity == 0 && self.is_one_in(2);
        if !is_open {
            let (one, other) = (self.bound(), self.bound());
            let (start, end) = (one.min(other), one.max(other));
            let shortened = end - 1 - self.roll(longest as u64) as i64;
            let is_short = end - start <= longest;
            ask.start = Some(if is_short { start } else { shortened });
            ask.end = Some(end);
        }
        ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_list_and_its_neighbour_another() {
        assert_eq!(operations(7), operations(7));
        assert_ne!(operations(7), operations(8));
    }
}
