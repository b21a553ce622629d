//! Sample events: as they are sent to `POST /v1/events`, out of a file or standard input.

use crate::table::plain;
use aevon_core::event::{FaultCode, Limits, NewEvent, Receipt, native};
use aevon_core::fold::Fact;
use aevon_core::position::Position;
use aevon_core::schema::{SchemaCheck, Schemas};
use aevon_core::time::Timestamp;
use anyhow::{Context, bail, ensure};
use serde_json::value::RawValue;
use std::io::Read;
use std::path::Path;

/// Most bytes of sample events.
const MAX_BYTES: u64 = 10 << 20;
/// Most sample events: each is shown.
const MAX_EVENTS: usize = 1_000;
/// The tenant of an event that names none, as a key of the tenant would let it.
const NO_TENANT: &str = "(none)";

/// An event that could be stored.
#[derive(Debug)]
pub(super) struct Sample(NewEvent);

impl Sample {
    /// What rules can see of it.
    pub(super) fn fact(&self) -> Fact<'_> {
        let Self(event) = self;
        Fact {
            position: Position {
                partition: 0,
                seq: 1,
            },
            occurred_at: event.occurred_at,
            event_type: &event.event_type,
            schema_version: event.schema_version,
            principal_id: &event.principal_id,
            data: &event.data,
            metadata: &event.metadata,
        }
    }

    /// A line that says which it is.
    pub(super) fn heading(&self) -> String {
        let Self(event) = self;
        let (id, kind) = (plain(event.id()), plain(&event.event_type));
        format!("event {id} ({kind}, {})", event.occurred_at)
    }
}

/// Reads the events of a file; `-` is standard input.
pub(super) fn load(file: &Path) -> anyhow::Result<Vec<Sample>> {
    let is_input = file.as_os_str() == "-";
    let name = match is_input {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    };
    let text = match is_input {
        true => bounded(std::io::stdin().lock()),
        false => std::fs::File::open(file)
            .map_err(Into::into)
            .and_then(bounded),
    };
    let text = text.with_context(|| name.clone())?;
    read(
        &text,
        Timestamp::from_micros(jiff::Timestamp::now().as_microsecond()),
    )
    .with_context(|| name)
}

fn bounded(input: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    input.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    ensure!(
        text.len() as u64 <= MAX_BYTES,
        "more than {} MiB of sample events",
        MAX_BYTES >> 20
    );
    Ok(text)
}

fn read(text: &str, now: Timestamp) -> anyhow::Result<Vec<Sample>> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let mut values: Vec<&RawValue> = values.collect::<Result<_, _>>().context("is no JSON")?;
    if let [only] = values.as_slice()
        && only.get().starts_with('[')
    {
        values = serde_json::from_str(only.get()).context("is no JSON")?;
    }
    ensure!(!values.is_empty(), "holds no event");
    ensure!(
        values.len() <= MAX_EVENTS,
        "holds more than {MAX_EVENTS} events"
    );
    let events = values.iter().enumerate();
    events
        .map(|(index, raw)| parse(raw.get(), now).with_context(|| format!("event {index}")))
        .collect()
}

fn parse(raw: &str, now: Timestamp) -> anyhow::Result<Sample> {
    let (limits, schemas) = (Limits::default(), Schemas::default());
    let receive = |tenant| {
        native::parse(
            raw,
            &Receipt {
                at: now,
                tenant,
                is_data_optional: false,
                limits: &limits,
                schemas: &SchemaCheck::new(&schemas),
            },
        )
    };
    let refusal = match receive(None) {
        Ok(event) => return Ok(Sample(event)),
        Err(refusal) => refusal,
    };
    let faults = refusal.faults.iter().filter(|fault| {
        fault.code != FaultCode::MissingField || fault.field.as_deref() != Some("tenant_id")
    });
    let faults: Vec<String> = faults
        .map(|fault| match &fault.field {
            Some(field) => format!("{field}: {}", fault.detail),
            None => fault.detail.clone(),
        })
        .collect();
    match receive(Some(NO_TENANT)) {
        // Nothing was wrong but that it names no tenant.
        Ok(event) if faults.is_empty() => Ok(Sample(event)),
        _ => bail!("{}", plain(&faults.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

    /// An event, most of them such as could be stored.
    fn event() -> impl Strategy<Value = (String, bool)> {
        let valid = ("[a-z]{1,5}", 0..1_000_u32, any::<bool>()).prop_map(|(id, n, has_tenant)| {
            let tenant = if has_tenant { r#""tenant_id":"t","# } else { "" };
            let text = format!(
                r#"{{{tenant}"principal_id":"p","id":"{id}","type":"x","occurred_at":"2025-01-01T00:00:00Z","data":{{"n":{n}}}}}"#
            );
            (text, true)
        });
        let wrong = prop_oneof![
            Just(r#"{"id":"a"}"#),
            Just("[]"),
            Just("7"),
            Just(r#"{"principal_id":[],"id":"a","type":"x","data":{}}"#),
        ];
        prop_oneof![4 => valid, 1 => wrong.prop_map(|text| (text.to_owned(), false))]
    }

    proptest! {
        #[test]
        fn a_file_is_all_of_its_events_or_says_which_is_none(
            events in prop::collection::vec(event(), 2..8),
            is_array in any::<bool>(),
        ) {
            let texts: Vec<&str> = events.iter().map(|(text, _)| text.as_str()).collect();
            let file = match is_array {
                true => format!("[{}]", texts.join(",")),
                false => texts.join("\n"),
            };
            let first_wrong = events.iter().position(|(_, is_valid)| !is_valid);
            match (read(&file, NOW), first_wrong) {
                (Ok(samples), None) => prop_assert_eq!(samples.len(), events.len()),
                (Err(error), Some(at)) => {
                    let told = format!("{error:#}");
                    prop_assert!(told.starts_with(&format!("event {at}: ")), "{told}");
                }
                (told, wrong) => prop_assert!(false, "{wrong:?}: {told:?}"),
            }
        }

        #[test]
        fn rubbish_is_refused(text in any::<String>()) {
            let is_refused = read(&text, NOW).is_err();
            prop_assert!(is_refused || text.contains("principal"));
        }
    }
}
