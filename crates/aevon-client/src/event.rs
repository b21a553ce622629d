//! An event as it is sent, and the id of one that has none.
//!
//! Retry safety: an event is written as text once, and sent as that text each time; its id is part of it.

use crate::Error;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a digest that an id is made of: no two contents ever share one.
const ID_BYTES: usize = 16;

/// An event to be stored.
///
/// ```
/// use aevon_client::Event;
/// use serde_json::json;
///
/// let event = Event::new("user_123", "model.call", json!({"tokens": 123}))
///     .tenant("acme")
///     .id("evt-001")
///     .occurred_at("2026-02-11T10:30:00Z");
/// ```
///
/// # Ids
///
/// An event is stored once under its id, for ever, so that sending it again is safe. Give the id that your
/// own system knows it by. Where there is none, one is derived: `content-` and the first 16 bytes of the
/// SHA-256, in hexadecimal, of the JSON array `[key, type, occurred_at, schema_version, data, metadata]`,
/// without spaces and with the keys of objects in order. So the same event has the same id in every
/// process; two events with the same content at the same instant have it as well, and count once.
/// [`Event::key`] tells those apart: an order's line, an offset in a file. Without [`Event::occurred_at`] the
/// instant is when the event is given to the client, in microseconds, and its id is new each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    fields: Map<String, Value>,
    key: Option<String>,
}

impl Event {
    /// What happened to a principal: a type, and data, which is an object.
    #[must_use]
    pub fn new(
        principal_id: impl Into<String>,
        event_type: impl Into<String>,
        data: impl Into<Value>,
    ) -> Self {
        let mut fields = Map::new();
        fields.insert("principal_id".to_owned(), principal_id.into().into());
        fields.insert("type".to_owned(), event_type.into().into());
        fields.insert("data".to_owned(), data.into());
        Self { fields, key: None }
    }

    /// An event that is JSON already, such as a line of a file; what it lacks may be added.
    ///
    /// # Errors
    /// Where the text is not an object. Whether it is an event is for the service to say.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let fields = serde_json::from_str(text)
            .map_err(|error| Error::Invalid(format!("the event is no JSON object: {error}")))?;
        Ok(Self { fields, key: None })
    }

    fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.to_owned(), value.into());
        self
    }

    /// Whose principal it is; with a key of the tenant's own there is no need to say.
    #[must_use]
    pub fn tenant(self, tenant_id: impl Into<String>) -> Self {
        self.with("tenant_id", tenant_id.into())
    }

    /// The same, where the event does not say it yet.
    #[must_use]
    pub fn or_tenant(self, tenant_id: &str) -> Self {
        match self.lacks("tenant_id") {
            true => self.tenant(tenant_id),
            false => self,
        }
    }

    /// What it is known by. See [Ids](Event#ids).
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        self.with("id", id.into())
    }

    /// What tells it from others with the same content, where it has no id. See [Ids](Event#ids).
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Who knows it by its id; part of its identity.
    #[must_use]
    pub fn source(self, source: impl Into<String>) -> Self {
        self.with("source", source.into())
    }

    /// When it happened: an instant of RFC 3339.
    #[must_use]
    pub fn occurred_at(self, at: impl Into<String>) -> Self {
        self.with("occurred_at", at.into())
    }

    /// When it happened, by a clock.
    #[must_use]
    pub fn at(self, at: SystemTime) -> Self {
        self.occurred_at(instant(at))
    }

    /// Which schema its data follows.
    #[must_use]
    pub fn schema_version(self, version: u32) -> Self {
        self.with("schema_version", version)
    }

    /// What is known about the event itself; an object.
    #[must_use]
    pub fn metadata(self, metadata: impl Into<Value>) -> Self {
        self.with("metadata", metadata)
    }

    /// Whether it says this, such as `id`.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        !self.lacks(field)
    }

    fn lacks(&self, field: &str) -> bool {
        self.fields.get(field).is_none_or(Value::is_null)
    }

    /// The event as it is sent, from now on.
    pub(crate) fn written(mut self) -> Written {
        if self.lacks("occurred_at") {
            self = self.at(SystemTime::now());
        }
        if self.lacks("id") {
            let id = self.content_id();
            self = self.id(id);
        }
        let id = self.fields["id"].as_str().unwrap_or_default().to_owned();
        let mut line = Value::Object(self.fields).to_string();
        line.push('\n');
        Written { id, line }
    }

    fn content_id(&self) -> String {
        let mut text = String::from("[");
        let key = self.key.clone().map_or(Value::Null, Value::from);
        canonical(&key, &mut text);
        for field in ["type", "occurred_at", "schema_version", "data", "metadata"] {
            text.push(',');
            canonical(self.fields.get(field).unwrap_or(&Value::Null), &mut text);
        }
        text.push(']');
        let digest = Sha256::digest(text);
        format!("content-{}", hex(&digest[..ID_BYTES]))
    }
}

