//! Exports: the log and what is asked of it, as lines of JSON with which another database can begin.
//!
//! The first line says of what it is an export, and up to which positions; then come the rules, the
//! erasures, the principals by number, and the events by position; the last line counts them, and has the
//! SHA-256 of everything before it.
//!
//! Invariant: the same log, up to the same positions, makes the same bytes, so that an export that was
//! broken off goes on behind its last whole line.
//! Invariant: what was read to the end without a fault holds every event from the first one of each
//! partition to its head, each of a principal that was named before.

use crate::identity::partition_of;
use crate::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// The version of the format.
pub const FORMAT: u32 = 1;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line<'a> {
    /// The first.
    Export(Header),
    /// A version of a rule.
    #[serde(borrow)]
    Rule(Rule<'a>),
    /// An erasure that was done before.
    #[serde(borrow)]
    Erasure(Erasure<'a>),
    /// Who.
    #[serde(borrow)]
    Principal(Principal<'a>),
    /// What happened.
    #[serde(borrow)]
    Event(Event<'a>),
    /// The last.
    End(End),
}

/// Of what it is an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// The schema of the database.
    pub schema: String,
    /// Partitions of the log.
    pub partitions: i32,
    /// The newest event of each partition that has one, by partition.
    pub heads: Vec<Head>,
}

/// The newest event of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The partition.
    pub partition: i32,
    /// Its place, and so how many events there are.
    pub seq: i64,
    /// When it was ingested.
    #[serde(deserialize_with = "instant")]
    pub ingested_at: Timestamp,
}

impl Header {
    /// How many events there are.
    #[must_use]
    pub fn events(&self) -> i64 {
        self.heads.iter().map(|head| head.seq).sum()
    }

    /// The newest event of a partition; 0 where there is none.
    #[must_use]
    pub fn head(&self, partition: i32) -> i64 {
        let mut heads = self.heads.iter();
        let head = heads.find(|head| head.partition == partition);
        head.map_or(0, |head| head.seq)
    }
}

/// A version of a rule, as the table has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule<'a> {
    /// Its number in the table.
    pub rule_no: i32,
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Its version.
    pub version: i32,
    /// `building`, `active` or `retired`.
    pub status: Cow<'a, str>,
    /// Since when it is retired.
    #[serde(deserialize_with = "maybe_instant")]
    pub retired_at: Option<Timestamp>,
    /// SHA-256 of its meaning.
    pub fingerprint: Cow<'a, str>,
    /// The rule.
    #[serde(borrow)]
    pub definition: &'a RawValue,
}

/// An erasure, as the table has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erasure<'a> {
    /// Its number.
    pub erasure_no: i64,
    /// When.
    #[serde(deserialize_with = "instant")]
    pub erased_at: Timestamp,
    /// By whom.
    #[serde(borrow)]
    pub erased_by: Cow<'a, str>,
    /// Whose principal.
    pub tenant_id: Cow<'a, str>,
    /// Under which name its events are found.
    pub pseudonym: Option<Cow<'a, str>>,
    /// Whether places were blanked that rules read.
    pub is_forced: bool,
    /// Events that were blanked.
    pub events: i64,
    /// Rejected events that were deleted.
    pub rejected: i64,
    /// The last event that was blanked.
    pub last_seq: i64,
}

/// A principal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal<'a> {
    /// Its number.
    pub principal_no: i64,
    /// Its partition.
    pub partition: i32,
    /// Whose.
    #[serde(borrow)]
    pub tenant_id: Cow<'a, str>,
    /// Who.
    #[serde(borrow)]
    pub principal_id: Cow<'a, str>,
}

