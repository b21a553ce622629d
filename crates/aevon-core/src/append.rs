//! The verdicts on a group of events, in the order of the queue.
//!
//! Invariant: verdicts are taken only on what was read under the lock of the partitions concerned.
//! Invariant: accepted events of a partition are numbered from its head without a gap.
//! Invariant: an event is voided once; a void is of an event of its own principal that stands before
//! it, and never of a void.
//! Retry safety: what stands in the log, or was claimed earlier in the group, is a duplicate.

use crate::event::{Fault, FaultCode, NewEvent, RECEIVED_MARK, VOID_TYPE};
use crate::json::{self, same_value};
use crate::position::Position;
use crate::time::Timestamp;
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;

/// An event and the place that it will get.
#[derive(Debug)]
pub struct Placed<'a> {
    /// The event.
    pub event: &'a NewEvent,
    /// Its principal's number.
    pub principal_no: i64,
    /// Its principal's partition.
    pub partition: i32,
}

/// The newest row of a partition, and the stamp of the commit under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// 0 where the partition is empty.
    pub seq: i64,
    /// The `ingested_at` of what this commit stores.
    pub stamp: Timestamp,
}

/// What already stands under an identity.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its place.
    pub position: Position,
    /// When it was stored.
    pub ingested_at: Timestamp,
    /// As stored.
    pub event_type: String,
    /// As stored.
    pub occurred_at: Timestamp,
    /// As stored.
    pub schema_version: i32,
    /// As stored.
    pub data: String,
    /// As stored.
    pub metadata: String,
}

/// What stands in the log, by (principal number, stored identity).
pub type Standing = FxHashMap<(i64, String), Stored>;

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It gets this place.
    Accepted {
        /// The place.
        position: Position,
        /// The stamp of its commit.
        ingested_at: Timestamp,
    },
    /// The same event stands, or was accepted earlier in the group.
    Duplicate {
        /// The first one's place.
        position: Position,
        /// The first one's stamp.
        ingested_at: Timestamp,
    },
    /// Another event stands under this identity; the fields that differ.
    Conflict(Vec<&'static str>),
    /// It may not be stored.
    Refused(Vec<Fault>),
    /// It could be stored, had not another event of its body been refused, which is atomic.
    Withheld,
}

/// A void that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewVoid {
    /// Whose.
    pub principal_no: i64,
    /// The place of the event that is voided.
    pub target: Position,
    /// When that event occurred.
    pub target_occurred_at: Timestamp,
    /// The void's own place.
    pub seq: i64,
}

/// The events that are voided, among those that a group may void: (principal number, seq).
pub type Voided = FxHashSet<(i64, i64)>;

/// What became of a group.
#[derive(Debug, Default)]
pub struct Decision {
    /// Of each event, in order.
    pub verdicts: Vec<Verdict>,
    /// The voids among those that were accepted.
    pub voids: Vec<NewVoid>,
}

