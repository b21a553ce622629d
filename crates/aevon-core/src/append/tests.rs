//! What verdicts promise.

use super::*;

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
    decided_all(events, &[], standing, &[]).verdicts
}

/// Where 40 events stand, of which those at `voided` are voided.
fn decided_all(
    events: &[NewEvent],
    atomic: &[Range<usize>],
    standing: &Standing,
    voided: &[i64],
) -> Decision {
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
    let voided = voided.iter().map(|seq| (1, *seq)).collect();
    decide(&group, atomic, &heads, standing, voided)
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

fn void(id: &str, target: &str) -> NewEvent {
    let mut void = event(id, &format!("{{\"event_id\":\"{target}\"}}"));
    void.event_type = VOID_TYPE.to_owned();
    void
}

fn stored(id: &str, seq: i64, event_type: &str, data: &str) -> ((i64, String), Stored) {
    let stored = Stored {
        position: Position { partition: 7, seq },
        ingested_at: Timestamp::from_micros(9),
        event_type: event_type.to_owned(),
        occurred_at: Timestamp::from_micros(5),
        schema_version: 0,
        data: data.to_owned(),
        metadata: "{}".to_owned(),
    };
    ((1, id.to_owned()), stored)
}

fn accepted(seq: i64) -> Verdict {
    Verdict::Accepted {
        position: Position { partition: 7, seq },
        ingested_at: STAMP,
    }
}

fn refusal(verdict: &Verdict) -> Option<FaultCode> {
    match verdict {
        Verdict::Refused(faults) => Some(faults[0].code),
        _ => None,
    }
}

#[test]
fn an_event_is_voided_once_and_a_void_never() {
    let mut of_a_source = void("v6", "c");
    of_a_source.data = r#"{"event_id":"c","source":"gw","reason":"twice"}"#.to_owned();
    let events = [
        void("v1", "a"),
        // By another caller of the same group.
        void("v2", "a"),
        void("v1", "a"),
        void("v3", "v1"),
        void("v4", "nothing"),
        void("v5", "v5"),
        of_a_source,
        event("new", "{}"),
        void("v7", "new"),
        void("v8", "b"),
        void("v9", "old void"),
        void("v10", "c"),
    ];
    let standing = Standing::from_iter([
        stored("a", 3, "t", "{}"),
        stored("b", 4, "t", "{}"),
        stored("gw\u{1f}c", 5, "t", "{}"),
        stored("old void", 6, VOID_TYPE, r#"{"event_id": "b"}"#),
    ]);
    let Decision { verdicts, voids } = decided_all(&events, &[], &standing, &[4]);
    let refusals: Vec<_> = verdicts.iter().map(refusal).collect();
    let unknown = Some(FaultCode::UnknownVoidTarget);
    let expected = [
        None,
        Some(FaultCode::AlreadyVoided),
        None,
        unknown,
        unknown,
        unknown,
        None,
        None,
        None,
        Some(FaultCode::AlreadyVoided),
        unknown,
        unknown,
    ];
    assert_eq!(refusals, expected);
    assert!(matches!(verdicts[2], Verdict::Duplicate { position, .. } if position.seq == 41));
    let voids: Vec<_> = voids
        .iter()
        .map(|void| (void.target.seq, void.seq))
        .collect();
    assert_eq!(voids, [(3, 41), (5, 42), (43, 44)]);
}

#[test]
fn a_retried_void_is_a_duplicate_whatever_has_become_of_its_target() {
    let standing = Standing::from_iter([
        stored("a", 3, "t", "{}"),
        stored("v1", 4, VOID_TYPE, r#"{"event_id": "a"}"#),
    ]);
    let verdicts = decided_all(&[void("v1", "a"), void("v1", "b")], &[], &standing, &[3]).verdicts;
    assert!(matches!(verdicts[0], Verdict::Duplicate { .. }));
    assert_eq!(verdicts[1], Verdict::Conflict(vec!["data"]));
}

#[test]
fn an_atomic_body_is_stored_whole_or_leaves_no_trace() {
    let standing = Standing::from_iter([
        stored("a", 3, "t", "{}"),
        stored("b", 4, "t", "{}"),
        stored("taken", 5, "t", r#"{"x": 1}"#),
    ]);
    let events = [
        event("before", "{}"),
        // An amendment whose new event proves to be in conflict.
        void("v1", "a"),
        event("new", "{}"),
        event("new", "{}"),
        event("a", "{}"),
        event("taken", "{}"),
        // The same target, while the first void of it came to nothing.
        void("v2", "a"),
        event("new", r#"{"y": 1}"#),
        // Another caller voids it in the same group.
        void("v3", "a"),
        event("other", "{}"),
        event("after", "{}"),
    ];
    let Decision { verdicts, voids } = decided_all(&events, &[1..6, 6..8, 8..10], &standing, &[]);
    assert_eq!(verdicts[0], accepted(41));
    assert_eq!(verdicts[1..4], vec![Verdict::Withheld; 3]);
    assert!(matches!(verdicts[4], Verdict::Duplicate { position, .. } if position.seq == 3));
    assert_eq!(verdicts[5], Verdict::Conflict(vec!["data"]));
    assert_eq!(verdicts[6..8], [accepted(42), accepted(43)]);
    assert_eq!(refusal(&verdicts[8]), Some(FaultCode::AlreadyVoided));
    assert_eq!(verdicts[9], Verdict::Withheld);
    assert_eq!(verdicts[10], accepted(44));
    let voids: Vec<_> = voids
        .iter()
        .map(|void| (void.target.seq, void.seq))
        .collect();
    assert_eq!(voids, [(3, 42)]);
}
