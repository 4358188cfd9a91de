//! How long to wait before something is tried again.

use std::time::Duration;

/// The first pause; each failure in a row doubles it.
const FIRST: Duration = Duration::from_millis(20);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses that grow while nothing succeeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pauses {
    failures: u32,
}

impl Pauses {
    /// It failed: the pause before it is tried again.
    pub fn failed(&mut self) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// It succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_until_something_succeeds() {
        let mut pauses = Pauses::default();
        let grown: Vec<_> = (0..8).map(|_| pauses.failed()).collect();
        assert_eq!(grown[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(grown[7], LONGEST);
        assert!((0..100).all(|_| pauses.failed() == LONGEST));
        pauses.succeeded();
        assert_eq!(pauses.failed(), FIRST);
    }
}
