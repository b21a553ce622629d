//! Schemas of `data`: JSON Schema 2020-12, by owner, type of event and version. A tenant's own
//! schema goes before the platform's.
//!
//! Invariant: a schema is whole in itself. A reference that leads out of it is a fault of the
//! schema, found before any event is checked; nothing is ever fetched.
//! Invariant: checking takes time in proportion to the data: schemas are not recursive, patterns are
//! those of a regular expression engine without backtracking, and the listing of faults has a
//! bound.

mod extent;

use crate::event::{Fault, FaultCode};
use crate::json;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::cell::Cell;
use std::collections::BTreeMap;

/// The dialect that schemas are written in, where they name one.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Most characters that are shown of a title or a description.
const MAX_SHOWN_CHARS: usize = 500;
/// Most faults of an event that are listed.
const MAX_FAULTS: usize = 32;
/// Bytes of `data`, over all events of a body, of which every fault is listed; of what lies beyond
/// only the first is. The library finds all before it lists any, at 0.7 µs each, and two bytes can be
/// one.
const MAX_LISTED_BYTES: usize = 1024 * 1024;

/// What a schema is for. In the order in which schemas are listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SchemaKey {
    /// The tenant whose schema it is; `None` is the platform's, which serves every tenant that has
    /// none of its own for this type and version.
    pub tenant_id: Option<String>,
    /// The type of the events.
    pub event_type: String,
    /// From 1.
    pub version: i32,
}

/// A schema that is ready for use.
#[derive(Debug)]
pub struct Schema {
    /// SHA-256 of the document, its keys in order and without blanks: the same for JSON and YAML.
    pub sha256: String,
    /// Its `title`.
    pub title: Option<String>,
    /// Its `description`.
    pub description: Option<String>,
    validator: Validator,
}

impl Schema {
    /// Reads a document in YAML.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it, and where.
    pub fn from_yaml(text: &str) -> Result<Self, String> {
        let document: Value = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
        Self::from_document(&document)
    }

    /// Reads a document in JSON.
    ///
    /// # Errors
    /// As [`Schema::from_yaml`].
    pub fn from_json(text: &str) -> Result<Self, String> {
        let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Self::from_document(&document)
    }

    fn from_document(document: &Value) -> Result<Self, String> {
        if let Some(dialect) = document.get("$schema")
            && dialect.as_str().map(|uri| uri.trim_end_matches('#')) != Some(DIALECT)
        {
            return Err(format!(
                "$schema: {dialect} is not read; write {DIALECT} or leave it out"
            ));
        }
        extent::check(document)?;
        let built = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex())
            .offline()
            .build(document);
        let text = |name: &str| {
            let text = document.get(name).and_then(Value::as_str)?;
            Some(text.chars().take(MAX_SHOWN_CHARS).collect())
        };
        let digest = Sha256::digest(document.to_string().as_bytes());
        Ok(Self {
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            title: text("title"),
            description: text("description"),
            validator: built.map_err(|error| placed(&error))?,
        })
    }

    /// What is wrong with a well-formed object, by JSON Pointer behind `prefix`: all of it, or
    /// the first fault.
    fn faults(&self, data: &str, prefix: &str, is_listed: bool) -> Vec<Fault> {
        let Some(data) = json::tree(data) else {
            // The door has read it as JSON before; a fault all the same, never a pass.
            let detail = "can't be read";
            return vec![Fault::new(Some(prefix), FaultCode::SchemaMismatch, detail)];
        };
        if self.validator.is_valid(&data) {
            return Vec::new();
        }
        let fault = |error: ValidationError<'_>| {
            let pointer = format!("{prefix}{}", error.instance_path());
            let detail = error.masked_with("it").to_string();
            Fault::new(Some(&pointer), FaultCode::SchemaMismatch, detail)
        };
        if is_listed {
            let errors = self.validator.iter_errors(&data);
            errors.take(MAX_FAULTS).map(fault).collect()
        } else {
            self.validator
                .validate(&data)
                .err()
                .map(fault)
                .into_iter()
                .collect()
        }
    }
}

/// What is wrong with a schema, and where in it.
fn placed(error: &ValidationError<'_>) -> String {
    match error.instance_path().as_str() {
        "" => format!("the schema: {error}"),
        pointer => format!("{pointer}: {error}"),
    }
}

/// All schemas of a process.
#[derive(Debug, Default)]
pub struct Schemas(BTreeMap<SchemaKey, Schema>);

impl Schemas {
    /// Adds one; gives it back where there is one for this already.
    ///
    /// # Errors
    /// The one that was to be added.
    pub fn add(&mut self, key: SchemaKey, schema: Schema) -> Result<(), Box<Schema>> {
        if self.0.contains_key(&key) {
            return Err(Box::new(schema));
        }
        self.0.insert(key, schema);
        Ok(())
    }

