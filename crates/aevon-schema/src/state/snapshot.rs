//! The statements of a read, sent together, and what is taken in of their rows.

use super::{RuleState, Selection, State, StateError, StateQuery};
use crate::error::StoreError;
use crate::pipeline::Sent;
use crate::rules::read_definition;
use crate::statement::Statement;
use crate::values::{JsonString, JsonText, end_to_pg, from_pg, start_to_pg, to_pg};
use aevon_core::amount::Amount;
use aevon_core::filter::Subject;
use aevon_core::fold::Fact;
use aevon_core::labels::Labels;
use aevon_core::operator::{Columns, Kept, Partial};
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use aevon_core::state::{Answer, MAX_VALUES, Plan, Range, TooLarge, Value};
use aevon_core::time::{Grain, Timestamp};
use bigdecimal::BigDecimal;
use diesel::pg::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Double, Integer, Jsonb, Nullable, Numeric, SmallInt, Text,
    Timestamptz,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::{TryStream, TryStreamExt};
use std::time::{Duration, Instant};

/// How long filters may keep a thread from others.
const TURN: Duration = Duration::from_millis(20);
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// One transaction, and what is asked in it.
pub(super) struct Snapshot<'a> {
    pg: &'a AsyncPgConnection,
    warm: bool,
    partition: i32,
    query: &'a StateQuery,
}

struct Chosen {
    rule_no: i32,
    version: i32,
    rule: Rule,
    checkpoint: Option<i64>,
}

impl<'a> Snapshot<'a> {
    pub(super) fn new(
        pg: &'a AsyncPgConnection,
        warm: bool,
        partition: i32,
        query: &'a StateQuery,
    ) -> Self {
        Self {
            pg,
            warm,
            partition,
            query,
        }
    }

    pub(super) async fn read(&self) -> Result<State, StateError> {
        let question = &self.query.question;
        let plan = Plan::new(question);
        let (mut begin_on, mut commit_on) = (self.pg, self.pg);

        let begin = Sent::new(begin_on.batch_execute(BEGIN), self.warm).await;
        let head = Sent::new(self.head(), self.warm).await;
        let rules = Sent::new(self.rules(), self.warm).await;
        let buckets = Sent::new(self.buckets(&plan), self.warm).await;
        let raw = Sent::new(self.raw(&plan), self.warm).await;
        // The commit goes out with the rest where its answer can come last: it is awaited only
        // after the events were taken in.
        let commit = Sent::new(commit_on.batch_execute("COMMIT"), self.warm).await;

        begin.answer().await.map_err(StoreError::from)?;
        let (seq, data_through, staleness_seconds) = head.answer().await?;
        let chosen = rules.answer().await?;
        let checkpoint = |c: &Chosen| c.checkpoint.unwrap_or(0);
        let mut answers: Vec<Answer<'_>> = chosen
            .iter()
            .map(|c| Answer::new(&c.rule, question, &plan, checkpoint(c)))
            .collect();
        let buckets = buckets.answer().await.map_err(StoreError::from)?;
        let buckets = self.add_buckets(&mut answers, &chosen, buckets).await?;
        let raw = raw.answer().await.map_err(StoreError::from)?;
        let raw_events = self.add_events(&mut answers, raw).await?;
        commit.answer().await.map_err(StoreError::from)?;
        check_selection(&self.query.selection, &chosen)?;
        check_dimensions(self.query, &chosen)?;
        let dimensions: Vec<Vec<String>> = answers.iter().map(Answer::dimensions).collect();
        let values: Vec<Vec<Value>> = answers
            .into_iter()
            .map(Answer::finish)
            .collect::<Result<_, _>>()?;
        if values.iter().map(Vec::len).sum::<usize>() > MAX_VALUES {
            return Err(TooLarge::of_values(question).into());
        }
        let parts = dimensions.into_iter().zip(values);
        let state = |(chosen, (dimensions, values)): (Chosen, _)| RuleState {
            rule_version: chosen.version,
            lag_events: seq - chosen.checkpoint.unwrap_or(0),
            rule: chosen.rule,
            dimensions,
            values,
        };
        Ok(State {
            position: Position {
                partition: self.partition,
                seq,
            },
            data_through,
            staleness_seconds,
            states: chosen.into_iter().zip(parts).map(state).collect(),
            buckets,
            raw_events,
        })
    }

    async fn head(&self) -> Result<(i64, Option<Timestamp>, f64), StoreError> {
        let query = diesel::sql_query(include_str!("../sql/state_head.sql"))
            .bind::<Integer, _>(self.partition);
        let rows: Vec<(i64, Option<PgTimestamp>, f64)> =
            Statement::<_, (BigInt, Nullable<Timestamptz>, Double)>::new(query)
                .load(&mut &*self.pg)
                .await?;
        let (seq, ingested_at, staleness) = rows
            .into_iter()
            .next()
            .ok_or_else(|| StoreError::Corrupt("a partition has no row".to_owned()))?;
        Ok((seq, ingested_at.map(from_pg), staleness))
    }

