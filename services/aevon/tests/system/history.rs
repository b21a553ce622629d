//! What clients saw, with times of one monotonic clock, and the question whether one log that grows
//! could have shown it to them.
//!
//! The events of a principal have the values 1, 2, 4, 8 …, so that a sum tells exactly which of them
//! it was made of. An answer is linearizable where it shows what was acknowledged before it was asked
//! for, nothing that was sent after it came, and exactly what lies at or below the version that it
//! names.

use aevon_core::position::Position;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Nanoseconds of a clock that never goes back.
pub(crate) type Moment = u64;

/// What an append does to the sum of its principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// An event of the value 2^bit.
    Adds(u32),
    /// A void of it.
    TakesOut(u32),
}

/// An event that somebody sent, until it was acknowledged or given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Append {
    pub(crate) change: Change,
    /// When it was sent for the first time.
    pub(crate) begun: Moment,
    /// When its acknowledgement came.
    pub(crate) acknowledged: Option<Moment>,
    /// Where it stands: as the acknowledgement said, or as the log says.
    pub(crate) position: Option<Position>,
}

/// What an answer says of the time at which it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// What stood then.
    Newest,
    /// What a replica had by then.
    Replica,
    /// Nothing: it was asked as of an earlier version.
    Past,
}

/// An answer to somebody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) begun: Moment,
    pub(crate) ended: Moment,
    /// The position that it had to know at least.
    pub(crate) least: Option<Position>,
    pub(crate) sight: Sight,
    /// The version that it names.
    pub(crate) version: Position,
    /// The sum.
    pub(crate) seen: u128,
    /// How many events it says that the sum is of.
    pub(crate) count: u32,
}

/// What was seen of one principal.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) appends: Vec<Append>,
    pub(crate) reads: Vec<Read>,
}

