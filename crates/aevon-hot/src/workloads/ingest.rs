//! What ingest does with bodies: reads them, and decides what is new.

use crate::input::{PARTITION, RECEIVED, Sample, receipt, samples};
use crate::workload::Prepared;
use aevon_core::append::{Head, Placed, Standing, Stored, Verdict, decide as decide_group};
use aevon_core::event::{Limits, NewEvent, Receipt, Refusal, cloud, native};
use aevon_core::position::Position;
use aevon_core::schema::{SchemaCheck, Schemas};
use rustc_hash::FxHashMap;
use serde_json::value::RawValue;

/// Events of a body.
const BODY: i64 = 1000;
/// Bodies of one event each.
const SINGLE: i64 = 250;

type Parse = fn(&str, &Receipt<'_>) -> Result<NewEvent, Refusal>;

/// What depends on an event as it was read.
fn read(event: &NewEvent) -> u64 {
    weigh(event.occurred_at.as_micros(), &event.data)
}

fn weigh(micros: i64, data: &str) -> u64 {
    micros.unsigned_abs().wrapping_add(data.len() as u64)
}

fn expected(samples: &[Sample]) -> u64 {
    let each = samples
        .iter()
        .map(|s| weigh(s.occurred_at.as_micros(), &s.data));
    each.fold(0, u64::wrapping_add)
}

/// Bodies of one event each, in Aevon's own format.
pub(crate) fn parse_event() -> Prepared {
    let samples = samples(SINGLE);
    let bodies: Vec<String> = samples.iter().map(Sample::native).collect();
    let (limits, schemas) = (Limits::default(), Schemas::default());
    Prepared::new(expected(&samples), move || {
        let event = |body: &String| {
            let text: &RawValue = serde_json::from_str(body).ok()?;
            let check = SchemaCheck::new(&schemas);
            let event = native::parse(text.get(), &receipt(&limits, &check)).ok()?;
            Some(read(&event))
        };
        bodies.iter().filter_map(event).fold(0, u64::wrapping_add)
    })
}

/// A body of a thousand events in Aevon's own format.
pub(crate) fn parse_body() -> Prepared {
    parse_many(Sample::native, native::parse)
}

/// The same as CloudEvents.
pub(crate) fn parse_cloud_events() -> Prepared {
    parse_many(Sample::cloud, cloud::parse)
}

fn parse_many(write: fn(&Sample) -> String, parse: Parse) -> Prepared {
    let samples = samples(BODY);
    let events: Vec<String> = samples.iter().map(write).collect();
    let body = format!("[{}]", events.join(","));
    let (limits, schemas) = (Limits::default(), Schemas::default());
    Prepared::new(expected(&samples), move || {
        let check = SchemaCheck::new(&schemas);
        let receipt = receipt(&limits, &check);
        let items: Vec<&RawValue> = serde_json::from_str(&body).unwrap_or_default();
        // Kept until all are read, as the queue does.
        let parsed = items.iter().map(|item| parse(item.get(), &receipt));
        let events: Vec<_> = parsed.filter_map(Result::ok).collect();
        events.iter().map(read).fold(0, u64::wrapping_add)
    })
}

/// How many of each verdict there are.
fn tally<'v>(verdicts: impl Iterator<Item = &'v Verdict>) -> u64 {
    let weight = |verdict: &Verdict| match verdict {
        Verdict::Accepted { .. } => 1,
        Verdict::Duplicate { .. } => 1 << 16,
        Verdict::Conflict(_) => 1 << 32,
        Verdict::Refused(_) | Verdict::Withheld => 1 << 48,
    };
    verdicts.map(weight).sum()
}

/// A group of a thousand events, of which the first tenth stands in the log, and another tenth comes
/// a second time.
pub(crate) fn decide() -> Prepared {
    let samples = samples(BODY);
    let tenth = samples.len() / 10;
    let events: Vec<NewEvent> = samples.iter().map(Sample::parsed).collect();
    let standing = samples.iter().zip(&events).take(tenth);
    let standing: Standing = standing
        .map(|(sample, event)| {
            let key = (sample.principal_no, event.event_id.clone());
            (key, stored(sample.seq, event))
        })
        .collect();
    let again = samples.len() - tenth..samples.len();
    let order: Vec<usize> = (0..samples.len()).chain(again).collect();
    let head = Head {
        seq: BODY,
        stamp: RECEIVED,
    };
    let heads = FxHashMap::from_iter([(PARTITION, head)]);
    let principals: Vec<i64> = samples.iter().map(|sample| sample.principal_no).collect();
    let expected = (samples.len() - tenth) as u64 + ((2 * tenth as u64) << 16);
    Prepared::new(expected, move || {
        let placed = |at: &usize| Placed {
            event: &events[*at],
            principal_no: principals[*at],
            partition: PARTITION,
        };
        let group: Vec<Placed<'_>> = order.iter().map(placed).collect();
        let decision = decide_group(&group, &[], &heads, &standing, Default::default());
        tally(decision.verdicts.iter())
    })
}

/// An event as it stands in the log.
fn stored(seq: i64, event: &NewEvent) -> Stored {
    Stored {
        position: Position {
            partition: PARTITION,
            seq,
        },
        ingested_at: RECEIVED,
        event_type: event.event_type.clone(),
        occurred_at: event.occurred_at,
        schema_version: event.schema_version,
        data: event.data.clone(),
        metadata: event.metadata.clone(),
    }
}
