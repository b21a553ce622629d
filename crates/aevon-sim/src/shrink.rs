//! Making a failing list shorter: leave out halves, quarters, and so on down to single operations; then
//! simplify what is left; again from the start as long as anything helps.

use crate::operation::{Body, Operation, RuleSet};

/// The next list to try, of what is left of a failing one.
#[derive(Debug)]
pub struct Candidates {
    /// How many operations are left out at once; 0 where operations are simplified.
    size: usize,
    at: usize,
    /// The next simplification of the operation.
    simpler: usize,
    has_helped: bool,
    tried: usize,
}

/// Most lists that are tried.
const MAX_TRIED: usize = 600;

impl Candidates {
    /// All of a list.
    pub fn new(operations: &[Operation]) -> Self {
        Self {
            size: operations.len().div_ceil(2).max(1),
            at: 0,
            simpler: 0,
            has_helped: false,
            tried: 0,
        }
    }

    /// A shorter or simpler list than this one; none where there is nothing left to try.
    pub fn next(&mut self, left: &[Operation]) -> Option<Vec<Operation>> {
        self.tried += 1;
        if self.tried > MAX_TRIED {
            return None;
        }
        loop {
            if self.size > 0 {
                if self.at < left.len() {
                    let end = (self.at + self.size).min(left.len());
                    return Some([&left[..self.at], &left[end..]].concat());
                }
                self.at = 0;
                self.size = if self.size == 1 {
                    0
                } else {
                    self.size.div_ceil(2)
                };
                continue;
            }
            let Some(operation) = left.get(self.at) else {
                if !self.has_helped {
                    return None;
                }
                *self = Self {
                    tried: self.tried,
                    ..Self::new(left)
                };
                continue;
            };
            match simpler(operation).into_iter().nth(self.simpler) {
                Some(instead) => {
                    let rest = &left[self.at + 1..];
                    return Some([&left[..self.at], &instead, rest].concat());
                }
                None => (self.at, self.simpler) = (self.at + 1, 0),
            }
        }
    }

    /// Whether the list that was tried still fails.
    pub fn tell(&mut self, still_fails: bool) {
        self.has_helped |= still_fails;
        match (self.size, still_fails) {
            // What came behind has taken the place.
            (1.., true) => {}
            (size @ 1.., false) => self.at += size,
            (0, true) => self.simpler = 0,
            (0, false) => self.simpler += 1,
        }
    }
}

/// Operations that could stand in the place of one.
fn simpler(operation: &Operation) -> Vec<Vec<Operation>> {
    let mut all = Vec::new();
    match operation {
        Operation::Append {
            writer,
            bodies,
            trouble,
        } => {
            let append = |bodies, trouble| {
                vec![Operation::Append {
                    writer: *writer,
                    bodies,
                    trouble,
                }]
            };
            if trouble.is_some() {
                all.push(append(bodies.clone(), None));
            }
            all.extend(
                smaller(bodies)
                    .into_iter()
                    .map(|less| append(less, *trouble)),
            );
        }
        Operation::Race {
            first,
            point,
            second,
        } => {
            let append = |bodies: &Vec<Body>| Operation::Append {
                writer: 0,
                bodies: bodies.clone(),
                trouble: None,
            };
            all.push(vec![append(first), append(second)]);
            let race = |first: Vec<Body>, second: Vec<Body>| {
                vec![Operation::Race {
                    first,
                    point: *point,
                    second,
                }]
            };
            all.extend(
                smaller(first)
                    .into_iter()
                    .map(|less| race(less, second.clone())),
            );
            all.extend(
                smaller(second)
                    .into_iter()
                    .map(|less| race(first.clone(), less)),
            );
        }
        Operation::Sweep {
            sweeper,
            slice,
            trouble: Some(_),
        } => all.push(vec![Operation::Sweep {
            sweeper: *sweeper,
            slice: slice.clone(),
            trouble: None,
        }]),
        Operation::During {
            slice,
            point,
            meanwhile,
        } => {
            all.push(meanwhile.clone());
            all.extend(without_one(meanwhile).into_iter().map(|meanwhile| {
                vec![Operation::During {
                    slice: slice.clone(),
                    point: *point,
                    meanwhile,
                }]
            }));
        }
        Operation::Rules(set, trouble) => {
            if trouble.is_some() {
                all.push(vec![Operation::Rules(set.clone(), None)]);
            }
            let less = without_one(set).into_iter();
            all.extend(less.map(|set| vec![Operation::Rules(set, *trouble)]));
        }
        Operation::Contest {
            first,
            point,
            second,
        } => {
            let apply = |set: &RuleSet| Operation::Rules(set.clone(), None);
            all.push(vec![apply(first), apply(second)]);
            let contest = |first: RuleSet, second: RuleSet| {
                vec![Operation::Contest {
                    first,
                    point: *point,
                    second,
                }]
            };
            let less = without_one(first).into_iter();
            all.extend(less.map(|less| contest(less, second.clone())));
            let less = without_one(second).into_iter();
            all.extend(less.map(|less| contest(first.clone(), less)));
        }
        Operation::Activate(slack, Some(_)) => all.push(vec![Operation::Activate(*slack, None)]),
        Operation::Rebuild(name, Some(_)) => all.push(vec![Operation::Rebuild(*name, None)]),
        Operation::Switch(name, Some(_)) => all.push(vec![Operation::Switch(*name, None)]),
        Operation::GiveUp(name, Some(_)) => all.push(vec![Operation::GiveUp(*name, None)]),
        Operation::Discard(Some(_)) => all.push(vec![Operation::Discard(None)]),
        _ => {}
    }
    all
}