/// An event.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event<'a> {
    /// Its partition.
    pub partition: i32,
    /// Its place there.
    pub seq: i64,
    /// Whose.
    pub principal_no: i64,
    /// Valid time.
    #[serde(deserialize_with = "instant")]
    pub occurred_at: Timestamp,
    /// Transaction time.
    #[serde(deserialize_with = "instant")]
    pub ingested_at: Timestamp,
    /// 0: no schema.
    pub schema_version: i32,
    /// Its stored identity.
    #[serde(borrow)]
    pub event_id: Cow<'a, str>,
    /// What happened.
    #[serde(rename = "type", borrow)]
    pub event_type: Cow<'a, str>,
    /// A JSON object.
    #[serde(borrow)]
    pub data: &'a RawValue,
    /// A JSON object.
    #[serde(borrow)]
    pub metadata: &'a RawValue,
    /// The place of the event that it voids, where it is a void.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub voids: Option<i64>,
    /// When that event occurred.
    #[serde(
        skip_serializing_if = "Option::is_none",
        default,
        deserialize_with = "maybe_instant"
    )]
    pub voids_occurred_at: Option<Timestamp>,
}

/// What there was before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Versions of rules.
    pub rules: u64,
    /// Erasures.
    pub erasures: u64,
    /// Principals.
    pub principals: u64,
    /// Events.
    pub events: u64,
    /// Of every byte before this line, in hex.
    pub sha256: String,
}

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    Timestamp::parse(&text).map_err(serde::de::Error::custom)
}

fn maybe_instant<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
    let at = text.map(|text| Timestamp::parse(&text)).transpose();
    at.map_err(serde::de::Error::custom)
}

impl Line<'_> {
    /// The line, with its end.
    #[must_use]
    pub fn text(&self) -> String {
        // Texts, numbers and well-formed documents: all can be written.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// How far an export was written or read; every line is taken in order.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    header: Option<Header>,
    counts: End,
    principal_no: i64,
    /// Everybody who was named, with the partition, by number: 16 bytes each.
    named: Vec<(i64, i32)>,
    last: Option<(i32, i64, Timestamp)>,
    is_ended: bool,
    hash: Sha256,
}

/// Where an export that was broken off goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Whether any principal or event was there: then all rules and erasures were.
    pub is_begun: bool,
    /// Behind this principal.
    pub principal_no: i64,
    /// Behind this event: its partition and its place there.
    pub event: Option<(i32, i64)>,
}

impl Progress {
    /// The first line; none before it was taken.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// SHA-256 of all that was taken.
    #[must_use]
    pub fn sum(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// What there was until now.
    #[must_use]
    pub fn counts(&self) -> &End {
        &self.counts
    }

    /// Whether the last line was there.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Up to where there is something.
    #[must_use]
    pub fn reached(&self) -> Reached {
        Reached {
            is_begun: self.counts.principals + self.counts.events > 0,
            principal_no: self.principal_no,
            event: self.last.map(|(partition, seq, _)| (partition, seq)),
        }
    }

    /// The last line.
    #[must_use]
    pub fn end(&self) -> Line<'static> {
        Line::End(End {
            sha256: hex(&self.hash.clone().finalize()),
            ..self.counts.clone()
        })
    }

