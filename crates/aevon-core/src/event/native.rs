//! Aevon's own format: one JSON object an event.

use super::reader::{Fields, Reader, future_refusal};
use super::{
    Fault, FaultCode, NewEvent, RECEIVED_MARK, RESERVED_METADATA_PREFIX, Receipt, Refusal,
    VOID_TYPE, is_foreign, void,
};
use crate::identity::UNIT_SEPARATOR;
use crate::json;
use serde_json::Value;

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

/// Reads one event.
///
/// # Errors
/// Every fault of the event, not just the first.
pub fn parse(raw: &str, receipt: &Receipt<'_>) -> Result<NewEvent, Refusal> {
    let fields = Fields::split(raw, &FIELDS, receipt.limits)?;
    let mut reader = Reader::default();
    reader.check(&fields);
    let tenant_id = reader.tenant("tenant_id", fields.get("tenant_id"), receipt);
    let mut identifier = |field| {
        let raw = reader.required(field, fields.get(field));
        reader.identifier(field, raw)
    };
    let (principal_id, id) = (identifier("principal_id"), identifier("id"));
    let source = reader.identifier("source", fields.get("source"));
    let event_type = reader.event_type("type", fields.get("type"));
    let occurred_at = reader.required("occurred_at", fields.get("occurred_at"));
    let occurred_at = reader.instant("occurred_at", occurred_at);
    let schema_version = schema_version(&mut reader, fields.get("schema_version"));
    let data = reader.required("data", fields.get("data"));
    let data = reader.object("data", data);
    if let (Some(VOID_TYPE), Some(data)) = (event_type.as_deref(), data) {
        void::check(&mut reader, data, receipt.limits);
    }
    let metadata = reader.object("metadata", fields.get("metadata"));
    if metadata.is_some_and(has_reserved_key) {
        let detail = format!("keys beginning with {RESERVED_METADATA_PREFIX} are reserved");
        reader.fault("metadata", FaultCode::InvalidField, detail);
    }
    // Last, so that a flood of them hides nothing else.
    for (field, _) in &fields.others {
        reader.fault(field, FaultCode::UnknownField, "is no field of an event");
    }
    let occurred_at = occurred_at.unwrap_or(receipt.at);
    let mut refusals = future_refusal("occurred_at", occurred_at, receipt);
    // What the schema of another tenant asks for is not its sender's to know.
    let is_foreign = is_foreign(&reader.faults);
    if let (Some(event_type), Some(data), false) = (&event_type, data, is_foreign) {
        let tenant_id = tenant_id.as_deref();
        let schemas = receipt.schemas;
        refusals.extend(schemas.faults(tenant_id, event_type, schema_version, data, "/data"));
    }
    reader.check_readable(tenant_id.as_deref(), id.as_deref(), &refusals)?;
    let id = id.unwrap_or_default();
    Ok(NewEvent {
        tenant_id: tenant_id.unwrap_or_default().into_owned(),
        principal_id: principal_id.unwrap_or_default().into_owned(),
        event_id: match source {
            Some(source) => format!("{source}{UNIT_SEPARATOR}{id}"),
            None => id.into_owned(),
        },
        event_type: event_type.unwrap_or_default().into_owned(),
        occurred_at,
        is_time_received: false,
        schema_version,
        data: data.unwrap_or("{}").to_owned(),
        metadata: metadata.unwrap_or("{}").to_owned(),
        refusals,
    })
}

/// An event in this format: what [`parse`] reads as the same event.
pub fn write(event: &NewEvent) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut fields = vec![
        ("tenant_id", quoted(&event.tenant_id)),
        ("principal_id", quoted(&event.principal_id)),
        ("id", quoted(event.id())),
    ];
    if let Some(source) = event.source() {
        fields.push(("source", quoted(source)));
    }
    fields.extend([
        ("type", quoted(&event.event_type)),
        ("occurred_at", quoted(&event.occurred_at.to_string())),
        ("schema_version", event.schema_version.to_string()),
        ("data", event.data.clone()),
        ("metadata", unmarked(&event.metadata)),
    ]);
    let fields = fields
        .into_iter()
        .map(|(name, raw)| format!("\"{name}\":{raw}"));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// Metadata without the mark of a received time, which nobody else may set; it stands last.
