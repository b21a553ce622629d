//! Principals by what they add up to: the largest first.
//!
//! Postgres adds up the buckets of each principal that stand at the version; events that no bucket holds
//! are folded beside, for those who have any. Buckets that have changed since are refined, those of many
//! principals at once. Of whom there is a void that no bucket holds yet, everything is read anew.
//!
//! Invariant: memory is bounded: by a page, and by those who have events that no bucket holds, or buckets
//! that have changed since.

use super::conclude::{Cost, Finished};
use super::list::{AT_ONCE, Answered, Page};
use super::rows::{RawOfTenantRow, Rows, Turn};
use super::several::{Complete, Part, RuleCheckpoints, Several, Standings, answers};
use super::{PageEnd, StateError};
use crate::error::StoreError;
use crate::statement::Statement;
use crate::values::{JsonString, JsonText, from_pg};
use aevon_core::amount::Amount;
use aevon_core::filter::Subject;
use aevon_core::fold::Fact;
use aevon_core::position::Position;
use aevon_core::state::{Answer, MAX_HELD_BYTES, Plan, Rank, Ranking, Span, TooLarge, total};
use diesel::QueryResult;
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Integer, Jsonb, Nullable, Numeric, Text, Timestamptz,
};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;
use rustc_hash::FxHashMap;

mod asked;
mod refine;
mod statement;
mod sum;

use asked::{Asked, Wanted};
pub(crate) use statement::{Many, refined, statement};
use sum::{Sum, SumColumns, SumRow};

/// Most principals with events that no bucket holds, most whose buckets have changed since, and most of
/// whom there is a void that no bucket holds.
const MAX_BESIDE: usize = 100_000;
/// Most principals of a tenant whose buckets are looked up one by one; those of more are read as they
/// lie, found through the totals that they are parts of.
const FEW: i64 = 10_000;
/// A statement that reads a day or a month of a large tenant is planned for the question, as the planner
/// likes, but that it must not read all of that for each series, and by two processes, whatever the
/// planner guesses of how many series there are.
const PLAN_FREELY: &str = "SAVEPOINT ranked; SET LOCAL plan_cache_mode = force_custom_plan; \
                           SET LOCAL enable_nestloop = off; \
                           SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on; \
                           SET LOCAL enable_sort = on; SET LOCAL work_mem = '64MB'; \
                           SET LOCAL max_parallel_workers_per_gather = 1; \
                           SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0";
const PLAN_AS_EVER: &str = "ROLLBACK TO SAVEPOINT ranked";

/// Those who have events that no bucket holds.
type Beside<'a> = FxHashMap<String, Answer<'a>>;

/// What did not stand of what buckets add up to, and how many rows there were.
#[derive(Default)]
struct Unsettled {
    /// What stands of those some of whose buckets have changed since.
    refined: Vec<Sum>,
    /// Of whom there is a void that no bucket holds.
    voided: Vec<String>,
    rows: u64,
}

