//! The events that are measured: about 200 bytes of JSON, 36-character time-ordered ids, 3 types.
//!
//! Invariant: everything is a function of the event's number and the instant of the start, so that
//! two runs send the same events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The tenant of every event.
pub(crate) const TENANT: &str = "bench";
/// Principals of the usual workload.
pub(crate) const PRINCIPALS: u32 = 10_000;
/// The types of events; an even third of each.
pub(crate) const TYPES: [&str; 3] = ["api.request", "model.call", "job.done"];
/// The type that has rules with a field.
pub(crate) const MODEL_CALL: usize = 1;
/// Tokens of an event lie in `1..=MAX_TOKENS`.
const MAX_TOKENS: u64 = 1000;
/// Numbers from here on are not in a filled log.
pub(crate) const FIRST_NEW: u64 = 1 << 40;
/// An hour.
pub(crate) const HOUR_US: i64 = 3_600_000_000;
const ID_LEN: usize = 36;
const PRINCIPAL_LEN: usize = 8;

/// Well mixed bits of a number (splitmix64).
pub(crate) fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The name of a principal, [`PRINCIPAL_LEN`] bytes.
pub(crate) fn principal_name(index: u32) -> String {
    format!("p{index:07}")
}

/// Writes the digits of a name as [`principal_name`] gives it.
fn write_principal(out: &mut [u8], mut index: u64) {
    for byte in out.iter_mut().skip(1).rev() {
        *byte = b'0' + (index % 10) as u8;
        index /= 10;
    }
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(0))
}

/// RFC 3339 in UTC with six digits, always of one length.
pub(crate) fn rfc3339(us: i64) -> String {
    Timestamp::from_microsecond(us).map_or_else(|_| String::new(), |at| format!("{at:.6}"))
}

/// Writes a time-ordered id of the form of a UUID v7, unique by `n` alone.
pub(crate) fn write_id(out: &mut [u8], ms: u64, n: u64) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u64, place: u32| HEX[usize::from((value >> (4 * place)) as u8 & 15)];
    let (mut of_time, mut of_number) = (12u32, 16u32);
    for (at, byte) in out.iter_mut().enumerate().take(ID_LEN) {
        *byte = match at {
            8 | 13 | 18 | 23 => b'-',
            14 => b'7',
            19 => b'8',
            // Two more random digits of the format than a u64 has.
            15 | 16 => b'0',
            _ if of_time > 0 => {
                of_time -= 1;
                digit(ms, of_time)
            }
            _ => {
                of_number -= 1;
                digit(n, of_number)
            }
        };
    }
}

/// One event of the log, without its place there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) number: u64,
    pub(crate) principal: u32,
    pub(crate) occurred_us: i64,
    /// Index in [`TYPES`].
    pub(crate) kind: usize,
    pub(crate) tokens: u64,
}

impl Event {
    /// The event of a number, of any of `principals`.
    pub(crate) fn of(number: u64, principals: u32, occurred_us: i64) -> Self {
        let bits = mix(number);
        Self {
            number,
            principal: u32::try_from((bits & 0xffff_ffff) % u64::from(principals)).unwrap_or(0),
            occurred_us,
            kind: usize::try_from(number % 3).unwrap_or(0),
            tokens: 1 + (bits >> 40) % MAX_TOKENS,
        }
    }

    /// Its `data`.
    pub(crate) fn data(&self) -> String {
        format!(r#"{{"tokens":{},"model":"m1"}}"#, self.tokens)
    }
}

/// What a log is filled with before a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// The number of its first event.
    pub(crate) first: u64,
    pub(crate) events: u64,
    pub(crate) principals: u32,
    /// The newest `occurred_at`.
    pub(crate) end_us: i64,
    pub(crate) span_us: i64,
    /// Whether one more principal, numbered behind the others, has a model call in every hour.
    pub(crate) hourly: bool,
    pub(crate) ids: Ids,
}

impl Shape {
    /// Its events, in the order of time.
    pub(crate) fn events(self) -> impl Iterator<Item = Event> + Send {
        let hours = if self.hourly {
            self.span_us / HOUR_US
        } else {
            0
        };
        let mut made = (0u64, 0i64, self.first);
        std::iter::from_fn(move || {
            let (usual, hour, number) = made;
            let start_us = self.end_us - self.span_us;
            let step =
                |n: u64| i128::from(self.span_us) * i128::from(n) / i128::from(self.events.max(1));
            let at = start_us + i64::try_from(step(usual)).unwrap_or(0);
            let due = start_us + hour * HOUR_US + HOUR_US / 2;
            made.2 += 1;
            if hour < hours && (usual == self.events || due <= at) {
                made.1 += 1;
                let event = Event::of(number, 1, due);
                return Some(Event {
                    principal: self.principals,
                    kind: MODEL_CALL,
                    ..event
                });
            }
            if usual == self.events {
                return None;
            }
            made.0 += 1;
            Some(Event::of(number, self.principals, at))
        })
    }

