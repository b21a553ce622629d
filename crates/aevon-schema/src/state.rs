//! The read: buckets, raw edges and tail of one principal, from one snapshot, in one round trip.
//!
//! Invariant: everything comes from one repeatable-read, read-only transaction: rule versions,
//! checkpoints, head, buckets, events. Works on a hot standby: no writes, no locks.
//! Invariant: memory does not grow with the tail or the buckets: rows are folded as they arrive.

mod snapshot;

use crate::access::Access;
use crate::database::{Connection, Database};
use crate::error::StoreError;
use aevon_core::identity::partition_of;
use aevon_core::json::Path;
use aevon_core::position::Position;
use aevon_core::rule::Rule;
use aevon_core::state::{Question, TooLarge, Value};
use aevon_core::time::Timestamp;
use snapshot::Snapshot;
use std::time::Duration;

/// What reads need of the database.
pub const ACCESS: Access = Access {
    is_writing: false,
    privileges: &[
        ("partitions", "SELECT"),
        ("principals", "SELECT"),
        ("events", "SELECT"),
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
    /// The head of the principal's partition in the snapshot.
    pub position: Position,
    /// The ingestion time of that head; `None` while the partition is empty.
    pub data_through: Option<Timestamp>,
    /// How far this database is behind its primary; 0 on it.
    pub staleness_seconds: f64,
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
    /// The answer would be too large.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
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

/// Answers a query within `budget`.
///
/// # Errors
/// See [`StateError`].
pub async fn read(
    database: &Database,
    partitions: i32,
    query: &StateQuery,
    budget: Duration,
) -> Result<State, StateError> {
    let answered = tokio::time::timeout(budget, async {
        match read_unbounded(database, partitions, query).await {
            // A read changes nothing. The connection may have died since it was used last, and a
            // server on its way down refuses before it is gone: another connection tells.
            Err(StateError::Store(StoreError::Unavailable(_) | StoreError::Refused(_))) => {
                read_unbounded(database, partitions, query).await
            }
            answered => answered,
        }
    });
    answered
        .await
        .unwrap_or(Err(StateError::BudgetExceeded(budget)))
}

async fn read_unbounded(
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
    let warm = connection.is_warm(TRANSACTION);
    let snapshot = Snapshot::new(&connection.pg, warm, partition, query);
    let state = snapshot.read().await?;
    connection.set_warm(TRANSACTION);
    connection.end_use();
    Ok(state)
}

const TRANSACTION: &str = "state";
