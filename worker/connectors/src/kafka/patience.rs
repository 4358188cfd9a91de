//! How long one tries again.

use std::time::Duration;

use thalweg_core::clock::SharedClock;
use thalweg_core::error::{Cause, Error, ErrorKind};
use thalweg_core::source::IN_DOUBT_EVERY;

use super::client::{ClientError, Topic};
use crate::outage::Attempt;

/// Between two attempts, at first and at the most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A topic must be missing so often in a row before it counts as deleted: metadata of a cluster that is starting may lack it.
pub(super) const MISSING: u32 = 5;
// Whoever looks so often looks for longer than metadata of a broker that has just started may lack a topic.
const _: () = assert!(IN_DOUBT_EVERY.saturating_mul(MISSING - 1).as_millis() > Waits::AGAIN.missing.as_millis());

/// How long a start waits for what is not there yet, before it fails and says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// For brokers that do not answer.
    pub away: Duration,
    /// For a topic of which they say that there is none: somebody may be about to make it.
    pub missing: Duration,
}

impl Waits {
    /// Of a process that ends where its start fails.
    pub const ONCE: Self = Self { away: Duration::from_secs(30), missing: Duration::from_secs(10) };
    /// Of one that starts again and again, while somebody wants to know what is amiss. Metadata of a broker that has just started
    /// is there within this time.
    pub const AGAIN: Self = Self { away: Duration::from_secs(5), missing: Duration::from_secs(3) };
}

impl Default for Waits {
    fn default() -> Self {
        Self::ONCE
    }
}

/// Attempts until a limit.
pub(super) struct Patience {
    clock: SharedClock,
    until: Duration,
    pause: Duration,
    told: bool,
    /// Where failures are told once they last.
    attempt: Option<Attempt>,
}

impl Patience {
    /// For so long from now on.
    pub fn new(clock: &SharedClock, limit: Duration) -> Self {
        Self { clock: clock.clone(), until: clock.monotonic() + limit, pause: PAUSE.0, told: false, attempt: None }
    }

    /// The same of an attempt to write, whose failures are told once they last.
    pub fn of(self, attempt: Attempt) -> Self {
        Self { attempt: Some(attempt), ..self }
    }

    /// Waits before the next attempt; `false` where the limit is over. The first wait of a second or more is told.
    pub async fn wait(&mut self, doing: &str, error: &ClientError) -> bool {
        if let Some(attempt) = &self.attempt {
            attempt.failed(error);
        }
        if self.clock.monotonic() >= self.until {
            return false;
        }
        if !self.told && self.pause >= Duration::from_secs(1) {
            self.told = true;
            tracing::warn!("{doing}: {error}; trying again");
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE.1);
        true
    }
}

/// Tries something again as long as nobody answers.
pub(super) async fn persist<T, F>(
    clock: &SharedClock,
    limit: Duration,
    doing: &str,
    attempt: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, ClientError>>,
{
    insist(Patience::new(clock, limit), doing, attempt).await
}

/// The same with a patience of one's own.
pub(super) async fn insist<T, F>(
    mut patience: Patience,
    doing: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, ClientError>>,
{
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error @ ClientError::Away(_)) => {
                if !patience.wait(doing, &error).await {
                    return Err(told(doing, &error));
                }
            }
            Err(error) => return Err(told(doing, &error)),
        }
    }
}

/// Looks for a topic at a start; `None` where brokers have said for long enough that there is none.
pub(super) async fn awaited<F>(
    clock: &SharedClock,
    waits: Waits,
    doing: &str,
    mut look: impl FnMut() -> F,
) -> Result<Option<Topic>, Error>
where
    F: Future<Output = Result<Option<Topic>, ClientError>>,
{
    let mut missing = None;
    loop {
        let mut attempts = 0;
        let found = persist(clock, waits.away, doing, || {
            attempts += 1;
            look()
        });
        if let Some(found) = found.await? {
            return Ok(Some(found));
        }
        // Nobody has said so while nobody answered: who comes back may lack it at first.
        if attempts > 1 {
            missing = None;
        }
        let patience = missing.get_or_insert_with(|| Patience::new(clock, waits.missing));
        if !patience.wait(doing, &ClientError::NoTopic).await {
            return Ok(None);
        }
    }
}

/// An error for the runtime and for people.
pub(super) fn told(doing: &str, error: &ClientError) -> Error {
    let (kind, hint) = match error {
        ClientError::Away(_) | ClientError::Abortable(_) | ClientError::CommitUnknown(_) | ClientError::Spent(_) => {
            (ErrorKind::External, Some("are the brokers up, and are `brokers` their addresses?"))
        }
        ClientError::NoTopic => (ErrorKind::User, Some("create it, or name another one in `kafka.topic`")),
        ClientError::OutOfRange | ClientError::Cut(_) | ClientError::Corrupt(_) => (ErrorKind::DataLoss, None),
        ClientError::Fenced(_) => (ErrorKind::Fenced, Some("does the same pipeline run twice?")),
        ClientError::TooLarge(_) => {
            (ErrorKind::User, Some("raise `max.message.bytes` of the topic, or write shorter rows"))
        }
        ClientError::Forbidden(refused) => return refused.about(doing),
        ClientError::Denied(_) | ClientError::Refused(_) => {
            (ErrorKind::User, Some("check `tls` and `sasl`, the values they refer to, and what this user may do"))
        }
    };
    let told = Error::new(kind, doing, error);
    let told = match error {
        ClientError::Denied(_) => told.because(Cause::Denied),
        ClientError::NoTopic => told.because(Cause::NotFound),
        _ => told,
    };
    hint.into_iter().fold(told, Error::with_hint)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kafka::played::Paused;

    #[tokio::test(start_paused = true)]
    async fn a_topic_is_waited_for_since_somebody_has_said_that_it_is_missing() {
        const STARTS: Duration = Duration::from_secs(4);
        let clock: SharedClock = Arc::new(Paused::new());
        let topic = Topic { id: 7, partitions: 1, may_read: true, may_write: true };
        // Whether it was missing before nobody answered, too.
        for was_missing_before in [false, true] {
            let (begun, mut asked, mut was_missing) = (clock.monotonic(), 0, false);
            let look = || {
                asked += 1;
                let said = match () {
                    () if was_missing_before && asked == 1 => Ok(None),
                    () if clock.monotonic() - begun < STARTS => Err(ClientError::Away("it starts".to_owned())),
                    () if !std::mem::replace(&mut was_missing, true) => Ok(None),
                    () => Ok(Some(topic)),
                };
                std::future::ready(said)
            };
            let found = awaited(&clock, Waits::AGAIN, "reading topic `t`", look).await.expect("somebody answers");
            assert_eq!(found, Some(topic));
            assert!(was_missing && STARTS > Waits::AGAIN.missing);
        }
    }

    #[test]
    fn what_is_missing_or_refused_has_a_cause_with_a_name() {
        let cause = |error: ClientError| told("reading topic `t`", &error).cause;
        assert_eq!(cause(ClientError::NoTopic), Some(Cause::NotFound));
        assert_eq!(cause(ClientError::Denied("no".to_owned())), Some(Cause::Denied));
        assert_eq!(cause(ClientError::Away("no".to_owned())), None);
    }
}
