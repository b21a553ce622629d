//! What the formats share: the fields of a JSON object, raw, and reading them while faults collect.

use super::{Fault, FaultCode, Limits, RESERVED_PREFIX, Receipt, Refusal, VOID_TYPE, is_foreign};
use crate::identity::{self, IdentifierFault};
use crate::json::{self, Key, Unstorable};
use crate::time::Timestamp;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Most faults of an event that are listed.
const MAX_FAULTS: usize = 32;
const LAST_FAULT: usize = MAX_FAULTS - 1;

/// The fields of an object: those with a name of the list at its index, and the others.
#[derive(Debug)]
pub(super) struct Fields<'a, const N: usize> {
    names: &'static [&'static str; N],
    values: [Option<&'a str>; N],
    pub(super) others: Vec<(Cow<'a, str>, &'a str)>,
    pub(super) repeated: Vec<&'static str>,
}

impl<'a, const N: usize> Fields<'a, N> {
    /// Splits an event into its fields.
    ///
    /// # Errors
    /// Where it is too large, or not one JSON object.
    pub(super) fn split(
        raw: &'a str,
        names: &'static [&'static str; N],
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        let limit = limits.event_bytes;
        if raw.len() > limit {
            let detail = format!("has {} bytes; an event may have {limit}", raw.len());
            return Err(Refusal::whole(FaultCode::EventTooLarge, detail));
        }
        let mut deserializer = serde_json::Deserializer::from_str(raw);
        let fields = deserializer.deserialize_map(SplitVisitor(names));
        fields
            .and_then(|fields| deserializer.end().map(|()| fields))
            .map_err(|error| {
                let detail = format!("is not a JSON object: {error}");
                Refusal::whole(FaultCode::MalformedBody, detail)
            })
    }

    /// The raw value of a field; null is as good as absent.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let at = self.names.iter().position(|known| *known == name)?;
        self.values[at].filter(|raw| *raw != "null")
    }
}

struct SplitVisitor<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for SplitVisitor<N> {
    type Value = Fields<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields {
            names: self.0,
            values: [None; N],
            others: Vec::new(),
            repeated: Vec::new(),
        };
        while let Some(Key(key)) = map.next_key()? {
            let value = map.next_value::<&'de RawValue>()?.get();
            match self.0.iter().position(|name| *name == key) {
                Some(at) if fields.values[at].is_some() => {
                    if !fields.repeated.contains(&self.0[at]) {
                        fields.repeated.push(self.0[at]);
                    }
                }
                Some(at) => fields.values[at] = Some(value),
                None => fields.others.push((key, value)),
            }
        }
        Ok(fields)
    }
}

/// Reads raw values; what is wrong with them collects.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) faults: Vec<Fault>,
}

impl Reader {
    /// Notes what is wrong with the fields as such.
    pub(super) fn check<const N: usize>(&mut self, fields: &Fields<'_, N>) {
        for field in &fields.repeated {
            self.fault(field, FaultCode::InvalidField, "is given more than once");
        }
    }

    /// Notes a fault; so many that nobody reads them are cut off, with a word about it.
    pub(super) fn fault(&mut self, field: &str, code: FaultCode, detail: impl Into<String>) {
        let detail = match self.faults.len() {
            MAX_FAULTS => return,
            LAST_FAULT => "is wrong too, and more is that is not listed".to_owned(),
            _ => detail.into(),
        };
        self.faults.push(Fault::new(Some(field), code, detail));
    }

