//! CloudEvents 1.0 (<https://github.com/cloudevents/spec>): structured mode as it is, binary mode by
//! way of it.
//!
//! `id`, `source` and `type` keep their names, `subject` is the principal, `time` is when it
//! occurred, the extension `tenantid` is the tenant; other extensions and `dataschema` go into
//! `metadata`. `data` is a JSON object.

use super::reader::{Fields, Reader, future_refusal};
use super::{FaultCode, NewEvent, RECEIVED_MARK, Receipt, Refusal, VOID_TYPE, void};
use crate::identity::UNIT_SEPARATOR;
use rustc_hash::FxHashSet;
use serde_json::value::RawValue;
use std::borrow::Cow;

const FIELDS: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "tenantid",
    "datacontenttype",
    "data",
    "data_base64",
];

/// Reads one event in structured mode.
///
/// # Errors
/// Every fault of the event, not just the first; fields are named as CloudEvents names them.
pub fn parse(raw: &str, receipt: &Receipt<'_>) -> Result<NewEvent, Refusal> {
    let fields = Fields::split(raw, &FIELDS, receipt.limits)?;
    let mut reader = Reader::default();
    reader.check(&fields);
    check_version(&mut reader, fields.get("specversion"));
    let mut identifier = |field| {
        let raw = reader.required(field, fields.get(field));
        reader.identifier(field, raw)
    };
    let (id, source) = (identifier("id"), identifier("source"));
    let principal_id = identifier("subject");
    let tenant_id = reader.tenant("tenantid", fields.get("tenantid"), receipt);
    let event_type = reader.event_type("type", fields.get("type"));
    let time = reader.instant("time", fields.get("time"));
    check_content_type(&mut reader, fields.get("datacontenttype"));
    let data = match fields.get("data_base64") {
        Some(_) => {
            let detail = "binary data is not taken; send data as a JSON object";
            reader.fault("data_base64", FaultCode::InvalidField, detail);
            None
        }
        None if receipt.is_data_optional => reader.object("data", fields.get("data")),
        None => {
            let data = reader.required("data", fields.get("data"));
            reader.object("data", data)
        }
    };
    let read = data.or(receipt.is_data_optional.then_some("{}"));
    if let (Some(VOID_TYPE), Some(data)) = (event_type.as_deref(), read) {
        void::check(&mut reader, data, receipt.limits);
    }
    let is_time_received = fields.get("time").is_none();
    let metadata = metadata(&mut reader, &fields.others, is_time_received);
    let occurred_at = time.unwrap_or(receipt.at);
    let refusals = future_refusal("time", occurred_at, receipt);
    reader.check_readable(tenant_id.as_deref(), id.as_deref(), &refusals)?;
    let (source, id) = (source.unwrap_or_default(), id.unwrap_or_default());
    Ok(NewEvent {
        tenant_id: tenant_id.unwrap_or_default().into_owned(),
        principal_id: principal_id.unwrap_or_default().into_owned(),
        event_id: format!("{source}{UNIT_SEPARATOR}{id}"),
        event_type: event_type.unwrap_or_default().into_owned(),
        occurred_at,
        is_time_received,
        schema_version: 0,
        data: data.unwrap_or("{}").to_owned(),
        metadata,
        refusals,
    })
}