    async fn rules(&self) -> Result<Vec<Chosen>, StoreError> {
        let selected = Selected::new(&self.query.selection);
        let query = diesel::sql_query(include_str!("../sql/state_rules.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Bool, _>(selected.every)
            .bind::<Array<Text>, _>(selected.names)
            .bind::<Array<Text>, _>(selected.pinned_names)
            .bind::<Array<Integer>, _>(selected.pinned_versions);
        let rows: Vec<(i32, String, i32, JsonString, Option<i64>)> =
            Statement::<_, (Integer, Text, Integer, Jsonb, Nullable<BigInt>)>::new(query)
                .load(&mut &*self.pg)
                .await?;
        rows.into_iter()
            .map(|(rule_no, _, version, definition, checkpoint)| {
                let rule = read_definition(&definition.0)?;
                Ok(Chosen {
                    rule_no,
                    version,
                    rule,
                    checkpoint,
                })
            })
            .collect()
    }

    async fn buckets(&self, plan: &Plan) -> QueryResult<impl Rows<BucketRow> + use<>> {
        let parts = || marked(&plan.buckets, &plan.buckets_before);
        let grains: Vec<i16> = parts().map(|((grain, _), _)| grain.minutes()).collect();
        let starts: Vec<_> = parts().map(|((_, r), _)| start_to_pg(r.start)).collect();
        let ends: Vec<_> = parts().map(|((_, r), _)| end_to_pg(r.end)).collect();
        let before: Vec<bool> = parts().map(|(_, is_before)| is_before).collect();
        let selected = Selected::new(&self.query.selection);
        let grouping = &self.query.question.grouping;
        let (first_hash, last_hash) = match grouping.is_none() {
            true => (&[][..], &[][..]),
            false => (&[0][..], &[u8::MAX; 33][..]),
        };
        let keep = grouping.keep_json();
        let query = diesel::sql_query(include_str!("../sql/state_buckets.sql"))
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
            .bind::<Text, _>(&self.query.principal_id)
            .bind::<Binary, _>(first_hash)
            .bind::<Binary, _>(last_hash)
            .bind::<Jsonb, _>(JsonText(&keep));
        Statement::<_, BucketColumns>::new(query)
            .load_stream::<BucketRow>(&mut &*self.pg)
            .await
    }

    async fn raw(&self, plan: &Plan) -> QueryResult<impl Rows<RawRow> + use<>> {
        let edges = || {
            marked(&plan.edges, &plan.edges_before)
                .filter_map(|(edge, is_before)| Some((edge.start?, edge.end?, is_before)))
        };
        let windows: Vec<_> = edges()
            .map(|(start, ..)| to_pg(Grain::Minute.floor(start)))
            .collect();
        let froms: Vec<_> = edges().map(|(start, ..)| to_pg(start)).collect();
        let tos: Vec<_> = edges().map(|(_, end, _)| to_pg(end)).collect();
        let before: Vec<bool> = edges().map(|(.., is_before)| is_before).collect();
        let selected = Selected::new(&self.query.selection);
        let Range { start, end } = self.query.question.range;
        let query = diesel::sql_query(include_str!("../sql/state_raw.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Bool, _>(selected.every)
            .bind::<Array<Text>, _>(selected.names)
            .bind::<Array<Text>, _>(selected.pinned_names)
            .bind::<Array<Integer>, _>(selected.pinned_versions)
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<Text, _>(&self.query.principal_id)
            .bind::<Array<Timestamptz>, _>(windows)
            .bind::<Array<Timestamptz>, _>(froms)
            .bind::<Array<Timestamptz>, _>(tos)
            .bind::<Array<Bool>, _>(before)
            .bind::<Timestamptz, _>(start_to_pg(start))
            .bind::<Timestamptz, _>(end_to_pg(end));
        Statement::<_, (BigInt, Timestamptz, Text, Integer, Jsonb, Nullable<Jsonb>)>::new(query)
            .load_stream::<RawRow>(&mut &*self.pg)
            .await
    }

    /// Takes buckets in, each into the answer of its rule. The checkpoint is the licence: buckets
    /// of a rule that has none in this snapshot don't count. Says how many rows there were.
    async fn add_buckets(
        &self,
        answers: &mut [Answer<'_>],
        chosen: &[Chosen],
        mut buckets: impl Rows<BucketRow>,
    ) -> Result<u64, StoreError> {
        let mut count = 0;
        while let Some(row) = buckets.try_next().await? {
            count += 1;
            let (rule_no, labels, window_start, ..) = row;
            let mut licensed = answers.iter_mut().zip(chosen);
            let is_its = |(_, c): &(_, &Chosen)| c.rule_no == rule_no && c.checkpoint.is_some();
            let Some((answer, Chosen { rule, .. })) = licensed.find(is_its) else {
                continue;
            };
            let columns = Columns {
                value: row.5.map(Amount::from_big),
                latest: row.6.map(from_pg).zip(row.7),
                moment: row.8.map(Amount::from_big),
                sketch: row.9,
            };
            let labels = match labels {
                None => Some(Labels::default()),
                Some(JsonString(json)) => Labels::from_json(&rule.group_by, &json),
            };
            let kept = Kept::from_columns(rule.operator, self.partition, columns);
            let (Some(labels), Some(kept)) = (labels, kept) else {
                let what = format!("a bucket of the rule {} can't be read", rule.name);
                return Err(StoreError::Corrupt(what));
            };
            let partial = Partial {
                kept,
                event_count: row.3,
                skipped_count: row.4,
            };
            answer.add_bucket(from_pg(window_start), &labels, &partial);
        }
        Ok(count)
    }

    /// Takes events in; each answer takes what is its. Says how many there were.
    async fn add_events(
        &self,
        answers: &mut [Answer<'_>],
        mut events: impl Rows<RawRow>,
    ) -> Result<u64, StoreError> {
        let (mut count, mut since) = (0, Instant::now());
        while let Some(row) = events.try_next().await? {
            count += 1;
            // So that the budget of the read, and whoever shares the thread, have their turn.
            if since.elapsed() > TURN {
                tokio::task::yield_now().await;
                since = Instant::now();
            }
            let (seq, occurred_at, event_type, schema_version, JsonString(data), metadata) = row;
            let subject = Subject::new(Fact {
                position: Position {
                    partition: self.partition,
                    seq,
                },
                occurred_at: from_pg(occurred_at),
                event_type: &event_type,
                schema_version,
                principal_id: &self.query.principal_id,
                data: &data,
                metadata: metadata.as_ref().map_or("", |JsonString(text)| text),
            });
            for answer in answers.iter_mut() {
                answer.add_event(&subject);
            }
        }
        Ok(count)
    }
}

/// Parts of the range and of what lies before it, with which of the two each is.
fn marked<'p, T: Copy>(inside: &'p [T], before: &'p [T]) -> impl Iterator<Item = (T, bool)> + 'p {
    let inside = inside.iter().map(|part| (*part, false));
    inside.chain(before.iter().map(|part| (*part, true)))
}

/// Rows as they arrive.
trait Rows<Row>: TryStream<Ok = Row, Error = diesel::result::Error> + Unpin {}
impl<Row, S: TryStream<Ok = Row, Error = diesel::result::Error> + Unpin> Rows<Row> for S {}

type BucketColumns = (
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
);
type BucketRow = (
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
);
type RawRow = (
    i64,
    PgTimestamp,
    String,
    i32,
    JsonString,
    Option<JsonString>,
);

/// A selection, column by column.
struct Selected<'a> {
    every: bool,
    names: &'a [String],
    pinned_names: Vec<&'a str>,
    pinned_versions: Vec<i32>,
}

impl<'a> Selected<'a> {
    fn new(selection: &'a Selection) -> Self {
        let pinned = &selection.pinned;
        Self {
            every: selection.names.is_empty() && pinned.is_empty(),
            names: &selection.names,
            pinned_names: pinned.iter().map(|(name, _)| name.as_str()).collect(),
            pinned_versions: pinned.iter().map(|(_, version)| *version).collect(),
        }
    }
}

/// Everything that was named must have been found.
fn check_selection(selection: &Selection, chosen: &[Chosen]) -> Result<(), StateError> {
    for name in &selection.names {
        if !chosen.iter().any(|c| c.rule.name == *name) {
            return Err(StateError::UnknownRule(name.clone()));
        }
    }
    for (name, version) in &selection.pinned {
        if !chosen
            .iter()
            .any(|c| c.rule.name == *name && c.version == *version)
        {
            return Err(StateError::UnknownRule(format!("{name}:{version}")));
        }
    }
    Ok(())
}

/// Every rule must have the dimensions that were asked for: none is passed over in silence.
fn check_dimensions(query: &StateQuery, chosen: &[Chosen]) -> Result<(), StateError> {
    for Chosen { rule, .. } in chosen {
        if let Some(dimension) = query.question.grouping.missing(&rule.group_by) {
            let rule = Box::new(rule.clone());
            return Err(StateError::UnknownDimension { rule, dimension });
        }
    }
    Ok(())
}