fn unmarked(metadata: &str) -> String {
    let mark = format!("\"{RECEIVED_MARK}\":true}}");
    match metadata.strip_suffix(mark.as_str()) {
        Some(others) => format!("{}}}", others.trim_end_matches(',')),
        None => metadata.to_owned(),
    }
}

/// What is wrong with a body that is the `data` of an event of this type and schema version: what
/// [`parse`] would find, by JSON Pointer into `data`.
pub fn data_faults(
    raw: &str,
    event_type: &str,
    schema_version: i32,
    receipt: &Receipt<'_>,
) -> Vec<Fault> {
    if let Err(refusal) = Fields::split(raw, &[], receipt.limits) {
        return refusal.faults;
    }
    let mut reader = Reader::default();
    if reader.storable("data", raw).is_none() {
        return reader.faults;
    }
    let schemas = receipt.schemas;
    schemas.faults(receipt.tenant, event_type, schema_version, raw, "")
}

fn schema_version(reader: &mut Reader, raw: Option<&str>) -> i32 {
    match raw.map_or(Ok(0), str::parse::<i32>) {
        Ok(version) if version >= 0 => version,
        _ => {
            let detail = "must be an integer from 0 to 2147483647";
            reader.fault("schema_version", FaultCode::InvalidField, detail);
            0
        }
    }
}

