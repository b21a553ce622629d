//! Principals some of whose buckets have changed since the version: many at once.
//!
//! What a bucket was made of comes instead of it: hours for a day, minutes for an hour, events for a
//! minute, each only where it has changed as well.
//!
//! Invariant: memory is bounded: by a chunk of principals, and by the places where their events lie.

use super::{Asked, Beside, Many, Sum, Wanted, refined};
use crate::state::StateError;
use crate::state::chosen::Chosen;
use crate::state::conclude::{Cost, Finished};
use crate::state::list::Answered;
use crate::state::rows::{self, BucketRow, RawEvent, Rows, Turn};
use crate::state::several::{Checkpoints, RuleCheckpoints, Several, Standings};
use crate::statement::Statement;
use crate::values::{JsonString, JsonText, end_to_pg, from_pg, start_to_pg};
use aevon_core::state::{Answer, MAX_HELD_BYTES, Ranking, Span, TooLarge};
use aevon_core::time::MINUTE_US;
use bigdecimal::BigDecimal;
use diesel::QueryResult;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Integer, Jsonb, Nullable, Numeric, Text, Timestamptz,
};
use diesel_async::RunQueryDsl;
use futures_util::TryStreamExt;
use rustc_hash::FxHashMap;

/// Principals that are refined at once.
const AT_ONCE: usize = 1_000;
/// Most minutes whose events are read for these.
const MAX_PLACES: usize = 200_000;