/// An event as one line of JSON, with its end.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) id: String,
    pub(crate) line: String,
}

/// An instant of RFC 3339, in microseconds.
fn instant(at: SystemTime) -> String {
    let micros = match at.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()),
        Err(before) => i64::try_from(before.duration().as_micros()).map(|micros| -micros),
    };
    let at = micros.ok().map(jiff::Timestamp::from_microsecond);
    let at = at.and_then(Result::ok).unwrap_or(jiff::Timestamp::MAX);
    at.to_string()
}

/// JSON without spaces, with the keys of objects in order, whatever order a map keeps.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort_unstable();
            text.push('{');
            for (nth, key) in keys.into_iter().enumerate() {
                if nth > 0 {
                    text.push(',');
                }
                canonical(&Value::from(key.as_str()), text);
                text.push(':');
                canonical(&fields[key], text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (nth, item) in items.iter().enumerate() {
                if nth > 0 {
                    text.push(',');
                }
                canonical(item, text);
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call() -> Event {
        let data = json!({"tokens": 123, "model": "m1"});
        Event::new("u", "model.call", data).occurred_at("2026-02-11T10:30:00Z")
    }

    #[test]
    fn the_same_content_has_the_same_id_in_every_process_and_another_has_another() {
        // Frozen: a client of tomorrow must find what the one of today has sent.
        let id = call().written().id;
        assert_eq!(id, "content-6cc0d00d175b8ffaa7a8de7ff501e4eb");
        let text = r#"{"type":"model.call", "data":{"model":"m1","tokens":123},
            "occurred_at":"2026-02-11T10:30:00Z","principal_id":"u"}"#;
        assert_eq!(Event::from_json(text).unwrap().written().id, id);
        let others = [
            call().key("line 2"),
            call().schema_version(1),
            call().metadata(json!({"a": 1})),
            call().occurred_at("2026-02-11T10:30:01Z"),
            Event::new("u", "model.call", json!({"tokens": 124}))
                .occurred_at("2026-02-11T10:30:00Z"),
        ];
        let mut ids: Vec<String> = others.map(|event| event.written().id).into();
        ids.push(id);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 6, "{ids:?}");
    }

    #[test]
    fn an_event_is_one_line_and_keeps_its_own_id_and_every_digit() {
        let text =
            "{\n\"id\":\"e\",\"occurred_at\":\"x\",\"data\":{\"n\":1.10000000000000000000001}}";
        let written = Event::from_json(text).unwrap().or_tenant("acme").written();
        let expected = "{\"data\":{\"n\":1.10000000000000000000001},\"id\":\"e\",\
                        \"occurred_at\":\"x\",\"tenant_id\":\"acme\"}\n";
        assert_eq!(
            (written.id.as_str(), written.line.as_str()),
            ("e", expected)
        );
        assert!(Event::from_json("[1]").is_err());
        let at = instant(UNIX_EPOCH - std::time::Duration::from_micros(1));
        assert_eq!(at, "1969-12-31T23:59:59.999999Z");
    }
}
