//! How long what has failed is left alone: twice as long after each failure.

use std::time::Duration;

/// The first pause, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// What ran this long before it failed is as good as new.
const SOUND: Duration = Duration::from_mins(2);

/// Failures of one thing, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It has failed once more, after it had run for so long. Gives how long it is left alone.
    pub fn failed(&mut self, ran: Duration) -> Duration {
        let before = if ran >= SOUND { 0 } else { self.failures };
        self.failures = before.saturating_add(1);
        PAUSE.0.saturating_mul(1 << before.min(16)).min(PAUSE.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_what_failed_has_been_sound_for_a_while() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..8).map(|_| backoff.failed(Duration::ZERO).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.failed(SOUND).as_secs(), 1);
        assert_eq!(backoff.failed(Duration::ZERO).as_secs(), 2);
    }
}
