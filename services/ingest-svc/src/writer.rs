//! A writer: takes what waits in its lane, appends it as one group, tells every request.
//!
//! Ordering: no artificial delay. While a commit is under way the next group gathers by itself.

use crate::queue::{Job, Unstored};
use aevon_core::append::Verdict;
use aevon_core::event::NewEvent;
use aevon_schema::append::{AppendError, Writer};
use aevon_schema::with_causes;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;

/// Events after which a group takes no further job: enough that the two round trips no longer
/// show, few enough that the first of them does not wait long.
const GROUP_EVENTS: usize = 4_000;
/// Bytes after which a group takes no further job.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// Runs until the lane is closed and empty.
pub(crate) async fn run(mut writer: Writer, mut lane: UnboundedReceiver<Job>, per_commit: usize) {
    while let Some(first) = lane.recv().await {
        let mut jobs = Vec::new();
        let (mut events, mut bytes) = (0, 0);
        let mut next = Some(first);
        while let Some(job) = next {
            events += job.events.len();
            bytes += job.room.bytes;
            // Nobody waits for it any more: nothing was acknowledged, so it need not be stored.
            if !job.reply.is_closed() {
                jobs.push(job);
            }
            if events >= GROUP_EVENTS || bytes >= GROUP_BYTES {
                break;
            }
            next = lane.try_recv().ok();
        }
        store(&mut writer, jobs, per_commit).await;
    }
}

async fn store(writer: &mut Writer, jobs: Vec<Job>, per_commit: usize) {
    let events: Vec<&(i32, NewEvent)> = jobs.iter().flat_map(|job| &job.events).collect();
    let mut verdicts: Vec<Option<Result<Verdict, Arc<AppendError>>>> = Vec::new();
    verdicts.resize_with(events.len(), || None);
    let partitions: BTreeSet<i32> = events.iter().map(|(partition, _)| *partition).collect();
    let partitions: Vec<i32> = partitions.into_iter().collect();
    for together in partitions.chunks(per_commit) {
        let is_in =
            |(_, event): &(usize, &&(i32, NewEvent))| together.binary_search(&event.0).is_ok();
        let (indexes, group): (Vec<usize>, Vec<&NewEvent>) = events
            .iter()
            .enumerate()
            .filter(is_in)
            .map(|(index, event)| (index, &event.1))
            .unzip();
        match writer.append(&group).await {
            Ok(decided) => {
                for (index, verdict) in indexes.into_iter().zip(decided) {
                    verdicts[index] = Some(Ok(verdict));
                }
            }
            Err(error) => {
                tracing::warn!(
                    events = group.len(),
                    error = with_causes(&error),
                    "a group was not acknowledged"
                );
                let error = Arc::new(error);
                for index in indexes {
                    verdicts[index] = Some(Err(Arc::clone(&error)));
                }
            }
        }
    }
    let mut verdicts = verdicts.into_iter();
    for job in jobs {
        let decided: Result<Vec<Verdict>, Unstored> = verdicts
            .by_ref()
            .take(job.events.len())
            .map(|verdict| match verdict {
                Some(Ok(verdict)) => Ok(verdict),
                Some(Err(error)) => Err(Unstored::Database(error)),
                None => Err(Unstored::Stopping),
            })
            .collect();
        // Whoever gave up waiting was not told anything; sending again is safe.
        let _ = job.reply.send(decided);
    }
}
