//! The read: buckets, raw edges and tail of one principal, from one snapshot; of what is newest in one
//! round trip, as of an earlier version in two.
//!
//! Invariant: everything comes from one repeatable-read, read-only transaction: rule versions,
//! checkpoints, head, buckets, events. Works on a hot standby: no writes, no locks.
//! Invariant: memory does not grow with the tail or the buckets: rows are folded as they arrive.

mod attempt;
mod chosen;
pub mod compare;
mod conclude;
pub mod explain;
mod list;
mod newest;
mod past;
pub(crate) mod ranked;
mod rows;
mod several;
mod tenant;
mod trace;

use crate::access::Access;
use crate::database::{Connection, Database};
use crate::error::StoreError;
use crate::events;
use aevon_core::identity::partition_of;
use aevon_core::json::Path;
use aevon_core::position::{Position, Version};
use aevon_core::rule::Rule;
use aevon_core::state::{Question, TooLarge, Value};
use aevon_core::time::Timestamp;
use attempt::{retried, within};
pub(crate) use conclude::head;
use newest::{Newest, NewestRead};
use past::{PastAnswer, PastRead, Using};
use std::collections::BTreeSet;
use std::time::Duration;
pub use tenant::{AsOf, Listed, PageEnd, StateList, TenantQuery, TenantState, Which, list, total};
pub use trace::{MAX_RANGES, RawRange, Reason, Sources, Used};

/// What reads need of the database.
pub const ACCESS: Access = Access {
    is_writing: false,
    privileges: &[
        ("partitions", "SELECT"),
        ("principals", "SELECT"),
        ("tenants", "SELECT"),
        ("events", "SELECT"),
        ("voids", "SELECT"),
        ("rules", "SELECT"),
        ("answering_rules", "SELECT"),
        ("series", "SELECT"),
        ("pre_aggregates", "SELECT"),
        ("sweep_checkpoints", "SELECT"),
        ("api_keys", "SELECT"),
    ],
};

/// Which rules to answer for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names, answered by their answering version. Empty together with `pinned`: every name.
    pub names: Vec<String>,
    /// Versions of names.
    pub pinned: Vec<(String, i32)>,
}

impl Selection {
    /// How many versions of rules it is about, as far as it tells by itself.
    fn at_least(&self) -> usize {
        let names: BTreeSet<&str> = self.names.iter().map(String::as_str).collect();
        let pinned: BTreeSet<&(String, i32)> = self.pinned.iter().collect();
        // A name may be answered by a version that is pinned, too.
        names.len().max(pinned.len()).max(1)
    }
}

/// How much of the log an answer may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// What stands at or below this seq of the principal's partition.
    Version(i64),
    /// What was ingested at this instant or before.
    Instant(Timestamp),
}

/// What is asked. A query can't be built without a tenant.
#[derive(Clone, Debug)]
pub struct StateQuery {
    /// Isolation unit.
    pub tenant_id: String,
    /// Whose state.
    pub principal_id: String,
    /// Which rules.
    pub selection: Selection,
    /// What is asked of each of them.
    pub question: Question,
    /// As of when; `None` is the newest.
    pub at: Option<At>,
    /// The answer must know this seq of the principal's partition; 0 is the empty log.
    pub min_seq: i64,
    /// How long to wait until what is asked for is visible.
    pub wait: Duration,
}

impl StateQuery {
    /// What is newest.
    pub fn newest(
        tenant_id: &str,
        principal_id: &str,
        selection: Selection,
        question: Question,
    ) -> Self {
        Self {
            tenant_id: tenant_id.to_owned(),
            principal_id: principal_id.to_owned(),
            selection,
            question,
            at: None,
            min_seq: 0,
            wait: Duration::ZERO,
        }
    }
}