/// Without a body, or an event of one.
fn smaller(bodies: &[Body]) -> Vec<Vec<Body>> {
    let mut all = match bodies.len() {
        0 | 1 => Vec::new(),
        _ => without_one(bodies),
    };
    for (nth, body) in bodies
        .iter()
        .enumerate()
        .filter(|(_, b)| b.events.len() > 1)
    {
        all.extend(without_one(&body.events).into_iter().map(|events| {
            let mut bodies = bodies.to_vec();
            bodies[nth].events = events;
            bodies
        }));
    }
    all
}

fn without_one<T: Clone>(all: &[T]) -> Vec<Vec<T>> {
    let without = |nth: usize| [&all[..nth], &all[nth + 1..]].concat();
    (0..all.len()).map(without).collect()
}

/// A list as code to paste into `regressions.rs`.
pub fn code(name: &str, operations: &[Operation]) -> String {
    let mut code = format!("fn {name}() -> Vec<Operation> {{\n    vec![\n");
    for operation in operations {
        let text = format!("{operation:?}").replace('[', "vec![");
        code.push_str(&format!("        {text},\n"));
    }
    code.push_str("    ]\n}\n");
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shrinks by what a list is said to need.
    fn shrunk(mut left: Vec<Operation>, fails: impl Fn(&[Operation]) -> bool) -> Vec<Operation> {
        let mut candidates = Candidates::new(&left);
        while let Some(candidate) = candidates.next(&left) {
            let still_fails = fails(&candidate);
            candidates.tell(still_fails);
            if still_fails {
                left = candidate;
            }
        }
        left
    }

    #[test]
    fn a_list_shrinks_to_what_it_needs_to_fail() {
        let list: Vec<_> = (0..50).map(Operation::Tick).collect();
        let needed = [Operation::Tick(3), Operation::Tick(41)];
        let fails = |list: &[Operation]| needed.iter().all(|one| list.contains(one));
        assert_eq!(shrunk(list, fails), needed);
    }

    #[test]
    fn what_is_within_an_operation_shrinks_too() {
        let during = Operation::During {
            slice: crate::operation::Slice {
                partition: 0,
                events: 1,
                is_front: true,
            },
            point: crate::operation::Point::Before("COMMIT"),
            meanwhile: (0..5).map(Operation::Tick).collect(),
        };
        let has_two = |list: &[Operation]| match list {
            [Operation::During { meanwhile, .. }] => meanwhile.contains(&Operation::Tick(2)),
            _ => false,
        };
        let left = shrunk(vec![during], has_two);
        let [Operation::During { meanwhile, .. }] = &left[..] else {
            panic!("{left:?}")
        };
        assert_eq!(meanwhile[..], [Operation::Tick(2)]);
    }
}