impl Several<'_> {
    /// Where the buckets of a tenant lie that has more principals than are looked up one by one.
    async fn many(&self, ruled: &RuleCheckpoints, asked: &Asked<'_>) -> QueryResult<Option<Many>> {
        let query = diesel::sql_query(include_str!("../sql/ranked_principals.sql"))
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<BigInt, _>(FEW);
        let (has_many,): (bool,) = Statement::<_, (Bool,)>::new(query)
            .get_result(&mut &*self.pg)
            .await?;
        if !has_many {
            return Ok(None);
        }
        let (first_hash, last_hash) = asked.hashes();
        let query = diesel::sql_query(include_str!("../sql/ranked_totals.sql"))
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<Integer, _>(ruled.rule.rule_no)
            .bind::<Binary, _>(first_hash)
            .bind::<Binary, _>(last_hash);
        let totals: Vec<(i64,)> = Statement::<_, (BigInt,)>::new(query)
            .load(&mut &*self.pg)
            .await?;
        let places = asked.places();
        let is_one_day = match places {
            [Some(days), None, None, None, None, None, None, None] => days.is_one_day(),
            _ => false,
        };
        let places = places.into_iter().enumerate();
        let places = places.filter_map(|(at, range)| range.map(|_| at));
        Ok(Some(Many {
            totals: totals.into_iter().map(|(series_no,)| series_no).collect(),
            places: places.collect(),
            is_grouped: !asked.question.grouping.is_none(),
            is_one_day,
        }))
    }

    /// A page behind a stand.
    pub(super) async fn by_value(
        &self,
        found: &Standings,
        after: Option<Rank>,
        limit: usize,
    ) -> Answered<Page> {
        let [ruled] = found.rules.as_slice() else {
            let what = "a list by value is asked of one rule";
            return Err(StoreError::Corrupt(what.to_owned()));
        };
        let question = &self.query.question;
        let asked = Asked {
            rule: &ruled.rule.rule,
            question,
            plan: &Plan::new(question),
        };
        // One more than is asked for shows whether there is another page.
        let many = self.many(ruled, &asked).await?;
        let wanted = Wanted::new(asked.rule.operator, after.as_ref(), limit, many);
        let mut ranking = Ranking::new(limit + 1, after);
        let beside = self.beside(found, &asked, wanted.complete()).await?;
        let (mut beside, mut cost) = match beside {
            Ok(beside) => beside,
            Err(error) => return Ok(Err(error)),
        };
        let mut settings = self.pg;
        let plans_freely = wanted.many.is_some();
        if plans_freely {
            settings.batch_execute(PLAN_FREELY).await?;
        }
        let added = self.add_sums(found, ruled, &asked, &wanted, &mut beside, &mut ranking);
        let added = added.await?;
        if plans_freely {
            settings.batch_execute(PLAN_AS_EVER).await?;
        }
        let unsettled = match added {
            Ok(unsettled) => unsettled,
            Err(error) => return Ok(Err(error)),
        };
        cost.buckets += unsettled.rows;
        let refined = (unsettled.refined, &mut beside);
        let refined = self.refine(found, ruled, &asked, &wanted, refined, &mut ranking);
        match refined.await? {
            Ok(took) => cost.add(took),
            Err(error) => return Ok(Err(error)),
        }
        for (principal_id, answer) in beside {
            if let Err(error) = asked.offer(&mut ranking, principal_id, Finished::of(answer)) {
                return Ok(Err(error));
            }
        }
        for names in unsettled.voided.chunks(AT_ONCE) {
            let (finished, took) = self.finished(found, names).await?;
            cost.add(took);
            for (name, finished) in names.iter().zip(finished.into_iter().flatten()) {
                if let Err(error) = asked.offer(&mut ranking, name.clone(), finished) {
                    return Ok(Err(error));
                }
            }
        }
        self.ranked(found, ranking, limit, cost).await
    }

    /// The states of those on the page.
    async fn ranked(
        &self,
        found: &Standings,
        ranking: Ranking<()>,
        limit: usize,
        mut cost: Cost,
    ) -> Answered<Page> {
        let ranks: Vec<Rank> = ranking
            .finish()
            .into_iter()
            .map(|(rank, ())| rank)
            .collect();
        let names = ranks
            .iter()
            .take(limit)
            .map(|rank| rank.principal_id.clone());
        let names: Vec<String> = names.collect();
        let mut page = match self.states_of(found, &names).await? {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        cost.add(page.cost);
        page.cost = cost;
        if page.items.len() < ranks.len() {
            let last = page.items.len().checked_sub(1).and_then(|at| ranks.get(at));
            page.next = last.cloned().map(PageEnd::Rank);
        }
        Ok(Ok(page))
    }

    /// Folds the events that no bucket of the plan holds: of parts of minutes, found through the spans
    /// of the tenant's own, and of the tail.
    async fn beside<'q>(
        &self,
        found: &Standings,
        asked: &Asked<'q>,
        complete: Complete,
    ) -> Answered<(Beside<'q>, Cost)> {
        let edges = Plan {
            edges: asked.plan.edges.clone(),
            edges_before: asked.plan.edges_before.clone(),
            ..Plan::default()
        };
        let has_edges = !(edges.edges.is_empty() && edges.edges_before.is_empty());
        let (mut beside, mut cost) = (Beside::default(), Cost::default());
        for stand in found.stands.iter().filter(|stand| stand.is_touched) {
            let part = Part {
                past: self.past(stand.partition, self.query, true),
                chosen: found.chosen(stand.partition, complete),
                seq: stand.seq,
                set: 0,
            };
            let Part { past, chosen, .. } = &part;
            let mut spans = Vec::new();
            if has_edges {
                let tree = past
                    .tree(&edges, stand.seq)
                    .await
                    .map_err(StoreError::from)?;
                // Only the spans are wanted.
                let mut nobody = answers(&found.rules, asked.question, &edges);
                (_, spans) = self
                    .add_tree(past, (&mut nobody, chosen), &edges, stand.seq, tree)
                    .await?;
            }
            spans.extend(past.tail(chosen, stand.seq));
            let spans = Span::disjoint(spans);
            if spans.is_empty() {
                continue;
            }
            let events = past.events_of_tenant(chosen, stand.seq, &spans).await;
            let events = events.map_err(StoreError::from)?;
            let checkpoint = chosen
                .as_slice()
                .first()
                .and_then(|c| c.checkpoint)
                .unwrap_or(0);
            let at = (stand.partition, checkpoint);
            match add_events(&mut beside, asked, at, events).await? {
                Ok(count) => cost.raw_events += count,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok((beside, cost)))
    }

    /// Takes what buckets add up to in: into what was folded beside, or at once. Gives back what does
    /// not stand.
    async fn add_sums(
        &self,
        found: &Standings,
        ruled: &RuleCheckpoints,
        asked: &Asked<'_>,
        wanted: &Wanted,
        beside: &mut Beside<'_>,
        ranking: &mut Ranking<()>,
    ) -> Answered<Unsettled> {
        let (mut unsettled, mut turn) = (Unsettled::default(), Turn::default());
        if wanted.many.as_ref().is_some_and(|m| m.places.is_empty()) {
            return Ok(Ok(unsettled));
        }
        let known: Vec<&str> = beside.keys().map(String::as_str).collect();
        let mut rows = self.sums(found, ruled, asked, (&known, wanted)).await?;
        let mut current: Option<Sum> = None;
        loop {
            let next = rows.try_next().await?;
            let next = next
                .map(|row| Sum::of(asked.rule.operator, row))
                .transpose()?;
            unsettled.rows += u64::from(next.is_some());
            turn.give().await;
            let is_over = next.is_none();
            let done = match (&mut current, next) {
                (Some(sum), Some(next)) if sum.principal_id == next.principal_id => {
                    sum.merge(asked.rule.operator, &next);
                    None
                }
                (current, next) => std::mem::replace(current, next),
            };
            if let Some(sum) = done {
                if sum.is_voided {
                    beside.remove(&sum.principal_id);
                    unsettled.voided.push(sum.principal_id);
                } else if sum.is_refined {
                    unsettled.refined.push(sum);
                } else if let Some(answer) = beside.get_mut(&sum.principal_id) {
                    answer.add_sum(true, &sum.before);
                    answer.add_sum(false, &sum.inside);
                } else {
                    let partial = total(asked.rule, asked.question, &sum.before, &sum.inside);
                    asked.rank(ranking, sum.principal_id, &partial);
                }
            }
            if unsettled.refined.len().max(unsettled.voided.len()) > MAX_BESIDE {
                return Ok(Err(StateError::TooManyUnswept(MAX_BESIDE)));
            }
            if is_over {
                return Ok(Ok(unsettled));
            }
        }
    }

    async fn sums(
        &self,
        found: &Standings,
        ruled: &RuleCheckpoints,
        asked: &Asked<'_>,
        (known, wanted): (&[&str], &Wanted),
    ) -> QueryResult<impl Rows<SumRow> + use<>> {
        let operator = asked.rule.operator;
        let is_newest = self.asked.as_of.is_none();
        let sql = statement(operator, wanted.many.as_ref(), is_newest);
        let (first_hash, last_hash) = asked.hashes();
        let keep = asked.question.grouping.keep_json();
        let (froms, tos) = asked.windows();
        let mut query = diesel::sql_query(sql)
            .into_boxed()
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<Integer, _>(ruled.rule.rule_no)
            .bind::<Integer, _>(i32::from(operator.code()))
            .bind::<Array<Nullable<BigInt>>, _>(ruled.checkpoints(wanted.complete()))
            .bind::<Array<BigInt>, _>(found.seqs())
            .bind::<Array<Nullable<Timestamptz>>, _>(froms)
            .bind::<Array<Nullable<Timestamptz>>, _>(tos)
            .bind::<Binary, _>(first_hash)
            .bind::<Binary, _>(last_hash)
            .bind::<Jsonb, _>(JsonText(&keep))
            .bind::<Array<Text>, _>(known)
            .bind::<BigInt, _>(wanted.enough)
            .bind::<Bool, _>(is_newest)
            .bind::<Nullable<Numeric>, _>(wanted.after.as_ref().map(Amount::to_big));
        if let Some(many) = &wanted.many {
            let (first, second) = many.halves();
            query = query
                .bind::<Array<BigInt>, _>(first)
                .bind::<Array<BigInt>, _>(second);
        }
        Statement::<_, SumColumns>::new(query)
            .load_stream::<SumRow>(&mut &*self.pg)
            .await
    }
}