impl History {
    /// Everything that no log could have shown. Every append that stands has its position.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut found = self.of_appends();
        for read in &self.reads {
            found.extend(self.of_read(read));
        }
        found.extend(self.of_order());
        found
    }

    /// What was acknowledged stands, once, behind all that was acknowledged before it was sent.
    fn of_appends(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut standing = BTreeMap::new();
        for append in &self.appends {
            match append.position {
                None if append.acknowledged.is_some() => {
                    found.push(format!("lost although acknowledged: {append:?}"));
                }
                Some(position) => {
                    if let Some(other) = standing.insert(position, append) {
                        found.push(format!("at one position: {append:?} and {other:?}"));
                    }
                }
                None => {}
            }
        }
        // The last position that was acknowledged before a moment.
        let mut acknowledged: Vec<(Moment, Position)> = (self.appends.iter())
            .filter_map(|append| append.acknowledged.zip(append.position))
            .collect();
        acknowledged.sort_unstable();
        for append in &self.appends {
            let before = acknowledged.partition_point(|(at, _)| *at < append.begun);
            let last = acknowledged[..before].iter().map(|(_, position)| position);
            if append.position.is_some() && append.position.as_ref() < last.max() {
                found.push(format!("stands before what was acknowledged: {append:?}"));
            }
        }
        found
    }

    fn of_read(&self, read: &Read) -> Option<String> {
        let mut wrong = String::new();
        if read.seen.count_ones() != read.count {
            let _ = write!(wrong, "the sum is not of {} events; ", read.count);
        }
        let standing = self.standing(read.version);
        if read.seen != standing {
            let _ = write!(wrong, "at its version the sum is {standing:#x}; ");
        }
        if read.least > Some(read.version) {
            wrong.push_str("older than min_version; ");
        }
        for append in &self.appends {
            let Some(position) = append.position else {
                continue;
            };
            let is_known = append.acknowledged.is_some_and(|at| at < read.begun);
            if read.sight == Sight::Newest && is_known && position > read.version {
                let _ = write!(wrong, "misses what was acknowledged: {append:?}; ");
            }
            if append.begun > read.ended && position <= read.version {
                let _ = write!(wrong, "shows what was not sent yet: {append:?}; ");
            }
        }
        (!wrong.is_empty()).then(|| format!("{wrong}{:#x} in {read:?}", read.seen))
    }

    /// The sum of what lies at or below a position.
    fn standing(&self, version: Position) -> u128 {
        let known = |append: &&Append| append.position.is_some_and(|at| at <= version);
        let known = || self.appends.iter().filter(known);
        let added = known().fold(0, |sum, append| match append.change {
            Change::Adds(bit) => sum | 1 << bit,
            Change::TakesOut(_) => sum,
        });
        known().fold(added, |sum, append| match append.change {
            Change::TakesOut(bit) => sum & !(1 << bit),
            Change::Adds(_) => sum,
        })
    }

    /// Of two answers, the one that was asked for after the other had come knows no less.
    fn of_order(&self) -> Option<String> {
        let is_newest = |read: &&Read| read.sight == Sight::Newest;
        let mut ends: Vec<&Read> = self.reads.iter().filter(is_newest).collect();
        let mut begins = ends.clone();
        ends.sort_by_key(|read| read.ended);
        begins.sort_by_key(|read| read.begun);
        let mut ends = ends.into_iter().peekable();
        let mut newest: Option<&Read> = None;
        for read in begins {
            while let Some(ended) = ends.next_if(|ended| ended.ended < read.begun) {
                let is_newer = newest.is_none_or(|newest| newest.version < ended.version);
                newest = if is_newer { Some(ended) } else { newest };
            }
            if let Some(newest) = newest.filter(|newest| newest.version > read.version) {
                return Some(format!("goes back: {read:?} after {newest:?}"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: i64) -> Position {
        Position { partition: 3, seq }
    }

    fn sent(bit: u32, begun: Moment, acknowledged: Moment, seq: i64) -> Append {
        Append {
            change: Change::Adds(bit),
            begun,
            acknowledged: Some(acknowledged),
            position: Some(at(seq)),
        }
    }

    fn read(begun: Moment, ended: Moment, version: i64, seen: u128) -> Read {
        Read {
            begun,
            ended,
            least: None,
            sight: Sight::Newest,
            version: at(version),
            seen,
            count: seen.count_ones(),
        }
    }

    /// Three events and a void of the second, one after the other, and reads between them. Positions
    /// of others lie in between.
    fn right() -> History {
        let void = Append {
            change: Change::TakesOut(1),
            ..sent(0, 50, 60, 9)
        };
        let past = Read {
            sight: Sight::Past,
            ..read(63, 64, 4, 0b11)
        };
        let behind = Read {
            sight: Sight::Replica,
            ..read(65, 66, 3, 0b1)
        };
        History {
            appends: vec![
                sent(0, 10, 20, 2),
                sent(1, 30, 40, 4),
                void,
                sent(2, 70, 80, 10),
            ],
            reads: vec![
                read(1, 2, 1, 0),
                // Of what is under way, both are right.
                read(11, 19, 1, 0),
                read(12, 18, 2, 0b1),
                read(21, 22, 3, 0b1),
                read(41, 42, 8, 0b11),
                read(61, 62, 9, 0b01),
                past,
                behind,
                read(81, 82, 10, 0b101),
            ],
        }
    }

    /// What is found where this was changed in the history that is right.
    fn found(change: impl FnOnce(&mut History)) -> String {
        let mut history = right();
        change(&mut history);
        history.violations().join("\n")
    }

    #[test]
    fn a_history_that_a_log_could_have_shown_is_right() {
        assert_eq!(found(|_| {}), "");
    }

    #[test]
    fn an_event_that_was_given_up_may_stand_or_not() {
        let given_up = |position| Append {
            acknowledged: None,
            position,
            ..sent(5, 30, 40, 0)
        };
        assert_eq!(found(|history| history.appends.push(given_up(None))), "");
        let stands = |history: &mut History| {
            history.appends.push(given_up(Some(at(11))));
            history.reads.push(read(90, 91, 11, 0b10_0101));
        };
        assert_eq!(found(stands), "");
    }

    #[test]
    fn a_lost_event_is_found() {
        let lost = found(|history| history.appends[3].position = None);
        assert!(lost.contains("lost although acknowledged"), "{lost}");
    }

    #[test]
    fn two_events_at_one_position_are_found() {
        let both = found(|history| history.appends[1].position = Some(at(2)));
        assert!(both.contains("at one position"), "{both}");
    }

    #[test]
    fn an_event_that_stands_before_what_was_acknowledged_before_it_was_sent_is_found() {
        let before = found(|history| history.appends[1].position = Some(at(1)));
        assert!(
            before.contains("stands before what was acknowledged"),
            "{before}"
        );
    }

    #[test]
    fn an_answer_that_misses_what_was_acknowledged_is_found() {
        let stale = found(|history| history.reads[3] = read(21, 22, 1, 0));
        assert!(stale.contains("misses what was acknowledged"), "{stale}");
    }

    #[test]
    fn an_answer_that_shows_what_was_not_sent_yet_is_found() {
        let early = found(|history| history.reads[3] = read(21, 22, 4, 0b11));
        assert!(early.contains("shows what was not sent yet"), "{early}");
    }

    #[test]
    fn an_answer_that_is_not_that_of_its_version_is_found() {
        for wrong in [0, 0b10, 0b11, 0b111] {
            let wrong = found(|history| history.reads[3] = read(21, 22, 3, wrong));
            assert!(wrong.contains("at its version the sum is 0x1"), "{wrong}");
        }
        let past = found(|history| history.reads[6].seen = 0b01);
        assert!(past.contains("at its version the sum is 0x3"), "{past}");
    }

    #[test]
    fn an_event_that_is_counted_twice_is_found() {
        // 1 + 1 is the value of the next event.
        let twice = found(|history| {
            history.reads[4].seen = 0b100;
            history.reads[4].count = 3;
        });
        assert!(twice.contains("the sum is not of 3 events"), "{twice}");
    }

    #[test]
    fn an_answer_older_than_its_min_version_is_found() {
        let older = found(|history| history.reads[3].least = Some(at(4)));
        assert!(older.contains("older than min_version"), "{older}");
        let replica = found(|history| history.reads[7].least = Some(at(4)));
        assert!(replica.contains("older than min_version"), "{replica}");
        assert_eq!(found(|history| history.reads[4].least = Some(at(4))), "");
    }

    #[test]
    fn answers_that_go_back_are_found() {
        let back = found(|history| {
            // While the second event is under way: one answer has it, and the next has it no more.
            history.reads.push(read(31, 32, 4, 0b11));
            history.reads.push(read(33, 34, 3, 0b01));
        });
        assert!(back.contains("goes back"), "{back}");
        // Asked for at the same time, both are right.
        let both = found(|history| {
            history.reads.push(read(31, 34, 4, 0b11));
            history.reads.push(read(33, 35, 3, 0b01));
        });
        assert_eq!(both, "");
    }
}
