//! An event as expressions see it. Documents become values when an expression first asks for them,
//! once for all rules that ask.

use crate::amount::Amount;
use crate::fold::Fact;
use crate::json::Key;
use crate::time::Timestamp;
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The variables of an expression.
pub(super) const VARIABLES: [&str; 6] = [
    "data",
    "metadata",
    "type",
    "principal_id",
    "occurred_at",
    "schema_version",
];

/// An event, and what was made of it so far.
#[derive(Debug)]
pub struct Subject<'e> {
    pub(crate) fact: Fact<'e>,
    data: OnceLock<Document<'e>>,
    metadata: OnceLock<Document<'e>>,
}

/// A document as a value of CEL, with the size that loops are counted in.
#[derive(Debug)]
pub(super) struct Document<'e> {
    value: Box<dyn Val + 'e>,
    /// Items of its longest array or object.
    pub(super) longest: usize,
}

impl<'e> Subject<'e> {
    /// An event.
    pub fn new(fact: Fact<'e>) -> Self {
        Self {
            fact,
            data: OnceLock::new(),
            metadata: OnceLock::new(),
        }
    }

    pub(super) fn data(&self) -> &Document<'e> {
        self.data.get_or_init(|| Document::read(self.fact.data))
    }

    pub(super) fn metadata(&self) -> &Document<'e> {
        self.metadata
            .get_or_init(|| Document::read(self.fact.metadata))
    }
}

impl VariableResolver for Subject<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        Some(match variable {
            "data" => CowVal::Borrowed(self.data().value.as_ref()),
            "metadata" => CowVal::Borrowed(self.metadata().value.as_ref()),
            "type" => CowVal::owned(CelString::from(self.fact.event_type)),
            "principal_id" => CowVal::owned(CelString::from(self.fact.principal_id)),
            "occurred_at" => CowVal::owned(instant(self.fact.occurred_at)?),
            "schema_version" => CowVal::owned(CelInt::from(i64::from(self.fact.schema_version))),
            _ => return None,
        })
    }
}

fn instant(at: Timestamp) -> Option<CelTimestamp> {
    let utc = chrono::DateTime::from_timestamp_micros(at.as_micros())?;
    Some(CelTimestamp::from(utc.fixed_offset()))
}

impl<'e> Document<'e> {
    fn read(text: &'e str) -> Self {
        let mut longest = 0;
        Self {
            value: value(text.trim_ascii(), &mut longest),
            longest,
        }
    }
}

/// Level by level, from raw values: serde_json's tree gives a meaning of its own to objects with
/// certain keys. What is stored is well-formed; anything else would be null.
fn value<'e>(raw: &'e str, longest: &mut usize) -> Box<dyn Val + 'e> {
    match raw.as_bytes().first() {
        Some(b'{') => {
            let members: HashMap<Key<'e>, &'e RawValue> =
                serde_json::from_str(raw).unwrap_or_default();
            *longest = members.len().max(*longest);
            let member = |(Key(key), raw): (Key<'e>, &'e RawValue)| {
                let key = match key {
                    Cow::Borrowed(key) => CelMapKey::from(key),
                    Cow::Owned(key) => CelMapKey::from(key),
                };
                (key, value(raw.get(), longest))
            };
            let map: HashMap<CelMapKey<'e>, _> = members.into_iter().map(member).collect();
            Box::new(CelMap::from(map))
        }
        Some(b'[') => {
            let items: Vec<&'e RawValue> = serde_json::from_str(raw).unwrap_or_default();
            *longest = items.len().max(*longest);
            let items = items.into_iter().map(|raw| value(raw.get(), longest));
            Box::new(CelList::from(items.collect::<Vec<_>>()))
        }
        Some(b'"') => match serde_json::from_str::<Key<'e>>(raw) {
            Ok(Key(text)) => Box::new(CelString::from(text)),
            Err(_) => Box::new(CelNull),
        },
        Some(b't') => Box::new(CelBool::from(true)),
        Some(b'f') => Box::new(CelBool::from(false)),
        Some(b'-' | b'0'..=b'9') => number(raw),
        _ => Box::new(CelNull),
    }
}

/// An integer within 64 bits is an int, however it is written; any other number the nearest double.
fn number(raw: &str) -> Box<dyn Val> {
    let integer = raw.parse().ok();
    let integer = integer.or_else(|| Amount::parse(raw).and_then(|number| number.as_integer()));
    match integer {
        Some(integer) => Box::new(CelInt::from(integer)),
        None => Box::new(CelDouble::from(raw.parse::<f64>().unwrap_or(f64::NAN))),
    }
}
