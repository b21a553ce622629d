//! What is asked of a tenant: the total of its principals, or a list of them.

use super::attempt::{retried, within};
use super::several::Several;
use super::{RuleState, Selection, StateError, StateQuery};
use crate::database::{Connection, Database};
use aevon_core::identity::partition_of;
use aevon_core::position::Version;
use aevon_core::state::{Question, Rank};
use aevon_core::time::Timestamp;
use std::time::Duration;

/// How much of the log an answer over several partitions may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// What stands at or below these positions; of each partition that the answer is about one.
    Version(Version),
    /// What was ingested at this instant or before, in each partition.
    Instant(Timestamp),
}

/// What is asked of a tenant.
#[derive(Clone, Debug)]
pub struct TenantQuery {
    /// Isolation unit.
    pub tenant_id: String,
    /// Which rules.
    pub selection: Selection,
    /// What is asked of each of them.
    pub question: Question,
    /// As of when; `None` is the newest.
    pub as_of: Option<AsOf>,
    /// The answer must know these positions, of the partitions that it is about.
    pub min_version: Version,
    /// How long to wait until what is asked for is visible.
    pub wait: Duration,
}

impl TenantQuery {
    /// What is newest.
    pub fn newest(tenant_id: &str, selection: Selection, question: Question) -> Self {
        Self {
            tenant_id: tenant_id.to_owned(),
            selection,
            question,
            as_of: None,
            min_version: Version::default(),
            wait: Duration::ZERO,
        }
    }

    /// The same of one principal.
    pub(super) fn of(&self, principal_id: &str) -> StateQuery {
        let (selection, question) = (self.selection.clone(), self.question.clone());
        StateQuery::newest(&self.tenant_id, principal_id, selection, question)
    }
}

/// What all principals of a tenant add up to.
#[derive(Clone, Debug)]
pub struct TenantState {
    /// Where the answer stands in every partition.
    pub version: Version,
    /// The newest stamp of what it knows.
    pub data_through: Option<Timestamp>,
    /// How far this database is behind its primary; 0 on it.
    pub staleness_seconds: f64,
    /// How often something was erased in any of its partitions.
    pub erasures: i64,
    /// By name and version.
    pub states: Vec<RuleState>,
    /// Bucket rows that were read for it.
    pub buckets: u64,
    /// Events that were read for it from the log.
    pub raw_events: u64,
}

/// Which principals a list is about.
#[derive(Clone, Debug)]
pub enum Which {
    /// These, each once, in this order.
    Named(Vec<String>),
    /// All, by identifier.
    ById {
        /// The last one of the page before.
        after: String,
        /// Most of a page.
        limit: usize,
    },
    /// Those that have anything in the range, by the value of the one rule that is asked for, as one
    /// total each: the largest first.
    ByValue {
        /// The last one of the page before.
        after: Option<Rank>,
        /// Most of a page.
        limit: usize,
    },
}

impl Which {
    /// The partitions that the list is about, ascending, of so many.
    pub fn partitions(&self, tenant_id: &str, partitions: i32) -> Vec<i32> {
        let Self::Named(names) = self else {
            return (0..partitions).collect();
        };
        let of = |name: &String| partition_of(tenant_id, name, partitions);
        let mut touched: Vec<i32> = names.iter().map(of).collect();
        touched.sort_unstable();
        touched.dedup();
        touched
    }
}

/// One principal of a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Whose state.
    pub principal_id: String,
    /// By name and version.
    pub states: Vec<RuleState>,
}

/// Where a page ended, and the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageEnd {
    /// Of a list by identifier.
    Id(String),
    /// Of a list by value.
    Rank(Rank),
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct StateList {
    /// Where the page stands, and so every other one, in the partitions that the list is about.
    pub version: Version,
    /// The newest stamp of what it knows.
    pub data_through: Option<Timestamp>,
    /// How far this database is behind its primary; 0 on it.
    pub staleness_seconds: f64,
    /// How often something was erased in any of its partitions.
    pub erasures: i64,
    /// Events of all partitions that the buckets of the slowest rule don't hold yet.
    pub lag_events: i64,
    /// The rules that answered: names and versions.
    pub rules: Vec<(String, i32)>,
    /// The principals.
    pub items: Vec<Listed>,
    /// Where it ended, unless it is the last one.
    pub next: Option<PageEnd>,
    /// Bucket rows that were read for it, sums of buckets among them.
    pub buckets: u64,
    /// Events that were read for it from the log.
    pub raw_events: u64,
}

/// Answers a query by the total of the tenant, within `budget`, which begins once what is asked for is
/// visible.
///
/// # Errors
/// See [`StateError`].
pub async fn total(
    database: &Database,
    partitions: i32,
    query: &TenantQuery,
    budget: Duration,
) -> Result<TenantState, StateError> {
    query.question.check_windows(query.selection.at_least())?;
    let once = || total_once(database, partitions, query);
    within(database, query.wait, budget, || retried(once)).await
}

async fn total_once(
    database: &Database,
    partitions: i32,
    query: &TenantQuery,
) -> Result<TenantState, StateError> {
    let mut connection = database.get().await?;
    let connection: &mut Connection = &mut connection;
    // Whoever gives up in between leaves the mark, see `read_once`.
    connection.begin_use();
    let every: Vec<i32> = (0..partitions).collect();
    let several = Several {
        pg: &connection.pg,
        warm: connection.is_warm(TOTAL),
        warm_for_events: connection.is_warm(TOTAL_EVENTS),
        partitions: &every,
        all_partitions: partitions,
        asked: query,
        query: &query.of(""),
    };
    let state = several.total().await?;
    if let Ok(state) = &state {
        if state.buckets > 0 {
            connection.set_warm(TOTAL);
        }
        if state.raw_events > 0 {
            connection.set_warm(TOTAL_EVENTS);
        }
    }
    connection.end_use();
    state
}

/// A page of a list, within `budget`, which begins once what is asked for is visible.
///
/// # Errors
/// See [`StateError`].
pub async fn list(
    database: &Database,
    partitions: i32,
    query: &TenantQuery,
    which: &Which,
    budget: Duration,
) -> Result<StateList, StateError> {
    query.question.check_windows(query.selection.at_least())?;
    let once = || list_once(database, partitions, query, which);
    within(database, query.wait, budget, || retried(once)).await
}

async fn list_once(
    database: &Database,
    partitions: i32,
    query: &TenantQuery,
    which: &Which,
) -> Result<StateList, StateError> {
    let mut connection = database.get().await?;
    let connection: &mut Connection = &mut connection;
    connection.begin_use();
    let touched = which.partitions(&query.tenant_id, partitions);
    let several = Several {
        pg: &connection.pg,
        warm: connection.is_warm(LIST),
        warm_for_events: connection.is_warm(LIST_EVENTS),
        partitions: &touched,
        all_partitions: partitions,
        asked: query,
        query: &query.of(""),
    };
    let list = several.list(which).await?;
    // Lists by value go by other statements.
    if let Ok(list) = &list
        && !matches!(which, Which::ByValue { .. })
        && !list.items.is_empty()
    {
        connection.set_warm(LIST);
        if list.raw_events > 0 {
            connection.set_warm(LIST_EVENTS);
        }
    }
    connection.end_use();
    list
}

const TOTAL: &str = "total of a tenant";
/// The part of it that needs events.
const TOTAL_EVENTS: &str = "events of a tenant";
const LIST: &str = "list of principals";
/// The part of it that needs events.
const LIST_EVENTS: &str = "events of a list";
