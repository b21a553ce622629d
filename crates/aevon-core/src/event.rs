//! Events on their way in: from raw JSON to something that may be stored, or every reason why not.
//! [`native`] reads Aevon's own format, [`cloud`] reads CloudEvents.
//!
//! Invariant: a [`NewEvent`] can be stored. Whatever Postgres would refuse is refused here, so that
//! no event can take its neighbours in a group commit down, and none can ever stop a sweep.

use crate::identity::UNIT_SEPARATOR;
use crate::schema::SchemaCheck;
use crate::time::Timestamp;

pub mod cloud;
pub mod native;
mod reader;
mod void;

pub use void::VOID_TYPE;

/// Types beginning so belong to Aevon; callers may send [`VOID_TYPE`] alone of them.
pub const RESERVED_PREFIX: &str = "aevon.";

/// Beginning of the keys of `metadata` that belong to Aevon; nobody else may use them.
pub const RESERVED_METADATA_PREFIX: &str = "aevon.";
/// The key of `metadata` that marks an event whose `occurred_at` is the time of its receipt.
pub const RECEIVED_MARK: &str = "aevon.occurred_at_received";

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

/// The circumstances in which an event is received.
#[derive(Clone, Copy, Debug)]
pub struct Receipt<'a> {
    /// When.
    pub at: Timestamp,
    /// The tenant that the sender is bound to; `None` may name any.
    pub tenant: Option<&'a str>,
    /// Whether `data` may be absent, which is then an empty object.
    pub is_data_optional: bool,
    /// The bounds of the place.
    pub limits: &'a Limits,
    /// The schemas of the place.
    pub schemas: &'a SchemaCheck<'a>,
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

/// Longest name of a field that a fault repeats.
const MAX_NAME_CHARS: usize = 80;
/// Longest detail of a fault: it may repeat what was sent.
const MAX_DETAIL_CHARS: usize = 300;

impl Fault {
    /// A fault; what it repeats of the event is cut off where nobody would read on.
    pub fn new(field: Option<&str>, code: FaultCode, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL_CHARS) {
            detail.truncate(end);
            detail.push('…');
        }
        Self {
            field: field.map(|name| name.chars().take(MAX_NAME_CHARS).collect()),
            code,
            detail,
        }
    }
}

/// Whether a tenant is named that the sender may not name: such an event is nobody's to look at.
pub fn is_foreign(faults: &[Fault]) -> bool {
    faults
        .iter()
        .any(|fault| fault.code == FaultCode::Forbidden)
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
    /// A schema that there is not.
    UnknownSchema,
    /// Data that is not as its schema says.
    SchemaMismatch,
    /// A void of an event that there is not.
    UnknownVoidTarget,
    /// A void of an event that is voided.
    AlreadyVoided,
    /// A tenant that the sender has nothing to do with.
    Forbidden,
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
    /// True where the sender gave no time and `occurred_at` is that of the receipt. `metadata` then
    /// says so too, see [`RECEIVED_MARK`], so that a retry can compare equal.
    pub is_time_received: bool,
    /// 0: no schema.
    pub schema_version: i32,
    /// A JSON object, as sent.
    pub data: String,
    /// A JSON object, as sent; `{}` where absent.
    pub metadata: String,
    /// Refusals that depend on more than the event: on the moment of receipt, on schemas. They hold
    /// only for what is not a duplicate of something stored: a retry of what was stored is always
    /// a duplicate.
    pub refusals: Vec<Fault>,
}

impl NewEvent {
    /// The caller's id.
    pub fn id(&self) -> &str {
        self.event_id
            .rsplit(UNIT_SEPARATOR)
            .next()
            .unwrap_or(&self.event_id)
    }

    /// The caller's source.
    pub fn source(&self) -> Option<&str> {
        let (source, _) = self.event_id.split_once(UNIT_SEPARATOR)?;
        Some(source)
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

/// Why an event was refused: whose it is, as far as it could be read, and every fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The tenant, where it could be read and the sender may name it.
    pub tenant_id: Option<String>,
    /// The caller's id, where it could be read.
    pub id: Option<String>,
    /// Never empty.
    pub faults: Vec<Fault>,
}

impl Refusal {
    /// One thing is wrong with the event as a whole.
    pub fn whole(code: FaultCode, detail: impl Into<String>) -> Self {
        Self {
            tenant_id: None,
            id: None,
            faults: vec![Fault::new(None, code, detail)],
        }
    }
}
