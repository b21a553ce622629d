//! A read as of a version: buckets as they stood, and what they did not hold then from the log.
//!
//! One round trip finds the place, the rules and the buckets, another one reads the events that no
//! bucket stands for; an instant takes one more, to find its place.
//!
//! Invariant: what lies at or below a position is final, so the answer there is the same in whatever
//! snapshot it is read, whatever is swept, voided or rebuilt by then.

use super::chosen::{self, Chosen, Selected};
use super::conclude::{Cost, Finished, Standpoint, conclude};
use super::rows::{self, BucketRow, Rows, StampedColumns, StampedRow};
use super::trace::{Reason, Trace};
use super::{At, State, StateError, StateQuery};
use crate::error::StoreError;
use crate::pipeline::Sent;
use crate::statement::Statement;
use crate::values::{JsonString, JsonText, end_to_pg, from_pg, start_to_pg, to_pg};
use aevon_core::position::Position;
use aevon_core::state::{Answer, Plan, Range, Span};
use aevon_core::time::{Grain, MINUTE_US, Timestamp};
use bigdecimal::BigDecimal;
use diesel::pg::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Double, Integer, Jsonb, Nullable, Numeric, SmallInt, Text,
    Timestamptz,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;

/// One transaction, and what is asked in it.
pub(super) struct PastRead<'a> {
    pub(super) pg: &'a AsyncPgConnection,
    /// Whether its statements were prepared, but for that of events.
    pub(super) warm: bool,
    /// Whether that was, too.
    pub(super) warm_for_events: bool,
    pub(super) partition: i32,
    pub(super) query: &'a StateQuery,
    /// Whether it is about the total of the tenant instead of a principal.
    pub(super) is_total: bool,
    pub(super) using: Using,
}

/// What an answer may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Using {
    /// Buckets, and the log where they don't suffice.
    Buckets,
    /// The same, saying which.
    TracedBuckets,
    /// The log alone.
    Log,
}

/// What was read.
pub(super) struct PastAnswer {
    pub(super) state: Result<State, StateError>,
    /// What it was made of; complete where this was asked for, of one rule.
    pub(super) trace: Trace,
    /// Whether there were events to read.
    pub(super) has_read_events: bool,
}

type PositionRow = (i64, i64, Option<PgTimestamp>, f64, bool, i64);
type PositionColumns = (BigInt, BigInt, Nullable<Timestamptz>, Double, Bool, BigInt);

/// Where a version or an instant stands.
struct Resolved {
    standpoint: Standpoint,
    is_replica: bool,
}

