//! Events on their way in: from raw JSON to something that may be stored, or every reason why not.
//!
//! Invariant: a [`NewEvent`] can be stored. Whatever Postgres would refuse is refused here, so that
//! no event can take its neighbours in a group commit down, and none can ever stop a sweep.

use crate::identity::{self, IdentifierFault, UNIT_SEPARATOR};
use crate::json::{self, Unstorable};
use crate::time::Timestamp;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Types beginning so belong to Aevon.
pub const RESERVED_PREFIX: &str = "aevon.";

/// Bounds on one event.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of an event's JSON.
    pub event_bytes: usize,
    /// How far `occurred_at` may lie ahead of the time of receipt, in microseconds.
    pub max_future_skew_us: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes: 256 * 1024,
            max_future_skew_us: 5 * crate::time::MINUTE_US,
        }
    }
}

/// One thing that is wrong with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field, where there is one.
    pub field: Option<String>,
    /// The public code of the fault.
    pub code: FaultCode,
    /// What is wrong, for people.
    pub detail: String,
}

/// Public codes of what can be wrong with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultCode {
    /// Not a JSON object.
    MalformedBody,
    /// A required field is absent.
    MissingField,
    /// A field that events don't have.
    UnknownField,
    /// A field of the wrong type or content.
    InvalidField,
    /// A number with too many digits, or too large an exponent.
    NumberOutOfBounds,
    /// An identifier of too many bytes.
    IdentifierTooLong,
    /// `occurred_at` lies too far ahead.
    OccurredAtInFuture,
    /// A type that belongs to Aevon.
    ReservedType,
    /// An event of too many bytes.
    EventTooLarge,
}

impl FaultCode {
    /// The code as the HTTP contract spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedBody => "malformed-body",
            Self::MissingField => "missing-field",
            Self::UnknownField => "unknown-field",
            Self::InvalidField => "invalid-field",
            Self::NumberOutOfBounds => "number-out-of-bounds",
            Self::IdentifierTooLong => "identifier-too-long",
            Self::OccurredAtInFuture => "occurred-at-in-future",
            Self::ReservedType => "reserved-type",
            Self::EventTooLarge => "event-too-large",
        }
    }
}

impl Fault {
    fn new(field: &str, code: FaultCode, detail: impl Into<String>) -> Self {
        Self {
            field: Some(field.to_owned()),
            code,
            detail: detail.into(),
        }
    }
}

/// An event that may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Isolation unit.
    pub tenant_id: String,
    /// Whose state it is.
    pub principal_id: String,
    /// The stored identity: the caller's id, or `source` + U+001F + id.
    pub event_id: String,
    /// What happened.
    pub event_type: String,
    /// Valid time.
    pub occurred_at: Timestamp,
    /// 0: no schema.
    pub schema_version: i32,
    /// A JSON object, as sent.
    pub data: String,
    /// A JSON object, as sent; `{}` where absent.
    pub metadata: String,
    /// A refusal that depends on the moment of receipt. It holds only for what is not a duplicate
    /// of something stored: a retry of what was stored is always a duplicate.
    pub refusal: Option<Fault>,
}

impl NewEvent {
    /// The caller's id.
    pub fn id(&self) -> &str {
        self.event_id
            .rsplit(UNIT_SEPARATOR)
            .next()
            .unwrap_or(&self.event_id)
    }

    /// About how many bytes of memory this event holds.
    pub fn size_bytes(&self) -> usize {
        std::mem::size_of::<Self>()
            + self.tenant_id.len()
            + self.principal_id.len()
            + self.event_id.len()
            + self.event_type.len()
            + self.data.len()
            + self.metadata.len()
    }
}

/// Why an event was refused: its id, as far as it could be read, and every fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The caller's id, where it could be read.
    pub id: Option<String>,
    /// Never empty.
    pub faults: Vec<Fault>,
}

const FIELDS: [&str; 9] = [
    "tenant_id",
    "principal_id",
    "id",
    "source",
    "type",
    "occurred_at",
    "schema_version",
    "data",
    "metadata",
];

/// Reads one event of Aevon's own JSON format.
///
/// # Errors
/// Every fault of the event, not just the first.
pub fn parse(raw: &str, received_at: Timestamp, limits: &Limits) -> Result<NewEvent, Refusal> {
    let refuse = |code, detail: String| Refusal {
        id: None,
        faults: vec![Fault {
            field: None,
            code,
            detail,
        }],
    };
    if raw.len() > limits.event_bytes {
        let detail = format!(
            "{} bytes; an event may have {}",
            raw.len(),
            limits.event_bytes
        );
        return Err(refuse(FaultCode::EventTooLarge, detail));
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw);
    let fields = deserializer.deserialize_map(EnvelopeVisitor).map_err(|_| {
        refuse(
            FaultCode::MalformedBody,
            "an event is a JSON object".to_owned(),
        )
    })?;
    Reader {
        fields,
        faults: Vec::new(),
        limits,
    }
    .read(received_at)
}

