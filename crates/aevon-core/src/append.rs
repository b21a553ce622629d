//! The verdicts on a group of events, in the order of the queue.
//!
//! Invariant: verdicts are taken only on what was read under the lock of the partitions concerned.
//! Invariant: accepted events of a partition are numbered from its head without a gap.
//! Retry safety: what stands in the log, or was claimed earlier in the group, is a duplicate.

use crate::event::{Fault, NewEvent, RECEIVED_MARK};
use crate::json::{self, same_value};
use crate::position::Position;
use crate::time::Timestamp;
use rustc_hash::FxHashMap;

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
}

/// Decides on a group, in queue order.
pub fn decide(
    group: &[Placed<'_>],
    heads: &FxHashMap<i32, Head>,
    standing: &Standing,
) -> Vec<Verdict> {
    let mut heads = heads.clone();
    let mut claims: FxHashMap<(i64, &str), (usize, Position, Timestamp)> = FxHashMap::default();
    let mut verdicts = Vec::with_capacity(group.len());
    for (index, placed) in group.iter().enumerate() {
        let event = placed.event;
        let key = (placed.principal_no, event.event_id.as_str());
        let verdict = if let Some((first, position, ingested_at)) = claims.get(&key) {
            let first = group[*first].event;
            let differing = differences(
                event,
                &first.event_type,
                first.occurred_at,
                first.schema_version,
                &first.data,
                &first.metadata,
            );
            repeated(differing, *position, *ingested_at)
        } else if let Some(stored) = find(standing, placed) {
            let differing = differences(
                event,
                &stored.event_type,
                stored.occurred_at,
                stored.schema_version,
                &stored.data,
                &stored.metadata,
            );
            repeated(differing, stored.position, stored.ingested_at)
        } else if !event.refusals.is_empty() {
            Verdict::Refused(event.refusals.clone())
        } else if let Some(head) = heads.get_mut(&placed.partition) {
            head.seq += 1;
            let position = Position {
                partition: placed.partition,
                seq: head.seq,
            };
            claims.insert(key, (index, position, head.stamp));
            Verdict::Accepted {
                position,
                ingested_at: head.stamp,
            }
        } else {
            unreachable!("the head of every partition of the group was read under its lock")
        };
        verdicts.push(verdict);
    }
    verdicts
}

fn find<'s>(standing: &'s Standing, placed: &Placed<'_>) -> Option<&'s Stored> {
    // Nothing stands in nearly every group; don't copy the identity just to learn that.
    if standing.is_empty() {
        return None;
    }
    standing.get(&(placed.principal_no, placed.event.event_id.clone()))
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
mod tests {
    use super::*;
    use crate::event::FaultCode;

    const STAMP: Timestamp = Timestamp::from_micros(1_000);

    fn event(id: &str, data: &str) -> NewEvent {
        NewEvent {
            tenant_id: "acme".into(),
            principal_id: "p".into(),
            event_id: id.into(),
            event_type: "t".into(),
            occurred_at: Timestamp::from_micros(5),
            is_time_received: false,
            schema_version: 0,
            data: data.into(),
            metadata: "{}".into(),
            refusals: Vec::new(),
        }
    }

    fn decided(events: &[NewEvent], standing: &Standing) -> Vec<Verdict> {
        let group: Vec<Placed<'_>> = events
            .iter()
            .map(|event| Placed {
                event,
                principal_no: 1,
                partition: 7,
            })
            .collect();
        let heads = FxHashMap::from_iter([(
            7,
            Head {
                seq: 40,
                stamp: STAMP,
            },
        )]);
        decide(&group, &heads, standing)
    }

    #[test]
    fn accepted_events_are_numbered_without_a_gap() {
        let mut refused = event("b", "{}");
        refused.refusals = vec![Fault::new(None, FaultCode::OccurredAtInFuture, "")];
        // The claim of a refused event counts for nothing: the next one under its id is new.
        let events = [
            event("a", "{}"),
            refused,
            event("b", "{}"),
            event("a", r#"{"x":1}"#),
        ];
        let verdicts = decided(&events, &Standing::default());
        let at = |seq| Verdict::Accepted {
            position: Position { partition: 7, seq },
            ingested_at: STAMP,
        };
        assert_eq!(verdicts[0], at(41));
        assert!(matches!(verdicts[1], Verdict::Refused(_)));
        assert_eq!(verdicts[2], at(42));
        assert_eq!(verdicts[3], Verdict::Conflict(vec!["data"]));
    }

    #[test]
    fn a_retry_of_what_stands_is_a_duplicate_even_when_it_would_be_refused_now() {
        let stored = Stored {
            position: Position {
                partition: 7,
                seq: 3,
            },
            ingested_at: Timestamp::from_micros(9),
            event_type: "t".into(),
            occurred_at: Timestamp::from_micros(5),
            schema_version: 0,
            data: r#"{"n": 1}"#.into(),
            metadata: "{}".into(),
        };
        let standing = Standing::from_iter([((1, "a".to_owned()), stored.clone())]);
        let mut retry = event("a", r#"{"n":1.0}"#);
        retry.refusals = vec![Fault::new(None, FaultCode::OccurredAtInFuture, "")];
        let expected = Verdict::Duplicate {
            position: stored.position,
            ingested_at: stored.ingested_at,
        };
        assert_eq!(decided(&[retry], &standing), [expected]);
    }

    #[test]
    fn a_retry_without_a_time_is_a_duplicate_and_one_with_a_time_is_not() {
        let received = |micros| {
            let mut event = event("a", "{}");
            event.occurred_at = Timestamp::from_micros(micros);
            event.is_time_received = true;
            event.metadata = format!("{{\"{RECEIVED_MARK}\":true}}");
            event
        };
        let verdicts = decided(
            &[received(5), received(9), event("a", "{}")],
            &Standing::default(),
        );
        assert!(matches!(verdicts[1], Verdict::Duplicate { .. }));
        assert_eq!(verdicts[2], Verdict::Conflict(vec!["metadata"]));
    }
}