/// Decides on a group, in queue order. `atomic` are the bodies that are stored whole or not at all:
/// disjoint ranges of the group, ascending, each of one principal.
pub fn decide(
    group: &[Placed<'_>],
    atomic: &[Range<usize>],
    heads: &FxHashMap<i32, Head>,
    standing: &Standing,
    voided: Voided,
) -> Decision {
    let mut ledger = Ledger {
        group,
        standing,
        heads: heads.clone(),
        claims: FxHashMap::default(),
        voided,
        decision: Decision::default(),
    };
    ledger.decision.verdicts.reserve(group.len());
    let mut index = 0;
    let mut atomic = atomic.iter().peekable();
    while index < group.len() {
        match atomic.next_if(|body| body.start == index && body.end > index) {
            Some(body) => {
                ledger.decide_body(body.clone());
                index = body.end;
            }
            None => {
                let verdict = ledger.decide_one(index);
                ledger.decision.verdicts.push(verdict);
                index += 1;
            }
        }
    }
    ledger.decision
}

/// What holds after the events that were decided so far.
struct Ledger<'g, 's> {
    group: &'g [Placed<'g>],
    standing: &'s Standing,
    heads: FxHashMap<i32, Head>,
    /// The first event of the group under each identity, and the place that it got.
    claims: FxHashMap<(i64, &'g str), (usize, Position, Timestamp)>,
    voided: Voided,
    decision: Decision,
}

impl<'g> Ledger<'g, '_> {
    fn decide_one(&mut self, index: usize) -> Verdict {
        let placed = &self.group[index];
        let event = placed.event;
        let key = (placed.principal_no, event.event_id.as_str());
        if let Some((first, position, ingested_at)) = self.claims.get(&key) {
            let first = self.group[*first].event;
            let differing = differences(
                event,
                &first.event_type,
                first.occurred_at,
                first.schema_version,
                &first.data,
                &first.metadata,
            );
            return repeated(differing, *position, *ingested_at);
        }
        if let Some(stored) = find(self.standing, placed.principal_no, &event.event_id) {
            let differing = differences(
                event,
                &stored.event_type,
                stored.occurred_at,
                stored.schema_version,
                &stored.data,
                &stored.metadata,
            );
            return repeated(differing, stored.position, stored.ingested_at);
        }
        if !event.refusals.is_empty() {
            return Verdict::Refused(event.refusals.clone());
        }
        let void = match event.void_target().map(|id| self.target(placed, &id)) {
            Some(Err(fault)) => return Verdict::Refused(vec![fault]),
            Some(Ok(target)) => Some(target),
            None => None,
        };
        let Some(head) = self.heads.get_mut(&placed.partition) else {
            unreachable!("the head of every partition of the group was read under its lock")
        };
        head.seq += 1;
        let (seq, ingested_at) = (head.seq, head.stamp);
        let position = Position {
            partition: placed.partition,
            seq,
        };
        self.claims.insert(key, (index, position, ingested_at));
        if let Some((target, target_occurred_at)) = void {
            self.voided.insert((placed.principal_no, target.seq));
            self.decision.voids.push(NewVoid {
                principal_no: placed.principal_no,
                target,
                target_occurred_at,
                seq,
            });
        }
        Verdict::Accepted {
            position,
            ingested_at,
        }
    }

    /// The event that a void is about, or why it may not void that.
    fn target(&self, void: &Placed<'_>, id: &str) -> Result<(Position, Timestamp), Fault> {
        let fault = |code, detail: &str| Fault::new(Some("/data/event_id"), code, detail);
        let unknown = |detail| fault(FaultCode::UnknownVoidTarget, detail);
        let claimed = self.claims.get(&(void.principal_no, id));
        let stored = || find(self.standing, void.principal_no, id);
        let (event_type, position, occurred_at) = match claimed {
            Some((first, position, _)) => {
                let event = self.group[*first].event;
                (&event.event_type, *position, event.occurred_at)
            }
            None => match stored() {
                Some(stored) => (&stored.event_type, stored.position, stored.occurred_at),
                None => return Err(unknown("the principal has no event of this id and source")),
            },
        };
        if event_type == VOID_TYPE {
            return Err(unknown("the event is a void, and a void can't be voided"));
        }
        match self.voided.contains(&(void.principal_no, position.seq)) {
            true => Err(fault(
                FaultCode::AlreadyVoided,
                "the event is voided already",
            )),
            false => Ok((position, occurred_at)),
        }
    }

    /// Decides on a body that is stored whole or not at all: what was granted to some of its events
    /// is taken back where another one is refused.
    fn decide_body(&mut self, body: Range<usize>) {
        let voids = self.decision.voids.len();
        let mut verdicts: Vec<Verdict> = body.clone().map(|at| self.decide_one(at)).collect();
        let is_refused = |v: &Verdict| matches!(v, Verdict::Refused(_) | Verdict::Conflict(_));
        if verdicts.iter().any(is_refused) {
            for (placed, verdict) in self.group[body].iter().zip(&mut verdicts) {
                let key = (placed.principal_no, placed.event.event_id.as_str());
                if let Verdict::Accepted { .. } = verdict {
                    self.claims.remove(&key);
                    if let Some(head) = self.heads.get_mut(&placed.partition) {
                        head.seq -= 1;
                    }
                    *verdict = Verdict::Withheld;
                }
            }
            for void in self.decision.voids.drain(voids..) {
                self.voided.remove(&(void.principal_no, void.target.seq));
            }
            self.withhold_repeats(&mut verdicts);
        }
        self.decision.verdicts.append(&mut verdicts);
    }

    /// What repeats an event of the same body is stored no more than that one.
    fn withhold_repeats(&self, verdicts: &mut [Verdict]) {
        for verdict in verdicts {
            if let Verdict::Duplicate { position, .. } = verdict
                && let Some(head) = self.heads.get(&position.partition)
                && position.seq > head.seq
            {
                *verdict = Verdict::Withheld;
            }
        }
    }
}

fn find<'s>(standing: &'s Standing, principal_no: i64, event_id: &str) -> Option<&'s Stored> {
    // Nothing stands in nearly every group; don't copy the identity just to learn that.
    if standing.is_empty() {
        return None;
    }
    standing.get(&(principal_no, event_id.to_owned()))
}

fn repeated(differing: Vec<&'static str>, position: Position, ingested_at: Timestamp) -> Verdict {
    if differing.is_empty() {
        Verdict::Duplicate {
            position,
            ingested_at,
        }
    } else {
        Verdict::Conflict(differing)
    }
}

fn differences(
    event: &NewEvent,
    event_type: &str,
    occurred_at: Timestamp,
    schema_version: i32,
    data: &str,
    metadata: &str,
) -> Vec<&'static str> {
    let pairs = [
        ("type", event.event_type == event_type),
        (
            "occurred_at",
            event.occurred_at == occurred_at || (event.is_time_received && is_marked(metadata)),
        ),
        ("schema_version", event.schema_version == schema_version),
        ("data", same_value(&event.data, data)),
        ("metadata", same_value(&event.metadata, metadata)),
    ];
    pairs
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(field, _)| field)
        .collect()
}

/// Whether `metadata` says that the time of its event is that of the receipt: a retry of it, which
/// is received later, is the same event.
fn is_marked(metadata: &str) -> bool {
    metadata.contains(RECEIVED_MARK)
        && json::keys(metadata).is_some_and(|keys| keys.iter().any(|key| key == RECEIVED_MARK))
}

#[cfg(test)]
mod tests;
