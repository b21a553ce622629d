//! What a measured run counted: within a window that opens after the warm-up.

use std::fmt;
use std::time::{Duration, Instant};

/// How long a measurement takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Before the window opens: caches of principals, connections, plans.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

impl Span {
    /// So many seconds after a warm-up of two.
    pub(crate) fn seconds(seconds: u64) -> Self {
        Self {
            warm_up: Duration::from_secs(2),
            measured: Duration::from_secs(seconds),
        }
    }

    /// Warm-up included.
    pub(crate) fn whole(self) -> Duration {
        self.warm_up + self.measured
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} s", self.measured.as_secs_f64())
    }
}

/// When a run is warm, and when it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    from: Instant,
    to: Instant,
    /// Whether what was due within counts, whenever it was answered: else slow answers would not.
    of_due: bool,
}

impl Window {
    /// A window after the warm-up, which begins now.
    pub(crate) fn open(span: Span) -> Self {
        let from = Instant::now() + span.warm_up;
        Self {
            from,
            to: from + span.measured,
            of_due: false,
        }
    }

    /// The same for what is due within it, with a warm-up that begins at `start`.
    pub(crate) fn of_due(start: Instant, span: Span) -> Self {
        let from = start + span.warm_up;
        Self {
            from,
            to: from + span.measured,
            of_due: true,
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
    /// Counts what began, or was due, at `began` and has ended now.
    pub(crate) fn count(&mut self, window: &Window, began: Instant, done: u64) {
        let now = Instant::now();
        self.done_in_all += done;
        let counted = if window.of_due { began } else { now };
        if counted >= window.from && counted < window.to {
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