    /// The schema that events of a tenant are checked against, and whose it is.
    pub fn find(
        &self,
        tenant_id: Option<&str>,
        event_type: &str,
        version: i32,
    ) -> Option<(&SchemaKey, &Schema)> {
        if self.0.is_empty() {
            return None;
        }
        let mut key = SchemaKey {
            tenant_id: tenant_id.map(str::to_owned),
            event_type: event_type.to_owned(),
            version,
        };
        self.0.get_key_value(&key).or_else(|| {
            key.tenant_id = None;
            self.0.get_key_value(&key)
        })
    }

    /// Those that come after a key, in order.
    pub fn after<'s>(
        &'s self,
        key: Option<&'s SchemaKey>,
    ) -> impl Iterator<Item = (&'s SchemaKey, &'s Schema)> {
        let is_after = move |(found, _): &(&SchemaKey, &Schema)| key.is_none_or(|key| *found > key);
        self.0.iter().filter(is_after)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Checks the events of one body.
#[derive(Debug)]
pub struct SchemaCheck<'a> {
    schemas: &'a Schemas,
    /// Bytes of data of which every fault is listed still.
    room: Cell<usize>,
}

impl<'a> SchemaCheck<'a> {
    /// Checks against these.
    pub fn new(schemas: &'a Schemas) -> Self {
        Self {
            schemas,
            room: Cell::new(MAX_LISTED_BYTES),
        }
    }

