//! The course of a run over all goals: which parts there are, what they take, what is left.
//!
//! Invariant: a run ends within its budget: rounds for which no time is left are not begun, except the
//! first of each part.

use std::time::{Duration, Instant};

use crate::tally::Span;

/// A part that is measured in rounds; seconds as they were planned for a full run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// Before the rounds: filling (15 s for a million events), sweeping, vacuuming.
    prepare: f64,
    /// Of a round: copies of databases (1 to 2 s each), checkpoints, starts, checks.
    fixed: f64,
    /// Measurements of a round of [`Size::writes`], and of [`Size::reads`].
    writes: f64,
    reads: f64,
    /// Whether it is repeated.
    in_rounds: bool,
}

const fn part(name: &'static str, prepare: f64, [fixed, writes, reads]: [f64; 3]) -> Part {
    Part {
        name,
        prepare,
        fixed,
        writes,
        reads,
        in_rounds: true,
    }
}

pub(crate) const WRITES: Part = part("writes", 20.0, [25.0, 10.0, 0.0]);
pub(crate) const SWEEPS: Part = part("sweeps", 30.0, [40.0, 0.0, 0.0]);
pub(crate) const READS: Part = part("reads", 25.0, [3.0, 0.0, 10.0]);
pub(crate) const TAIL: Part = part("unswept events", 25.0, [1.0, 0.0, 2.0]);
pub(crate) const PAST: Part = part("the past", 45.0, [2.0, 0.0, 4.0]);
pub(crate) const MACHINE: Part = part("processes", 1.0, [9.0, 2.0, 0.0]);
pub(crate) const RECOVERY: Part = part("recovery", 8.0, [10.0, 0.0, 0.0]);
pub(crate) const OPEN: Part = Part {
    in_rounds: false,
    ..part("open loop", 2.0, [12.0, 4.0, 0.0])
};

/// In their order. Planned for a full run, in seconds: writes 20 + 3 × 65, sweeps 30 + 3 × 40, reads
/// 25 + 3 × 33, unswept events 25 + 3 × 7, the past 45 + 3 × 14, processes 1 + 3 × 17, recovery
/// 8 + 3 × 10, open loop 2 + 28: 742, of 900 that there are. A quick run: 140 of 180.
pub(crate) const PARTS: [Part; 8] = [WRITES, SWEEPS, READS, TAIL, PAST, MACHINE, RECOVERY, OPEN];

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Full,
    /// One short round on a fifth of the events.
    Quick,
}

impl Size {
    pub(crate) fn rounds(self) -> u32 {
        match self {
            Self::Full => 3,
            Self::Quick => 1,
        }
    }

    /// Events in the log before.
    pub(crate) fn preload(self) -> u64 {
        match self {
            Self::Full => 1_000_000,
            Self::Quick => 200_000,
        }
    }

    /// Events that are not swept.
    pub(crate) fn tail(self) -> u64 {
        self.preload() / 2
    }

    fn span(self, full: [u64; 2]) -> Span {
        let [warm_up, measured] = match self {
            Self::Full => full,
            Self::Quick => [500, 1000],
        };
        Span {
            warm_up: Duration::from_millis(warm_up),
            measured: Duration::from_millis(measured),
        }
    }

    /// Each measurement of writes.
    pub(crate) fn writes(self) -> Span {
        self.span([1000, 3000])
    }

    /// Each measurement of reads.
    pub(crate) fn reads(self) -> Span {
        self.span([1000, 2000])
    }

    /// What a run may take.
    fn budget(self) -> Duration {
        Duration::from_secs(match self {
            Self::Full => 880,
            Self::Quick => 175,
        })
    }

    /// What is planned for the rest takes so much of it.
    fn share(self) -> f64 {
        match self {
            Self::Full => 1.0,
            Self::Quick => 0.35,
        }
    }

    fn prepare(self, part: Part) -> Duration {
        Duration::from_secs_f64(part.prepare * self.share())
    }

    fn round(self, part: Part) -> Duration {
        let writes = part.writes * self.writes().whole().as_secs_f64();
        let reads = part.reads * self.reads().whole().as_secs_f64();
        Duration::from_secs_f64(part.fixed * self.share() + writes + reads)
    }

    fn rounds_of(self, part: Part) -> u32 {
        if part.in_rounds { self.rounds() } else { 1 }
    }

    fn whole(self, part: Part) -> Duration {
        self.prepare(part) + self.round(part) * self.rounds_of(part)
    }
}

/// Where a run stands.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) size: Size,
    begun: Instant,
    part: Part,
    /// Parts behind this one.
    rest: Duration,
    round: u32,
    /// Rounds that were not begun.
    pub(crate) left_out: u32,
}

impl Course {
    pub(crate) fn begin(size: Size) -> Self {
        Self {
            size,
            begun: Instant::now(),
            part: PARTS[0],
            rest: PARTS.iter().map(|part| size.whole(*part)).sum(),
            round: 0,
            left_out: 0,
        }
    }

    /// Begins with a part.
    pub(crate) fn part(&mut self, part: Part) {
        self.rest = self.rest.saturating_sub(self.size.whole(part));
        (self.part, self.round) = (part, 0);
        let left = self.size.whole(part) + self.rest;
        eprintln!("== {}: {}", part.name, told(left));
    }

    /// Whether there is another round of this part, and time for it.
    pub(crate) fn next_round(&mut self) -> bool {
        let rounds = self.size.rounds_of(self.part);
        if self.round >= rounds {
            return false;
        }
        let left = self.size.round(self.part) * (rounds - self.round) + self.rest;
        let is_late = self.begun.elapsed() + left > self.size.budget();
        if self.round > 0 && is_late {
            self.left_out += rounds - self.round;
            eprintln!(
                "== no time is left for round {} of {}",
                self.round + 1,
                self.part.name
            );
            self.round = rounds;
            return false;
        }
        self.round += 1;
        eprintln!(
            "== {}, round {} of {rounds}: {}",
            self.part.name,
            self.round,
            told(left)
        );
        true
    }

    /// Whether this is the first round, which checks what the others would find again.
    pub(crate) fn is_first_round(&self) -> bool {
        self.round == 1
    }

    /// Since the beginning.
    pub(crate) fn took(&self) -> Duration {
        self.begun.elapsed()
    }
}

fn told(left: Duration) -> String {
    let seconds = left.as_secs();
    format!("about {}:{:02} min left", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(size: Size) -> u64 {
        PARTS
            .iter()
            .map(|part| size.whole(*part))
            .sum::<Duration>()
            .as_secs()
    }

    #[test]
    fn what_is_planned_fits_into_the_minutes_there_are() {
        assert_eq!(planned(Size::Full), 742);
        assert!(planned(Size::Quick) < 150, "{}", planned(Size::Quick));
        assert!(Size::Full.budget().as_secs() < 15 * 60 && Size::Quick.budget().as_secs() < 180);
        assert!(Size::Full.rounds() >= 3);
    }

    #[test]
    fn rounds_without_time_are_left_out_but_for_the_first() {
        let mut course = Course::begin(Size::Full);
        course.part(WRITES);
        let rounds = std::iter::from_fn(|| course.next_round().then_some(())).count();
        assert_eq!((rounds, course.left_out), (3, 0));
        let Some(begun) = course.begun.checked_sub(Duration::from_secs(870)) else {
            return;
        };
        course.begun = begun;
        course.part(SWEEPS);
        assert!(course.next_round() && course.is_first_round());
        assert!(!course.next_round());
        assert_eq!(course.left_out, 2);
    }
}
