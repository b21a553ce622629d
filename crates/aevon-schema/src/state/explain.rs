//! Why a total is what it is: the value, what it was made of, and the events behind it, page by page;
//! or what came in since an earlier version.
//!
//! Invariant: everything is told as of one version, and what lies at or below a version is final, so
//! all pages are of one state, whatever comes in, is swept or rebuilt between them.
//! Invariant: a page reads a bounded number of events. Where those of the answer are few among
//! others it may be empty and still go on.

mod page;

use super::attempt::{retried, within};
use super::past::Using;
use super::trace::Sources;
use super::{At, RuleState, Selection, State, StateError, StateQuery};
use super::{at_or_head, check_visible, read_past};
use crate::database::{Connection, Database};
use crate::error::StoreError;
use aevon_core::explain::{Explainer, Places};
use aevon_core::identity::partition_of;
use aevon_core::position::Position;
use aevon_core::state::Value;
use page::Page;
pub use page::{Effect, Item};
use std::ops::RangeInclusive;
use std::time::Duration;

/// What is asked.
#[derive(Clone, Debug)]
pub struct ExplainQuery {
    /// Whose total, by exactly one rule, and as of when.
    pub state: StateQuery,
    /// Tells what came in behind this seq instead of everything.
    pub from: Option<i64>,
    /// Where the page before ended; 0 where this is the first.
    pub after: i64,
    /// Most items.
    pub limit: usize,
}

/// Why a total is what it is.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The answer: one rule, one value.
    pub state: State,
    /// What it was made of.
    pub sources: Sources,
    /// Events that would take part, had they not been voided.
    pub voids: u64,
    /// The answer as of the earlier version, where that was asked for.
    pub from: Option<State>,
    /// The events behind it, or what changed it, in the order of the log.
    pub items: Vec<Item>,
    /// Where the page ended, if there may be more.
    pub next: Option<i64>,
}

impl State {
    /// The rule and the value of an answer that has one of each.
    fn only(&self) -> Result<(&RuleState, &Value), StateError> {
        let only = match self.states.as_slice() {
            [only] => only.values.first().map(|value| (only, value)),
            _ => None,
        };
        only.ok_or_else(|| StoreError::Corrupt("a total without a value".to_owned()).into())
    }
}

/// Explains a total within `budget`, which begins once what is asked for is visible.
///
/// # Errors
/// See [`StateError`].
pub async fn explain(
    database: &Database,
    partitions: i32,
    query: &ExplainQuery,
    budget: Duration,
) -> Result<Explained, StateError> {
    let once = || explain_once(database, partitions, query);
    within(database, query.state.wait, budget, || retried(once)).await
}

async fn explain_once(
    database: &Database,
    partitions: i32,
    query: &ExplainQuery,
) -> Result<Explained, StateError> {
    let partition = partition_of(
        &query.state.tenant_id,
        &query.state.principal_id,
        partitions,
    );
    let mut connection = database.get().await?;
    let connection: &mut Connection = &mut connection;
    connection.begin_use();
    let explained = explain_on(connection, partition, query).await;
    if !matches!(explained, Err(StateError::Store(_))) {
        connection.end_use();
    }
    explained
}

/// Whatever it returns but trouble with the database, nothing is open any more.
async fn explain_on(
    connection: &mut Connection,
    partition: i32,
    query: &ExplainQuery,
) -> Result<Explained, StateError> {
    let at = at_or_head(connection, partition, query.state.at).await?;
    let found = read_past(
        connection,
        partition,
        &query.state,
        at,
        Using::TracedBuckets,
    )
    .await?;
    let state = found.state?;
    check_visible(&state, &query.state)?;
    let (sources, places) = found.trace.finish();
    let (ruled, value) = state.only()?;
    let seq = state.position.seq;
    let from = match query.from {
        Some(from) => {
            let version = Position {
                partition,
                seq: from,
            };
            if from > seq {
                let of = state.position;
                return Err(StateError::FromAbove { from: version, of });
            }
            Some(read_from(connection, &query.state, ruled, version).await?)
        }
        None => None,
    };
    let explainer = Explainer::new(&ruled.rule, &query.state.question);
    let page = Page {
        pg: &connection.pg,
        partition,
        query: &query.state,
        rule: &ruled.rule,
        explainer: &explainer,
        seq,
        from: query.from.unwrap_or(0),
    };
    let voids = page.voids().await?;
    let spans = spans(query.from, seq, places);
    let (mut items, next) = page.items(&spans, query.after, query.limit).await?;
    let before = from.as_ref().map(State::only).transpose()?;
    for item in &mut items {
        let total = match item.effect {
            Effect::Added => Some(value),
            Effect::Removed { .. } => before.map(|(_, value)| value),
        };
        item.decides = total.and_then(|total| explainer.decides(&item.share, &total.partial));
    }
    Ok(Explained {
        sources,
        voids,
        from,
        items,
        next,
        state,
    })
}

/// The places of the log in which items can lie.
fn spans(from: Option<i64>, seq: i64, places: Places) -> Vec<RangeInclusive<i64>> {
    match from {
        None => places.spans(),
        Some(from) if from < seq => vec![from + 1..=seq],
        Some(_) => Vec::new(),
    }
}

/// The same answer as of an earlier version.
async fn read_from(
    connection: &mut Connection,
    query: &StateQuery,
    ruled: &RuleState,
    version: Position,
) -> Result<State, StateError> {
    let query = StateQuery {
        selection: Selection {
            names: Vec::new(),
            pinned: vec![(ruled.rule.name.clone(), ruled.rule_version)],
        },
        ..query.clone()
    };
    let at = At::Version(version.seq);
    let found = read_past(connection, version.partition, &query, at, Using::Buckets).await?;
    found.state
}
