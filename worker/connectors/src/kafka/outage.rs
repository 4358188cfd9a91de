//! Who waits for a partition of which nobody answers, and since when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::client::ClientError;

/// How long nobody has answered before that is told: a new leader is chosen sooner.
pub(super) const TOLD_AFTER: Duration = Duration::from_secs(10);

/// Those who wait for partitions of one topic in vain.
#[derive(Debug, Default)]
pub(super) struct Outages(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// How many have ever waited.
    count: u64,
    unanswered: BTreeMap<u64, Unanswered>,
}

#[derive(Debug)]
struct Unanswered {
    partition: u32,
    since: Duration,
    said: String,
}

impl Outages {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody wants a partition.
    pub(super) fn waiting(self: &Arc<Self>, partition: u32) -> Waiting {
        let mut noted = self.noted();
        noted.count += 1;
        Waiting { outages: Arc::clone(self), number: noted.count, partition }
    }

    /// What was said first to one who has waited for a partition in vain for [`TOLD_AFTER`].
    pub(super) fn told(&self, partition: u32, now: Duration) -> Option<String> {
        let noted = self.noted();
        let is_long = |it: &&Unanswered| it.partition == partition && now.saturating_sub(it.since) >= TOLD_AFTER;
        let found = noted.unanswered.values().find(is_long);
        found.map(|it| it.said.clone())
    }
}

/// Somebody who wants a partition. Whoever wants it no more waits for nothing.
#[derive(Debug)]
pub(super) struct Waiting {
    outages: Arc<Outages>,
    number: u64,
    partition: u32,
}

impl Waiting {
    /// Nobody answers, and nobody has since then; an earlier time counts where it was told before.
    pub(super) fn unanswered(&self, since: Duration, error: &ClientError) {
        let first = || Unanswered { partition: self.partition, since, said: error.to_string() };
        self.outages.noted().unanswered.entry(self.number).or_insert_with(first);
    }

    /// Somebody has answered.
    pub(super) fn answered(&self) {
        self.outages.noted().unanswered.remove(&self.number);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.answered();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_it_has_lasted_and_until_somebody_answers() {
        let (outages, at) = (Arc::new(Outages::default()), Duration::from_secs);
        let away = |said: &str| ClientError::Away(said.to_owned());
        let (one, other) = (outages.waiting(1), outages.waiting(2));
        one.unanswered(at(3), &away("refused"));
        one.unanswered(at(9), &away("no route"));
        other.unanswered(at(9), &away("no route"));
        assert_eq!(outages.told(1, at(12)), None, "a new leader may be chosen");
        assert_eq!(outages.told(1, at(13)).as_deref(), Some("refused"), "since the first time");
        assert_eq!(outages.told(2, at(13)), None, "it is another one's");
        one.answered();
        assert_eq!((outages.told(1, at(60)), outages.told(2, at(60)).as_deref()), (None, Some("no route")));
        drop(other);
        assert_eq!(outages.told(2, at(60)), None, "nobody wants it any more");
    }
}