/// Answers of a chunk of principals, and what is still to be read for them.
struct Chunk<'q, 'c> {
    /// By the number that was added up.
    answers: FxHashMap<i64, (String, Answer<'q>)>,
    /// Where the buckets of the partitions come to.
    checkpoints: &'c Checkpoints,
    /// The rule, with a licence: Postgres has seen that there is one.
    chosen: [Chosen; 1],
    /// Where events lie that no bucket stands for, by the principal's number.
    wanted: FxHashMap<i64, Places>,
    /// How many places these are.
    places: usize,
    cost: Cost,
    held: usize,
}

/// Where events of a principal lie.
struct Places {
    no: i64,
    partition: i32,
    spans: Vec<Span>,
}

impl Several<'_> {
    /// Takes principals into the page of whom some buckets do not stand, given what the others add up
    /// to, and what was folded beside.
    pub(super) async fn refine<'q>(
        &self,
        found: &Standings,
        ruled: &RuleCheckpoints,
        asked: &Asked<'q>,
        wanted: &Wanted,
        (sums, beside): (Vec<Sum>, &mut Beside<'q>),
        ranking: &mut Ranking<()>,
    ) -> Answered<Cost> {
        let (mut cost, mut sums) = (Cost::default(), sums.into_iter().peekable());
        let checkpoints = ruled.checkpoints(wanted.complete());
        while sums.peek().is_some() {
            let mut chunk = Chunk::new(ruled, checkpoints);
            for sum in sums.by_ref().take(AT_ONCE) {
                let answer = beside.remove(&sum.principal_id);
                chunk.begin(asked, sum, answer);
            }
            let many = wanted.many.as_ref();
            let buckets = self.buckets_of(found, asked, many, &chunk).await?;
            if let Err(error) = chunk.add_buckets(found, buckets).await? {
                return Ok(Err(error));
            }
            if !chunk.wanted.is_empty() {
                let events = self.events_of(found, asked, &chunk).await?;
                if let Err(error) = chunk.add_events(events).await? {
                    return Ok(Err(error));
                }
            }
            cost.add(chunk.cost);
            for (principal_id, answer) in chunk.answers.into_values() {
                if let Err(error) = asked.offer(ranking, principal_id, Finished::of(answer)) {
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(cost))
    }

    async fn buckets_of(
        &self,
        found: &Standings,
        asked: &Asked<'_>,
        many: Option<&Many>,
        chunk: &Chunk<'_, '_>,
    ) -> QueryResult<impl Rows<RefinedRow> + use<>> {
        let numbers: Vec<i64> = chunk.answers.keys().copied().collect();
        let (first_hash, last_hash) = asked.hashes();
        let (froms, tos) = asked.windows();
        let keep = asked.question.grouping.keep_json();
        let query = diesel::sql_query(refined(asked.rule.operator, many))
            .bind::<Array<BigInt>, _>(numbers)
            .bind::<Integer, _>(chunk.rule_no())
            .bind::<Array<Nullable<BigInt>>, _>(chunk.checkpoints)
            .bind::<Array<BigInt>, _>(found.seqs())
            .bind::<Array<Nullable<Timestamptz>>, _>(froms)
            .bind::<Array<Nullable<Timestamptz>>, _>(tos)
            .bind::<Binary, _>(first_hash)
            .bind::<Binary, _>(last_hash)
            .bind::<Jsonb, _>(JsonText(&keep));
        Statement::<_, RefinedColumns>::new(query)
            .load_stream::<RefinedRow>(&mut &*self.pg)
            .await
    }

    async fn events_of(
        &self,
        found: &Standings,
        asked: &Asked<'_>,
        chunk: &Chunk<'_, '_>,
    ) -> QueryResult<impl Rows<RefinedEventRow> + use<>> {
        let mut principals: Vec<i64> = Vec::with_capacity(chunk.places);
        let mut partitions: Vec<i32> = Vec::with_capacity(chunk.places);
        let mut spans: Vec<Span> = Vec::with_capacity(chunk.places);
        for (principal_no, places) in &chunk.wanted {
            // Several series of a principal have the same minutes.
            for span in Span::disjoint(places.spans.clone()) {
                principals.push(*principal_no);
                partitions.push(places.partition);
                spans.push(span);
            }
        }
        let firsts: Vec<i64> = spans.iter().map(|span| span.first_seq).collect();
        let lasts: Vec<i64> = spans.iter().map(|span| span.last_seq).collect();
        let starts: Vec<PgTimestamp> = spans.iter().map(|s| start_to_pg(s.start)).collect();
        let ends: Vec<PgTimestamp> = spans.iter().map(|s| end_to_pg(s.end)).collect();
        let query = diesel::sql_query(include_str!("../../sql/ranked_events.sql"))
            .bind::<Array<BigInt>, _>(principals)
            .bind::<Array<Integer>, _>(partitions)
            .bind::<Array<BigInt>, _>(firsts)
            .bind::<Array<BigInt>, _>(lasts)
            .bind::<Array<Timestamptz>, _>(starts)
            .bind::<Array<Timestamptz>, _>(ends)
            .bind::<Array<BigInt>, _>(found.seqs())
            .bind::<Bool, _>(asked.rule.filter.is_some())
            .bind::<Text, _>(&asked.rule.source_event);
        Statement::<_, RefinedEventColumns>::new(query)
            .load_stream::<RefinedEventRow>(&mut &*self.pg)
            .await
    }
}

impl<'q, 'c> Chunk<'q, 'c> {
    fn new(ruled: &RuleCheckpoints, checkpoints: &'c Checkpoints) -> Self {
        Self {
            answers: FxHashMap::default(),
            checkpoints,
            chosen: [Chosen {
                checkpoint: Some(0),
                ..ruled.rule.clone()
            }],
            wanted: FxHashMap::default(),
            places: 0,
            cost: Cost::default(),
            held: 0,
        }
    }

    fn rule_no(&self) -> i32 {
        let [Chosen { rule_no, .. }] = &self.chosen;
        *rule_no
    }

    /// Up to where the buckets of a partition hold everything.
    fn checkpoint(&self, partition: i32) -> i64 {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        self.checkpoints.get(index).copied().flatten().unwrap_or(0)
    }

    fn begin(&mut self, asked: &Asked<'q>, sum: Sum, beside: Option<Answer<'q>>) {
        let new = || Answer::new(asked.rule, asked.question, asked.plan, 0);
        let mut answer = beside.unwrap_or_else(new);
        answer.add_sum(true, &sum.before);
        answer.add_sum(false, &sum.inside);
        self.held += answer.held_bytes();
        self.answers.insert(sum.no, (sum.principal_id, answer));
    }

    /// Takes in what changed buckets were made of, and notes whose events are wanted.
    async fn add_buckets(
        &mut self,
        found: &Standings,
        mut buckets: impl Rows<RefinedRow>,
    ) -> Answered<()> {
        let mut turn = Turn::default();
        while let Some(row) = buckets.try_next().await? {
            turn.give().await;
            let (no, principal_no, partition, labels, window_start, events, skipped, value, ..) =
                row;
            let (latest_at, latest_seq, moment, sketch) = (row.8, row.9, row.10, row.11);
            let (first_seq, last_seq, is_settled) = (row.12, row.13, row.14);
            let (rule_no, checkpoint) = (self.rule_no(), self.checkpoint(partition));
            let Some((_, answer)) = self.answers.get_mut(&no) else {
                continue;
            };
            let before = answer.held_bytes();
            if is_settled {
                let bucket: BucketRow = (
                    rule_no,
                    labels,
                    window_start,
                    events,
                    skipped,
                    value,
                    latest_at,
                    latest_seq,
                    moment,
                    sketch,
                );
                let answers = std::slice::from_mut(&mut *answer);
                rows::add_bucket(answers, &self.chosen, partition, bucket)?;
                self.cost.buckets += 1;
                self.held += answer.held_bytes() - before;
                if self.held > MAX_HELD_BYTES {
                    return Ok(Err(TooLarge::Sets.into()));
                }
                continue;
            }
            let minute = from_pg(window_start);
            let span = Span {
                first_seq,
                last_seq: last_seq.min(found.at(partition).seq),
                start: Some(minute),
                end: Some(minute.plus_micros(MINUTE_US)),
            };
            let [Chosen { rule, .. }] = &self.chosen;
            let labels = rows::labels_of(rule, labels)?;
            answer.set_checkpoint(partition, checkpoint);
            answer.refine((partition, minute), labels, span.first_seq..=span.last_seq);
            let places = self.wanted.entry(principal_no).or_insert_with(|| Places {
                no,
                partition,
                spans: Vec::new(),
            });
            places.spans.push(span);
            self.places += 1;
            if self.places > MAX_PLACES {
                return Ok(Err(StateError::TooManyUnswept(MAX_PLACES)));
            }
        }
        Ok(Ok(()))
    }

    async fn add_events(&mut self, mut events: impl Rows<RefinedEventRow>) -> Answered<()> {
        let mut turn = Turn::default();
        while let Some(row) = events.try_next().await? {
            turn.give().await;
            let (seq, occurred_at, event_type, schema_version, data, metadata, principal_no, at) =
                row;
            let raw = (seq, occurred_at, event_type, schema_version, data, metadata);
            let Some(places) = self.wanted.get(&principal_no) else {
                continue;
            };
            let Some((name, answer)) = self.answers.get_mut(&places.no) else {
                continue;
            };
            let before = answer.held_bytes();
            answer.add_event(&RawEvent::from(raw).subject(at, name));
            self.cost.raw_events += 1;
            self.held += answer.held_bytes() - before;
            if self.held > MAX_HELD_BYTES {
                return Ok(Err(TooLarge::Sets.into()));
            }
        }
        Ok(Ok(()))
    }
}

type RefinedColumns = (
    BigInt,
    BigInt,
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
    BigInt,
    BigInt,
    Bool,
);
type RefinedRow = (
    i64,
    i64,
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
);

/// The columns of an event, and whose it is.
type RefinedEventColumns = (
    BigInt,
    Timestamptz,
    Text,
    Integer,
    Jsonb,
    Nullable<Jsonb>,
    BigInt,
    Integer,
);
type RefinedEventRow = (
    i64,
    PgTimestamp,
    String,
    i32,
    JsonString,
    Option<JsonString>,
    i64,
    i32,
);