/// Takes events of a partition in, each into the answer of its principal; says how many there were.
async fn add_events<'q>(
    beside: &mut Beside<'q>,
    asked: &Asked<'q>,
    (partition, checkpoint): (i32, i64),
    mut events: impl Rows<RawOfTenantRow>,
) -> Answered<u64> {
    let (mut count, mut held, mut turn) = (0, 0, Turn::default());
    while let Some(row) = events.try_next().await? {
        count += 1;
        turn.give().await;
        let (seq, occurred_at, event_type, schema_version, JsonString(data), metadata, who) = row;
        if !beside.contains_key(&who) {
            if beside.len() == MAX_BESIDE {
                return Ok(Err(StateError::TooManyUnswept(MAX_BESIDE)));
            }
            let mut answer = Answer::new(asked.rule, asked.question, asked.plan, 0);
            answer.set_checkpoint(partition, checkpoint);
            beside.insert(who.clone(), answer);
        }
        let Some(answer) = beside.get_mut(&who) else {
            continue;
        };
        let before = answer.held_bytes();
        answer.add_event(&Subject::new(Fact {
            position: Position { partition, seq },
            occurred_at: from_pg(occurred_at),
            event_type: &event_type,
            schema_version,
            principal_id: &who,
            data: &data,
            metadata: metadata.as_ref().map_or("", |JsonString(text)| text),
        }));
        held += answer.held_bytes() - before;
        if held > MAX_HELD_BYTES {
            return Ok(Err(TooLarge::Sets.into()));
        }
    }
    Ok(Ok(count))
}
