//! What holds whenever somebody looks, and at the end.

use aevon_core::event::{NewEvent, VOID_TYPE};
use aevon_schema::sweep::backlogs;
use aevon_schema::verify::{self, Versions};

use super::World;
use crate::asking::EVERYTHING;
use crate::model::{PARTITIONS, PRINCIPALS, TENANTS};
use crate::operation::{Ask, At, By, Slice};
use crate::run::Violation;

/// The log, in its order, with everything that a caller could see of an event.
const LOG: &str = "
    SELECT e.partition, e.seq, coalesce(q.tenant_id, '?'), coalesce(q.principal_id, '?'), e.event_id,
           e.type, (extract(epoch FROM e.occurred_at) * 1000000)::bigint,
           (extract(epoch FROM e.ingested_at) * 1000000)::bigint, e.schema_version,
           e.data::text, e.metadata::text
    FROM events e
    LEFT JOIN principals q USING (principal_no, partition)
    ORDER BY e.partition, e.seq";
/// Documents as the database shows them.
const DOCUMENTS: &str = "
    SELECT d.data::jsonb::text, d.metadata::jsonb::text
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS d (data, metadata, nth) ORDER BY nth";
const VOIDS: &str = "SELECT count(*) FROM voids";

/// Most slices until nothing is left to sweep.
const MAX_SLICES: usize = 2_000;
/// Principals on a page of those that are verified.
const MANY: i64 = 100;

impl World {
    /// The log is what it ought to be: every event that was acknowledged, once, in its place, without a
    /// gap, and nothing else.
    pub(super) async fn check_log(&self) -> Result<(), Violation> {
        let rows = self.observer.query(LOG, &[]).await;
        let stands = rows.map_err(Violation::from_observer)?;
        let stands = stands.iter().map(|row| {
            let place: (i32, i64) = (row.get(0), row.get(1));
            let of: (&str, &str) = (row.get(2), row.get(3));
            let event: (&str, &str, i64, i64) = (row.get(4), row.get(5), row.get(6), row.get(7));
            let said: (i32, &str, &str) = (row.get(8), row.get(9), row.get(10));
            format!("{place:?} {of:?} {event:?} {said:?}")
        });
        let mut log: Vec<_> = self.model.log.iter().collect();
        log.sort_by_key(|stored| (stored.position.partition, stored.position.seq));
        let documents = |document: fn(&NewEvent) -> &str| -> Vec<&str> {
            log.iter().map(|stored| document(&stored.event)).collect()
        };
        let (data, metadata) = (documents(|e| &e.data), documents(|e| &e.metadata));
        let documents = self.observer.query(DOCUMENTS, &[&data, &metadata]).await;
        let documents = documents.map_err(Violation::from_observer)?;
        let expected = log.iter().zip(&documents).map(|(stored, documents)| {
            let event = &stored.event;
            let place = (stored.position.partition, stored.position.seq);
            let of = (&event.tenant_id, &event.principal_id);
            let times = (
                event.occurred_at.as_micros(),
                stored.ingested_at.as_micros(),
            );
            let said: (&str, &str) = (documents.get(0), documents.get(1));
            let said = (event.schema_version, said.0, said.1);
            let event = (&event.event_id, &event.event_type, times.0, times.1);
            format!("{place:?} {of:?} {event:?} {said:?}")
        });
        let (stands, expected): (Vec<_>, Vec<_>) = (stands.collect(), expected.collect());
        if stands != expected {
            let at = stands
                .iter()
                .zip(&expected)
                .take_while(|(a, b)| a == b)
                .count();
            return Violation::of(format!(
                "the log holds {:?} at its place {at}, and not {:?}",
                stands.get(at),
                expected.get(at)
            ));
        }
        let voids = self.observer.query_one(VOIDS, &[]).await;
        let voids: i64 = voids.map_err(Violation::from_observer)?.get(0);
        let is_void = |stored: &&&_| -> bool {
            let stored: &crate::model::Stored = stored;
            stored.event.event_type == VOID_TYPE
        };
        match voids == log.iter().filter(is_void).count() as i64 {
            true => Ok(()),
            false => Violation::of(format!("{voids} events are voided")),
        }
    }

    /// Sweeps until nothing is left, and checks everything.
    pub(crate) async fn finish(&mut self) -> Result<(), Violation> {
        self.check_log().await?;
        self.fetch(0).await?;
        self.sweep_all().await?;
        self.activate(0, None).await?;
        // Other rule versions may answer now, at the same version of the log.
        self.fetch(0).await?;
        self.newest_answers().await?;
        self.ask_again().await?;
        self.verify().await
    }

    async fn sweep_all(&mut self) -> Result<(), Violation> {
        for slice in 0..MAX_SLICES {
            let mut connection = self.sweepers[1].take().await?;
            let left = backlogs(&mut connection).await;
            self.sweepers[1].kept = Some(connection);
            let left = left.map_err(Violation::from_store)?;
            let Some(backlog) = left.first() else {
                return Ok(());
            };
            let slice = Slice {
                partition: u8::try_from(backlog.partition).unwrap_or(u8::MAX),
                events: 40,
                is_front: slice % 2 == 0,
            };
            self.sweep(1, &slice, None).await?;
        }
        Violation::of("sweeps come to no end")
    }

    /// What every principal and tenant adds up to now.
    async fn newest_answers(&mut self) -> Result<(), Violation> {
        let everything = Ask {
            groups: 1,
            ..EVERYTHING
        };
        for nth in 0..PRINCIPALS.len() as u8 {
            self.read(nth, At::Newest, By::Every, &everything).await?;
        }
        for nth in 0..TENANTS.len() as u8 {
            self.total(nth, At::Newest, &everything).await?;
        }
        Ok(())
    }

    /// Every row of every bucket is what the log says, as the product proves it itself.
    pub(super) async fn verify(&mut self) -> Result<(), Violation> {
        let connection = self.ruler().await?;
        let all = Versions::default();
        for partition in 0..PARTITIONS {
            let principals = verify::principals(connection, partition, ("", ""), MANY).await;
            let principals = principals.map_err(Violation::from_store)?;
            let mut checked = Vec::new();
            if !principals.is_empty() {
                checked.push(verify::check(connection, partition, &principals, &all).await);
            }
            let tenants = verify::tenants(connection, partition, "", MANY).await;
            for tenant in tenants.map_err(Violation::from_store)? {
                checked.push(verify::check_totals(connection, partition, &tenant, &all).await);
            }
            for checked in checked {
                let checked = checked.map_err(Violation::from_store)?;
                if checked.differences > 0 || !checked.ahead.is_empty() {
                    return Violation::of(format!(
                        "buckets are not what the log says: {checked:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}
