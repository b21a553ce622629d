//! An answer from buckets against the same from the log alone.
//!
//! Invariant: both are of one version, and what lies at or below a version is final: they are equal,
//! or the buckets are wrong.

use super::attempt::{retried, within};
use super::past::Using;
use super::{At, Selection, State, StateError, StateQuery};
use super::{at_or_head, read_once, read_past};
use crate::database::{Connection, Database};
use crate::error::StoreError;
use aevon_core::identity::partition_of;
use aevon_core::labels::Labels;
use aevon_core::state::Value;
use aevon_core::time::Timestamp;
use diesel::result::Error::DeserializationError;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a comparison found.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The answer from the log alone.
    pub from_log: State,
    /// The answer as it is given.
    pub from_buckets: Result<State, Unreadable>,
    /// Where they differ, by window and group.
    pub differences: Vec<Difference>,
}

impl Compared {
    /// True where both answers are one.
    pub fn agrees(&self) -> bool {
        self.from_buckets.is_ok() && self.differences.is_empty()
    }
}

/// Why buckets give no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

/// A value that buckets and log don't agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As the answer with buckets has it, if it has it.
    pub from_buckets: Option<Value>,
    /// As the log has it, if it has it.
    pub from_log: Option<Value>,
}

/// Compares the answers of one rule within `budget`, which begins once what is asked for is visible.
///
/// # Errors
/// See [`StateError`]; a bucket that can't be read is none, but a difference.
pub async fn compare(
    database: &Database,
    partitions: i32,
    query: &StateQuery,
    budget: Duration,
) -> Result<Compared, StateError> {
    let once = || compare_once(database, partitions, query);
    within(database, query.wait, budget, once).await
}

async fn compare_once(
    database: &Database,
    partitions: i32,
    query: &StateQuery,
) -> Result<Compared, StateError> {
    let read = retried(|| read_once(database, partitions, query)).await;
    let from_buckets = match read {
        Ok(state) => Ok(state),
        Err(StateError::Store(error)) => Err(unreadable(error)?),
        Err(error) => return Err(error),
    };
    let query = match &from_buckets {
        Ok(state) => pinned(query, state),
        Err(_) => query.clone(),
    };
    let from_log = retried(|| read_log(database, partitions, &query)).await?;
    let standing = from_buckets.as_ref().map(values).unwrap_or_default();
    Ok(Compared {
        differences: differences(standing, values(&from_log)),
        from_buckets,
        from_log,
    })
}

/// What a bucket that can't be read says; other trouble stays what it is.
fn unreadable(error: StoreError) -> Result<Unreadable, StoreError> {
    match error {
        StoreError::Corrupt(what) => Ok(Unreadable(what)),
        StoreError::Refused(DeserializationError(_)) => {
            Ok(Unreadable("a bucket holds what is no value".to_owned()))
        }
        other => Err(other),
    }
}

/// The same query at the version that answered, by the rule version that did.
fn pinned(query: &StateQuery, state: &State) -> StateQuery {
    let pin = |s: &super::RuleState| (s.rule.name.clone(), s.rule_version);
    StateQuery {
        selection: Selection {
            names: Vec::new(),
            pinned: state.states.iter().map(pin).collect(),
        },
        at: Some(At::Version(state.position.seq)),
        ..query.clone()
    }
}

async fn read_log(
    database: &Database,
    partitions: i32,
    query: &StateQuery,
) -> Result<State, StateError> {
    let partition = partition_of(&query.tenant_id, &query.principal_id, partitions);
    let mut connection = database.get().await?;
    let connection: &mut Connection = &mut connection;
    connection.begin_use();
    let at = at_or_head(connection, partition, query.at).await?;
    let found = read_past(connection, partition, query, at, Using::Log).await?;
    connection.end_use();
    found.state
}

/// What tells values of one answer apart.
type Key = (Option<Timestamp>, Labels);

fn values(state: &State) -> BTreeMap<Key, Value> {
    let values = state.states.iter().flat_map(|state| &state.values);
    let keyed = |value: &Value| {
        let key = (value.window_start, value.group.clone());
        let value = Value {
            partial: value.partial.clone().tidied(),
            ..value.clone()
        };
        (key, value)
    };
    values.map(keyed).collect()
}

fn differences(mut standing: BTreeMap<Key, Value>, log: BTreeMap<Key, Value>) -> Vec<Difference> {
    let mut found = BTreeMap::new();
    for (key, from_log) in log {
        let from_buckets = standing.remove(&key);
        if from_buckets.as_ref() != Some(&from_log) {
            let from_log = Some(from_log);
            let difference = Difference {
                from_buckets,
                from_log,
            };
            found.insert(key, difference);
        }
    }
    for (key, from_buckets) in standing {
        let from_buckets = Some(from_buckets);
        let difference = Difference {
            from_buckets,
            from_log: None,
        };
        found.insert(key, difference);
    }
    found.into_values().collect()
}
