//! What must hold whatever bytes arrive, one function for each thing that is read from outside.
//!
//! [`TARGETS`] is run over the corpus, and over mutations of it, by the tests of this crate; without
//! end by the programs of `fuzz/` (`make fuzz`). Each function panics where something does not hold.

use aevon_core::event::{Limits, NewEvent, RECEIVED_MARK, Receipt, Refusal, cloud, native};
use aevon_core::filter::{Filter, Subject};
use aevon_core::fold::Fact;
use aevon_core::position::{Position, Version};
use aevon_core::rule::Rule;
use aevon_core::schema::{Schema, SchemaCheck, Schemas};
use aevon_core::time::Timestamp;
use projection_svc::read_question;
use serde_json::{Map, Value};

/// Takes bytes as somebody may send them.
pub type Target = fn(&[u8]);

/// Every target by the name of its folder in the corpus.
pub const TARGETS: [(&str, Target); 6] = [
    ("event_body", event_body),
    ("cloud_event", cloud_event),
    ("rule_file", rule_file),
    ("schema_file", schema_file),
    ("filter", filter),
    ("query", query),
];

/// When events are received: 2026-01-01.
const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
/// Data of an event that filters are tried on.
const DATA: &str =
    r#"{"model":"m1","tokens":17,"price":0.25,"tags":["a","b"],"nested":{"a":null},"ok":true}"#;

fn received(read: impl FnOnce(&Receipt<'_>) -> Result<NewEvent, Refusal>) -> Option<NewEvent> {
    let (limits, schemas) = (Limits::default(), Schemas::default());
    let receipt = Receipt {
        at: NOW,
        tenant: None,
        is_data_optional: false,
        limits: &limits,
        schemas: &SchemaCheck::new(&schemas),
    };
    match read(&receipt) {
        Ok(event) => Some(event),
        Err(refusal) => {
            assert!(!refusal.faults.is_empty(), "refused without a reason");
            None
        }
    }
}

/// What is taken can be written in Aevon's own format, and means the same there.
fn check_event(event: &NewEvent) {
    let text = native::write(event);
    let again = received(|receipt| native::parse(&text, receipt));
    let again = again.unwrap_or_else(|| panic!("not read again: {text}"));
    let identity = |event: &NewEvent| {
        let NewEvent {
            tenant_id,
            principal_id,
            event_id,
            event_type,
            ..
        } = event.clone();
        (tenant_id, principal_id, event_id, event_type)
    };
    assert_eq!(identity(&again), identity(event));
    assert_eq!(again.occurred_at, event.occurred_at);
    assert_eq!(again.schema_version, event.schema_version);
    assert_eq!(again.data, event.data);
    assert_eq!(metadata(&again), metadata(event));
}

/// The metadata of an event, but for the mark that its time is that of its receipt: written, it has a time.
fn metadata(event: &NewEvent) -> Map<String, Value> {
    let read = serde_json::from_str(&event.metadata);
    let mut metadata: Map<String, Value> = read.unwrap_or_else(|error| panic!("metadata: {error}"));
    let mark = metadata.remove(RECEIVED_MARK);
    assert_eq!(mark.is_some(), event.is_time_received);
    metadata
}

/// A line of a body in Aevon's own format.
pub fn event_body(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    for line in text.lines() {
        if let Some(event) = received(|receipt| native::parse(line, receipt)) {
            check_event(&event);
        }
    }
}

/// A CloudEvent: structured, or in binary mode, whose attributes are lines `name: value` before a
/// line that is empty.
pub fn cloud_event(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let structured = match text.split_once("\n\n") {
        None => Ok(text.to_owned()),
        Some((attributes, body)) => {
            let attributes = attributes.lines().filter_map(|line| line.split_once(": "));
            let attributes: Vec<(String, String)> = attributes
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            cloud::structured(&attributes, body)
        }
    };
    match structured {
        Err(refusal) => assert!(!refusal.faults.is_empty(), "refused without a reason"),
        Ok(text) => {
            if let Some(event) = received(|receipt| cloud::parse(&text, receipt)) {
                check_event(&event);
            }
        }
    }
}

/// A rule that is taken is the same one after it was stored.
pub fn rule_file(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    match Rule::from_yaml(text) {
        Err(faults) => assert!(!faults.is_empty(), "refused without a reason"),
        Ok(rule) => {
            let definition = rule.definition();
            let again = Rule::from_definition(&definition);
            let again = again.unwrap_or_else(|faults| panic!("{definition}: {faults:?}"));
            assert_eq!(again.fingerprint(), rule.fingerprint());
            assert_eq!(again.definition(), definition);
        }
    }
}

/// A schema that is taken judges whatever data it is given.
pub fn schema_file(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let schema = match Schema::from_yaml(text) {
        Ok(schema) => schema,
        Err(reason) => return assert!(!reason.is_empty(), "refused without a reason"),
    };
    let mut schemas = Schemas::default();
    let key = aevon_core::schema::SchemaKey {
        tenant_id: None,
        event_type: "t".to_owned(),
        version: 1,
    };
    assert!(schemas.add(key, schema).is_ok(), "the first of its key");
    let faults = || SchemaCheck::new(&schemas).faults(Some("acme"), "t", 1, DATA, "/data");
    assert_eq!(faults(), faults());
}

/// A filter gives the same verdict each time.
pub fn filter(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let filter = match Filter::compile(text) {
        Ok(filter) => filter,
        Err(reason) => return assert!(!reason.is_empty(), "refused without a reason"),
    };
    let admits = |filter: &Filter| {
        let subject = Subject::new(Fact {
            position: Position {
                partition: 0,
                seq: 1,
            },
            occurred_at: NOW,
            event_type: "model.call",
            schema_version: 1,
            principal_id: "user_1",
            data: DATA,
            metadata: r#"{"source":"s"}"#,
        });
        filter.admits(&subject).ok()
    };
    let verdict = admits(&filter);
    assert_eq!(admits(&filter), verdict);
    let again = Filter::compile(filter.text()).unwrap_or_else(|reason| panic!("{reason}"));
    assert_eq!(admits(&again), verdict);
}

/// The query of a question, and the texts in it by themselves.
pub fn query(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let question = read_question(text);
    if let Err(refused) = &question {
        assert!(!refused.detail.is_empty(), "refused without a reason");
    }
    if let Ok(question) = question {
        let (start, end) = (question.range.start, question.range.end);
        assert!(start.is_none() || end.is_none() || start <= end, "{text}");
        // What is planned covers nothing twice.
        let plan = aevon_core::state::Plan::new(&question);
        let parts = plan.buckets.iter().map(|(_, range)| range);
        let mut parts: Vec<_> = parts.chain(&plan.edges).collect();
        parts.sort_by_key(|range| range.start);
        for pair in parts.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{text}: {pair:?}");
        }
    }
    for (_, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
        if let Ok(instant) = Timestamp::parse(value) {
            assert_eq!(Timestamp::parse(&instant.to_string()), Ok(instant));
        }
        if let Some(version) = Version::parse(value) {
            assert_eq!(Version::parse(&version.to_string()), Some(version));
        }
    }
}
