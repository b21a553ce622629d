//! The events that workloads are made of: about 300 bytes of JSON, a function of their number.

use aevon_core::event::{Limits, NewEvent, Receipt, native};
use aevon_core::fold::{Fact, LogEvent};
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use aevon_core::schema::{SchemaCheck, Schemas};
use aevon_core::time::{DAY_US, Timestamp};

/// The tenant of every event.
pub(crate) const TENANT: &str = "acme";
/// The types of events; about a third of each.
const TYPES: [&str; 3] = ["api.request", "model.call", "job.done"];
/// The type that rules fold.
pub(crate) const FOLDED: &str = TYPES[1];
/// 2026-01-01, the instant of the first event.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
/// When everything is received: a year later, so that nothing lies ahead.
pub(crate) const RECEIVED: Timestamp = START.plus_micros(365 * DAY_US);
/// The partition of every event of a log.
pub(crate) const PARTITION: i32 = 3;
const PRINCIPALS: u64 = 100;
const USERS: u64 = 300;
/// About so far apart: a thousand events take some nine hours.
const STEP_US: i64 = 33_123_457;

/// Well mixed bits of a number (splitmix64).
pub(crate) fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An event before it is JSON.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// From 1 on; its place in the log, too.
    pub(crate) seq: i64,
    /// Whose.
    pub(crate) principal_no: i64,
    /// What happened.
    pub(crate) event_type: &'static str,
    /// When.
    pub(crate) occurred_at: Timestamp,
    /// One of 5.
    pub(crate) model: u64,
    /// One of 3.
    pub(crate) region: &'static str,
    /// 1 to 1000.
    pub(crate) tokens: i64,
    /// One of [`USERS`].
    pub(crate) user: u64,
    /// True of seven in eight.
    pub(crate) is_ok: bool,
    /// Its `data`.
    pub(crate) data: String,
}

impl Sample {
    fn new(seq: i64) -> Self {
        let bits = mix(seq.unsigned_abs());
        let one_of = |many: u64, shift: u32| (bits >> shift) % many;
        let region = ["eu", "us", "asia"][one_of(3, 9) as usize];
        let (model, user) = (one_of(5, 17), one_of(USERS, 23));
        let tokens = 1 + one_of(1000, 33) as i64;
        let is_ok = one_of(8, 45) > 0;
        let status = if is_ok { "ok" } else { "failed" };
        let data = format!(
            r#"{{"model":"m-{model}","region":"{region}","tokens":{tokens},"cost":0.00{tokens},"user":"user-{user}","status":"{status}"}}"#
        );
        Self {
            seq,
            principal_no: 1 + one_of(PRINCIPALS, 2) as i64,
            event_type: TYPES[one_of(3, 52) as usize],
            occurred_at: START.plus_micros(seq * STEP_US),
            model,
            region,
            tokens,
            user,
            is_ok,
            data,
        }
    }

    fn id(&self) -> String {
        let bits = mix(!self.seq.unsigned_abs()) >> 16;
        format!("0198c2b4-{:04x}-7abc-8def-{bits:012x}", self.seq)
    }

    /// In Aevon's own format.
    pub(crate) fn native(&self) -> String {
        let Self {
            principal_no,
            event_type,
            occurred_at,
            data,
            ..
        } = self;
        let id = self.id();
        format!(
            r#"{{"tenant_id":"{TENANT}","principal_id":"p{principal_no:07}","id":"{id}","source":"gateway","type":"{event_type}","occurred_at":"{occurred_at}","data":{data},"metadata":{{"trace":"{id}"}}}}"#
        )
    }

    /// As a CloudEvent in structured mode.
    pub(crate) fn cloud(&self) -> String {
        let Self {
            principal_no,
            event_type,
            occurred_at,
            data,
            ..
        } = self;
        let id = self.id();
        format!(
            r#"{{"specversion":"1.0","tenantid":"{TENANT}","subject":"p{principal_no:07}","id":"{id}","source":"/gateway","type":"{event_type}","time":"{occurred_at}","datacontenttype":"application/json","trace":"{id}","data":{data}}}"#
        )
    }

    /// As it may be stored.
    pub(crate) fn parsed(&self) -> NewEvent {
        let (limits, schemas) = (Limits::default(), Schemas::default());
        let schemas = SchemaCheck::new(&schemas);
        native::parse(&self.native(), &receipt(&limits, &schemas)).expect("an event as samples are")
    }

    /// As a sweep reads it.
    pub(crate) fn in_log(&self) -> LogEvent<'_> {
        LogEvent {
            fact: Fact {
                position: Position {
                    partition: PARTITION,
                    seq: self.seq,
                },
                occurred_at: self.occurred_at,
                event_type: self.event_type,
                schema_version: 0,
                principal_id: "",
                data: &self.data,
                metadata: "{}",
            },
            principal_no: self.principal_no,
            ingested_at: RECEIVED,
        }
    }
}

/// The first so many events.
pub(crate) fn samples(count: i64) -> Vec<Sample> {
    (1..=count).map(Sample::new).collect()
}

/// The circumstances in which every event is received.
pub(crate) fn receipt<'a>(limits: &'a Limits, schemas: &'a SchemaCheck<'a>) -> Receipt<'a> {
    Receipt {
        at: RECEIVED,
        tenant: Some(TENANT),
        is_data_optional: false,
        limits,
        schemas,
    }
}

/// A rule over [`FOLDED`], with what else its file says.
pub(crate) fn rule(operator: &str, more: &str) -> Rule {
    let text = format!("name: r\nsource_event: {FOLDED}\noperator: {operator}\n{more}");
    Rule::from_yaml(&text).expect("a rule as its file is")
}

/// A number that depends on a text and where it stands.
pub(crate) fn weigh(weight: u64, text: &str) -> u64 {
    let bytes = text.bytes().map(u64::from);
    bytes.fold(weight, |weight, byte| {
        weight.wrapping_mul(31).wrapping_add(byte)
    })
}