/// Binary mode as structured mode: attributes by name, without `ce-`, decoded; the body as `data`.
///
/// # Errors
/// Where the body is not JSON. An empty one is no data.
pub fn structured(attributes: &[(String, String)], body: &str) -> Result<String, Refusal> {
    let mut event = String::from("{");
    for (name, value) in attributes {
        event.push_str(&quoted(name));
        event.push(':');
        event.push_str(&quoted(value));
        event.push(',');
    }
    if body.trim().is_empty() {
        event.truncate(event.trim_end_matches(',').len());
    } else {
        let data: &RawValue = serde_json::from_str(body).map_err(|error| {
            Refusal::whole(
                FaultCode::MalformedBody,
                format!("data is not JSON: {error}"),
            )
        })?;
        event.push_str("\"data\":");
        event.push_str(data.get());
    }
    event.push('}');
    Ok(event)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn check_version(reader: &mut Reader, raw: Option<&str>) {
    let raw = reader.required("specversion", raw);
    if let Some(version) = reader.text("specversion", raw)
        && version != "1.0"
    {
        let detail = format!("{version:?} is not read; send 1.0");
        reader.fault("specversion", FaultCode::InvalidField, detail);
    }
}

/// Data is JSON; absent says so too.
fn check_content_type(reader: &mut Reader, raw: Option<&str>) {
    let Some(given) = reader.text("datacontenttype", raw) else {
        return;
    };
    let essence = given.split(';').next().unwrap_or("").trim();
    let essence = essence.to_ascii_lowercase();
    if !(essence.ends_with("/json") || essence.ends_with("+json")) {
        let detail = format!("{given:?} is not JSON; data must be a JSON object");
        reader.fault("datacontenttype", FaultCode::InvalidField, detail);
    }
}

/// Extensions, and the mark of an event without a time.
fn metadata(
    reader: &mut Reader,
    others: &[(Cow<'_, str>, &str)],
    is_time_received: bool,
) -> String {
    let mut metadata = String::from("{");
    let mut seen: FxHashSet<&str> = FxHashSet::default();
    for (name, raw) in others {
        let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if name.is_empty() || !name.bytes().all(is_name) {
            let detail = "is no name of an attribute: lower-case letters and digits";
            reader.fault(name, FaultCode::UnknownField, detail);
        } else if seen.contains(name.as_ref()) {
            reader.fault(name, FaultCode::InvalidField, "is given more than once");
        } else if raw.starts_with(['{', '[']) {
            let detail = "must be a string, a number or a boolean";
            reader.fault(name, FaultCode::InvalidField, detail);
        } else if *raw != "null" && reader.storable(name, raw).is_some() {
            seen.insert(name);
            metadata.push_str(&format!("{}:{raw},", quoted(name)));
        }
    }
    if is_time_received {
        metadata.push_str(&format!("{}:true", quoted(RECEIVED_MARK)));
    }
    metadata.truncate(metadata.trim_end_matches(',').len());
    metadata.push('}');
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Limits;
    use crate::schema::{SchemaCheck, Schemas};
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
    const WHOLE: &str = r#"{"specversion":"1.0","id":"e","source":"/gw","type":"t","subject":"u",
        "time":"2026-02-11T10:30:00Z","tenantid":"acme","region":"eu","weight":2.50,
        "dataschema":null,"datacontenttype":"application/json; charset=utf-8","data":{"n":1.10}}"#;

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
        let code = |f: super::super::Fault| (f.field.unwrap_or_default(), f.code);
        faults.into_iter().map(code).collect()
    }

    #[test]
    fn attributes_become_fields_and_extensions_metadata() {
        let event = read(WHOLE).unwrap();
        assert_eq!(
            (event.tenant_id.as_str(), event.principal_id.as_str()),
            ("acme", "u")
        );
        assert_eq!((event.event_id.as_str(), event.id()), ("/gw\u{1f}e", "e"));
        assert_eq!(event.data, r#"{"n":1.10}"#);
        assert_eq!(event.metadata, r#"{"region":"eu","weight":2.50}"#);
        assert!(!event.is_time_received);
    }

    #[test]
    fn an_event_without_a_time_occurred_when_it_was_received_and_is_marked() {
        let event = read(&WHOLE.replace("\"time\"", "\"moment\"")).unwrap();
        assert_eq!((event.occurred_at, event.is_time_received), (NOW, true));
        assert!(
            event
                .metadata
                .ends_with(r#""aevon.occurred_at_received":true}"#)
        );
        let bare = r#"{"specversion":"1.0","id":"e","source":"s","type":"t","subject":"u",
            "tenantid":"a","data":{}}"#;
        assert_eq!(
            read(bare).unwrap().metadata,
            r#"{"aevon.occurred_at_received":true}"#
        );
    }

    #[test]
    fn every_fault_is_listed_by_its_cloudevents_name() {
        let found = codes(
            r#"{"specversion":"0.3","source":"","type":"aevon.x","subject":7,"time":"soon",
                "datacontenttype":"text/xml","data_base64":"aGk=","Odd_Name":1,"ext":{},
                "big":1e99,"twice":1,"twice":2}"#,
        );
        let expected = [
            ("specversion", FaultCode::InvalidField),
            ("id", FaultCode::MissingField),
            ("source", FaultCode::InvalidField),
            ("subject", FaultCode::InvalidField),
            ("tenantid", FaultCode::MissingField),
            ("type", FaultCode::ReservedType),
            ("time", FaultCode::InvalidField),
            ("datacontenttype", FaultCode::InvalidField),
            ("data_base64", FaultCode::InvalidField),
            ("Odd_Name", FaultCode::UnknownField),
            ("ext", FaultCode::InvalidField),
            ("big", FaultCode::NumberOutOfBounds),
            ("twice", FaultCode::InvalidField),
        ];
        assert_eq!(found, expected.map(|(f, c)| (f.to_owned(), c)));
    }

    #[test]
    fn binary_mode_reads_as_structured_mode_does() {
        let attributes = [
            ("specversion", "1.0"),
            ("id", "a\"b"),
            ("source", "s"),
            ("type", "t"),
            ("subject", "ü"),
            ("tenantid", "acme"),
            ("time", "2026-02-11T10:30:00Z"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let event = read(&structured(&attributes, " {\"n\":1} ").unwrap()).unwrap();
        assert_eq!((event.id(), event.principal_id.as_str()), ("a\"b", "ü"));
        assert_eq!(event.data, "{\"n\":1}");
        let empty = structured(&attributes, "").unwrap();
        assert_eq!(
            codes(&empty),
            [("data".to_owned(), FaultCode::MissingField)]
        );
        assert!(structured(&attributes, "{").is_err());
        assert!(structured(&attributes, "{} {}").is_err());
    }
}