/// The top-level fields of an event, raw.
#[derive(Default)]
struct Envelope<'a> {
    values: [Option<&'a str>; FIELDS.len()],
    unknown: Vec<String>,
    repeated: Vec<&'static str>,
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let value = map.next_value::<&'de RawValue>()?.get();
            match FIELDS.iter().position(|field| *field == key) {
                Some(at) if envelope.values[at].is_some() => envelope.repeated.push(FIELDS[at]),
                Some(at) => envelope.values[at] = Some(value),
                None => envelope.unknown.push(key.chars().take(80).collect()),
            }
        }
        Ok(envelope)
    }
}

/// Reads fields and collects faults.
struct Reader<'a> {
    fields: Envelope<'a>,
    faults: Vec<Fault>,
    limits: &'a Limits,
}

impl<'a> Reader<'a> {
    fn read(mut self, received_at: Timestamp) -> Result<NewEvent, Refusal> {
        for field in std::mem::take(&mut self.fields.unknown) {
            self.fault(&field, FaultCode::UnknownField, "is no field of an event");
        }
        for field in std::mem::take(&mut self.fields.repeated) {
            self.fault(field, FaultCode::InvalidField, "is given more than once");
        }
        let tenant_id = self.identifier("tenant_id", true);
        let principal_id = self.identifier("principal_id", true);
        let id = self.identifier("id", true);
        let source = self.identifier("source", false);
        let event_type = self.identifier("type", true);
        if event_type
            .as_deref()
            .is_some_and(|t| t.starts_with(RESERVED_PREFIX))
        {
            self.fault(
                "type",
                FaultCode::ReservedType,
                "types beginning with aevon. are reserved",
            );
        }
        let occurred_at = self.instant("occurred_at");
        let schema_version = self.schema_version();
        let data = self.object("data", true);
        let metadata = self.object("metadata", false);
        if !self.faults.is_empty() {
            return Err(Refusal {
                id: id.map(Cow::into_owned),
                faults: self.faults,
            });
        }
        let id = id.unwrap_or_default();
        let occurred_at = occurred_at.unwrap_or(received_at);
        Ok(NewEvent {
            tenant_id: tenant_id.unwrap_or_default().into_owned(),
            principal_id: principal_id.unwrap_or_default().into_owned(),
            event_id: match source {
                Some(source) => format!("{source}{UNIT_SEPARATOR}{id}"),
                None => id.into_owned(),
            },
            event_type: event_type.unwrap_or_default().into_owned(),
            occurred_at,
            schema_version,
            data: data.unwrap_or("{}").to_owned(),
            metadata: metadata.unwrap_or("{}").to_owned(),
            refusal: future_refusal(occurred_at, received_at, self.limits),
        })
    }

    fn fault(&mut self, field: &str, code: FaultCode, detail: impl Into<String>) {
        self.faults.push(Fault::new(field, code, detail));
    }

