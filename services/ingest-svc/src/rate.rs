//! A tenant's rate: so many events a second, in bursts of so many. Off unless set; of this process
//! alone, so that replicas allow as many times as much.

use aevon_core::event::NewEvent;
use aevon_service::problem::{Code, Problem};
use aevon_service::settings::IngestSettings;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use rustc_hash::FxHashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

/// Between two looks for tenants that are idle, in bodies.
const TIDY_INTERVAL: u32 = 10_000;

/// The rates of all tenants.
#[derive(Debug)]
pub(crate) struct RateLimits {
    tenants: Option<DefaultKeyedRateLimiter<String>>,
    burst: u32,
    clock: DefaultClock,
    bodies: AtomicU32,
}

impl RateLimits {
    pub(crate) fn new(settings: &IngestSettings) -> Self {
        let events = NonZeroU32::new(settings.tenant_events_per_second);
        let quota = events.map(|events| {
            let burst = NonZeroU32::new(settings.tenant_burst_events).unwrap_or(events);
            Quota::per_second(events).allow_burst(burst)
        });
        Self {
            tenants: quota.map(DefaultKeyedRateLimiter::keyed),
            burst: quota.map_or(0, |quota| quota.burst_size().get()),
            clock: DefaultClock::default(),
            bodies: AtomicU32::new(0),
        }
    }

    /// Counts a body's events against the rates of their tenants.
    ///
    /// # Errors
    /// 429; 413 where the body is more than a burst, so that waiting would not help.
    pub(crate) fn check(&self, events: &[NewEvent]) -> Result<(), Problem> {
        let Some(tenants) = &self.tenants else {
            return Ok(());
        };
        let before = self.bodies.fetch_add(1, Ordering::Relaxed);
        if before.is_multiple_of(TIDY_INTERVAL) {
            tenants.retain_recent();
        }
        let mut counts: FxHashMap<&String, u32> = FxHashMap::default();
        for event in events {
            *counts.entry(&event.tenant_id).or_default() += 1;
        }
        for (tenant_id, count) in counts {
            let Some(count) = NonZeroU32::new(count) else {
                continue;
            };
            match tenants.check_key_n(tenant_id, count) {
                Ok(Ok(())) => {}
                Ok(Err(until)) => {
                    let detail = "the tenant sends more events than it may; \
                                  sending the same body again later is safe";
                    let wait = until.wait_time_from(self.clock.now());
                    return Err(Problem::new(Code::RateLimited, detail).with_retry_after(wait));
                }
                Err(_) => {
                    let burst = self.burst;
                    let detail = format!("a tenant may send {burst} events at once, not {count}");
                    return Err(Problem::new(Code::TooManyEvents, detail));
                }
            }
        }
        Ok(())
    }
}