    /// What is wrong with `data`, a well-formed object, of an event of this type; `prefix` is the
    /// JSON Pointer of `data`. Version 0 asks for no schema.
    pub fn faults(
        &self,
        tenant_id: Option<&str>,
        event_type: &str,
        version: i32,
        data: &str,
        prefix: &str,
    ) -> Vec<Fault> {
        if version == 0 {
            return Vec::new();
        }
        let Some((_, schema)) = self.schemas.find(tenant_id, event_type, version) else {
            let detail = format!("there is no schema of version {version} for {event_type}");
            let field = Some("schema_version");
            return vec![Fault::new(field, FaultCode::UnknownSchema, detail)];
        };
        let room = self.room.get();
        let faults = schema.faults(data, prefix, data.len() <= room);
        if !faults.is_empty() {
            self.room.set(room.saturating_sub(data.len()));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tenant_id: Option<&str>, version: i32) -> SchemaKey {
        SchemaKey {
            tenant_id: tenant_id.map(str::to_owned),
            event_type: "model.call".to_owned(),
            version,
        }
    }

    fn schemas(list: &[(Option<&str>, i32, &str)]) -> Schemas {
        let mut schemas = Schemas::default();
        for (tenant_id, version, text) in list {
            let schema = Schema::from_yaml(text).unwrap();
            assert!(schemas.add(key(*tenant_id, *version), schema).is_ok());
        }
        schemas
    }

    const CALL: &str = "
        title: A call of a model
        type: object
        required: [tokens]
        properties:
          tokens: {type: integer, minimum: 0}
          a/b: {type: string, pattern: '^(a+)+$'}
        additionalProperties: false
    ";

    const RECURSIVE: &str = "
        $ref: '#/$defs/e'
        $defs:
          e: {oneOf: [{properties: {of: {$ref: '#/$defs/e'}}}, {type: number}]}
    ";

    fn found(schemas: &Schemas, version: i32, data: &str) -> Vec<(String, FaultCode, String)> {
        let faults =
            SchemaCheck::new(schemas).faults(Some("acme"), "model.call", version, data, "/data");
        let shown = |fault: Fault| (fault.field.unwrap(), fault.code, fault.detail);
        faults.into_iter().map(shown).collect()
    }

    #[test]
    fn every_fault_is_listed_with_its_pointer_and_without_the_value() {
        let schemas = schemas(&[(None, 1, CALL)]);
        assert_eq!(found(&schemas, 1, r#"{"tokens":7}"#), []);
        assert_eq!(found(&schemas, 0, r#"{"tokens":"x"}"#), []);
        let wrong = r#"{"tokens":-1.5,"a/b":"secret","more":{}}"#;
        let faults = found(&schemas, 1, wrong);
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.0.as_str()).collect();
        assert_eq!(
            pointers,
            ["/data/a~1b", "/data/tokens", "/data/tokens", "/data"]
        );
        assert!(
            faults
                .iter()
                .all(|fault| fault.1 == FaultCode::SchemaMismatch)
        );
        assert!(
            !faults.iter().any(|fault| fault.2.contains("secret")),
            "{faults:?}"
        );
        let (pointer, _, detail) = &found(&schemas, 1, "{}")[0];
        assert_eq!(
            (pointer.as_str(), detail.as_str()),
            ("/data", "\"tokens\" is a required property")
        );
    }

    #[test]
    fn numbers_are_checked_to_the_last_digit() {
        let limit = "properties: {n: {maximum: 100000000000000000000000000000000}}";
        let schemas = schemas(&[(None, 1, limit)]);
        let at = |n: &str| found(&schemas, 1, &format!("{{\"n\":{n}}}")).len();
        assert_eq!(at("100000000000000000000000000000000"), 0);
        assert_eq!(at("100000000000000000000000000000001"), 1);
    }

    #[test]
    fn a_tenants_own_schema_goes_first_and_an_unknown_one_is_named() {
        let schemas = schemas(&[
            (None, 1, "true"),
            (Some("acme"), 1, "false"),
            (None, 2, "true"),
        ]);
        assert_eq!(found(&schemas, 1, "{}").len(), 1);
        assert_eq!(found(&schemas, 2, "{}"), []);
        let unknown = found(&schemas, 3, "{}");
        assert_eq!(
            (unknown[0].0.as_str(), unknown[0].1),
            ("schema_version", FaultCode::UnknownSchema)
        );
        let other = schemas.find(Some("other"), "model.call", 1).unwrap().0;
        assert_eq!(other.tenant_id, None);
        assert!(schemas.find(Some("acme"), "model", 1).is_none());
    }

    #[test]
    fn a_document_that_is_no_schema_is_refused_with_its_reason() {
        let refused = |text: &str| Schema::from_yaml(text).unwrap_err();
        for (text, reason) in [
            ("{\"type\": ", "line 2"),
            ("7", "the schema: 7 is not of types"),
            ("properties: {a: {type: strin}}", "/properties/a/type"),
            (
                "$schema: http://json-schema.org/draft-07/schema#",
                "$schema",
            ),
            (
                "$ref: https://example.com/other.json",
                "https://example.com/other.json",
            ),
            ("$ref: file:///etc/hostname", "nothing is fetched"),
            ("$ref: '#/$defs/none'", "/$defs/none"),
            ("pattern: '(?=a)b'", "/pattern"),
            ("items: {$ref: '#'}", "# leads back to itself"),
            (RECURSIVE, "#/$defs/e leads back to itself"),
            ("items: {$dynamicRef: '#x'}", "$dynamicRef"),
            ("items: {$id: 'https://example.com/x'}", "$id"),
        ] {
            let found = refused(text);
            assert!(found.contains(reason), "{text}: {found}");
        }
        let dialect = format!("$schema: {DIALECT}");
        assert!(Schema::from_yaml(&dialect).is_ok());
    }

    #[test]
    fn a_small_schema_that_unfolds_into_a_large_one_is_refused() {
        let level = |n: usize| {
            let next = format!("{{$ref: '#/$defs/l{}'}}", n + 1);
            format!("l{n}: {{anyOf: [{next}, {next}]}}")
        };
        let schema = |levels: usize| {
            let last = format!("l{levels}: {{}}");
            let levels: Vec<String> = (0..levels).map(level).chain([last]).collect();
            format!("$ref: '#/$defs/l0'\n$defs:\n  {}", levels.join("\n  "))
        };
        assert!(Schema::from_yaml(&schema(3)).is_ok());
        let refused = Schema::from_yaml(&schema(64)).unwrap_err();
        assert!(refused.contains("it may have 100000"), "{refused}");
        // A property of that name refers to nothing, and neither does data.
        let schema = "properties: {$ref: {const: {$ref: '#'}}}";
        assert!(Schema::from_yaml(schema).is_ok());
    }

    #[test]
    fn json_and_yaml_of_one_schema_have_one_digest() {
        let digest = |text: &str| Schema::from_yaml(text).unwrap().sha256;
        let yaml = digest("type: object\nrequired: [a]");
        let json = Schema::from_json(r#"{"required": ["a"], "type": "object"}"#).unwrap();
        assert_eq!(yaml, json.sha256);
        assert_ne!(yaml, digest("type: object"));
    }

    #[test]
    fn a_flood_of_faults_is_cut_off_after_the_bound() {
        let schemas = schemas(&[(None, 1, "properties: {a: {items: {type: string}}}")]);
        let check = SchemaCheck::new(&schemas);
        let data = format!("{{\"a\":[{}1]}}", "1,".repeat(100_000));
        let count = || check.faults(None, "model.call", 1, &data, "/data").len();
        let counts: Vec<usize> = (0..7).map(|_| count()).collect();
        assert_eq!(counts[..5], [MAX_FAULTS; 5]);
        assert_eq!(counts[5..], [1, 1]);
    }
}