    /// Takes the next line, without its end.
    ///
    /// # Errors
    /// What is wrong with it, or that it does not go on where the one before it was.
    pub fn take<'l>(&mut self, text: &'l str) -> Result<Line<'l>, String> {
        let line: Line<'l> = serde_json::from_str(text)
            .map_err(|error| format!("is no line of an export: {error}"))?;
        match (&line, &self.header) {
            _ if self.is_ended => return Err("stands behind the last line".to_owned()),
            (Line::Export(header), None) => self.begin(header)?,
            (Line::Export(_), Some(_)) => return Err("is a second first line".to_owned()),
            (_, None) => return Err("is not the first line of an export".to_owned()),
            (Line::Rule(_), _) if self.reached().is_begun || self.counts.erasures > 0 => {
                return Err("is a rule behind what comes after rules".to_owned());
            }
            (Line::Rule(_), _) => self.counts.rules += 1,
            (Line::Erasure(_), _) if self.reached().is_begun => {
                return Err("is an erasure behind what comes after erasures".to_owned());
            }
            (Line::Erasure(_), _) => self.counts.erasures += 1,
            (Line::Principal(principal), Some(header)) => {
                check_principal(principal, header, self.principal_no)?;
                if self.last.is_some() {
                    return Err("is a principal behind events".to_owned());
                }
                self.principal_no = principal.principal_no;
                self.named
                    .push((principal.principal_no, principal.partition));
                self.counts.principals += 1;
            }
            (Line::Event(event), Some(header)) => {
                check_event(event, header, self.last)?;
                let of = (event.principal_no, event.partition);
                if self.named.binary_search(&of).is_err() {
                    return Err(format!(
                        "is an event of principal {}, who was not named in partition {}",
                        of.0, of.1
                    ));
                }
                self.last = Some((event.partition, event.seq, event.ingested_at));
                self.counts.events += 1;
            }
            (Line::End(end), Some(header)) => {
                if self.counts.events != header.events().unsigned_abs() {
                    return Err(format!(
                        "ends {} events, of {} that the first line promises",
                        self.counts.events,
                        header.events()
                    ));
                }
                let Line::End(ought) = self.end() else {
                    unreachable!("the end is the end")
                };
                if *end != ought {
                    return Err(
                        "does not fit what stands before it: something was changed, lost or added"
                            .to_owned(),
                    );
                }
                self.is_ended = true;
            }
        }
        self.hash.update(text.as_bytes());
        self.hash.update(b"\n");
        Ok(line)
    }

    fn begin(&mut self, header: &Header) -> Result<(), String> {
        if header.format != FORMAT {
            return Err(format!(
                "is of format {}; this program reads {FORMAT}",
                header.format
            ));
        }
        let is_before = |heads: &[Head]| heads[0].partition < heads[1].partition;
        let is_one = |head: &Head| (0..header.partitions).contains(&head.partition) && head.seq > 0;
        if !header.heads.iter().all(is_one) || !header.heads.windows(2).all(is_before) {
            return Err("names no heads of partitions in order".to_owned());
        }
        self.header = Some(header.clone());
        Ok(())
    }
}

fn check_principal(principal: &Principal<'_>, header: &Header, last: i64) -> Result<(), String> {
    let (tenant_id, principal_id) = (&principal.tenant_id, &principal.principal_id);
    if partition_of(tenant_id, principal_id, header.partitions) != principal.partition {
        return Err("is a principal in another partition than its own".to_owned());
    }
    if principal.principal_no <= last {
        return Err(format!(
            "is principal {} behind {last}",
            principal.principal_no
        ));
    }
    Ok(())
}

fn check_event(
    event: &Event<'_>,
    header: &Header,
    last: Option<(i32, i64, Timestamp)>,
) -> Result<(), String> {
    let (partition, seq) = (event.partition, event.seq);
    let expected = match last {
        Some((before, at, _)) if at < header.head(before) => Some((before, at + 1)),
        Some((before, ..)) => next_partition(header, Some(before)),
        None => next_partition(header, None),
    };
    if expected != Some((partition, seq)) {
        return Err(match expected {
            Some((of, at)) => format!("is event {partition}:{seq} where {of}:{at} comes"),
            None => format!("is event {partition}:{seq} where no more come"),
        });
    }
    let is_earlier = |(of, _, at): (i32, i64, Timestamp)| of == partition && event.ingested_at < at;
    if last.is_some_and(is_earlier) {
        return Err("was ingested before the event before it".to_owned());
    }
    if event.voids.is_some() != event.voids_occurred_at.is_some()
        || event
            .voids
            .is_some_and(|target| !(1..seq).contains(&target))
    {
        return Err("voids no event before it".to_owned());
    }
    let is_object = |document: &RawValue| document.get().starts_with('{');
    if !is_object(event.data) || !is_object(event.metadata) {
        return Err("has data or metadata that is no object".to_owned());
    }
    Ok(())
}

