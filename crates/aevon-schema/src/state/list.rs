//! Lists of principals with their states: some by name, or a tenant's in pages.
//!
//! Invariant: memory is bounded: a page by its values, whatever is read for it by what is being folded
//! of a few principals.

use super::chosen::check_question;
use super::conclude::{Cost, Finished, states};
use super::several::{Complete, Part, Several, Standings, answers, set_checkpoints};
use super::{Listed, PageEnd, StateError, StateList, StateQuery, Which};
use crate::error::StoreError;
use crate::statement::Statement;
use aevon_core::identity::partition_of;
use aevon_core::state::{MAX_HELD_BYTES, MAX_VALUES, Plan, TooLarge};
use diesel::sql_types::{Array, BigInt, Text};
use diesel_async::RunQueryDsl;

/// Principals that are folded at once.
pub(super) const AT_ONCE: usize = 32;

/// A page, and what it took.
pub(super) struct Page {
    pub(super) items: Vec<Listed>,
    pub(super) next: Option<PageEnd>,
    pub(super) cost: Cost,
}

/// What is wrong with a question, inside of what is wrong with the database.
pub(super) type Answered<T> = Result<Result<T, StateError>, StoreError>;

impl Several<'_> {
    /// A page of a list. Everything is read before it returns, and the transaction has ended, whatever
    /// the answer.
    pub(super) async fn list(&self, which: &Which) -> Answered<StateList> {
        let found = self.begin().await?;
        let checked = found
            .check(self.asked)
            .and_then(|()| check_question(self.query, &found.chosen(0, Complete::Buckets)));
        let page = match (checked, which) {
            (Err(error), _) => Err(error),
            (Ok(()), Which::Named(names)) => self.named(&found, names).await?,
            (Ok(()), Which::ById { after, limit }) => self.by_id(&found, after, *limit).await?,
            (Ok(()), Which::ByValue { after, limit }) => {
                self.by_value(&found, after.clone(), *limit).await?
            }
        };
        self.end().await?;
        let rules = found.rules.iter().map(|ruled| &ruled.rule);
        Ok(page.map(|page| StateList {
            version: found.version(),
            data_through: found.data_through(),
            staleness_seconds: found.staleness_seconds,
            erasures: found.erasures(),
            lag_events: found.lags(Complete::Buckets).into_iter().max().unwrap_or(0),
            rules: rules.map(|c| (c.rule.name.clone(), c.version)).collect(),
            items: page.items,
            next: page.next,
            buckets: page.cost.buckets,
            raw_events: page.cost.raw_events,
        }))
    }

    /// All of these, or none.
    async fn named(&self, found: &Standings, names: &[String]) -> Answered<Page> {
        let page = match self.states_of(found, names).await? {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        if page.items.len() < names.len() {
            return Ok(Err(TooLarge::of_values(&self.query.question).into()));
        }
        Ok(Ok(page))
    }

    async fn by_id(&self, found: &Standings, after: &str, limit: usize) -> Answered<Page> {
        // One more than is asked for shows whether there is another page.
        let mut names = self.names_behind(found, after, limit + 1).await?;
        let is_cut = names.len() > limit;
        names.truncate(limit);
        let mut page = match self.states_of(found, &names).await? {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        if is_cut || page.items.len() < names.len() {
            let last = page.items.last();
            page.next = last.map(|last| PageEnd::Id(last.principal_id.clone()));
        }
        Ok(Ok(page))
    }

    /// The next principals of the tenant that are there as of the answer's version.
    async fn names_behind(
        &self,
        found: &Standings,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let query = diesel::sql_query(include_str!("../sql/principals_list_at.sql"))
            .bind::<Text, _>(&self.query.tenant_id)
            .bind::<Text, _>(after)
            .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind::<Array<BigInt>, _>(found.seqs());
        let rows: Vec<(String,)> = Statement::<_, (Text,)>::new(query)
            .load(&mut &*self.pg)
            .await?;
        Ok(rows.into_iter().map(|(name,)| name).collect())
    }

    /// The states of principals in this order: of the first of them, until the page is full.
    pub(super) async fn states_of(&self, found: &Standings, names: &[String]) -> Answered<Page> {
        let (mut items, mut cost) = (Vec::with_capacity(names.len()), Cost::default());
        let (mut values, mut held) = (0, 0);
        for names in names.chunks(AT_ONCE) {
            let (finished, took) = self.finished(found, names).await?;
            cost.add(took);
            for (name, finished) in names.iter().zip(finished) {
                let partition = partition_of(&self.query.tenant_id, name, self.all_partitions);
                let chosen = found.chosen(partition, Complete::Buckets);
                let lags = vec![0; chosen.len()];
                let states = match states(self.query, chosen, finished, &lags) {
                    Ok(states) => states,
                    Err(error) => return Ok(Err(error)),
                };
                let of_item = || states.iter().flat_map(|state| &state.values);
                values += of_item().count();
                held += of_item().map(|v| v.partial.heap_bytes()).sum::<usize>();
                let is_full = values > MAX_VALUES || held > MAX_HELD_BYTES;
                if is_full && !items.is_empty() {
                    let next = None;
                    return Ok(Ok(Page { items, next, cost }));
                }
                items.push(Listed {
                    principal_id: name.clone(),
                    states,
                });
            }
        }
        let next = None;
        Ok(Ok(Page { items, next, cost }))
    }

    /// What a few principals add up to, each by every rule.
    pub(super) async fn finished(
        &self,
        found: &Standings,
        names: &[String],
    ) -> Result<(Vec<Vec<Finished>>, Cost), StoreError> {
        let question = &self.query.question;
        let plan = Plan::new(question);
        let queries: Vec<StateQuery> = names.iter().map(|name| self.asked.of(name)).collect();
        let (mut parts, mut sets) = (Vec::new(), Vec::new());
        for (set, query) in queries.iter().enumerate() {
            let part = self.part(found, query, set);
            let mut answers = answers(&found.rules, question, &plan);
            set_checkpoints(&mut answers, &part);
            sets.push(answers);
            parts.push(part);
        }
        let cost = self.read(&parts, &plan, &mut sets).await?;
        let finished = |answers: Vec<_>| answers.into_iter().map(Finished::of).collect();
        Ok((sets.into_iter().map(finished).collect(), cost))
    }

    /// One principal.
    fn part<'p>(&'p self, found: &Standings, query: &'p StateQuery, set: usize) -> Part<'p> {
        let partition = partition_of(&query.tenant_id, &query.principal_id, self.all_partitions);
        Part {
            past: self.past(partition, query, false),
            chosen: found.chosen(partition, Complete::Buckets),
            seq: found.at(partition).seq,
            set,
        }
    }
}
