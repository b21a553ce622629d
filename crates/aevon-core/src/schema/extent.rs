//! How far a schema reaches, with every reference followed: the bound on what checking costs.
//!
//! A validator tries each branch of `oneOf` and its like, so a schema that refers to itself through
//! two of them doubles the work with each level of the data: forty levels take for ever. So a
//! schema may not refer to itself, and what it refers to counts as often as it is referred to.

use rustc_hash::FxHashMap;
use serde_json::Value;

/// Most keywords and values of a schema, with every reference followed.
const MAX_EXTENT: u64 = 100_000;
/// Keywords whose values are data, not schemas.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];

/// That a schema's extent is bounded.
///
/// # Errors
/// A sentence that says what is wrong with it, and where.
pub(super) fn check(document: &Value) -> Result<(), String> {
    let mut walk = Walk {
        document,
        known: FxHashMap::default(),
    };
    let extent = walk.extent(document, true)?;
    if extent > MAX_EXTENT {
        return Err(format!(
            "the schema: has {extent} parts with its references followed; it may have {MAX_EXTENT}"
        ));
    }
    Ok(())
}

struct Walk<'d> {
    document: &'d Value,
    /// What each reference reaches; none while it is being followed.
    known: FxHashMap<&'d str, Option<u64>>,
}

impl<'d> Walk<'d> {
    fn extent(&mut self, schema: &'d Value, is_root: bool) -> Result<u64, String> {
        let mut extent = 1_u64;
        match schema {
            Value::Array(items) => {
                for item in items {
                    extent = extent.saturating_add(self.extent(item, false)?);
                }
            }
            Value::Object(members) => {
                for (name, value) in members {
                    let more = match (name.as_str(), value) {
                        ("$ref", Value::String(reference)) => self.follow(reference)?,
                        ("$dynamicRef" | "$anchor" | "$dynamicAnchor", Value::String(_)) => {
                            return Err(format!("{name}: is not taken; refer by #/… to a place"));
                        }
                        ("$id", Value::String(_)) if !is_root => {
                            return Err("$id: is taken at the top of a schema only".to_owned());
                        }
                        (name, _) if DATA.contains(&name) => 1,
                        _ => self.extent(value, false)?,
                    };
                    extent = extent.saturating_add(more);
                }
            }
            _ => {}
        }
        Ok(extent)
    }

    fn follow(&mut self, reference: &'d str) -> Result<u64, String> {
        match self.known.get(reference) {
            Some(Some(extent)) => return Ok(*extent),
            Some(None) => {
                return Err(format!(
                    "$ref: {reference} leads back to itself; a schema may not be recursive"
                ));
            }
            None => {}
        }
        let pointer = reference.strip_prefix('#').ok_or_else(|| {
            format!("$ref: {reference} leads out of the schema; nothing is fetched")
        })?;
        let target = self.document.pointer(pointer);
        let target = target.ok_or_else(|| format!("$ref: there is nothing at {reference}"))?;
        self.known.insert(reference, None);
        let extent = self.extent(target, pointer.is_empty())?;
        self.known.insert(reference, Some(extent));
        Ok(extent)
    }
}
