//! A lane: what waits for one writer, in turns.
//!
//! Ordering: of one flow, first in, first out. Flows take turns of about [`TURN_EVENTS`] events
//! (deficit round robin: Shreedhar and Varghese, 1995), so that what a quiet tenant sends is in the
//! next group, however much of a loud one's waits before it.

use crate::queue::Job;
use crate::shares::Flow;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Events of a turn: of a group with several flows, each has its part.
pub(crate) const TURN_EVENTS: usize = 500;

/// Jobs that wait.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    waiting: Mutex<Waiting>,
    /// There is something to take, or nothing will ever be again.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    flows: FxHashMap<Flow, VecDeque<Job>>,
    /// Each flow that waits, once, with the events that it may take at its turn.
    turns: VecDeque<(Flow, usize)>,
    is_closed: bool,
}

impl Lane {
    /// Puts a job behind the others of its flow. False where the lane is closed.
    pub(crate) fn push(&self, job: Job) -> bool {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return false;
        }
        let was_empty = waiting.turns.is_empty();
        let flow = job.room.flow();
        if let Some(jobs) = waiting.flows.get_mut(flow) {
            jobs.push_back(job);
        } else {
            let flow = flow.clone();
            waiting.turns.push_back((flow.clone(), 0));
            waiting.flows.insert(flow, VecDeque::from([job]));
        }
        drop(waiting);
        if was_empty {
            self.changed.notify_one();
        }
        true
    }

    /// What comes next: jobs until they have so many events or bytes. None once the lane is closed
    /// and empty. One caller at a time.
    pub(crate) async fn group(&self, max_events: usize, max_bytes: usize) -> Option<Vec<Job>> {
        loop {
            {
                let mut waiting = self.lock();
                if !waiting.turns.is_empty() {
                    return Some(waiting.take(max_events, max_bytes));
                }
                if waiting.is_closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Takes nothing any more; what waits is still given out.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self, max_events: usize, max_bytes: usize) -> Vec<Job> {
        let mut group = Vec::new();
        let (mut events, mut bytes) = (0, 0);
        while let Some((flow, left)) = self.turns.pop_front() {
            let mut allowed = left + TURN_EVENTS;
            let Some(jobs) = self.flows.get_mut(&flow) else {
                continue;
            };
            while let Some(next) = jobs.front().map(|job| job.events.len())
                && next <= allowed
                && let Some(job) = jobs.pop_front()
            {
                allowed -= job.events.len();
                events += job.events.len();
                bytes += job.room.size().bytes;
                // Nobody waits for it any more: nothing was acknowledged, so it need not be stored.
                if !job.reply.is_closed() {
                    group.push(job);
                }
                if events >= max_events || bytes >= max_bytes {
                    break;
                }
            }
            if jobs.is_empty() {
                self.flows.remove(&flow);
            } else {
                self.turns.push_back((flow, allowed));
            }
            if events >= max_events || bytes >= max_bytes {
                break;
            }
        }
        group
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::shares::{Shares, Size};
    use aevon_core::event::NewEvent;
    use aevon_core::time::Timestamp;
    use tokio::sync::oneshot;

    /// A job of a flow, and where its answer arrives.
    pub(crate) fn job(shares: &Shares, flow: &str, id: &str, events: usize) -> (Job, Answer) {
        let event = NewEvent {
            tenant_id: flow.to_owned(),
            principal_id: "p".to_owned(),
            event_id: id.to_owned(),
            event_type: "t".to_owned(),
            occurred_at: Timestamp::from_micros(0),
            is_time_received: false,
            schema_version: 0,
            data: "{}".to_owned(),
            metadata: "{}".to_owned(),
            refusals: Vec::new(),
        };
        let (reply, answer) = oneshot::channel();
        let room = shares.take(&Flow::from(flow), Size { events, bytes: 1 });
        let job = Job {
            events: vec![(0, event); events],
            is_atomic: false,
            reply,
            room: room.unwrap(),
            span: tracing::Span::none(),
        };
        (job, answer)
    }

    pub(crate) type Answer = oneshot::Receiver<crate::queue::Answer>;

    fn ids(group: &[Job]) -> Vec<&str> {
        group.iter().map(|job| job.events[0].1.id()).collect()
    }

    #[tokio::test]
    async fn a_quiet_flow_is_in_the_next_group_however_much_waits_before_it() {
        let (lane, shares) = (
            Lane::default(),
            Shares::new(Size {
                events: 1_000_000,
                bytes: 1_000_000,
            }),
        );
        let mut answers = Vec::new();
        for number in 0..100 {
            let (job, answer) = job(&shares, "loud", &format!("loud-{number}"), 1_000);
            assert!(lane.push(job));
            answers.push(answer);
        }
        let (quiet, answer) = job(&shares, "quiet", "quiet", 1);
        lane.push(quiet);
        let group = lane.group(4_000, 1 << 20).await.unwrap();
        assert!(ids(&group).contains(&"quiet"), "{:?}", ids(&group));
        assert_eq!(
            group.iter().map(|job| job.events.len()).sum::<usize>(),
            4_001
        );
        // Of one flow the order stays, over groups as well.
        let second = lane.group(4_000, 1 << 20).await.unwrap();
        assert_eq!(ids(&second), ["loud-4", "loud-5", "loud-6", "loud-7"]);
        drop((answers, answer));
    }

    #[tokio::test]
    async fn what_waits_is_given_out_after_the_end_and_what_nobody_waits_for_is_not() {
        let (lane, shares) = (
            Lane::default(),
            Shares::new(Size {
                events: 100,
                bytes: 100,
            }),
        );
        let (kept, answer) = job(&shares, "a", "kept", 1);
        let (given_up, _) = job(&shares, "a", "given up", 1);
        assert!(lane.push(given_up) && lane.push(kept));
        lane.close();
        assert!(!lane.push(job(&shares, "a", "late", 1).0));
        assert_eq!(ids(&lane.group(10, 10).await.unwrap()), ["kept"]);
        assert!(lane.group(10, 10).await.is_none());
        assert_eq!(shares.level().0.events, 0);
        drop(answer);
    }
}
