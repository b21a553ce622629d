//! The goals: what is measured, beside what, and how much has to be reached. The one place where
//! these numbers stand.

pub(crate) mod card;
pub(crate) mod course;
mod machine;
mod open;
mod read;
mod recovery;
pub(crate) mod run;
mod sweep;
mod write;

/// What a goal is about. In the order of [`GOALS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Id {
    Bodies1000,
    Bodies100,
    Single,
    SingleP99,
    Answering,
    Alone,
    CpuPostgres,
    CpuService,
    Bytes,
    Repeated,
    Sparse,
    Dense,
    ReadP50,
    ReadP99,
    ReadYear,
    Reads,
    AsOf,
    Tail,
    Idle,
    Loaded,
    Start,
    Program,
    Recovery,
    Lag,
    MixedP99,
    MixedReadP99,
    MixedMemory,
    GrownOrdered,
    GrownRandom,
    GrownRead,
}

/// Which number is held to the goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// The figure itself.
    Figure,
    /// The figure by its limit, as a share.
    Share,
    /// The figure by its limit, as a multiple.
    Multiple,
}

/// Whether more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    AtLeast,
    AtMost,
}

/// A line of the table of goals; a row of it has several where it names several numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) id: Id,
    /// Number of the row.
    pub(crate) row: u8,
    pub(crate) what: &'static str,
    /// What stands beside it.
    pub(crate) beside: &'static str,
    /// Of the figure, and of its limit.
    pub(crate) unit: &'static str,
    pub(crate) held: Held,
    pub(crate) direction: Direction,
    pub(crate) must: f64,
    pub(crate) aim: f64,
}

/// How far a goal is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Missed,
    Must,
    Aim,
}

impl Verdict {
    /// As the table says it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Must => "must",
            Self::Aim => "aim",
        }
    }
}

impl Goal {
    /// How far this number reaches.
    pub(crate) fn verdict(&self, number: f64) -> Verdict {
        let reaches = |bound: f64| match self.direction {
            Direction::AtLeast => number >= bound,
            Direction::AtMost => number <= bound,
        };
        match (reaches(self.must), reaches(self.aim)) {
            (true, true) => Verdict::Aim,
            (true, false) => Verdict::Must,
            (false, _) => Verdict::Missed,
        }
    }

    /// `≥ 65 %`.
    pub(crate) fn bound(&self, bound: f64) -> String {
        let sign = match self.direction {
            Direction::AtLeast => "≥",
            Direction::AtMost => "≤",
        };
        match self.held {
            Held::Figure => format!("{sign} {bound} {}", self.unit),
            Held::Share => format!("{sign} {:.0} %", 100.0 * bound),
            Held::Multiple => format!("{sign} {bound}×"),
        }
    }
}

/// The goal of an id.
pub(crate) fn goal(id: Id) -> &'static Goal {
    &GOALS[id as usize]
}

#[expect(clippy::too_many_arguments, reason = "a row of a table")]
const fn line(
    id: Id,
    row: u8,
    what: &'static str,
    beside: &'static str,
    unit: &'static str,
    held: Held,
    direction: Direction,
    [must, aim]: [f64; 2],
) -> Goal {
    Goal {
        id,
        row,
        what,
        beside,
        unit,
        held,
        direction,
        must,
        aim,
    }
}

use Direction::{AtLeast, AtMost};
use Held::{Figure, Multiple, Share};

/// The largest of four spans.
const SPANS: &str = "1 h, 1 d, 30 d, 1 y, the slowest";