    /// The raw value of a field; `None` is noted as a fault where the field is required.
    fn raw(&mut self, field: &'static str, required: bool) -> Option<&'a str> {
        let at = FIELDS.iter().position(|name| *name == field)?;
        let value = self.fields.values[at];
        if value.is_none() && required {
            self.fault(field, FaultCode::MissingField, "is required");
        }
        value
    }

    fn string(&mut self, field: &'static str, required: bool) -> Option<Cow<'a, str>> {
        let raw = self.raw(field, required)?;
        let text = match raw
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        {
            None => {
                self.fault(field, FaultCode::InvalidField, "must be a string");
                return None;
            }
            Some(plain) if !plain.contains('\\') => return Some(Cow::Borrowed(plain)),
            Some(_) => serde_json::from_str::<String>(raw),
        };
        match text {
            Ok(text) => Some(Cow::Owned(text)),
            Err(_) => {
                self.fault(field, FaultCode::InvalidField, "holds a lone surrogate");
                None
            }
        }
    }

    fn identifier(&mut self, field: &'static str, required: bool) -> Option<Cow<'a, str>> {
        let text = self.string(field, required)?;
        let fault = match identity::check(&text) {
            Ok(()) => return Some(text),
            Err(fault) => fault,
        };
        let code = match fault {
            IdentifierFault::TooLong(_) => FaultCode::IdentifierTooLong,
            IdentifierFault::Empty | IdentifierFault::Control => FaultCode::InvalidField,
        };
        self.fault(field, code, fault.to_string());
        None
    }

    fn instant(&mut self, field: &'static str) -> Option<Timestamp> {
        let text = self.string(field, true)?;
        Timestamp::parse(&text)
            .map_err(|detail| self.fault(field, FaultCode::InvalidField, detail))
            .ok()
    }

    fn schema_version(&mut self) -> i32 {
        let Some(raw) = self.raw("schema_version", false) else {
            return 0;
        };
        match raw.parse::<i32>() {
            Ok(0) => 0,
            Ok(version) if version > 0 => {
                let detail = "no schemas are registered here: leave it out, or send 0";
                self.fault("schema_version", FaultCode::InvalidField, detail);
                0
            }
            _ => {
                self.fault(
                    "schema_version",
                    FaultCode::InvalidField,
                    "must be an integer from 0",
                );
                0
            }
        }
    }

    fn object(&mut self, field: &'static str, required: bool) -> Option<&'a str> {
        let raw = self.raw(field, required)?;
        if !raw.starts_with('{') {
            self.fault(field, FaultCode::InvalidField, "must be an object");
            return None;
        }
        match json::check(raw) {
            Ok(()) => return Some(raw),
            Err(Unstorable::TooDeep) => {
                let detail = format!("is nested deeper than {} levels", json::MAX_DEPTH);
                self.fault(field, FaultCode::InvalidField, detail);
            }
            Err(Unstorable::Text(what)) => {
                self.fault(
                    field,
                    FaultCode::InvalidField,
                    format!("a string in it holds {what}"),
                );
            }
            Err(Unstorable::Number(literal)) => {
                let detail = format!(
                    "the number {literal} in it is out of bounds: 60 digits, exponent within ±60"
                );
                self.fault(field, FaultCode::NumberOutOfBounds, detail);
            }
        }
        None
    }
}

fn future_refusal(occurred: Timestamp, received: Timestamp, limits: &Limits) -> Option<Fault> {
    let latest = received.plus_micros(limits.max_future_skew_us);
    (occurred > latest).then(|| {
        let detail = format!("{occurred} lies ahead of {latest}, the latest that is taken now");
        Fault::new("occurred_at", FaultCode::OccurredAtInFuture, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn read(raw: &str) -> Result<NewEvent, Refusal> {
        parse(raw, NOW, &Limits::default())
    }

    fn codes(raw: &str) -> Vec<(String, &'static str)> {
        let faults = read(raw).unwrap_err().faults;
        faults
            .into_iter()
            .map(|f| (f.field.unwrap_or_default(), f.code.as_str()))
            .collect()
    }

    #[test]
    fn a_whole_event_is_read_and_keeps_its_digits() {
        let event = read(
            r#"{"tenant_id":"acme","principal_id":"u/1 %\"😀","id":"e","source":"gw","type":"t",
               "occurred_at":"2026-02-11T10:30:00+02:00","data":{"n":1.10}}"#,
        )
        .unwrap();
        assert_eq!(event.principal_id, "u/1 %\"😀");
        assert_eq!((event.event_id.as_str(), event.id()), ("gw\u{1f}e", "e"));
        assert_eq!(event.data, r#"{"n":1.10}"#);
        assert_eq!((event.metadata.as_str(), event.refusal), ("{}", None));
    }

    #[test]
    fn every_fault_is_listed() {
        let found = codes(
            r#"{"tenant_id":"","principal_id":7,"id":"a\u0000b","type":"aevon.x","colour":1,
               "occurred_at":"yesterday","schema_version":-1,"data":[],"metadata":{"n":1e61}}"#,
        );
        let expected = [
            ("colour", "unknown-field"),
            ("tenant_id", "invalid-field"),
            ("principal_id", "invalid-field"),
            ("id", "invalid-field"),
            ("type", "reserved-type"),
            ("occurred_at", "invalid-field"),
            ("schema_version", "invalid-field"),
            ("data", "invalid-field"),
            ("metadata", "number-out-of-bounds"),
        ];
        assert_eq!(found, expected.map(|(f, c)| (f.to_owned(), c)));
    }

    #[test]
    fn missing_fields_and_other_shapes_are_named() {
        let missing = [
            "tenant_id",
            "principal_id",
            "id",
            "type",
            "occurred_at",
            "data",
        ];
        assert_eq!(
            codes("{}"),
            missing.map(|f| (f.to_owned(), "missing-field"))
        );
        assert_eq!(codes("[]"), [(String::new(), "malformed-body")]);
        assert_eq!(codes("7"), [(String::new(), "malformed-body")]);
    }

    #[test]
    fn a_future_event_carries_its_refusal_and_513_bytes_are_too_long() {
        let at = |micros: i64| {
            let when = NOW.plus_micros(micros);
            format!(
                r#"{{"tenant_id":"a","principal_id":"p","id":"i","type":"t","data":{{}},
                    "occurred_at":"{when}"}}"#
            )
        };
        assert_eq!(read(&at(300_000_000)).unwrap().refusal, None);
        let refusal = read(&at(300_000_001)).unwrap().refusal.unwrap();
        assert_eq!(refusal.code, FaultCode::OccurredAtInFuture);
        let long = at(0).replace("\"i\"", &format!("\"{}\"", "i".repeat(513)));
        assert_eq!(codes(&long), [("id".to_owned(), "identifier-too-long")]);
        assert!(read(&at(0).replace("\"i\"", &format!("\"{}\"", "i".repeat(512)))).is_ok());
    }
}
