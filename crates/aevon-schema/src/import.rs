//! Imports: a database that is empty begins with an export.
//!
//! Invariant: everything keeps the number, the place and the stamp that it had.
//! Invariant: an import that was broken off goes on, and only with the export that it began with: what is
//! here of each partition, and of the principals, says where. Buckets are made by sweeps, as always.
//! Invariant: until it is finished, nobody else has written to the log. What is here when it goes on is
//! compared with the export (see [`Part`]); each transaction finds what the one before it left.

use crate::database::Connection;
use crate::error::StoreError;
use crate::statement::Statement;
use crate::values::{JsonText, from_pg, to_pg};
use crate::{events, partitions, voids};
use aevon_core::append::NewVoid;
use aevon_core::export::{Erasure, Event, Header, Principal, Rule};
use aevon_core::position::Position;
use aevon_core::time::Timestamp;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

mod part;

pub use part::{Foreign, Part};

/// An import into a database that was begun and is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an import that was begun at {begun_at} isn't finished, so that a part of the log is missing: run `aevon \
     import` again with the same file"
)]
pub struct Unfinished {
    /// When.
    pub begun_at: Timestamp,
}

/// The import that isn't finished, where there is one and the role may know.
///
/// # Errors
/// [`StoreError`].
pub async fn unfinished(connection: &mut Connection) -> Result<Option<Unfinished>, StoreError> {
    unfinished_in(&mut connection.pg).await
}

pub(crate) async fn unfinished_in(
    pg: &mut AsyncPgConnection,
) -> Result<Option<Unfinished>, StoreError> {
    let query = "SELECT has_table_privilege('imports', 'SELECT')";
    let (may_know,): (bool,) = Statement::<_, (Bool,)>::new(diesel::sql_query(query))
        .get_result(pg)
        .await?;
    if !may_know {
        return Ok(None);
    }
    let query = "SELECT min(i.begun_at) FROM imports i WHERE i.finished_at IS NULL";
    let (begun_at,): (Option<PgTimestamp>,) =
        Statement::<_, (Nullable<Timestamptz>,)>::new(diesel::sql_query(query))
            .get_result(pg)
            .await?;
    Ok(begun_at.map(|begun_at| Unfinished {
        begun_at: from_pg(begun_at),
    }))
}

/// Why nothing is imported, or no more.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is something else.
    #[error("the database is not empty, and holds no part of this export")]
    NotEmpty,
    /// Somebody else has written before it went on.
    #[error("{0}: the import can't go on. {BEGIN_ANEW}")]
    Foreign(Foreign),
    /// Somebody else writes while it runs.
    #[error(
        "partition {partition} is at position {found} where the import left it at {expected}: somebody else \
         writes to this database, and the import can't go on. {BEGIN_ANEW}"
    )]
    Moved {
        /// Where.
        partition: i32,
        /// What stands there.
        found: i64,
        /// What stood there.
        expected: i64,
    },
}

/// What to do where somebody else has written.
const BEGIN_ANEW: &str =
    "Import into an empty database, and start no service before it is finished";

impl From<diesel::result::Error> for ImportError {
    fn from(error: diesel::result::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// What is here of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// Whether rules and erasures are.
    pub is_begun: bool,
    /// Whether all of it is.
    pub is_finished: bool,
    /// The last principal.
    pub principal_no: i64,
    /// The newest seq of each partition.
    pub heads: Vec<i64>,
}

impl Import {
    fn partitions(&self) -> Vec<i32> {
        (0..).zip(&self.heads).map(|(number, _)| number).collect()
    }
}

/// Looks what is here of the export that has this SHA-256, with which `part` was compared to its end.
///
/// # Errors
/// [`ImportError::NotEmpty`], [`ImportError::Foreign`], [`ImportError::Moved`], or the database failed.
pub async fn standing(
    connection: &mut Connection,
    part: &Part,
    export_hash: [u8; 32],
) -> Result<Import, ImportError> {
    let query = diesel::sql_query(include_str!("sql/import_standing.sql"))
        .bind::<Binary, _>(export_hash.as_slice());
    let row: (bool, bool, bool, bool) = Statement::<_, (Bool, Bool, Bool, Bool)>::new(query)
        .get_result(&mut connection.pg)
        .await?;
    let (is_begun, is_finished, is_other, is_filled) = row;
    if is_other || is_filled && !is_begun {
        return Err(ImportError::NotEmpty);
    }
    if is_begun && !is_finished {
        part.check()?;
        still(&mut connection.pg, part.principal_no(), part.heads()).await?;
    }
    Ok(Import {
        is_begun,
        is_finished,
        principal_no: part.principal_no(),
        heads: part.heads().to_vec(),
    })
}

/// That the log ends where it did.
async fn still(
    pg: &mut AsyncPgConnection,
    principal_no: i64,
    heads: &[i64],
) -> Result<(), ImportError> {
    let all: Vec<i32> = (0..).zip(heads).map(|(partition, _)| partition).collect();
    let found = events::heads(pg, &all, None).await?;
    for (partition, expected) in all.into_iter().zip(heads) {
        let found = found.get(&partition).map_or(0, |head| head.seq);
        if found != *expected {
            let expected = *expected;
            return Err(ImportError::Moved {
                partition,
                found,
                expected,
            });
        }
    }
    still_last(pg, principal_no).await
}

/// That nobody has come behind a principal.
async fn still_last(pg: &mut AsyncPgConnection, principal_no: i64) -> Result<(), ImportError> {
    let last = part::last_principal(pg).await?;
    match last == principal_no {
        true => Ok(()),
        false => Err(ImportError::Foreign(Foreign::Principal(last))),
    }
}

/// Sets a sequence behind what has a number already.
async fn set_behind(
    pg: &mut AsyncPgConnection,
    table: &str,
    column: &str,
) -> Result<(), StoreError> {
    // Where rules are distributed, the sequence is another one than the column's own.
    let query = format!(
        "SELECT setval(s.name::regclass, greatest(m.number, 1), m.number > 0)
         FROM (SELECT coalesce(pg_get_serial_sequence('{table}', '{column}'), 'rule_numbers') AS name) s,
              (SELECT coalesce(max({column}), 0) AS number FROM {table}) m"
    );
    Ok(pg.batch_execute(&query).await?)
}

/// Begins an import: with the rules and the erasures.
///
/// # Errors
/// [`StoreError`]; nothing was changed then.
pub async fn begin(
    connection: &mut Connection,
    export_hash: [u8; 32],
    rules: &[Rule<'_>],
    erasures: &[Erasure<'_>],
) -> Result<(), StoreError> {
    connection.begin_use();
    connection
        .pg
        .transaction::<_, StoreError, _>(async |pg| {
            let query = "INSERT INTO imports (export_hash) VALUES ($1)";
            let query = diesel::sql_query(query).bind::<Binary, _>(export_hash.as_slice());
            query.execute(pg).await?;
            insert_rules(pg, rules).await?;
            insert_erasures(pg, erasures).await?;
            let erased = erasures.iter();
            let erased =
                erased.filter_map(|one| Some((&*one.tenant_id, one.pseudonym.as_deref()?)));
            partitions::count_erasures(pg, erased).await?;
            set_behind(pg, "rules", "rule_no").await?;
            set_behind(pg, "erasures", "erasure_no").await
        })
        .await?;
    connection.end_use();
    Ok(())
}

async fn insert_rules(pg: &mut AsyncPgConnection, rules: &[Rule<'_>]) -> Result<(), StoreError> {
    let query = diesel::sql_query(include_str!("sql/import_rules.sql"))
        .bind::<Array<Integer>, _>(column(rules, |rule| rule.rule_no))
        .bind::<Array<Text>, _>(column(rules, |rule| rule.name.as_ref()))
        .bind::<Array<Integer>, _>(column(rules, |rule| rule.version))
        .bind::<Array<Text>, _>(column(rules, |rule| rule.status.as_ref()))
        .bind::<Array<Nullable<Timestamptz>>, _>(column(rules, |rule| rule.retired_at.map(to_pg)))
        .bind::<Array<Text>, _>(column(rules, |rule| rule.fingerprint.as_ref()))
        .bind::<Array<Jsonb>, _>(column(rules, |rule| JsonText(rule.definition.get())));
    Statement::<_, ()>::new(query).execute(pg).await?;
    Ok(())
}

async fn insert_erasures(
    pg: &mut AsyncPgConnection,
    list: &[Erasure<'_>],
) -> Result<(), StoreError> {
    let query = diesel::sql_query(include_str!("sql/import_erasures.sql"))
        .bind::<Array<BigInt>, _>(column(list, |one| one.erasure_no))
        .bind::<Array<Timestamptz>, _>(column(list, |one| to_pg(one.erased_at)))
        .bind::<Array<Text>, _>(column(list, |one| one.erased_by.as_ref()))
        .bind::<Array<Text>, _>(column(list, |one| one.tenant_id.as_ref()))
        .bind::<Array<Nullable<Text>>, _>(column(list, |one| one.pseudonym.as_deref()))
        .bind::<Array<Bool>, _>(column(list, |one| one.is_forced))
        .bind::<Array<BigInt>, _>(column(list, |one| one.events))
        .bind::<Array<BigInt>, _>(column(list, |one| one.rejected))
        .bind::<Array<BigInt>, _>(column(list, |one| one.last_seq));
    Statement::<_, ()>::new(query).execute(pg).await?;
    Ok(())
}

fn column<'a, R, T>(list: &'a [R], field: impl Fn(&'a R) -> T) -> Vec<T> {
    list.iter().map(field).collect()
}

/// Adds principals; those that are here already are passed over.
///
/// # Errors
/// [`ImportError`]; nothing was changed then.
pub async fn principals(
    connection: &mut Connection,
    import: &mut Import,
    list: &[Principal<'_>],
) -> Result<(), ImportError> {
    let known = list.partition_point(|one| one.principal_no <= import.principal_no);
    let list = &list[known..];
    let Some(last) = list.last() else {
        return Ok(());
    };
    let of = partitions_of(list.iter().map(|one| one.partition));
    let all = import.partitions();
    connection.begin_use();
    connection
        .pg
        .transaction::<_, ImportError, _>(async |pg| {
            // Whoever gives a number has locked a partition.
            partitions::lock(pg, &all).await?;
            still_last(pg, import.principal_no).await?;
            let query = diesel::sql_query(include_str!("sql/import_principals.sql"))
                .bind::<Array<Integer>, _>(&of)
                .bind::<Array<BigInt>, _>(column(list, |one| one.principal_no))
                .bind::<Array<Integer>, _>(column(list, |one| one.partition))
                .bind::<Array<Text>, _>(column(list, |one| one.tenant_id.as_ref()))
                .bind::<Array<Text>, _>(column(list, |one| one.principal_id.as_ref()));
            Statement::<_, ()>::new(query).execute(pg).await?;
            // Of what is here already no number is given again.
            let set = "SELECT setval('principal_numbers', $1)";
            diesel::sql_query(set)
                .bind::<BigInt, _>(last.principal_no)
                .execute(pg)
                .await?;
            Ok(())
        })
        .await?;
    connection.end_use();
    import.principal_no = last.principal_no;
    Ok(())
}

fn partitions_of(all: impl Iterator<Item = i32>) -> Vec<i32> {
    let mut all: Vec<i32> = all.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Adds events, in one transaction; those that are here already are passed over.
///
/// # Errors
/// [`ImportError`]; nothing was changed then.
pub async fn events(
    connection: &mut Connection,
    import: &mut Import,
    list: &[Event<'_>],
) -> Result<(), ImportError> {
    let head = |partition: i32| {
        let at = usize::try_from(partition).ok();
        at.and_then(|at| import.heads.get(at)).copied().unwrap_or(0)
    };
    let list: Vec<&Event<'_>> = list
        .iter()
        .filter(|one| one.seq > head(one.partition))
        .collect();
    if list.is_empty() {
        return Ok(());
    }
    let of = partitions_of(list.iter().map(|one| one.partition));
    connection.begin_use();
    let mut pg = &connection.pg;
    pg.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        .await?;
    partitions::lock(pg, &of).await?;
    let found = events::heads(pg, &of, None).await?;
    for partition in &of {
        let (found, expected) = (
            found.get(partition).map_or(0, |head| head.seq),
            head(*partition),
        );
        if found != expected {
            let partition = *partition;
            return Err(ImportError::Moved {
                partition,
                found,
                expected,
            });
        }
    }
    let mut rows = events::Rows::default();
    for event in &list {
        rows.push_exported(event);
    }
    events::insert(pg, &of, &rows).await?;
    let void = |event: &&Event<'_>| {
        let (partition, seq) = (event.partition, event.voids?);
        Some(NewVoid {
            principal_no: event.principal_no,
            target: Position { partition, seq },
            target_occurred_at: event.voids_occurred_at?,
            seq: event.seq,
        })
    };
    let those: Vec<NewVoid> = list.iter().filter_map(void).collect();
    if !those.is_empty() {
        voids::insert(pg, &of, &those).await?;
    }
    pg.batch_execute("COMMIT").await?;
    connection.end_use();
    for event in list {
        let at = usize::try_from(event.partition).ok();
        if let Some(head) = at.and_then(|at| import.heads.get_mut(at)) {
            *head = event.seq;
        }
    }
    Ok(())
}

/// Notes that all of it is here, and nothing else.
///
/// # Errors
/// [`ImportError`]; nothing was changed then.
pub async fn finish(
    connection: &mut Connection,
    import: &Import,
    header: &Header,
    export_hash: [u8; 32],
) -> Result<(), ImportError> {
    let all = import.partitions();
    let heads: Vec<i64> = all
        .iter()
        .map(|partition| header.head(*partition))
        .collect();
    connection.begin_use();
    connection
        .pg
        .transaction::<_, ImportError, _>(async |pg| {
            partitions::lock(pg, &all).await?;
            still(pg, import.principal_no, &heads).await?;
            let query = "UPDATE imports SET finished_at = now() WHERE export_hash = $1";
            diesel::sql_query(query)
                .bind::<Binary, _>(export_hash.as_slice())
                .execute(pg)
                .await?;
            Ok(())
        })
        .await?;
    connection.end_use();
    // The planner is to know what is here before anybody asks.
    let analyze = "ANALYZE principals, events, voids";
    connection.pg.batch_execute(analyze).await?;
    Ok(())
}