    /// What the id of one of its events begins with: they are numbered in the order of the log, so
    /// ids of time ascend there, also where one shape is filled in behind another.
    pub(crate) fn id_ms(self, number: u64) -> u64 {
        const NUMBERS_PER_MS: u64 = 1000;
        let begin_ms = u64::try_from((self.end_us - self.span_us) / 1000).unwrap_or(0);
        let place = number % FIRST_NEW / NUMBERS_PER_MS;
        self.ids.stamp(begin_ms + place, number)
    }

    /// All principals, the hourly one included.
    pub(crate) fn all_principals(self) -> u32 {
        self.principals + u32::from(self.hourly)
    }
}

/// What the ids of events begin with, and so where they go in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// The time, as in a UUID v7.
    OfTime,
    /// Nothing that has an order, as in a UUID v4.
    Random,
}

impl Ids {
    /// The first 48 bits of the id of a number.
    pub(crate) fn stamp(self, ms: u64, number: u64) -> u64 {
        match self {
            Self::OfTime => ms,
            Self::Random => mix(number) >> 16,
        }
    }
}

/// Numbers the events of a run, and stamps their ids.
#[derive(Debug, Clone)]
pub(crate) struct Numbers {
    next: Arc<AtomicU64>,
    started: Instant,
    started_ms: u64,
    ids: Ids,
}

impl Numbers {
    /// Numbers from `first` on.
    pub(crate) fn from(first: u64, ids: Ids) -> Self {
        Self {
            ids,
            next: Arc::new(AtomicU64::new(first)),
            started: Instant::now(),
            started_ms: u64::try_from(now_us() / 1000).unwrap_or(0),
        }
    }

    /// The first of `count` numbers.
    pub(crate) fn take(&self, count: u64) -> u64 {
        self.next.fetch_add(count, Ordering::Relaxed)
    }

    /// Now, for ids.
    pub(crate) fn now_ms(&self) -> u64 {
        let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(0);
        self.started_ms + passed
    }

    /// What the id of an event of this millisecond begins with.
    pub(crate) fn stamp(&self, ms: u64, number: u64) -> u64 {
        self.ids.stamp(ms, number)
    }
}

/// One HTTP request; only ids and principals change from one sending to the next.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    ids: Vec<usize>,
    principals: Vec<usize>,
    tokens: u64,
}

/// The requests of one connection, in turn.
#[derive(Debug)]
pub(crate) struct Requests {
    templates: Vec<Template>,
    turn: usize,
    numbers: Numbers,
}

/// Different requests of a connection, so that types and times vary.
const VARIANTS: u64 = 6;

impl Requests {
    /// Requests of `per_body` events that occurred within the last hour; single events are sent
    /// without an array around them.
    pub(crate) fn new(per_body: u64, connection: u64, numbers: &Numbers) -> Self {
        let now = now_us();
        let template = |variant| template(per_body, connection * VARIANTS + variant, now);
        Self {
            templates: (0..VARIANTS).map(template).collect(),
            turn: usize::try_from(connection % VARIANTS).unwrap_or(0),
            numbers: numbers.clone(),
        }
    }

    /// The next request, and the sum of the tokens of its events.
    pub(crate) fn next(&mut self) -> (&[u8], u64) {
        self.turn = (self.turn + 1) % self.templates.len();
        let template = &mut self.templates[self.turn];
        let first = self.numbers.take(template.ids.len() as u64);
        let ms = self.numbers.now_ms();
        for (n, (id, principal)) in template.ids.iter().zip(&template.principals).enumerate() {
            let number = first + n as u64;
            let stamp = self.numbers.stamp(ms, number);
            write_id(&mut template.bytes[*id..*id + ID_LEN], stamp, number);
            let index = mix(number) % u64::from(PRINCIPALS);
            write_principal(
                &mut template.bytes[*principal..*principal + PRINCIPAL_LEN],
                index,
            );
        }
        (&template.bytes, template.tokens)
    }

    /// Bytes of an event, on average.
    pub(crate) fn bytes_per_event(&self) -> usize {
        let total: usize = self.templates.iter().map(|t| t.bytes.len()).sum();
        total
            / self
                .templates
                .iter()
                .map(|t| t.ids.len())
                .sum::<usize>()
                .max(1)
    }
}

