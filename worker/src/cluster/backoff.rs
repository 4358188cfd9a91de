//! How long what has failed is left alone: twice as long after each failure.

use std::time::Duration;

use thalweg_core::error::{Cause, Error, ErrorKind};

use crate::runtime::RunError;

/// The first pause, and the longest: most of what fails once works a moment later.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// The longest pause of a job that waits for what has only to come: brokers that are started, a topic that is made. Each of its
/// attempts lasts for some seconds.
const AWAITED: Duration = Duration::from_secs(15);
/// So many failures of something outside are borne by the part of a job that meets them. Then the whole job begins anew, and
/// its connectors with what is mounted by then.
const BORNE: u32 = 4;
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

    /// The same for a whole job, which has failed of this.
    pub fn failed_of(&mut self, error: &RunError, ran: Duration) -> Duration {
        let pause = self.failed(ran);
        if is_awaited(error) { pause.min(AWAITED) } else { pause }
    }

    /// Whether a part of a job that fails like this is tried again by itself, and stops no other.
    pub fn bears(&self, error: &RunError) -> bool {
        error.is_local() || (error.kind() == ErrorKind::External && self.failures < BORNE)
    }
}

/// Whether it may come by itself: nothing of ours has to be changed.
fn is_awaited(error: &RunError) -> bool {
    let is_missing = matches!(error, RunError::Connector(Error { cause: Some(Cause::NotFound), .. }));
    is_missing || error.kind() == ErrorKind::External
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_what_failed_has_been_sound_for_a_while() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..12).map(|_| backoff.failed(Duration::ZERO).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        assert_eq!(backoff.failed(SOUND).as_millis(), 100);
        assert_eq!(backoff.failed(Duration::ZERO).as_millis(), 200);
    }

    #[test]
    fn a_job_that_waits_for_brokers_or_a_topic_looks_for_them_at_least_each_fifteen_seconds() {
        let longest = |error: fn() -> Error| {
            let mut backoff = Backoff::default();
            (0..12).map(|_| backoff.failed_of(&error().into(), Duration::ZERO).as_millis()).collect::<Vec<_>>()
        };
        let pauses = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000, 15_000, 15_000];
        assert_eq!(longest(|| Error::external("reaching Kafka", "connection refused")), pauses);
        assert_eq!(longest(|| Error::user("topic `t`", "there is none").because(Cause::NotFound)), pauses);
        let denied = longest(|| Error::user("logging in", "wrong password").because(Cause::Denied));
        assert_eq!(denied[8..], [25_600, 51_200, 60_000, 60_000]);
        // A topic that was deleted does not come by itself: one of its name is another one.
        assert_eq!(longest(|| Error::data_loss("topic `t`", "it was deleted")), denied);
    }

    #[test]
    fn what_fails_outside_stops_one_part_of_a_job_at_first_and_then_all() {
        let of = |error: Error| RunError::from(error);
        let away = of(Error::external("asking a broker", "no answer"));
        let mut backoff = Backoff::default();
        for _ in 0..BORNE {
            assert!(backoff.bears(&away));
            backoff.failed(Duration::ZERO);
        }
        assert!(!backoff.bears(&away));
        assert!(backoff.bears(&of(Error::data_loss("reading", "it is gone"))));
        assert!(!Backoff::default().bears(&of(Error::user("logging in", "wrong password"))));
    }
}
