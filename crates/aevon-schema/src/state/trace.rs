//! Where an answer came from: which buckets, and which places of the log.
//!
//! Invariant: memory grows neither with the buckets nor with the events; what is kept of spans is
//! what the read keeps of them anyway.

use super::rows::RawEvent;
use aevon_core::explain::Places;
use aevon_core::state::Span;
use aevon_core::time::Grain;

/// Most ranges of the log that are told one by one.
pub const MAX_RANGES: usize = 100;

/// What an answer was made of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Up to where the rule's buckets are complete; `None` where none may be used.
    pub checkpoint: Option<i64>,
    /// The buckets, by grain: minutes, hours, days.
    pub buckets: [Used; 3],
    /// The first [`MAX_RANGES`] of the places of the log that were read.
    pub ranges: Vec<RawRange>,
    /// How many there were.
    pub range_count: usize,
    /// Events of the log that entered the answer, or were skipped.
    pub raw_events: u64,
    /// Events of the answer that were stored on a later day than they occurred on, in buckets too.
    pub late_events: u64,
}

/// Buckets of one grain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// How many rows.
    pub rows: u64,
    /// The events that they hold.
    pub events: i64,
}

/// Why events were read from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The buckets don't hold them yet.
    Tail,
    /// The range takes a part of their minute.
    PartOfMinute,
    /// Their minute holds what came later, or what a void has taken out.
    Refined,
}

/// Places of the log that were read, both inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRange {
    /// The first.
    pub first_seq: i64,
    /// The last.
    pub last_seq: i64,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Events that entered the answer, or were skipped.
    pub events: u64,
}

/// Sources in the making, of one rule.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) sources: Sources,
    /// Where the events of the answer lie, those in buckets too.
    pub(super) places: Places,
    /// Spans that are read, each with its reason.
    wanted: Vec<(Span, Reason)>,
    ranges: Vec<RawRange>,
}

impl Trace {
    /// A bucket stands for its events.
    pub(super) fn bucket(&mut self, grain: Grain, events: i64, late: i64, places: (i64, i64)) {
        let used = &mut self.sources.buckets[grain as usize];
        used.rows += 1;
        used.events += events;
        self.sources.late_events += u64::try_from(late).unwrap_or_default();
        self.places.add(places.0, places.1);
    }

    /// A span of the log is wanted.
    pub(super) fn span(&mut self, span: Span, reason: Reason) {
        self.places.add(span.first_seq, span.last_seq);
        self.wanted.push((span, reason));
    }

    /// These are the spans that are read, ascending and disjoint.
    pub(super) fn reading(&mut self, spans: &[Span]) {
        let range = |span: &Span| RawRange {
            first_seq: span.first_seq,
            last_seq: span.last_seq,
            reasons: Vec::new(),
            events: 0,
        };
        self.ranges = spans.iter().map(range).collect();
        for (span, reason) in std::mem::take(&mut self.wanted) {
            if let Some(range) = self.range_of(span.first_seq)
                && !range.reasons.contains(&reason)
            {
                range.reasons.push(reason);
            }
        }
    }

    /// An event of the log entered the answer, or was skipped.
    pub(super) fn event(&mut self, event: &RawEvent) {
        self.sources.raw_events += 1;
        self.sources.late_events += u64::from(event.is_late());
        if let Some(range) = self.range_of(event.seq) {
            range.events += 1;
        }
    }

    fn range_of(&mut self, seq: i64) -> Option<&mut RawRange> {
        let behind = self.ranges.partition_point(|range| range.first_seq <= seq);
        let range = self.ranges.get_mut(behind.checked_sub(1)?)?;
        (seq <= range.last_seq).then_some(range)
    }

    /// All of it, and where its events lie.
    pub(super) fn finish(mut self) -> (Sources, Places) {
        self.sources.range_count = self.ranges.len();
        self.ranges.truncate(MAX_RANGES);
        self.sources.ranges = self.ranges;
        (self.sources, self.places)
    }
}
