//! The preview of a rule: what it would answer, before anybody has registered it.
//!
//! Invariant: one repeatable-read, read-only snapshot; the same fold as any answer, out of the raw
//! log alone. Memory does not grow with the log: events are folded as they arrive.

use crate::database::Database;
use crate::error::StoreError;
use crate::rules::Status;
use crate::state::{RuleState, State, StateError, StateQuery, head};
use crate::statement::Statement;
use crate::values::{JsonString, end_to_pg, from_pg, start_to_pg};
use aevon_core::filter::Subject;
use aevon_core::fold::Fact;
use aevon_core::identity::partition_of;
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use aevon_core::state::{Answer, Plan};
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{BigInt, Bool, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;
use std::time::{Duration, Instant};

/// How long a fold may keep a thread from its deadline.
const TURN: Duration = Duration::from_millis(20);
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Answers a query by one rule, whatever rules there are, within `budget`. The version is the one
/// that the rule has, or would get.
///
/// # Errors
/// See [`StateError`].
pub async fn read(
    database: &Database,
    partitions: i32,
    rule: &Rule,
    query: &StateQuery,
    budget: Duration,
) -> Result<State, StateError> {
    let grouping = &query.question.grouping;
    if let Some(dimension) = grouping.missing(&rule.group_by) {
        let rule = Box::new(rule.clone());
        return Err(StateError::UnknownDimension { rule, dimension });
    }
    let answered = tokio::time::timeout(budget, read_unbounded(database, partitions, rule, query));
    answered
        .await
        .unwrap_or(Err(StateError::BudgetExceeded(budget)))
}

async fn read_unbounded(
    database: &Database,
    partitions: i32,
    rule: &Rule,
    query: &StateQuery,
) -> Result<State, StateError> {
    let mut connection = database.get().await?;
    let connection = &mut *connection;
    connection.begin_use();
    let mut pg = &connection.pg;
    let preview = Preview {
        pg,
        partition: partition_of(&query.tenant_id, &query.principal_id, partitions),
        rule,
        query,
    };
    pg.batch_execute(BEGIN).await.map_err(StoreError::from)?;
    let state = preview.answer().await?;
    pg.batch_execute("COMMIT").await.map_err(StoreError::from)?;
    connection.end_use();
    Ok(state)
}

struct Preview<'a> {
    pg: &'a AsyncPgConnection,
    partition: i32,
    rule: &'a Rule,
    query: &'a StateQuery,
}

impl Preview<'_> {
    async fn answer(&self) -> Result<State, StateError> {
        let question = &self.query.question;
        // Nothing of the plan comes from buckets: no event is at or below position 0.
        let plan = Plan::new(question);
        let mut answer = Answer::new(self.rule, question, &plan, 0);
        let (standpoint, _) = head(self.pg, self.partition, self.query).await?;
        let seq = standpoint.head;
        let rule_version = self.version().await?;
        let raw_events = self.add_events(&mut answer).await?;
        let dimensions = answer.dimensions();
        let values = answer.finish()?;
        Ok(State {
            position: Position {
                partition: self.partition,
                seq,
            },
            head: seq,
            data_through: standpoint.ingested_at,
            staleness_seconds: standpoint.staleness_seconds,
            erasures: standpoint.erasures,
            states: vec![RuleState {
                rule_version,
                rule: self.rule.clone(),
                dimensions,
                values,
                lag_events: seq,
            }],
            buckets: 0,
            raw_events,
        })
    }

    /// The version that a set with this rule would give it.
    async fn version(&self) -> Result<i32, StoreError> {
        let query = diesel::sql_query(include_str!("sql/preview_version.sql"))
            .bind::<Text, _>(&self.rule.name);
        let rows: Vec<(i32, String, String)> = Statement::<_, (Integer, Text, Text)>::new(query)
            .load(&mut &*self.pg)
            .await?;
        let newest = rows.into_iter().next();
        Ok(newest.map_or(1, |(version, fingerprint, status)| {
            let stands = status != Status::Retired.as_str();
            match stands && fingerprint == self.rule.fingerprint() {
                true => version,
                false => version + 1,
            }
        }))
    }

    /// Takes every event of the rule in; says how many there were.
    async fn add_events(&self, answer: &mut Answer<'_>) -> Result<u64, StoreError> {
        let range = self.query.question.range;
        let looks_back = self.query.question.looks_back(self.rule.operator);
        let start = range.start.filter(|_| !looks_back);
        let query = diesel::sql_query(include_str!("sql/preview_events.sql"))
            .bind::<Integer, _>(self.partition)
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<Text, _>(&self.query.principal_id)
            .bind::<Text, _>(&self.rule.source_event)
            .bind::<Timestamptz, _>(start_to_pg(start))
            .bind::<Timestamptz, _>(end_to_pg(range.end))
            .bind::<Bool, _>(self.rule.reads().metadata);
        let mut pg = self.pg;
        let mut events =
            Statement::<_, (BigInt, Timestamptz, Integer, Jsonb, Nullable<Jsonb>)>::new(query)
                .load_stream::<(i64, PgTimestamp, i32, JsonString, Option<JsonString>)>(&mut pg)
                .await?;
        let (mut count, mut since) = (0, Instant::now());
        while let Some((seq, at, schema_version, JsonString(data), metadata)) =
            events.try_next().await?
        {
            count += 1;
            if since.elapsed() > TURN {
                tokio::task::yield_now().await;
                since = Instant::now();
            }
            answer.add_event(&Subject::new(Fact {
                position: Position {
                    partition: self.partition,
                    seq,
                },
                occurred_at: from_pg(at),
                event_type: &self.rule.source_event,
                schema_version,
                principal_id: &self.query.principal_id,
                data: &data,
                metadata: metadata.as_ref().map_or("", |JsonString(text)| text),
            }));
        }
        Ok(count)
    }
}
