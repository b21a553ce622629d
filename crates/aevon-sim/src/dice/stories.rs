//! Operations that belong together: what a roll of the dice alone would hardly bring about.

use aevon_core::time::{DAY_US, HOUR_US, MINUTE_US};

use super::{Dice, OF_DISCARDS, OF_RULES, OF_SWEEPS, edge};
use crate::model::{PARTITIONS, partition_of_principal};
use crate::operation::{Ask, At, Body, By, Event, Operation, Says, Slice};
use crate::rules::NAMES;

/// Events of one principal are appended, and nothing befalls anybody.
fn append(writer: u8, principal: u8, events: Vec<Event>) -> Operation {
    Operation::Append {
        writer,
        bodies: vec![Body {
            principal,
            is_atomic: false,
            events,
        }],
        trouble: None,
    }
}

/// So many events of a principal's partition are swept, and nothing befalls anybody.
fn sweep(sweeper: u8, principal: u8, events: u8) -> Operation {
    Operation::Sweep {
        sweeper,
        slice: Slice {
            partition: partition_of_principal(principal),
            events,
            is_front: true,
        },
        trouble: None,
    }
}

impl Dice {
    /// Events of one minute, of which some are voided one after another while slices end in between.
    pub(super) fn correction(&mut self) -> Vec<Operation> {
        let principal = self.byte(2);
        let at = self.instant();
        let mut events: Vec<Event> = (0..4).map(|_| self.usage()).collect();
        for event in &mut events {
            event.at = edge(at, MINUTE_US) + self.roll(MINUTE_US as u64) as i64;
        }
        let ours = events.iter().map(|event| (principal, event.clone()));
        self.sent.extend(ours);
        let targets = [events[0].id, events[1 + self.roll(3) as usize].id];
        let mut story = vec![append(0, principal, events)];
        if !self.is_one_in(3) {
            story.push(sweep(0, principal, 200));
        }
        for target in targets {
            let says = Says::Void(target);
            let void = Event {
                says,
                ..self.usage()
            };
            story.push(append(self.byte(2), principal, vec![void]));
        }
        for _ in 0..2 {
            let events = self.of(&[1, 1, 2, 5]);
            story.push(sweep(self.byte(2), principal, events));
            if !self.is_one_in(3) {
                story.push(Operation::Verify);
            }
        }
        let at = At::Back(self.roll(4) as u16);
        story.push(Operation::Read {
            principal,
            at,
            by: By::Every,
            ask: self.ask(),
        });
        story
    }

    /// Events on both sides of the edge of a window, and answers that end there.
    pub(super) fn edges(&mut self) -> Vec<Operation> {
        let principal = self.byte(2);
        let width = self.of(&[MINUTE_US, HOUR_US, DAY_US]);
        let at = edge(self.instant(), width);
        let mut events = Vec::new();
        for offset in [-width, -1, 0, width / 2] {
            events.push(Event {
                at: at + offset,
                ..self.usage()
            });
        }
        let ours = events.iter().map(|event| (principal, event.clone()));
        self.sent.extend(ours);
        let mut story = vec![append(self.byte(2), principal, events)];
        story.push(sweep(self.byte(2), principal, 200));
        for _ in 0..2 {
            let start = self.is_one_in(2).then_some(at - width);
            let end = Some(at);
            story.push(Operation::Read {
                principal,
                at: self.at(),
                by: By::Every,
                ask: Ask {
                    start,
                    end,
                    granularity: 0,
                    ..self.ask()
                },
            });
        }
        story
    }

    /// Versions that give way to others, and whose buckets go.
    pub(super) fn succession(&mut self) -> Vec<Operation> {
        let mut story = vec![
            Operation::Activate(200, None),
            self.applied(),
            Operation::Activate(200, None),
            Operation::Discard(self.trouble(&OF_DISCARDS)),
        ];
        for _ in 0..2 {
            story.push(Operation::Read {
                principal: self.byte(3),
                at: self.at(),
                by: By::Version(self.byte(12)),
                ask: self.ask(),
            });
        }
        story
    }

    /// Buckets of a name are made anew, mostly up to where those are that answer, and take their place.
    pub(super) fn renewal(&mut self) -> Vec<Operation> {
        let name = self.byte(NAMES);
        let mut story = self.sweeps(true);
        story.push(Operation::Activate(200, None));
        story.push(Operation::Rebuild(name, None));
        story.extend(self.sweeps(false));
        story.push(match self.is_one_in(4) {
            true => Operation::GiveUp(name, self.trouble(&OF_RULES)),
            false => Operation::Switch(name, self.trouble(&OF_RULES)),
        });
        story.push(Operation::Discard(self.trouble(&OF_DISCARDS)));
        story.push(Operation::Read {
            principal: self.byte(3),
            at: self.at(),
            by: By::Name(name),
            ask: self.ask(),
        });
        story
    }

    /// All that a sweep of each partition reaches; now and then one is passed over.
    fn sweeps(&mut self, is_front: bool) -> Vec<Operation> {
        let mut sweeps = Vec::new();
        for partition in 0..PARTITIONS as u8 {
            if self.is_one_in(12) {
                continue;
            }
            sweeps.push(Operation::Sweep {
                sweeper: self.byte(2),
                slice: Slice {
                    partition,
                    events: 200,
                    is_front,
                },
                // A rebuild is to catch up.
                trouble: self.trouble(&OF_SWEEPS).filter(|_| is_front),
            });
        }
        sweeps
    }
}