/// Where the events of the next partition begin that has any.
fn next_partition(header: &Header, before: Option<i32>) -> Option<(i32, i64)> {
    let mut heads = header.heads.iter();
    let next = heads.find(|head| before.is_none_or(|before| head.partition > before));
    next.map(|head| (head.partition, 1))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"export":{"format":1,"schema":"1","partitions":1,"heads":[{"partition":0,"seq":2,"ingested_at":"2026-01-01T00:00:00Z"}]}}"#;
    const PRINCIPAL: &str =
        r#"{"principal":{"principal_no":7,"partition":0,"tenant_id":"acme","principal_id":"p"}}"#;

    fn event(seq: i64, more: &str) -> String {
        format!(
            r#"{{"event":{{"partition":0,"seq":{seq},"principal_no":7,"occurred_at":"2026-01-01T00:00:00Z","ingested_at":"2026-01-01T00:00:00.000001Z","schema_version":0,"event_id":"s\u001fe{seq}","type":"t","data":{{"n":1.50}},"metadata":{{}}{more}}}}}"#
        )
    }

    /// The faults of lines, each by its place from 1.
    fn faults(lines: &[&str]) -> Vec<(usize, String)> {
        let mut progress = Progress::default();
        let taken = lines.iter().map(|line| progress.take(line).map(|_| ()));
        let faults = (1..)
            .zip(taken)
            .filter_map(|(at, taken)| Some((at, taken.err()?)));
        faults.collect()
    }

    #[test]
    fn what_is_written_is_read_and_written_again_byte_by_byte() {
        let (first, second) = (
            event(1, ""),
            event(
                2,
                r#","voids":1,"voids_occurred_at":"2026-01-01T00:00:00Z""#,
            ),
        );
        let mut progress = Progress::default();
        for text in [HEADER, PRINCIPAL, &first, &second] {
            let line = progress.take(text).unwrap();
            assert_eq!(line.text().trim_end(), text);
        }
        let end = progress.end().text();
        progress.take(end.trim_end()).unwrap();
        assert!(progress.is_ended() && progress.counts().events == 2);
        assert!(progress.take(HEADER).is_err());
        // Anything that is changed is noticed, at the latest by the sum.
        let changed = first.replace("1.50", "1.51");
        let noticed = faults(&[HEADER, PRINCIPAL, &changed, &second, end.trim_end()]);
        assert_eq!(noticed.len(), 1);
        assert!(
            noticed[0].1.contains("something was changed"),
            "{noticed:?}"
        );
    }

    #[test]
    fn a_line_that_does_not_go_on_is_named() {
        let (first, second) = (event(1, ""), event(2, ""));
        let twin = PRINCIPAL.replace(":0,", ":1,");
        let another = PRINCIPAL.replace(":7,", ":8,");
        let newer = HEADER.replace("\"format\":1", "\"format\":2");
        let end = Progress::default().end().text();
        for (lines, says) in [
            (&[PRINCIPAL][..], "not the first line"),
            (&[&newer], "format 2"),
            (&[HEADER, HEADER], "second first line"),
            (&[HEADER, PRINCIPAL, PRINCIPAL], "principal 7 behind 7"),
            (&[HEADER, &twin], "another partition"),
            (&[HEADER, &second], "event 0:2 where 0:1 comes"),
            (&[HEADER, &first], "of principal 7, who was not named"),
            (
                &[HEADER, PRINCIPAL, &first, PRINCIPAL],
                "principal 7 behind 7",
            ),
            (
                &[HEADER, PRINCIPAL, &first, &another],
                "a principal behind events",
            ),
            (
                &[HEADER, PRINCIPAL, &first, end.trim_end()],
                "ends 1 events, of 2",
            ),
            (&[HEADER, &first[..40]], "no line of an export"),
        ] {
            let found = faults(lines);
            assert_eq!(found.len(), 1, "{lines:?}");
            assert_eq!(found[0].0, lines.len(), "{found:?}");
            assert!(found[0].1.contains(says), "{found:?}");
        }
    }
}
