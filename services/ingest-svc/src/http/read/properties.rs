//! Bodies in every format: the events that were written are the ones that are read, whichever way they
//! come; rubbish is refused with a reason.

use super::lines::tests::{lines, with_reading};
use super::*;
use aevon_core::identity::UNIT_SEPARATOR;
use aevon_core::time::Timestamp;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

/// An event as a caller has it.
#[derive(Clone, Debug)]
struct Sent {
    tenant_id: String,
    principal_id: String,
    id: String,
    source: String,
    event_type: String,
    occurred_at: Timestamp,
    data: String,
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn object(fields: &[(&str, String)]) -> String {
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{}:{value}", quoted(name)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}

fn data() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        "-?[1-9][0-9]{0,20}(\\.[0-9]{1,20})?(e-?[1-9])?",
        "\\PC{0,12}".prop_map(|text| quoted(&text)),
        select(vec!["null", "true", "[ 1.50,\t{} ]", "{\"a\":{\"b\":[]}}"]).prop_map(str::to_owned),
    ];
    prop::collection::vec(("\\PC{0,6}", value), 0..4).prop_map(|fields| {
        let fields = fields.into_iter().enumerate();
        let fields: Vec<(String, String)> = fields
            .map(|(nth, (name, value))| (format!("{nth}{name}"), value))
            .collect();
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (&**name, value.clone()))
            .collect();
        object(&fields)
    })
}

fn sent() -> impl Strategy<Value = Sent> {
    let name = || "\\PC{1,20}";
    let at = (0..1_800_000_000_000_000_i64).prop_map(Timestamp::from_micros);
    let names = (name(), name(), name(), name(), "t\\PC{0,20}");
    (names, at, data()).prop_map(|(names, occurred_at, data)| {
        let (tenant_id, principal_id, id, source, event_type) = names;
        Sent {
            tenant_id,
            principal_id,
            id,
            source,
            event_type,
            occurred_at,
            data,
        }
    })
}

impl Sent {
    fn native(&self) -> String {
        object(&[
            ("type", quoted(&self.event_type)),
            ("id", quoted(&self.id)),
            ("source", quoted(&self.source)),
            ("data", self.data.clone()),
            ("tenant_id", quoted(&self.tenant_id)),
            ("principal_id", quoted(&self.principal_id)),
            ("occurred_at", quoted(&self.occurred_at.to_string())),
        ])
    }

    fn attributes(&self) -> Vec<(String, String)> {
        let named = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            named("specversion", "1.0"),
            named("id", &self.id),
            named("source", &self.source),
            named("type", &self.event_type),
            named("subject", &self.principal_id),
            named("tenantid", &self.tenant_id),
            named("time", &self.occurred_at.to_string()),
            named("datacontenttype", "application/json"),
        ]
    }

    fn cloud(&self) -> String {
        let attributes = self.attributes();
        let mut fields: Vec<_> = attributes
            .iter()
            .map(|(name, value)| (&**name, quoted(value)))
            .collect();
        fields.insert(3, ("data", self.data.clone()));
        object(&fields)
    }

    fn event(&self) -> NewEvent {
        NewEvent {
            tenant_id: self.tenant_id.clone(),
            principal_id: self.principal_id.clone(),
            event_id: format!("{}{UNIT_SEPARATOR}{}", self.source, self.id),
            event_type: self.event_type.clone(),
            occurred_at: self.occurred_at,
            is_time_received: false,
            schema_version: 0,
            data: self.data.clone(),
            metadata: "{}".to_owned(),
            refusals: Vec::new(),
        }
    }
}

/// Reads a body that is there whole.
fn parsed(format: &Format, body: &str) -> Result<Body, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    with_reading(|reading| runtime.block_on(parse(format, body, reading)))
}

/// What was read, in order; none is refused.
fn events(read: Result<Body, Problem>) -> Vec<NewEvent> {
    let read = match read.unwrap() {
        Body::One(one) => vec![*one],
        Body::Many(many) => many,
    };
    read.into_iter().map(Result::unwrap).collect()
}

/// Whatever is refused, has a reason.
fn check_refused(read: Result<Body, Problem>) -> Result<(), TestCaseError> {
    let read = match read {
        Err(problem) => {
            prop_assert!(!problem.detail.is_empty() && problem.code == Code::MalformedBody);
            return Ok(());
        }
        Ok(Body::One(one)) => vec![*one],
        Ok(Body::Many(many)) => many,
    };
    for refused in read.into_iter().filter_map(Result::err) {
        let faults = &refused.refusal.faults;
        prop_assert!(!faults.is_empty() && faults.iter().all(|fault| !fault.detail.is_empty()));
    }
    Ok(())
}

/// Each format in which several events can be, or one, with a body of them.
fn bodies(all: &[Sent]) -> Vec<(Format, String)> {
    let array = |write: fn(&Sent) -> String| {
        let events: Vec<String> = all.iter().map(write).collect();
        format!(" [ {} ]\n", events.join(" ,\n"))
    };
    let mut bodies = vec![
        (Format::Json, array(Sent::native)),
        (Format::CloudEventBatch, array(Sent::cloud)),
        (Format::CloudEvents, array(Sent::cloud)),
    ];
    if let [one] = all {
        bodies.extend([
            (Format::Json, format!("\n{} ", one.native())),
            (Format::CloudEvent, one.cloud()),
            (Format::CloudEvents, format!("\t{}", one.cloud())),
            (Format::BinaryCloudEvent(one.attributes()), one.data.clone()),
        ]);
    }
    bodies
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn events_are_read_as_they_were_written_in_every_format(
        all in prop_oneof![
            prop::collection::vec(sent(), 1..2),
            prop::collection::vec(sent(), 0..6),
        ],
        chunk in 1..40_usize,
    ) {
        let expected: Vec<NewEvent> = all.iter().map(Sent::event).collect();
        for (format, body) in bodies(&all) {
            prop_assert_eq!(&events(parsed(&format, &body)), &expected, "{:?}: {}", format, body);
        }
        let body: Vec<String> = all.iter().map(Sent::native).collect();
        let read = lines(body.join("\r\n\n").as_bytes(), chunk);
        match all.is_empty() {
            true => prop_assert!(read.is_err()),
            false => prop_assert_eq!(events(read.map(Body::Many)), expected),
        }
    }

    #[test]
    fn rubbish_is_refused_with_a_reason(
        all in prop::collection::vec(sent(), 1..3),
        edits in prop::collection::vec((any::<Index>(), 0..9_usize, any::<Index>()), 1..5),
        text in any::<String>(),
    ) {
        let pieces = ["\"", "{", "}", "[", "]", ",", ":", "\\u0000", "\\ud800", "1e999", "-", "null", "\n", text.as_str()];
        for (format, body) in bodies(&all) {
            let mut chars: Vec<char> = body.chars().collect();
            for (at, cut, piece) in &edits {
                let from = at.index(chars.len() + 1);
                let to = (from + cut).min(chars.len());
                chars.splice(from..to, pieces[piece.index(pieces.len())].chars());
            }
            let body: String = chars.into_iter().collect();
            check_refused(parsed(&format, &body))?;
            check_refused(lines(body.as_bytes(), 7).map(Body::Many))?;
        }
        for format in [Format::Json, Format::CloudEvent, Format::CloudEventBatch, Format::CloudEvents] {
            check_refused(parsed(&format, &text))?;
        }
    }
}
