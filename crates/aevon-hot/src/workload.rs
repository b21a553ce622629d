//! What a workload is, and which there are.

use crate::workloads::{ingest, read, sweep};
use std::hint::black_box;

/// A named piece of work.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// What the baseline, the benches and the command line call it.
    pub name: &'static str,
    prepare: fn() -> Prepared,
}

/// Every workload, in the order of an event's life.
pub const ALL: [Workload; 12] = [
    Workload::new("parse_event", ingest::parse_event),
    Workload::new("parse_body", ingest::parse_body),
    Workload::new("parse_cloud_events", ingest::parse_cloud_events),
    Workload::new("decide", ingest::decide),
    Workload::new("fold", sweep::fold),
    Workload::new("fold_grouped", sweep::fold_grouped),
    Workload::new("fold_filtered", sweep::fold_filtered),
    Workload::new("plan", read::plan),
    Workload::new("merge_amounts", read::merge_amounts),
    Workload::new("merge_sets", read::merge_sets),
    Workload::new("answer_tail", read::answer_tail),
    Workload::new("show", read::show),
];

impl Workload {
    const fn new(name: &'static str, prepare: fn() -> Prepared) -> Self {
        Self { name, prepare }
    }

    /// Makes its input.
    pub fn prepare(&self) -> Prepared {
        (self.prepare)()
    }
}

/// The workload of a name.
///
/// # Errors
/// A sentence that names those that there are.
pub fn named(name: &str) -> Result<Workload, String> {
    let found = ALL.into_iter().find(|workload| workload.name == name);
    found.ok_or_else(|| {
        let known = ALL.map(|workload| workload.name).join(", ");
        format!("{name:?} is not one of {known}")
    })
}

/// A workload with its input, and with what has to come of it.
pub struct Prepared {
    turn: Box<dyn Fn() -> u64>,
    expected: u64,
}

impl Prepared {
    pub(crate) fn new(expected: u64, turn: impl Fn() -> u64 + 'static) -> Self {
        Self {
            turn: Box::new(turn),
            expected,
        }
    }

    /// Does the work once; gives a number that depends on all of its result.
    pub fn turn(&self) -> u64 {
        black_box((black_box(&self.turn))())
    }

    /// Does the work so many times.
    ///
    /// # Errors
    /// A sentence, where something else than is known comes of it.
    pub fn turns(&self, times: u32) -> Result<(), String> {
        let expected = self.expected;
        (0..times).try_for_each(|_| match self.turn() {
            found if found == expected => Ok(()),
            found => Err(format!("its result is {found}, and should be {expected}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_gives_what_is_known_of_its_input_each_time() {
        for workload in ALL {
            let ran = workload.prepare().turns(2);
            assert_eq!(ran, Ok(()), "{}", workload.name);
        }
    }

    #[test]
    fn a_wrong_result_is_told() {
        let wrong = Prepared::new(7, || 8).turns(1).unwrap_err();
        assert_eq!(wrong, "its result is 8, and should be 7");
    }

    #[test]
    fn names_are_distinct_and_an_unknown_one_is_answered_with_those_that_there_are() {
        let names: std::collections::BTreeSet<_> = ALL.map(|workload| workload.name).into();
        assert_eq!(names.len(), ALL.len());
        assert_eq!(named("fold").map(|workload| workload.name), Ok("fold"));
        assert!(named("unfold").is_err_and(|said| said.contains("fold_grouped")));
    }
}