impl PastRead<'_> {
    /// Everything is read before it returns, and the transaction has ended, whatever the answer.
    pub(super) async fn read(&self, at: At) -> Result<PastAnswer, StoreError> {
        let question = &self.query.question;
        let plan = Plan::new(question);
        let mut begin_on = self.pg;
        let begin = Sent::new(
            begin_on.batch_execute(rows::begin(self.warm && self.warm_for_events)),
            self.warm,
        )
        .await;
        let resolved = Sent::new(self.resolve(at), self.warm).await;
        let chosen = chosen::chosen(self.pg, self.partition, &self.query.selection);
        let chosen = Sent::new(chosen, self.warm).await;
        let reads_buckets = self.using != Using::Log;
        let early = match at {
            At::Version(seq) if reads_buckets => {
                Some(Sent::new(self.tree(&plan, seq), self.warm).await)
            }
            At::Version(_) | At::Instant(_) => None,
        };
        begin.answer().await.map_err(StoreError::from)?;
        let resolved = resolved.answer().await?;
        let mut chosen = chosen.answer().await?;
        let seq = resolved.standpoint.seq;
        let tree = match early {
            Some(early) => Some(early.answer().await),
            None if reads_buckets => Some(self.tree(&plan, seq).await),
            None => None,
        };
        if !reads_buckets {
            chosen.iter_mut().for_each(|c| c.checkpoint = None);
        }
        let checkpoint = |c: &Chosen| c.checkpoint.unwrap_or(0);
        let mut answers: Vec<Answer<'_>> = chosen
            .iter()
            .map(|c| Answer::new(&c.rule, question, &plan, checkpoint(c)))
            .collect();
        let mut trace = Trace::default();
        trace.sources.checkpoint = chosen.as_slice().first().and_then(|c| c.checkpoint);
        let (mut buckets, mut spans) = (0, Vec::new());
        if let Some(tree) = tree {
            let tree = tree.map_err(StoreError::from)?;
            let tree = self.add_tree(&mut answers, &chosen, &plan, seq, tree, &mut trace);
            (buckets, spans) = tree.await?;
        }
        if let Some(tail) = self.tail(&chosen, seq) {
            self.note(&mut trace, tail, Reason::Tail);
            spans.push(tail);
        }
        let spans = Span::disjoint(spans);
        if self.is_traced() {
            trace.reading(&spans);
        }
        let raw_events = self.add_events(&mut answers, &chosen, seq, &spans, &mut trace);
        let raw_events = raw_events.await?;
        let cost = Cost {
            buckets,
            raw_events,
        };
        let finished: Vec<_> = answers.into_iter().map(Finished::of).collect();
        let state = self.check(at, &resolved).and_then(|()| {
            let standpoint = resolved.standpoint;
            conclude(
                self.query,
                self.partition,
                standpoint,
                chosen,
                finished,
                cost,
            )
        });
        Ok(PastAnswer {
            state,
            trace,
            has_read_events: !spans.is_empty(),
        })
    }

    fn is_traced(&self) -> bool {
        self.using == Using::TracedBuckets
    }

    fn note(&self, trace: &mut Trace, span: Span, reason: Reason) {
        if self.is_traced() {
            trace.span(span, reason);
        }
    }

    /// That the log has come as far as what was asked for.
    fn check(&self, at: At, resolved: &Resolved) -> Result<(), StateError> {
        let At::Version(seq) = at else {
            return Ok(());
        };
        let partition = self.partition;
        let wanted = Position { partition, seq };
        let head = resolved.standpoint.head;
        match (seq > head, resolved.is_replica) {
            (false, _) => Ok(()),
            (true, true) => Err(StateError::NotVisible { wanted, head }),
            (true, false) => Err(StateError::UnknownVersion { wanted, head }),
        }
    }

    async fn resolve(&self, at: At) -> Result<Resolved, StoreError> {
        let (version, instant) = match at {
            At::Version(seq) => (Some(seq), None),
            At::Instant(instant) => (None, Some(to_pg(instant))),
        };
        let query = diesel::sql_query(include_str!("../sql/state_position.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Nullable<BigInt>, _>(version)
            .bind::<Nullable<Timestamptz>, _>(instant);
        let rows: Vec<PositionRow> = Statement::<_, PositionColumns>::new(query)
            .load(&mut &*self.pg)
            .await?;
        let (head, seq, ingested_at, staleness_seconds, is_replica, erasures) = rows
            .into_iter()
            .next()
            .ok_or_else(|| StoreError::Corrupt("a partition has no row".to_owned()))?;
        Ok(Resolved {
            standpoint: Standpoint {
                head,
                seq,
                ingested_at: ingested_at.map(from_pg),
                staleness_seconds,
                erasures,
            },
            is_replica,
        })
    }

    pub(super) async fn tree(
        &self,
        plan: &Plan,
        seq: i64,
    ) -> QueryResult<impl Rows<TreeRow> + use<>> {
        let parts = parts(plan);
        let principal_id = (!self.is_total).then_some(&self.query.principal_id);
        let grains: Vec<i16> = parts.iter().map(|part| part.grain.minutes()).collect();
        let starts: Vec<_> = parts
            .iter()
            .map(|part| start_to_pg(part.range.start))
            .collect();
        let ends: Vec<_> = parts.iter().map(|part| end_to_pg(part.range.end)).collect();
        let before: Vec<bool> = parts.iter().map(|part| part.is_before).collect();
        let cut: Vec<bool> = parts.iter().map(|part| part.is_cut).collect();
        let selected = Selected::new(&self.query.selection);
        let grouping = &self.query.question.grouping;
        let (first_hash, last_hash) = match grouping.is_none() {
            true => (&[][..], &[][..]),
            false => (&[0][..], &[u8::MAX; 33][..]),
        };
        let keep = grouping.keep_json();
        let query = diesel::sql_query(include_str!("../sql/state_tree.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Bool, _>(selected.every)
            .bind::<Array<Text>, _>(selected.names)
            .bind::<Array<Text>, _>(selected.pinned_names)
            .bind::<Array<Integer>, _>(selected.pinned_versions)
            .bind::<Array<SmallInt>, _>(grains)
            .bind::<Array<Timestamptz>, _>(starts)
            .bind::<Array<Timestamptz>, _>(ends)
            .bind::<Array<Bool>, _>(before)
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<Nullable<Text>, _>(principal_id)
            .bind::<Binary, _>(first_hash)
            .bind::<Binary, _>(last_hash)
            .bind::<Jsonb, _>(JsonText(&keep))
            .bind::<BigInt, _>(seq)
            .bind::<Array<Bool>, _>(cut)
            .bind::<Array<Text>, _>(self.query.question.looking_back())
            .bind::<Bool, _>(self.is_traced());
        Statement::<_, TreeColumns>::new(query)
            .load_stream::<TreeRow>(&mut &*self.pg)
            .await
    }

    /// Takes buckets in, and notes the minutes whose events are wanted: how many buckets stood, and
    /// where these events lie.
    pub(super) async fn add_tree(
        &self,
        answers: &mut [Answer<'_>],
        chosen: &[Chosen],
        plan: &Plan,
        seq: i64,
        mut tree: impl Rows<TreeRow>,
        trace: &mut Trace,
    ) -> Result<(u64, Vec<Span>), StoreError> {
        let (mut buckets, mut spans) = (0, Vec::new());
        while let Some(row) = tree.try_next().await? {
            let (first_seq, last_seq, is_settled) = (row.10, row.11.min(seq), row.12);
            let (late, grain) = (row.13, row.14);
            let bucket: BucketRow = (
                row.0, row.1, row.2, row.3, row.4, row.5, row.6, row.7, row.8, row.9,
            );
            if is_settled {
                buckets += 1;
                let (events, places) = (bucket.3 + bucket.4, (first_seq, last_seq));
                rows::add_bucket(answers, chosen, self.partition, bucket)?;
                if self.is_traced() {
                    trace.bucket(grain_of(grain)?, events, late, places);
                }
                continue;
            }
            let (rule_no, labels, minute, ..) = bucket;
            let Some((answer, rule)) = chosen::licensed(answers, chosen, rule_no) else {
                continue;
            };
            let minute = from_pg(minute);
            let labels = rows::labels_of(rule, labels)?;
            answer.refine((self.partition, minute), labels, first_seq..=last_seq);
            let span = Span {
                first_seq,
                last_seq,
                start: Some(minute),
                end: Some(minute.plus_micros(MINUTE_US)),
            };
            self.note(trace, span, reason_of(plan, minute));
            spans.push(span);
        }
        Ok((buckets, spans))
    }

    /// What lies behind the checkpoint that is furthest behind.
    pub(super) fn tail(&self, chosen: &[Chosen], seq: i64) -> Option<Span> {
        let checkpoints = chosen.iter().map(|c| c.checkpoint.unwrap_or(0));
        let Range { start, end } = self.query.question.range;
        let question = &self.query.question;
        let looks_back = chosen.iter().any(|c| question.looks_back(c.rule.operator));
        Some(Span {
            first_seq: checkpoints.min()? + 1,
            last_seq: seq,
            start: start.filter(|_| !looks_back),
            end,
        })
    }

    /// Takes the events of these spans in, and ends the transaction; says how many there were.
    async fn add_events(
        &self,
        answers: &mut [Answer<'_>],
        chosen: &[Chosen],
        seq: i64,
        spans: &[Span],
        trace: &mut Trace,
    ) -> Result<u64, StoreError> {
        let mut commit_on = self.pg;
        if spans.is_empty() {
            commit_on.batch_execute("COMMIT").await?;
            return Ok(0);
        }
        let events = Sent::new(self.events(chosen, seq, spans), self.warm_for_events).await;
        let commit = commit_on.batch_execute("COMMIT");
        let commit = Sent::new(commit, self.warm_for_events).await;
        let events = events.answer().await.map_err(StoreError::from)?;
        let principal_id = &self.query.principal_id;
        let trace = self.is_traced().then_some(trace);
        let count = rows::add_events(answers, self.partition, principal_id, events, trace);
        let count = count.await?;
        commit.answer().await.map_err(StoreError::from)?;
        Ok(count)
    }

    pub(super) async fn events(
        &self,
        chosen: &[Chosen],
        seq: i64,
        spans: &[Span],
    ) -> QueryResult<impl Rows<StampedRow> + use<>> {
        let wanted = WantedEvents::new(chosen, spans);
        let query = diesel::sql_query(include_str!("../sql/state_events.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<Text, _>(&self.query.principal_id)
            .bind::<BigInt, _>(seq)
            .bind::<Array<BigInt>, _>(wanted.first_seqs)
            .bind::<Array<BigInt>, _>(wanted.last_seqs)
            .bind::<Array<Timestamptz>, _>(wanted.starts)
            .bind::<Array<Timestamptz>, _>(wanted.ends)
            .bind::<Bool, _>(wanted.is_filtered)
            .bind::<Array<Text>, _>(wanted.types);
        Statement::<_, StampedColumns>::new(query)
            .load_stream::<StampedRow>(&mut &*self.pg)
            .await
    }

    /// The same of all principals of the tenant.
    pub(super) async fn events_of_tenant(
        &self,
        chosen: &[Chosen],
        seq: i64,
        spans: &[Span],
    ) -> QueryResult<impl Rows<rows::RawOfTenantRow> + use<>> {
        let wanted = WantedEvents::new(chosen, spans);
        let query = diesel::sql_query(include_str!("../sql/state_events_of_tenant.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<BigInt, _>(seq)
            .bind::<Array<BigInt>, _>(wanted.first_seqs)
            .bind::<Array<BigInt>, _>(wanted.last_seqs)
            .bind::<Array<Timestamptz>, _>(wanted.starts)
            .bind::<Array<Timestamptz>, _>(wanted.ends)
            .bind::<Bool, _>(wanted.is_filtered)
            .bind::<Array<Text>, _>(wanted.types);
        Statement::<_, rows::RawOfTenantColumns>::new(query)
            .load_stream::<rows::RawOfTenantRow>(&mut &*self.pg)
            .await
    }
}

/// Which events are wanted, column by column.
struct WantedEvents<'c> {
    first_seqs: Vec<i64>,
    last_seqs: Vec<i64>,
    starts: Vec<PgTimestamp>,
    ends: Vec<PgTimestamp>,
    is_filtered: bool,
    types: Vec<&'c str>,
}

impl<'c> WantedEvents<'c> {
    fn new(chosen: &'c [Chosen], spans: &[Span]) -> Self {
        let types = chosen.iter().map(|c| c.rule.source_event.as_str());
        let mut types: Vec<&str> = types.collect();
        types.sort_unstable();
        types.dedup();
        Self {
            first_seqs: spans.iter().map(|span| span.first_seq).collect(),
            last_seqs: spans.iter().map(|span| span.last_seq).collect(),
            starts: spans.iter().map(|span| start_to_pg(span.start)).collect(),
            ends: spans.iter().map(|span| end_to_pg(span.end)).collect(),
            is_filtered: chosen.iter().any(|c| c.rule.filter.is_some()),
            types,
        }
    }
}

fn grain_of(minutes: i16) -> Result<Grain, StoreError> {
    let found = Grain::ALL.into_iter().find(|g| g.minutes() == minutes);
    found.ok_or_else(|| StoreError::Corrupt(format!("a bucket of {minutes} minutes")))
}

/// Why a minute that does not stand is read from the log.
fn reason_of(plan: &Plan, minute: Timestamp) -> Reason {
    let edges = plan.edges.iter().chain(&plan.edges_before);
    let mut starts = edges.filter_map(|edge| edge.start);
    match starts.any(|start| Grain::Minute.floor(start) == minute) {
        true => Reason::PartOfMinute,
        false => Reason::Refined,
    }
}

/// A part of a plan.
struct PlanPart {
    grain: Grain,
    range: Range,
    is_before: bool,
    /// Whether it is a minute of which the plan takes a part.
    is_cut: bool,
}

fn parts(plan: &Plan) -> Vec<PlanPart> {
    let whole = rows::marked(&plan.buckets, &plan.buckets_before);
    let whole = whole.map(|((grain, range), is_before)| PlanPart {
        grain,
        range,
        is_before,
        is_cut: false,
    });
    let cut = rows::marked(&plan.edges, &plan.edges_before);
    let cut = cut.map(|(edge, is_before)| PlanPart {
        grain: Grain::Minute,
        range: Plan::minutes_of(&edge),
        is_before,
        is_cut: true,
    });
    whole.chain(cut).collect()
}

type TreeColumns = (
    Integer,
    Nullable<Jsonb>,
    Timestamptz,
    BigInt,
    BigInt,
    Nullable<Numeric>,
    Nullable<Timestamptz>,
    Nullable<BigInt>,
    Nullable<Numeric>,
    Nullable<Binary>,
    // Where its events lie, and whether it stands for them.
    BigInt,
    BigInt,
    Bool,
    // How many of them are late, where that is asked for.
    BigInt,
    SmallInt,
);
pub(super) type TreeRow = (
    i32,
    Option<JsonString>,
    PgTimestamp,
    i64,
    i64,
    Option<BigDecimal>,
    Option<PgTimestamp>,
    Option<i64>,
    Option<BigDecimal>,
    Option<Vec<u8>>,
    i64,
    i64,
    bool,
    i64,
    i16,
);
