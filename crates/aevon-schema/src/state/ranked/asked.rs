//! What a list by value asks of one rule, and what Postgres is to give for it.

use super::Many;
use super::statement::PARTS;
use crate::state::StateError;
use crate::state::conclude::Finished;
use crate::state::several::Complete;
use crate::values::{end_to_pg, start_to_pg};
use aevon_core::amount::Amount;
use aevon_core::operator::{Operator, Partial};
use aevon_core::rule::Rule;
use aevon_core::state::{Plan, Question, Range, Rank, Ranking};
use diesel::pg::data_types::PgTimestamp;

/// What is asked of one rule.
pub(super) struct Asked<'a> {
    pub(super) rule: &'a Rule,
    pub(super) question: &'a Question,
    pub(super) plan: &'a Plan,
}

/// What Postgres is to give.
pub(super) struct Wanted {
    /// The first so many of whom no more is known,
    pub(super) enough: i64,
    /// behind those who have this value.
    pub(super) after: Option<Amount>,
    /// Where buckets lie, of a tenant that has many principals.
    pub(super) many: Option<Many>,
}

impl Wanted {
    /// Those who are enough for a page, where Postgres orders them as an answer does.
    pub(super) fn new(
        operator: Operator,
        after: Option<&Rank>,
        limit: usize,
        many: Option<Many>,
    ) -> Self {
        let is_ordered = matches!(
            operator,
            Operator::Count | Operator::Sum | Operator::Min | Operator::Max
        );
        // Behind those who have no value everybody counts.
        let all = (i64::MAX, None);
        let page = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        let (enough, after) = match (is_ordered, after) {
            (false, _) => all,
            (true, None) => (page, None),
            (true, Some(rank)) => rank.value.as_ref().map_or(all, |v| (page, Some(v.clone()))),
        };
        Self {
            enough,
            after,
            many,
        }
    }

    /// What has to be complete for that.
    pub(super) fn complete(&self) -> Complete {
        match self.many {
            Some(_) => Complete::Links,
            None => Complete::Totals,
        }
    }
}

impl Asked<'_> {
    /// Between which hashes of labels its series lie.
    pub(super) fn hashes(&self) -> (&'static [u8], &'static [u8]) {
        match self.question.grouping.is_none() {
            true => (&[], &[]),
            false => (&[0], &[u8::MAX; 33]),
        }
    }

    /// The parts of the plan in the places that the statements have for them.
    pub(super) fn places(&self) -> [Option<Range>; 8] {
        let plan = self.plan;
        let looks_back = self.question.looks_back(self.rule.operator);
        let (mut inside, mut before) = (plan.buckets.clone(), plan.buckets_before.clone());
        PARTS.map(|(is_before, grain)| {
            let parts = match is_before {
                true => &mut before,
                false => &mut inside,
            };
            let at = parts.iter().position(|(of, _)| *of == grain)?;
            let (_, range) = parts.remove(at);
            Some(range).filter(|_| looks_back || !is_before)
        })
    }

    /// Where the windows of the parts begin, and where they end, in these places.
    pub(super) fn windows(&self) -> (Vec<Option<PgTimestamp>>, Vec<Option<PgTimestamp>>) {
        let parts = self.places();
        let from = |part: &Option<Range>| part.map(|range| start_to_pg(range.start));
        let to = |part: &Option<Range>| part.map(|range| end_to_pg(range.end));
        (
            parts.iter().map(from).collect(),
            parts.iter().map(to).collect(),
        )
    }

    /// Takes an answer into the page, unless nothing is in it.
    pub(super) fn offer(
        &self,
        ranking: &mut Ranking<()>,
        principal_id: String,
        finished: Finished,
    ) -> Result<(), StateError> {
        let values = finished.into_values()?;
        if let Some(value) = values.into_iter().next() {
            self.rank(ranking, principal_id, &value.partial);
        }
        Ok(())
    }

    pub(super) fn rank(&self, ranking: &mut Ranking<()>, principal_id: String, partial: &Partial) {
        if partial.is_empty() {
            return;
        }
        let value = partial.amount(self.rule.operator, self.question.range.end);
        let rank = Rank {
            value,
            principal_id,
        };
        ranking.offer(rank, ());
    }
}
