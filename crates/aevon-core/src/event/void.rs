//! Voids: events that take an earlier one of their principal out of every answer, from their own
//! position on.

use super::reader::{Fields, Reader};
use super::{FaultCode, Limits, NewEvent};
use crate::identity::UNIT_SEPARATOR;
use serde::Deserialize;

/// The type of a void; the one type of Aevon's own that callers may send.
pub const VOID_TYPE: &str = "aevon.void";

const FIELDS: [&str; 3] = ["event_id", "source", "reason"];

/// Notes what is wrong with the data of a void. Fields that voids don't have are refused: a mistyped
/// `source` would void another event.
pub(super) fn check(reader: &mut Reader, data: &str, limits: &Limits) {
    // Whoever read the event has said what is wrong with something that is no object.
    let Ok(fields) = Fields::split(data, &FIELDS, limits) else {
        return;
    };
    for field in &fields.repeated {
        let place = format!("/data/{field}");
        reader.fault(&place, FaultCode::InvalidField, "is given more than once");
    }
    let event_id = reader.required("/data/event_id", fields.get("event_id"));
    reader.identifier("/data/event_id", event_id);
    reader.identifier("/data/source", fields.get("source"));
    reader.text("/data/reason", fields.get("reason"));
    for (field, _) in &fields.others {
        let place = format!("/data/{field}");
        reader.fault(&place, FaultCode::UnknownField, "is no field of a void");
    }
}

#[derive(Deserialize)]
struct Target {
    event_id: String,
    source: Option<String>,
}

impl NewEvent {
    /// The stored identity of the event that this one voids; `None` where it is no void.
    pub fn void_target(&self) -> Option<String> {
        if self.event_type != VOID_TYPE {
            return None;
        }
        let Target { event_id, source } = serde_json::from_str(&self.data).ok()?;
        Some(match source {
            Some(source) => format!("{source}{UNIT_SEPARATOR}{event_id}"),
            None => event_id,
        })
    }
}