/// One rule's answer.
#[derive(Clone, Debug)]
pub struct RuleState {
    /// The version that answered.
    pub rule_version: i32,
    /// The rule.
    pub rule: Rule,
    /// The names of the dimensions by which its answer is divided, in the order of their labels.
    pub dimensions: Vec<String>,
    /// Its values, by window and group.
    pub values: Vec<Value>,
    /// Events of the partition that its buckets don't hold yet.
    pub lag_events: i64,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct State {
    /// Where in the principal's partition it stands: at the head of the snapshot, or where it was
    /// asked for.
    pub position: Position,
    /// The head of that partition in the snapshot.
    pub head: i64,
    /// The ingestion time of that event; `None` at the empty log.
    pub data_through: Option<Timestamp>,
    /// How far this database is behind its primary; 0 on it.
    pub staleness_seconds: f64,
    /// How often something was erased in that partition.
    pub erasures: i64,
    /// By name and version.
    pub states: Vec<RuleState>,
    /// Bucket rows that were read for it.
    pub buckets: u64,
    /// Events that were read for it from the log.
    pub raw_events: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such rule, or no such version of it.
    #[error("there is no rule {0}")]
    UnknownRule(String),
    /// A rule that was asked for groups has no such dimension.
    #[error("the rule {} has no dimension {dimension}{}", .rule.name, Dimensions(.rule))]
    UnknownDimension {
        /// The rule.
        rule: Box<Rule>,
        /// What it does not group by.
        dimension: String,
    },
    /// Only what is latest can be carried on.
    #[error("fill=previous is for rules whose operator is latest; that of {} is {}", .0.name, .0.operator.as_str())]
    NotLatest(Box<Rule>),
    /// The answer would be too large.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// A list by value would have to hold too many principals.
    #[error("more than {0} principals, or minutes of some, would have to be read from the log")]
    TooManyUnswept(usize),
    /// A version that names no position of a partition that the answer is about.
    #[error("{version} names no position of partition {partition}, which this answer is about")]
    IncompleteVersion {
        /// What was asked for.
        version: Version,
        /// The first partition that it does not name.
        partition: i32,
    },
    /// A position that the log has not come to.
    #[error("there is no position {wanted}: the newest is {}:{head}", .wanted.partition)]
    UnknownVersion {
        /// What was asked for.
        wanted: Position,
        /// The newest seq of its partition.
        head: i64,
    },
    /// A position that this database has not come to, or not yet.
    #[error("{wanted} is not visible here yet: the newest is {}:{head}", .wanted.partition)]
    NotVisible {
        /// What was asked for.
        wanted: Position,
        /// The newest seq of its partition.
        head: i64,
    },
    /// What is to be told since then lies above the answer.
    #[error("{from} lies above {of}, the version of the answer")]
    FromAbove {
        /// Since when.
        from: Position,
        /// Where the answer stands.
        of: Position,
    },
    /// The answer took longer than its budget.
    #[error("the answer took longer than {0:?}")]
    BudgetExceeded(Duration),
}

/// The dimensions of a rule, for a sentence.
struct Dimensions<'a>(&'a Rule);

impl std::fmt::Display for Dimensions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.0.group_by.iter().map(Path::short).collect();
        match names.is_empty() {
            true => f.write_str("; it is not grouped"),
            false => write!(f, "; it is grouped by {}", names.join(", ")),
        }
    }
}

/// Answers a query within `budget`, which begins once what is asked for is visible.
///
/// # Errors
/// See [`StateError`].
pub async fn read(
    database: &Database,
    partitions: i32,
    query: &StateQuery,
    budget: Duration,
) -> Result<State, StateError> {
    query.question.check_windows(query.selection.at_least())?;
    let once = || read_once(database, partitions, query);
    within(database, query.wait, budget, || retried(once)).await
}

