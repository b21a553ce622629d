//! What a measured run counted: within a window that opens after the warm-up.

use std::time::{Duration, Instant};

/// When a run is warm, and when it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    from: Instant,
    to: Instant,
}

/// Before the window opens: caches of principals, connections, plans.
const WARM_UP: Duration = Duration::from_secs(2);

impl Window {
    /// A window of so many seconds, after the warm-up, which begins now.
    pub(crate) fn open(seconds: u64) -> Self {
        let from = Instant::now() + WARM_UP;
        Self {
            from,
            to: from + Duration::from_secs(seconds),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.to
    }

    /// How long a run may take that lets its last request finish.
    pub(crate) fn bound(&self) -> Duration {
        const LAST_REQUEST: Duration = Duration::from_secs(60);
        self.to.saturating_duration_since(Instant::now()) + LAST_REQUEST
    }

    fn seconds(&self) -> f64 {
        (self.to - self.from).as_secs_f64()
    }
}

/// Latencies in microseconds, and how much was done within the window.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    latencies: Vec<u32>,
    done: u64,
    /// Warm-up and end included.
    pub(crate) done_in_all: u64,
}

impl Tally {
    /// Counts what began at `began` and has ended now; returns whether the window is open still.
    pub(crate) fn count(&mut self, window: &Window, began: Instant, done: u64) {
        let now = Instant::now();
        self.done_in_all += done;
        if now >= window.from && now < window.to {
            self.done += done;
            self.add(now - began);
        }
    }

    /// Adds a latency.
    pub(crate) fn add(&mut self, latency: Duration) {
        self.latencies
            .push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    /// How many latencies there are.
    pub(crate) fn len(&self) -> usize {
        self.latencies.len()
    }

    /// Takes in what another task counted.
    pub(crate) fn merge(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.done += other.done;
        self.done_in_all += other.done_in_all;
    }

    pub(crate) fn per_second(&self, window: &Window) -> f64 {
        self.done as f64 / window.seconds()
    }

    /// The latency in ms below which this share of the requests lies; 0 without requests.
    pub(crate) fn percentile(&mut self, percent: usize) -> f64 {
        self.latencies.sort_unstable();
        let rank = (self.latencies.len() * percent).div_ceil(100).max(1) - 1;
        self.latencies
            .get(rank)
            .map_or(0.0, |us| f64::from(*us) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut tally = Tally::default();
        assert_eq!(tally.percentile(50), 0.0);
        for ms in (1..=200).rev() {
            tally.add(Duration::from_millis(ms));
        }
        assert_eq!(tally.percentile(50), 100.0);
        assert_eq!(tally.percentile(99), 198.0);
    }
}