    /// A value that must be there.
    pub(super) fn required<'a>(&mut self, field: &str, raw: Option<&'a str>) -> Option<&'a str> {
        if raw.is_none() {
            self.fault(field, FaultCode::MissingField, "is required");
        }
        raw
    }

    pub(super) fn text<'a>(&mut self, field: &str, raw: Option<&'a str>) -> Option<Cow<'a, str>> {
        let raw = raw?;
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

    pub(super) fn identifier<'a>(
        &mut self,
        field: &str,
        raw: Option<&'a str>,
    ) -> Option<Cow<'a, str>> {
        let text = self.text(field, raw)?;
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

    /// The tenant: the sender's, or the one that a sender names who may name any.
    pub(super) fn tenant<'a>(
        &mut self,
        field: &str,
        raw: Option<&'a str>,
        receipt: &Receipt<'a>,
    ) -> Option<Cow<'a, str>> {
        let Some(own) = receipt.tenant else {
            let raw = self.required(field, raw);
            return self.identifier(field, raw);
        };
        match raw {
            None => Some(Cow::Borrowed(own)),
            Some(_) => {
                let named = self.identifier(field, raw)?;
                if named != own {
                    self.fault(field, FaultCode::Forbidden, "the key is another tenant's");
                }
                Some(named)
            }
        }
    }

    pub(super) fn event_type<'a>(
        &mut self,
        field: &str,
        raw: Option<&'a str>,
    ) -> Option<Cow<'a, str>> {
        let raw = self.required(field, raw);
        let event_type = self.identifier(field, raw)?;
        if event_type.starts_with(RESERVED_PREFIX) && event_type != VOID_TYPE {
            let detail =
                format!("types beginning with {RESERVED_PREFIX} are reserved, but {VOID_TYPE}");
            self.fault(field, FaultCode::ReservedType, detail);
        }
        Some(event_type)
    }

    pub(super) fn instant(&mut self, field: &str, raw: Option<&str>) -> Option<Timestamp> {
        let text = self.text(field, raw)?;
        Timestamp::parse(&text)
            .map_err(|detail| self.fault(field, FaultCode::InvalidField, detail))
            .ok()
    }

    /// An object that the log can hold.
    pub(super) fn object<'a>(&mut self, field: &str, raw: Option<&'a str>) -> Option<&'a str> {
        let raw = raw?;
        if !raw.starts_with('{') {
            self.fault(field, FaultCode::InvalidField, "must be an object");
            return None;
        }
        self.storable(field, raw)
    }

    /// A value that the log can hold.
    pub(super) fn storable<'a>(&mut self, field: &str, raw: &'a str) -> Option<&'a str> {
        let found = json::unstorable(raw);
        let is_storable = found.is_empty();
        for one in found {
            let (code, detail) = match one {
                Unstorable::TooDeep => {
                    let detail = format!("is nested deeper than {} levels", json::MAX_DEPTH);
                    (FaultCode::InvalidField, detail)
                }
                Unstorable::Text(what) => (
                    FaultCode::InvalidField,
                    format!("a string in it holds {what}"),
                ),
                Unstorable::Number(literal) => {
                    let bounds = "60 digits, exponent within ±60";
                    let detail = format!("the number {literal} in it is out of bounds: {bounds}");
                    (FaultCode::NumberOutOfBounds, detail)
                }
            };
            self.fault(field, code, detail);
        }
        is_storable.then_some(raw)
    }

    /// That nothing is wrong with the event itself. Where something is, the refusals that depend on
    /// more are listed with it, so that one answer is enough to mend the event.
    ///
    /// # Errors
    /// Every fault.
    pub(super) fn check_readable(
        self,
        tenant_id: Option<&str>,
        id: Option<&str>,
        refusals: &[Fault],
    ) -> Result<(), Refusal> {
        let mut faults = self.faults;
        if faults.is_empty() {
            return Ok(());
        }
        let is_foreign = is_foreign(&faults);
        faults.extend_from_slice(refusals);
        Err(Refusal {
            tenant_id: tenant_id.filter(|_| !is_foreign).map(str::to_owned),
            id: id.map(str::to_owned),
            faults,
        })
    }
}

/// The refusal of an event that lies too far ahead; for what is not a duplicate.
pub(super) fn future_refusal(
    field: &str,
    occurred: Timestamp,
    receipt: &Receipt<'_>,
) -> Vec<Fault> {
    let latest = receipt.at.plus_micros(receipt.limits.max_future_skew_us);
    if occurred <= latest {
        return Vec::new();
    }
    let detail = format!("{occurred} lies ahead of {latest}, the latest that is taken now");
    vec![Fault::new(
        Some(field),
        FaultCode::OccurredAtInFuture,
        detail,
    )]
}