async fn read_once(
    database: &Database,
    partitions: i32,
    query: &StateQuery,
) -> Result<State, StateError> {
    let partition = partition_of(&query.tenant_id, &query.principal_id, partitions);
    let mut connection = database.get().await?;
    let connection: &mut Connection = &mut connection;
    // Whoever gives up in between leaves the mark, and the connection is thrown away; Postgres
    // stops working on it when it notices.
    connection.begin_use();
    let state = match query.at {
        None => match read_newest(connection, partition, query).await? {
            Ok(Newest::State(state)) => Ok(*state),
            Ok(Newest::Corrected(seq)) => {
                let at = At::Version(seq);
                let found = read_past(connection, partition, query, at, Using::Buckets);
                found.await?.state
            }
            Err(error) => Err(error),
        },
        Some(at) => {
            let found = read_past(connection, partition, query, at, Using::Buckets);
            found.await?.state
        }
    };
    connection.end_use();
    let state = state?;
    check_visible(&state, query)?;
    Ok(state)
}

/// That the answer knows as much as it must: where no moment is asked for, the answer itself, which may
/// stand below the head of the snapshot that it was read in.
fn check_visible(state: &State, query: &StateQuery) -> Result<(), StateError> {
    let head = match query.at {
        None => state.position.seq,
        Some(_) => state.head,
    };
    let wanted = Position {
        seq: query.min_seq,
        ..state.position
    };
    match head < query.min_seq {
        true => Err(StateError::NotVisible { wanted, head }),
        false => Ok(()),
    }
}

/// As of when an answer is that will be asked for again: at the head where nothing else is said.
async fn at_or_head(
    connection: &Connection,
    partition: i32,
    at: Option<At>,
) -> Result<At, StoreError> {
    if let Some(at) = at {
        return Ok(at);
    }
    let heads = events::heads(&connection.pg, &[partition], None).await?;
    Ok(At::Version(
        heads.get(&partition).map_or(0, |head| head.seq),
    ))
}

async fn read_newest(
    connection: &mut Connection,
    partition: i32,
    query: &StateQuery,
) -> Result<Result<Newest, StateError>, StoreError> {
    let read = NewestRead {
        pg: &connection.pg,
        warm: connection.is_warm(NEWEST),
        partition,
        query,
    };
    let newest = read.read().await?;
    connection.set_warm(NEWEST);
    Ok(newest)
}

async fn read_past(
    connection: &mut Connection,
    partition: i32,
    query: &StateQuery,
    at: At,
    using: Using,
) -> Result<PastAnswer, StoreError> {
    let past = PastRead {
        pg: &connection.pg,
        // The log alone needs fewer statements, and says nothing of the others.
        warm: connection.is_warm(PAST),
        warm_for_events: connection.is_warm(PAST_EVENTS),
        partition,
        query,
        using,
        is_total: false,
    };
    let found = past.read(at).await?;
    if using != Using::Log {
        connection.set_warm(PAST);
    }
    if found.has_read_events {
        connection.set_warm(PAST_EVENTS);
    }
    Ok(found)
}

const NEWEST: &str = "state";
const PAST: &str = "state of the past";
/// The part of it that needs events.
const PAST_EVENTS: &str = "events of the past";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_below_what_was_wanted_is_none_though_its_snapshot_knew_more() {
        let at = |seq| Position { partition: 2, seq };
        let state = State {
            position: at(167),
            head: 173,
            data_through: None,
            staleness_seconds: 0.0,
            erasures: 0,
            states: Vec::new(),
            buckets: 0,
            raw_events: 0,
        };
        let mut query = StateQuery::newest("acme", "p", Selection::default(), Question::default());
        query.min_seq = 172;
        let missing = check_visible(&state, &query).unwrap_err();
        assert!(
            matches!(missing, StateError::NotVisible { wanted, head: 167 } if wanted == at(172)),
            "{missing}"
        );
        // Where a moment is asked for, what is known at all has to reach so far.
        query.at = Some(At::Version(167));
        assert!(check_visible(&state, &query).is_ok());
        query.min_seq = 174;
        assert!(check_visible(&state, &query).is_err());
    }
}
