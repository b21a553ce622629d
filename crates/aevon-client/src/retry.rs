//! How long to wait before the next attempt.
//!
//! Invariant: nobody comes back sooner than the service has asked for.

use std::time::Duration;

/// Waits that double, with chance in them, so that those who failed together don't come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure.
    pub first: Duration,
    /// The longest wait after any.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// The wait after so many failures in a row (from 1): between a half and the whole of
    /// `first · 2^(failures − 1)`, and of `longest` at most. `dice` is from 0 to 1. Where the service
    /// asked for more, what it asked for and up to `first` on top.
    #[must_use]
    pub fn wait(&self, failures: u32, retry_after: Option<Duration>, dice: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let longest = self.first.saturating_mul(doubled).min(self.longest);
        let chance = dice.clamp(0.0, 1.0);
        let wait = longest.mul_f64(0.5 + chance / 2.0);
        match retry_after {
            Some(asked) if asked > wait => asked.saturating_add(self.first.mul_f64(chance)),
            _ => wait,
        }
    }
}

/// What `retry-after` says: seconds, or an instant, which `now` makes a wait of.
pub(crate) fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_has_its_bounds_and_honours_what_was_asked_for(
            first in 1_u64..10_000, more in 0_u64..100_000, failures in 0_u32..=u32::MAX,
            asked in proptest::option::of(0_u64..200_000), dice in 0.0..1.0,
        ) {
            let ms = Duration::from_millis;
            let backoff = Backoff { first: ms(first), longest: ms(first + more) };
            let wait = backoff.wait(failures, asked.map(ms), dice);
            let most = backoff.longest.max(asked.map_or(Duration::ZERO, ms) + backoff.first);
            prop_assert!(wait >= backoff.first / 2 && wait <= most, "{wait:?}");
            prop_assert!(asked.is_none_or(|asked| wait >= ms(asked)), "{wait:?}");
            let next = backoff.wait(failures.saturating_add(1), None, dice);
            prop_assert!(next >= backoff.wait(failures, None, dice), "{next:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_an_instant() {
        let now = "2015-10-21T07:27:30Z".parse().unwrap();
        let read = |text| retry_after(text, now);
        assert_eq!(read("1"), Some(Duration::from_secs(1)));
        let date = "Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(read(date), Some(Duration::from_secs(30)));
        assert_eq!(read("Wed, 21 Oct 2015 07:27:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }
}