/// The table.
#[rustfmt::skip]
pub(crate) const GOALS: [Goal; 30] = [
    line(Id::Bodies1000, 1, "bodies of 1000, 16 connections", "binary COPY, 2 connections", "events/s", Share, AtLeast, [0.65, 0.75]),
    line(Id::Bodies100, 2, "bodies of 100, 16 connections", "binary COPY, 2 connections", "events/s", Share, AtLeast, [0.60, 0.75]),
    line(Id::Single, 3, "single events, 256 connections", "a server that INSERTs over a pool of 16", "events/s", Multiple, AtLeast, [4.5, 6.0]),
    line(Id::SingleP99, 3, "the same, p99", "", "ms", Figure, AtMost, [15.0, 8.0]),
    line(Id::Answering, 4, "the same", "a server that parses and answers 202", "events/s", Share, AtLeast, [0.30, 0.45]),
    line(Id::Alone, 5, "one event on an idle system, p50", "one prepared INSERT by pgbench", "ms", Multiple, AtMost, [3.0, 2.0]),
    line(Id::CpuPostgres, 6, "processor time of row 1, Postgres", "", "µs", Figure, AtMost, [15.0, 10.0]),
    line(Id::CpuService, 6, "processor time of row 1, ingest-svc", "", "µs", Figure, AtMost, [2.0, 1.0]),
    line(Id::Bytes, 7, "an event on disk, tables and indexes", "", "bytes", Figure, AtMost, [370.0, 300.0]),
    line(Id::Repeated, 8, "row 3, half of the ids twice", "row 3", "answers/s", Share, AtLeast, [0.90, 0.97]),
    line(Id::Sparse, 9, "fold, 10,000 principals, 3 rules", "sorted SQL, 1 connection", "events/s", Share, AtLeast, [0.80, 1.10]),
    line(Id::Dense, 10, "fold, 100 principals, 3 rules", "sorted SQL, 1 connection", "events/s", Share, AtLeast, [1.00, 1.50]),
    line(Id::ReadP50, 11, "read over HTTP, p50", SPANS, "ms", Figure, AtMost, [0.6, 0.35]),
    line(Id::ReadP99, 11, "read over HTTP, p99", SPANS, "ms", Figure, AtMost, [3.0, 1.5]),
    line(Id::ReadYear, 11, "read of 1 y, p50", "read of 1 h", "ms", Multiple, AtMost, [2.0, 1.5]),
    line(Id::Reads, 12, "reads of 30 d, 8 connections", "pgbench, the same statements", "reads/s", Share, AtLeast, [0.40, 0.60]),
    line(Id::AsOf, 13, "read at a random version, p50", "the newest, the same range", "ms", Multiple, AtMost, [3.0, 1.5]),
    line(Id::Tail, 14, "read with unswept events, p50", "the same, swept", "ms", Multiple, AtMost, [5.0, 2.0]),
    line(Id::Idle, 17, "memory at rest", "the largest service", "MiB", Figure, AtMost, [64.0, 25.0]),
    line(Id::Loaded, 17, "memory under load, the most", "the largest service", "MiB", Figure, AtMost, [256.0, 100.0]),
    line(Id::Start, 17, "start to ready", "the slowest service", "s", Figure, AtMost, [0.5, 0.2]),
    line(Id::Program, 17, "program, stripped", "the largest service", "MB", Figure, AtMost, [20.0, 12.0]),
    line(Id::Recovery, 18, "first 202 after Postgres was killed and accepts again", "", "s", Figure, AtMost, [1.0, 0.3]),
    line(Id::Lag, 15, "lag at the end", "lag before the middle", "events", Multiple, AtMost, [1.5, 1.5]),
    line(Id::MixedP99, 15, "all at once: ingest, p99", "", "ms", Figure, AtMost, [50.0, 50.0]),
    line(Id::MixedReadP99, 15, "all at once: reads, p99", "", "ms", Figure, AtMost, [20.0, 20.0]),
    line(Id::MixedMemory, 15, "memory at the end", "memory before the middle", "MiB", Multiple, AtMost, [1.1, 1.1]),
    line(Id::GrownOrdered, 16, "row 1 in the largest log, time-ordered ids", "in the smallest", "events/s", Share, AtLeast, [0.70, 0.90]),
    line(Id::GrownRandom, 16, "row 1 in the largest log, random ids", "in the smallest", "events/s", Share, AtLeast, [0.40, 0.60]),
    line(Id::GrownRead, 16, "read of 30 d in the largest log, p50", "in the smallest", "ms", Multiple, AtMost, [1.2, 1.2]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_goal_is_found_by_its_id_and_an_aim_is_no_less_than_its_must() {
        for (at, goal) in GOALS.iter().enumerate() {
            assert_eq!(goal.id as usize, at);
            assert_eq!(goal.verdict(goal.aim), Verdict::Aim, "{}", goal.what);
            assert!(goal.verdict(goal.must) >= Verdict::Must, "{}", goal.what);
        }
        let rows: std::collections::BTreeSet<u8> = GOALS.iter().map(|goal| goal.row).collect();
        assert!(rows.into_iter().eq(1..=18));
    }

    #[test]
    fn a_verdict_says_how_far_a_number_reaches() {
        let share = goal(Id::Bodies1000);
        let verdicts = [0.649, 0.65, 0.749, 0.75].map(|number| share.verdict(number));
        let expected = [Verdict::Missed, Verdict::Must, Verdict::Must, Verdict::Aim];
        assert_eq!(verdicts, expected);
        let time = goal(Id::SingleP99);
        let verdicts = [15.1, 15.0, 8.1, 8.0].map(|number| time.verdict(number));
        assert_eq!(verdicts, expected);
        assert_eq!(share.verdict(f64::NAN), Verdict::Missed);
    }

    #[test]
    fn bounds_are_told_in_the_unit_that_is_held() {
        let bounds =
            [Id::Bodies1000, Id::SingleP99, Id::Single].map(|id| goal(id).bound(goal(id).must));
        assert_eq!(bounds, ["≥ 65 %", "≤ 15 ms", "≥ 4.5×"]);
    }
}