fn template(per_body: u64, seed: u64, now_us: i64) -> Template {
    let (mut body, mut ids, mut principals, mut tokens) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for n in 0..per_body {
        let number = seed * per_body + n;
        let age = i64::try_from(mix(number) % u64::try_from(HOUR_US).unwrap_or(1)).unwrap_or(0);
        let event = Event::of(number, PRINCIPALS, now_us - age);
        tokens += event.tokens;
        body.extend_from_slice(if n == 0 { &b"["[..] } else { b"," });
        body.extend_from_slice(format!(r#"{{"tenant_id":"{TENANT}","principal_id":""#).as_bytes());
        principals.push(body.len());
        body.extend_from_slice(&[b'p'; PRINCIPAL_LEN]);
        body.extend_from_slice(br#"","id":""#);
        ids.push(body.len());
        body.extend_from_slice(&[b'0'; ID_LEN]);
        let rest = format!(
            r#"","type":"{}","occurred_at":"{}","data":{}}}"#,
            TYPES[event.kind],
            rfc3339(event.occurred_us),
            event.data()
        );
        body.extend_from_slice(rest.as_bytes());
    }
    body.push(b']');
    let body = if per_body == 1 {
        &body[1..body.len() - 1]
    } else {
        &body[..]
    };
    let mut bytes = format!(
        "POST /v1/events HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    let shift = bytes.len() - usize::from(per_body == 1);
    bytes.extend_from_slice(body);
    let moved = |places: Vec<usize>| places.into_iter().map(|at| at + shift).collect();
    Template {
        bytes,
        ids: moved(ids),
        principals: moved(principals),
        tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_36_characters_and_the_order_of_time_and_number() {
        let id = |ms, n| {
            let mut out = [0; ID_LEN];
            write_id(&mut out, ms, n);
            String::from_utf8(out.to_vec()).unwrap()
        };
        let ids = [
            id(1, 0xffff),
            id(2, 0),
            id(2, 1),
            id(0x0123_4567_89ab, u64::MAX),
        ];
        assert!(ids.is_sorted());
        assert_eq!(ids[3], "01234567-89ab-700f-8fff-ffffffffffff");
    }

    #[test]
    fn ids_of_a_shape_ascend_where_they_are_of_time_and_not_where_they_are_random() {
        let shape = |ids| Shape {
            first: 0,
            events: 5000,
            principals: 5,
            end_us: HOUR_US,
            span_us: HOUR_US,
            hourly: false,
            ids,
        };
        let stamps = |ids| -> Vec<u64> {
            let shape = shape(ids);
            shape
                .events()
                .map(|event| shape.id_ms(event.number))
                .collect()
        };
        assert!(stamps(Ids::OfTime).is_sorted());
        let random = stamps(Ids::Random);
        assert!(!random.is_sorted() && random.iter().all(|stamp| *stamp < 1 << 48));
    }

    #[test]
    fn every_request_is_whole_and_its_events_are_new() {
        let numbers = Numbers::from(7, Ids::OfTime);
        for per_body in [1, 3] {
            let mut requests = Requests::new(per_body, 0, &numbers);
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..10 {
                let (bytes, tokens) = requests.next();
                let text = std::str::from_utf8(bytes).unwrap();
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                assert!(head.ends_with(&format!("content-length: {}", body.len())));
                let value: serde_json::Value = serde_json::from_str(body).unwrap();
                let events = value.as_array().cloned().unwrap_or_else(|| vec![value]);
                let sum: u64 = events
                    .iter()
                    .map(|e| e["data"]["tokens"].as_u64().unwrap())
                    .sum();
                assert_eq!(sum, tokens);
                for event in events {
                    assert!(seen.insert(event["id"].as_str().unwrap().to_owned()));
                }
            }
            assert_eq!(seen.len() as u64, 10 * per_body);
        }
    }

    #[test]
    fn a_shape_has_its_events_in_order_and_one_an_hour_of_the_hourly_principal() {
        let span_us = 10 * HOUR_US;
        let shape = Shape {
            first: 0,
            events: 100,
            principals: 5,
            end_us: span_us,
            span_us,
            hourly: true,
            ids: Ids::OfTime,
        };
        let events: Vec<_> = shape.events().collect();
        assert_eq!(events.len(), 110);
        assert_eq!(events.iter().filter(|e| e.principal == 5).count(), 10);
        assert!(events.is_sorted_by_key(|e| (e.occurred_us, e.number)));
    }
}
