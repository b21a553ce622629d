//! What stands in a database whose import was broken off: the first part of the export, or not.
//!
//! Invariant: every principal, every erasure and the newest event of each partition is compared. An event
//! behind which the import wrote was looked at before that, and none of them changes but by an erasure; so
//! where the newest one is the export's, all are.

use super::ImportError;
use crate::database::Connection;
use crate::error::StoreError;
use crate::statement::Statement;
use crate::{events, export};
use aevon_core::export::{Event, Header, Line, Principal};
use aevon_core::json::same_value;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use std::collections::VecDeque;

/// Principals of one statement.
const PAGE: i64 = 5_000;

/// What stands here and not in the export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// A principal was erased.
    #[error("a principal was erased here since the import began, which the rest of it would undo")]
    Erasure,
    /// An event.
    #[error(
        "partition {partition}, position {seq}: another event stands there than the export's, so that somebody \
         else has written to this database"
    )]
    Event {
        /// Where.
        partition: i32,
        /// Where there.
        seq: i64,
    },
    /// A principal.
    #[error(
        "the principal with number {0} is not the export's, so that somebody else has written to this database"
    )]
    Principal(i64),
}

type PrincipalRow = (i64, i32, String, String);

/// What stands here, compared with an export line by line.
#[derive(Debug, Default)]
pub struct Part {
    heads: Vec<i64>,
    principal_no: i64,
    /// The next principals here that the export ought to name.
    principals: VecDeque<PrincipalRow>,
    /// Up to which number, and which partition there, they were read.
    read_to: (i64, i32),
    /// The erasures here that the export ought to have.
    erasures: VecDeque<String>,
    is_erased: bool,
    event: Option<(i32, i64)>,
    principal: Option<i64>,
}

impl Part {
    /// What stands here now; nothing is compared but where an import was broken off.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn look(connection: &mut Connection, partitions: i32) -> Result<Self, StoreError> {
        let is_broken_off = super::unfinished(connection).await?.is_some();
        let all: Vec<i32> = (0..partitions).collect();
        let found = events::heads(&connection.pg, &all, None).await?;
        let head = |partition: &i32| found.get(partition).map_or(0, |head| head.seq);
        let mut part = Self {
            heads: all.iter().map(head).collect(),
            principal_no: last_principal(&mut connection.pg).await?,
            ..Self::default()
        };
        match is_broken_off {
            true => part.erasures = export::erasure_lines(&mut connection.pg).await?.into(),
            // There is nothing to go on with.
            false => part.read_to.0 = part.principal_no,
        }
        Ok(part)
    }

    pub(super) fn heads(&self) -> &[i64] {
        &self.heads
    }

    pub(super) fn principal_no(&self) -> i64 {
        self.principal_no
    }

    fn head(&self, partition: i32) -> i64 {
        let at = usize::try_from(partition).ok();
        at.and_then(|at| self.heads.get(at)).copied().unwrap_or(0)
    }

    /// Compares the next line of the export.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take(
        &mut self,
        connection: &mut Connection,
        line: &Line<'_>,
    ) -> Result<(), StoreError> {
        match line {
            Line::Erasure(_) => {
                let here = self.erasures.pop_front();
                self.is_erased |= here.is_some_and(|here| here != line.text());
            }
            Line::Principal(principal) if principal.principal_no <= self.principal_no => {
                let here = self.next_principal(connection).await?;
                let is_same = |here: &PrincipalRow| is_same_principal(here, principal);
                if self.principal.is_none() && here.as_ref().is_some_and(|here| !is_same(here)) {
                    self.principal = here.map(|here| here.0);
                }
            }
            Line::Event(event) if event.seq == self.head(event.partition) => {
                let here = export::event_at(connection, event.partition, event.seq).await?;
                let is_same = here.is_some_and(|here| match serde_json::from_str(&here) {
                    Ok(Line::Event(here)) => is_same_event(&here, event),
                    _ => false,
                });
                if !is_same {
                    self.event.get_or_insert((event.partition, event.seq));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares the end of the export.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end(
        &mut self,
        connection: &mut Connection,
        header: &Header,
    ) -> Result<(), StoreError> {
        self.is_erased |= !self.erasures.is_empty();
        if let Some((number, ..)) = self.next_principal(connection).await? {
            self.principal.get_or_insert(number);
        }
        for (partition, seq) in (0..).zip(&self.heads) {
            if *seq > header.head(partition) {
                self.event.get_or_insert((partition, *seq));
            }
        }
        Ok(())
    }

    /// The next principal here.
    async fn next_principal(
        &mut self,
        connection: &mut Connection,
    ) -> Result<Option<PrincipalRow>, StoreError> {
        if self.principals.is_empty() && self.read_to.0 < self.principal_no {
            let query = diesel::sql_query(include_str!("../sql/import_principals_here.sql"))
                .bind::<BigInt, _>(self.read_to.0)
                .bind::<Integer, _>(self.read_to.1)
                .bind::<BigInt, _>(PAGE);
            let rows: Vec<PrincipalRow> = Statement::<_, (BigInt, Integer, Text, Text)>::new(query)
                .load(&mut connection.pg)
                .await?;
            let last = rows.last().map(|row| (row.0, row.1));
            self.read_to = last.unwrap_or((self.principal_no, 0));
            self.principals = rows.into();
        }
        Ok(self.principals.pop_front())
    }

    /// That all that stands here is the export's. What explains the rest comes first.
    pub(super) fn check(&self) -> Result<(), ImportError> {
        let event = self
            .event
            .map(|(partition, seq)| Foreign::Event { partition, seq });
        let found = self.is_erased.then_some(Foreign::Erasure);
        let found = found.or(event).or(self.principal.map(Foreign::Principal));
        found.map_or(Ok(()), |foreign| Err(ImportError::Foreign(foreign)))
    }
}

/// The largest number of a principal.
pub(super) async fn last_principal(pg: &mut AsyncPgConnection) -> Result<i64, StoreError> {
    let query = "SELECT coalesce(max(p.principal_no), 0) FROM principals p";
    let (last,): (i64,) = Statement::<_, (BigInt,)>::new(diesel::sql_query(query))
        .get_result(pg)
        .await?;
    Ok(last)
}

fn is_same_principal(here: &PrincipalRow, there: &Principal<'_>) -> bool {
    let (number, partition, tenant_id, principal_id) = here;
    (*number, *partition) == (there.principal_no, there.partition)
        && (tenant_id.as_str(), principal_id.as_str()) == (&there.tenant_id, &there.principal_id)
}

/// All of it: who takes an id and a stamp for enough trusts a producer and a clock.
fn is_same_event(here: &Event<'_>, there: &Event<'_>) -> bool {
    let numbers = |one: &Event<'_>| (one.principal_no, one.schema_version, one.voids);
    let times = |one: &Event<'_>| (one.occurred_at, one.ingested_at, one.voids_occurred_at);
    numbers(here) == numbers(there)
        && times(here) == times(there)
        && (&here.event_id, &here.event_type) == (&there.event_id, &there.event_type)
        && same_value(here.data.get(), there.data.get())
        && same_value(here.metadata.get(), there.metadata.get())
}
