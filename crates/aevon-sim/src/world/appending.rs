//! Appends, alone and two at once.

use aevon_core::append::Verdict;
use aevon_core::event::NewEvent;
use aevon_schema::append::{AppendError, Appender};
use std::ops::Range;

use super::held::two_at_once;
use super::{World, unless_killed};
use crate::fault::Fault;
use crate::model::{PARTITIONS, Stored, partition};
use crate::operation::{Body, Point, Trouble};
use crate::run::Violation;
use crate::wire::Action;

/// The point behind which a transaction has happened, and its program does not know.
pub(super) const COMMITTED: Point = Point::After("COMMIT");

type Verdicts = Result<Vec<Verdict>, AppendError>;

impl World {
    /// A writer whose clock says what the world's does; it runs from now on.
    fn take_writer(&mut self, nth: u8) -> Appender {
        let process = &mut self.writers[usize::from(nth) % 2];
        let writer = process.kept.take();
        let new = || Appender::new(process.database.clone(), PARTITIONS);
        writer.unwrap_or_else(new).with_clock(self.model.now)
    }

    pub(super) async fn append(
        &mut self,
        nth: u8,
        bodies: &[Body],
        trouble: Option<Trouble>,
    ) -> Result<(), Violation> {
        let (events, atomic) = self.model.group(bodies);
        let (expected, stored) = self.model.appended(bodies);
        let mut writer = self.take_writer(nth);
        let process = &self.writers[usize::from(nth) % 2];
        process.set(trouble);
        let work = append(&mut writer, &events, &atomic);
        let done = unless_killed(&process.wire, trouble, work).await;
        let sprung = process.wire.clear();
        self.counted.troubles += u64::from(sprung);
        self.counted.events += events.len() as u64;
        let is_committed = sprung && trouble.is_some_and(|trouble| trouble.point == COMMITTED);
        // A group of nothing but duplicates may be sent again, and has an answer then.
        let is_answered = stored.is_empty() && process.wire.has_committed_since();
        let is_stored = match &done {
            // Whoever is killed tells nobody anything.
            None => is_committed,
            Some(Ok(_)) if is_committed && !is_answered => {
                return Violation::of("an append was acknowledged whose commit was not answered");
            }
            Some(Ok(verdicts)) => {
                self.check_verdicts(&events, verdicts, &expected)?;
                true
            }
            Some(Err(AppendError::NotStored(error))) if is_committed => {
                return Violation::of(format!(
                    "a writer said that nothing was stored, which was: {error}"
                ));
            }
            Some(Err(_)) if sprung => is_committed,
            Some(Err(error)) => {
                let error = aevon_schema::with_causes(error);
                return Violation::of(format!(
                    "an append failed to which nothing was done: {error}"
                ));
            }
        };
        if is_stored {
            self.model.log.extend(stored);
        }
        if done.is_some() {
            if !is_stored {
                self.cache_numbers(&events).await?;
            }
            self.writers[usize::from(nth) % 2].kept = Some(writer);
        }
        match sprung {
            true => self.check_log().await,
            false => Ok(()),
        }
    }

    /// Two groups at once: the first one is held, and the second one comes.
    pub(super) async fn race(
        &mut self,
        first: &[Body],
        point: Point,
        second: &[Body],
    ) -> Result<(), Violation> {
        let (events, atomic) = self.model.group(first);
        let (other_events, other_atomic) = self.model.group(second);
        let (mut writer, mut other) = (self.take_writer(0), self.take_writer(1));
        let wire = &self.writers[0].wire;
        wire.set(point, Action::Hold);
        let (came, done, other_done) = two_at_once(
            &self.observer,
            wire,
            Box::pin(append(&mut writer, &events, &atomic)),
            Box::pin(append(&mut other, &other_events, &other_atomic)),
        )
        .await;
        self.counted.races += u64::from(came);
        self.counted.events += (events.len() + other_events.len()) as u64;
        // The lock decides who comes first.
        let is_first = !came || point != Point::Before("partitions_lock");
        let in_order: [(&[Body], &[NewEvent], Verdicts); 2] = match is_first {
            true => [(first, &events, done), (second, &other_events, other_done)],
            false => [(second, &other_events, other_done), (first, &events, done)],
        };
        for (bodies, events, done) in in_order {
            let (expected, stored) = self.model.appended(bodies);
            let verdicts = done.map_err(|error| {
                let error = aevon_schema::with_causes(&error);
                Violation(format!("one of two appends failed: {error}"))
            })?;
            self.check_verdicts(events, &verdicts, &expected)?;
            self.model.log.extend(stored);
        }
        self.writers[0].kept = Some(writer);
        self.writers[1].kept = Some(other);
        self.check_log().await
    }

    fn check_verdicts(
        &self,
        events: &[NewEvent],
        given: &[Verdict],
        expected: &[Verdict],
    ) -> Result<(), Violation> {
        let told = |verdict: &Verdict| match verdict {
            Verdict::Refused(faults) => {
                format!(
                    "refused: {:?}",
                    faults.iter().map(|f| f.code).collect::<Vec<_>>()
                )
            }
            // A writer that knows an event by its id alone.
            Verdict::Conflict(_) if self.fault == Some(Fault::DuplicateById) => {
                "duplicate".to_owned()
            }
            verdict => format!("{verdict:?}"),
        };
        for ((event, given), expected) in events.iter().zip(given).zip(expected) {
            let is_faulty = matches!(expected, Verdict::Refused(_));
            let right = match is_faulty {
                true => told(expected),
                false => format!("{expected:?}"),
            };
            if told(given) != right {
                return Violation::of(format!(
                    "{} of {} was told {}, and not {right}",
                    event.event_id,
                    event.principal_id,
                    told(given)
                ));
            }
        }
        match given.len() == expected.len() {
            true => Ok(()),
            false => Violation::of("not every event has its verdict"),
        }
    }

    /// The fault of a writer that remembers a principal's number although its transaction did not
    /// commit: the number is of nobody, and it is what the writer finds the next time.
    async fn cache_numbers(&self, events: &[NewEvent]) -> Result<(), Violation> {
        if self.fault != Some(Fault::NumberCachedBeforeCommit) {
            return Ok(());
        }
        for event in events {
            let of = (event.tenant_id.as_str(), event.principal_id.as_str());
            let is_known = |s: &Stored| (&*s.event.tenant_id, &*s.event.principal_id) == of;
            if !self.model.log.iter().any(is_known) {
                let partition = partition(of);
                let cached = "INSERT INTO sim_cached SELECT $1, $2, $3, nextval('principal_numbers') \
                    WHERE NOT EXISTS (SELECT FROM sim_cached WHERE tenant_id = $1 AND principal_id = $2)";
                let given = self
                    .observer
                    .execute(cached, &[&of.0, &of.1, &partition])
                    .await;
                given.map_err(Violation::from_observer)?;
            }
        }
        Ok(())
    }
}

async fn append(appender: &mut Appender, events: &[NewEvent], atomic: &[Range<usize>]) -> Verdicts {
    let events: Vec<&NewEvent> = events.iter().collect();
    appender.append_bodies(&events, atomic).await
}