/// Whether a key of a well-formed object begins as Aevon's own do.
fn has_reserved_key(object: &str) -> bool {
    // Looked at closely only where it may be so: an escape can hide the beginning.
    (object.contains(RESERVED_METADATA_PREFIX) || object.contains('\\'))
        && json::keys(object).is_some_and(|keys| {
            keys.iter()
                .any(|key| key.starts_with(RESERVED_METADATA_PREFIX))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Limits;
    use crate::schema::{SchemaCheck, Schemas};
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn read_as(tenant: Option<&str>, raw: &str) -> Result<NewEvent, Refusal> {
        let (limits, schemas) = (&Limits::default(), Schemas::default());
        parse(
            raw,
            &Receipt {
                at: NOW,
                tenant,
                is_data_optional: false,
                limits,
                schemas: &SchemaCheck::new(&schemas),
            },
        )
    }

    fn read(raw: &str) -> Result<NewEvent, Refusal> {
        read_as(None, raw)
    }

    fn codes(raw: &str) -> Vec<(String, FaultCode)> {
        let faults = read(raw).unwrap_err().faults;
        faults
            .into_iter()
            .map(|f| (f.field.unwrap_or_default(), f.code))
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
        assert_eq!(
            (event.metadata.as_str(), event.refusals),
            ("{}", Vec::new())
        );
    }

    #[test]
    fn what_is_written_is_read_as_the_same_event() {
        for more in [
            "",
            r#","source":"gw","schema_version":0,"metadata":{"k":"\u00e9","n":1e3}"#,
        ] {
            let raw = format!(
                r#"{{"tenant_id":"a\"b","principal_id":"p\\","id":"e","type":"t","data":{{"n":1.10}},
                    "occurred_at":"2026-02-11T10:30:00.000001+02:00"{more}}}"#
            );
            let event = read(&raw).unwrap();
            assert_eq!(read(&write(&event)).unwrap(), event, "{}", write(&event));
        }
    }

    #[test]
    fn what_is_written_of_a_cloud_event_without_a_time_can_be_sent_again() {
        for more in ["", r#","region":"eu""#] {
            let raw = format!(
                r#"{{"specversion":"1.0","id":"e","source":"s","type":"t","subject":"u",
                    "tenantid":"a","data":{{}}{more}}}"#
            );
            let (limits, schemas) = (&Limits::default(), Schemas::default());
            let receipt = Receipt {
                at: NOW,
                tenant: None,
                is_data_optional: false,
                limits,
                schemas: &SchemaCheck::new(&schemas),
            };
            let event = crate::event::cloud::parse(&raw, &receipt).unwrap();
            let again = read(&write(&event)).unwrap();
            assert_eq!((again.event_id, again.occurred_at), (event.event_id, NOW));
        }
    }

    #[test]
    fn every_fault_is_listed() {
        let found = codes(
            r#"{"tenant_id":"","principal_id":7,"id":"a\u0000b","type":"aevon.x","colour":1,
               "occurred_at":"yesterday","schema_version":-1,"data":[],"metadata":{"n":1e61}}"#,
        );
        let expected = [
            ("tenant_id", FaultCode::InvalidField),
            ("principal_id", FaultCode::InvalidField),
            ("id", FaultCode::InvalidField),
            ("type", FaultCode::ReservedType),
            ("occurred_at", FaultCode::InvalidField),
            ("schema_version", FaultCode::InvalidField),
            ("data", FaultCode::InvalidField),
            ("metadata", FaultCode::NumberOutOfBounds),
            ("colour", FaultCode::UnknownField),
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
            missing.map(|f| (f.to_owned(), FaultCode::MissingField))
        );
        assert_eq!(codes("[]"), [(String::new(), FaultCode::MalformedBody)]);
        assert_eq!(codes("7"), [(String::new(), FaultCode::MalformedBody)]);
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
        assert_eq!(read(&at(300_000_000)).unwrap().refusals, []);
        let refusals = read(&at(300_000_001)).unwrap().refusals;
        assert_eq!(refusals[0].code, FaultCode::OccurredAtInFuture);
        let long = at(0).replace("\"i\"", &format!("\"{}\"", "i".repeat(513)));
        assert_eq!(
            codes(&long),
            [("id".to_owned(), FaultCode::IdentifierTooLong)]
        );
        assert!(read(&at(0).replace("\"i\"", &format!("\"{}\"", "i".repeat(512)))).is_ok());
    }

    #[test]
    fn a_sender_of_a_tenant_need_not_name_it_and_may_name_no_other() {
        let raw = |tenant: &str| {
            format!(
                r#"{{{tenant}"principal_id":"p","id":"i","type":"t","data":{{}},
                    "occurred_at":"2026-02-11T10:30:00Z"}}"#
            )
        };
        for own in ["", r#""tenant_id":null,"#, r#""tenant_id":"acme","#] {
            let event = read_as(Some("acme"), &raw(own)).unwrap();
            assert_eq!(event.tenant_id, "acme");
        }
        let other = read_as(Some("acme"), &raw(r#""tenant_id":"other","#)).unwrap_err();
        assert_eq!(other.faults[0].code, FaultCode::Forbidden);
        assert!(read_as(None, &raw("")).is_err());
    }

    #[test]
    fn a_future_event_with_other_faults_lists_both_and_a_flood_of_faults_is_cut_off() {
        let raw = r#"{"tenant_id":"a","principal_id":"p","id":"i","type":"t","data":{},"colour":1,
            "occurred_at":"2999-01-01T00:00:00Z"}"#;
        let expected = [
            ("colour", FaultCode::UnknownField),
            ("occurred_at", FaultCode::OccurredAtInFuture),
        ];
        assert_eq!(codes(raw), expected.map(|(f, c)| (f.to_owned(), c)));
        let flood: Vec<String> = (0..1000).map(|n| format!("\"x{n}\":1")).collect();
        let found = codes(&format!("{{{}}}", flood.join(",")));
        assert_eq!(found.len(), 32);
        assert_eq!(found[0], ("tenant_id".to_owned(), FaultCode::MissingField));
        let long = format!("\"{}\"", "\u{7f}".repeat(200_000));
        let fault = &read(&long).unwrap_err().faults[0];
        assert!(fault.detail.len() < 2_000, "{} bytes", fault.detail.len());
    }
}
