//! Sweeps, and the deleting of what nobody needs.

use std::time::Duration;

use aevon_schema::sweep::{Swept, Whose, sweep_once};
use aevon_schema::{Connection, StoreError, discards};

use super::appending::COMMITTED;
use super::{World, unless_killed};
use crate::fault::Fault;
use crate::model::PARTITIONS;
use crate::operation::{Operation, Point, Slice, Trouble};
use crate::run::Violation;
use crate::wire::Action;

/// Most steps in which what nobody needs of one generation is deleted.
const MAX_STEPS: usize = 100;

impl World {
    /// Which of the sweepers is free.
    fn free(&self, nth: u8) -> usize {
        if self.is_held {
            1
        } else {
            usize::from(nth) % 2
        }
    }

    pub(super) async fn sweep(
        &mut self,
        nth: u8,
        slice: &Slice,
        trouble: Option<Trouble>,
    ) -> Result<(), Violation> {
        let nth = self.free(nth);
        let mut connection = self.sweepers[nth].take().await?;
        let process = &self.sweepers[nth];
        process.set(trouble);
        let work = sweep(&mut connection, slice);
        let done = unless_killed(&process.wire, trouble, work).await;
        let sprung = process.wire.clear();
        self.counted.troubles += u64::from(sprung);
        if sprung {
            self.check_log().await?;
        }
        match done {
            None => Ok(()),
            Some(Ok(Some(_)))
                if sprung && trouble.is_some_and(|trouble| trouble.point == COMMITTED) =>
            {
                Violation::of("a sweep ended well whose commit was not answered")
            }
            Some(Ok(swept)) => {
                self.counted.sweeps += u64::from(swept.is_some());
                self.advance_late(swept).await?;
                self.sweepers[nth].kept = Some(connection);
                Ok(())
            }
            Some(Err(_)) if sprung => Ok(()),
            Some(Err(error)) => Violation::of_store("a sweep failed", &error),
        }
    }

    /// A sweep that is held at a point, while other things happen.
    pub(super) async fn during(
        &mut self,
        slice: &Slice,
        point: Point,
        meanwhile: &[Operation],
    ) -> Result<(), Violation> {
        if self.is_held {
            return Ok(());
        }
        let mut connection = self.sweepers[0].take().await?;
        self.sweepers[0].wire.set(point, Action::Hold);
        let swept = {
            let mut held = Box::pin(sweep(&mut connection, slice));
            let wire = &self.sweepers[0].wire;
            let ended = tokio::select! {
                biased;
                () = wire.sprung() => None,
                done = &mut held => Some(done),
            };
            match ended {
                Some(done) => done,
                None => {
                    self.counted.races += 1;
                    self.is_held = true;
                    let done = self.others(meanwhile).await;
                    self.is_held = false;
                    self.sweepers[0].wire.release();
                    done?;
                    held.await
                }
            }
        };
        self.sweepers[0].wire.clear();
        match swept {
            Ok(swept) => {
                self.advance_late(swept).await?;
                self.sweepers[0].kept = Some(connection);
                Ok(())
            }
            Err(error) => Violation::of_store("a sweep failed that was held", &error),
        }
    }

    async fn others(&mut self, operations: &[Operation]) -> Result<(), Violation> {
        for operation in operations {
            self.execute(operation).await?;
        }
        Ok(())
    }

    /// The fault of a sweeper that moves its checkpoint in a transaction of its own, behind that of the
    /// buckets: whoever was killed in between never comes here.
    pub(super) async fn advance_late(&self, swept: Option<Swept>) -> Result<(), Violation> {
        let (Some(Fault::CheckpointOutsideTransaction), Some(swept)) = (self.fault, swept) else {
            return Ok(());
        };
        let advance = match swept.from {
            0 => {
                "INSERT INTO sweep_checkpoints \
                 (rule_no, generation, partition, seq, totals_seq, links_seq) \
                 SELECT rule_no, generation, $1, $3, $3, $3 FROM swept_generations WHERE $2::bigint = 0 \
                 ON CONFLICT DO NOTHING"
            }
            _ => {
                "UPDATE sweep_checkpoints SET seq = $3, totals_seq = $3, links_seq = $3 \
                 WHERE partition = $1 AND seq = $2 \
                 AND (rule_no, generation) IN (SELECT rule_no, generation FROM swept_generations)"
            }
        };
        let Swept {
            partition,
            from,
            to,
            ..
        } = swept;
        let advanced = self
            .observer
            .execute(advance, &[&partition, &from, &to])
            .await;
        advanced.map_err(Violation::from_observer)?;
        Ok(())
    }

    pub(super) async fn discard(&mut self, trouble: Option<Trouble>) -> Result<(), Violation> {
        let nth = self.free(0);
        let mut connection = self.sweepers[nth].take().await?;
        let process = &self.sweepers[nth];
        process.set(trouble);
        let work = discard(&mut connection);
        let done = unless_killed(&process.wire, trouble, work).await;
        let sprung = process.wire.clear();
        self.counted.troubles += u64::from(sprung);
        if sprung {
            self.check_log().await?;
        }
        match done {
            None => Ok(()),
            Some(Ok(())) => {
                self.sweepers[nth].kept = Some(connection);
                Ok(())
            }
            Some(Err(_)) if sprung => Ok(()),
            Some(Err(error)) => Violation::of_store("buckets could not be deleted", &error),
        }
    }
}

async fn sweep(connection: &mut Connection, slice: &Slice) -> Result<Option<Swept>, StoreError> {
    let whose = match slice.is_front {
        true => Whose::Front,
        false => Whose::Behind,
    };
    let partition = i32::from(slice.partition) % PARTITIONS;
    sweep_once(connection, partition, slice.events.into(), whose).await
}

/// Deletes all that nobody needs, but what a sweeper keeps others from.
async fn discard(connection: &mut Connection) -> Result<(), StoreError> {
    for due in discards::due(connection, Some(Duration::ZERO)).await? {
        for _ in 0..MAX_STEPS {
            if discards::delete_some(connection, &due).await? != Some(true) {
                break;
            }
        }
    }
    Ok(())
}
