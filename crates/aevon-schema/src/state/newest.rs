//! A read of what is newest: its statements go out together, in one round trip.

use super::StateQuery;
use super::chosen::{self, Chosen, Selected};
use super::conclude::{Cost, Finished, conclude, head};
use super::rows::{self, BucketColumns, BucketRow, RawColumns, RawRow, Rows, marked};
use super::{State, StateError};
use crate::error::StoreError;
use crate::pipeline::Sent;
use crate::statement::Statement;
use crate::values::{JsonText, end_to_pg, start_to_pg};
use aevon_core::state::{Answer, Plan, Range};
use diesel::prelude::*;
use diesel::sql_types::{Array, Binary, Bool, Integer, Jsonb, SmallInt, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;

/// One transaction, and what is asked in it.
pub(super) struct NewestRead<'a> {
    pub(super) pg: &'a AsyncPgConnection,
    pub(super) warm: bool,
    pub(super) partition: i32,
    pub(super) query: &'a StateQuery,
}

/// What a read of what is newest found.
pub(super) enum Newest {
    /// The answer.
    State(Box<State>),
    /// There are voids that the buckets don't hold yet: the answer at this position is the one, and
    /// takes refining.
    Corrected(i64),
}

impl NewestRead<'_> {
    /// Everything is read before it returns, and the transaction has ended, whatever the answer.
    pub(super) async fn read(&self) -> Result<Result<Newest, StateError>, StoreError> {
        let question = &self.query.question;
        let plan = Plan::new(question);
        let (mut begin_on, mut commit_on) = (self.pg, self.pg);

        let begin = Sent::new(begin_on.batch_execute(rows::begin(self.warm)), self.warm).await;
        let head = Sent::new(head(self.pg, self.partition, self.query), self.warm).await;
        let chosen = chosen::chosen(self.pg, self.partition, &self.query.selection);
        let chosen = Sent::new(chosen, self.warm).await;
        let buckets = Sent::new(self.buckets(&plan), self.warm).await;
        let raw = Sent::new(self.raw(&plan), self.warm).await;
        // The commit goes out with the rest where its answer can come last: it is awaited only
        // after the events were taken in.
        let commit = Sent::new(commit_on.batch_execute("COMMIT"), self.warm).await;

        begin.answer().await.map_err(StoreError::from)?;
        let (standpoint, newest_void) = head.answer().await?;
        let chosen = chosen.answer().await?;
        let checkpoint = |c: &Chosen| c.checkpoint.unwrap_or(0);
        let mut answers: Vec<Answer<'_>> = chosen
            .iter()
            .map(|c| Answer::new(&c.rule, question, &plan, checkpoint(c)))
            .collect();
        let mut cost = Cost::default();
        let mut buckets = buckets.answer().await.map_err(StoreError::from)?;
        while let Some(row) = buckets.try_next().await? {
            cost.buckets += 1;
            rows::add_bucket(&mut answers, &chosen, self.partition, row)?;
        }
        let raw = raw.answer().await.map_err(StoreError::from)?;
        let principal_id = &self.query.principal_id;
        let partition = self.partition;
        cost.raw_events =
            rows::add_events(&mut answers, partition, principal_id, raw, None).await?;
        commit.answer().await.map_err(StoreError::from)?;
        let mut checkpoints = chosen.iter().filter_map(|c| c.checkpoint);
        if checkpoints.any(|checkpoint| newest_void.is_some_and(|void| void > checkpoint)) {
            return Ok(Ok(Newest::Corrected(standpoint.seq)));
        }
        let finished: Vec<_> = answers.into_iter().map(Finished::of).collect();
        let state = conclude(
            self.query,
            self.partition,
            standpoint,
            chosen,
            finished,
            cost,
        );
        Ok(state.map(|state| Newest::State(Box::new(state))))
    }

    /// The buckets of the whole windows of the range.
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
            .bind::<Jsonb, _>(JsonText(&keep))
            .bind::<Array<Text>, _>(self.query.question.looking_back());
        Statement::<_, BucketColumns>::new(query)
            .load_stream::<BucketRow>(&mut &*self.pg)
            .await
    }

    /// The events of its edges, and of what no bucket holds yet.
    async fn raw(&self, plan: &Plan) -> QueryResult<impl Rows<RawRow> + use<>> {
        let edges = || marked(&plan.edges, &plan.edges_before);
        let minutes: Vec<_> = edges().map(|(edge, _)| Plan::minutes_of(&edge)).collect();
        let minutes_from: Vec<_> = minutes.iter().map(|m| start_to_pg(m.start)).collect();
        let minutes_to: Vec<_> = minutes.iter().map(|m| end_to_pg(m.end)).collect();
        let froms: Vec<_> = edges().map(|(edge, _)| start_to_pg(edge.start)).collect();
        let tos: Vec<_> = edges().map(|(edge, _)| end_to_pg(edge.end)).collect();
        let before: Vec<bool> = edges().map(|(_, is_before)| is_before).collect();
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
            .bind::<Array<Timestamptz>, _>(minutes_from)
            .bind::<Array<Timestamptz>, _>(minutes_to)
            .bind::<Array<Timestamptz>, _>(froms)
            .bind::<Array<Timestamptz>, _>(tos)
            .bind::<Array<Bool>, _>(before)
            .bind::<Timestamptz, _>(start_to_pg(start))
            .bind::<Timestamptz, _>(end_to_pg(end))
            .bind::<Array<Text>, _>(self.query.question.looking_back());
        Statement::<_, RawColumns>::new(query)
            .load_stream::<RawRow>(&mut &*self.pg)
            .await
    }
}
