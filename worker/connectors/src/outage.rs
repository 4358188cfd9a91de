//! Who waits for a system that does not answer, and since when: to tell it while they wait.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use thalweg_core::clock::SharedClock;

/// How long nobody has answered before that is told: a new leader is chosen sooner.
pub(crate) const TOLD_AFTER: Duration = Duration::from_secs(10);
/// What takes this long is looked into, and so often: the half of [`TOLD_AFTER`].
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Those who wait in vain, by what they wait for: each partition of a topic, or a sink as a whole.
#[derive(Debug)]
pub(crate) struct Outages<K>(Mutex<Noted<K>>);

#[derive(Debug)]
struct Noted<K> {
    /// How many have ever waited.
    count: u64,
    unanswered: BTreeMap<K, Outage>,
}

/// It lasts until somebody gets through; whoever gives up, and tries again later, has not.
#[derive(Debug)]
struct Outage {
    /// What was said first: each change of it would be news to those who are told.
    said: String,
    is_told: bool,
    /// Those who wait, and since when.
    waiting: BTreeMap<u64, Duration>,
}

impl<K> Default for Outages<K> {
    fn default() -> Self {
        Self(Mutex::new(Noted { count: 0, unanswered: BTreeMap::new() }))
    }
}

impl<K: Copy + Ord> Outages<K> {
    fn noted(&self) -> MutexGuard<'_, Noted<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody wants something of it.
    pub(crate) fn waiting(self: &Arc<Self>, of: K) -> Waiting<K> {
        let mut noted = self.noted();
        noted.count += 1;
        Waiting { outages: Arc::clone(self), number: noted.count, of }
    }

    /// What was said first of it, once somebody has waited for it in vain for [`TOLD_AFTER`] and while anybody does.
    pub(crate) fn told(&self, of: K, now: Duration) -> Option<String> {
        let mut noted = self.noted();
        let outage = noted.unanswered.get_mut(&of).filter(|outage| !outage.waiting.is_empty())?;
        outage.is_told |= outage.waiting.values().any(|since| now.saturating_sub(*since) >= TOLD_AFTER);
        outage.is_told.then(|| outage.said.clone())
    }

    /// Somebody has got through, who may have waited: unless others wait in vain still, it is over.
    fn answered(&self, of: K, number: Option<u64>) {
        let mut noted = self.noted();
        let Some(outage) = noted.unanswered.get_mut(&of) else { return };
        if let Some(number) = number {
            outage.waiting.remove(&number);
        }
        if outage.waiting.is_empty() {
            noted.unanswered.remove(&of);
        }
    }
}

/// Somebody who wants something. Whoever wants it no more waits for nothing.
#[derive(Debug)]
pub(crate) struct Waiting<K: Copy + Ord> {
    outages: Arc<Outages<K>>,
    number: u64,
    of: K,
}

impl<K: Copy + Ord> Waiting<K> {
    /// Nobody answers, and nobody has since then; an earlier time counts where it was told before.
    pub(crate) fn unanswered(&self, since: Duration, said: impl fmt::Display) {
        let mut noted = self.outages.noted();
        let first = || Outage { said: said.to_string(), is_told: false, waiting: BTreeMap::new() };
        noted.unanswered.entry(self.of).or_insert_with(first).waiting.entry(self.number).or_insert(since);
    }

    /// Somebody has answered.
    pub(crate) fn answered(&self) {
        self.outages.answered(self.of, Some(self.number));
    }
}

impl<K: Copy + Ord> Drop for Waiting<K> {
    fn drop(&mut self) {
        if let Some(outage) = self.outages.noted().unanswered.get_mut(&self.of) {
            outage.waiting.remove(&self.number);
        }
    }
}

/// Watches over what a sink does: where that takes long, it asks whether the sink's system answers at all. Client libraries try
/// again for minutes before they say anything.
pub(crate) struct Watch {
    /// The system, as people are told of it: its kind and its addresses.
    system: String,
    clock: SharedClock,
    outages: Arc<Outages<()>>,
}

impl Watch {
    /// Nothing is done yet.
    pub(crate) fn new(system: String, clock: SharedClock) -> Self {
        Self { system, clock, outages: Arc::default() }
    }

    /// Somebody tries to have the system take something, from now on.
    pub(crate) fn attempt(&self) -> Attempt {
        let (since, now) = (self.clock.monotonic(), self.clock.wall_millis());
        let at = DateTime::from_timestamp_millis(now).unwrap_or_default();
        let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let told = format!("{} has taken nothing since {at}", self.system);
        Attempt { waiting: self.outages.waiting(()), since, told }
    }

    /// Does something, and while it takes long asks again and again whether anybody answers; `ask` gives what was said where
    /// nobody does.
    ///
    /// # Cancel safety
    /// That of what is done.
    pub(crate) async fn over<T, E, A: Future<Output = Result<(), String>>>(
        &self,
        doing: impl Future<Output = Result<T, E>>,
        ask: impl Fn() -> A,
    ) -> Result<T, E> {
        let done = tokio::select! {
            biased;
            done = doing => done,
            never = self.look(ask) => match never {},
        };
        if done.is_ok() {
            self.outages.answered((), None);
        }
        done
    }

    /// What was said first since the system has taken nothing, once somebody has tried in vain for [`TOLD_AFTER`] and while anybody
    /// tries; with the system and since when.
    pub(crate) fn told(&self) -> Option<String> {
        self.outages.told((), self.clock.monotonic())
    }

    async fn look<A: Future<Output = Result<(), String>>>(&self, ask: impl Fn() -> A) -> Infallible {
        let mut attempt = self.attempt();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match ask().await {
                // It is slow, and there.
                Ok(()) => {
                    attempt.waiting.answered();
                    attempt = self.attempt();
                }
                Err(said) => attempt.failed(said),
            }
        }
    }
}

/// Somebody who tries, since some moment; dropped, it has got through, or tries no more.
pub(crate) struct Attempt {
    waiting: Waiting<()>,
    since: Duration,
    /// What is told of it, but for the error.
    told: String,
}

impl Attempt {
    /// It has failed, and is tried again.
    pub(crate) fn failed(&self, said: impl fmt::Display) {
        self.waiting.unanswered(self.since, format_args!("{} ({said})", self.told));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::paused::Paused;

    #[test]
    fn an_outage_is_told_once_it_has_lasted_and_until_somebody_answers() {
        let (outages, at) = (Arc::new(Outages::default()), Duration::from_secs);
        let (one, other) = (outages.waiting(1), outages.waiting(2));
        one.unanswered(at(3), "refused");
        one.unanswered(at(9), "no route");
        other.unanswered(at(9), "no route");
        assert_eq!(outages.told(1, at(12)), None, "a new leader may be chosen");
        assert_eq!(outages.told(1, at(13)).as_deref(), Some("refused"), "since the first time");
        assert_eq!(outages.told(2, at(13)), None, "it is another one's");
        one.answered();
        assert_eq!((outages.told(1, at(60)), outages.told(2, at(60)).as_deref()), (None, Some("no route")));
        drop(other);
        assert_eq!(outages.told(2, at(60)), None, "nobody wants it any more");
    }

    #[test]
    fn what_is_told_of_an_outage_stays_whoever_waits_until_somebody_gets_through() {
        let (outages, at) = (Arc::new(Outages::default()), Duration::from_secs);
        let (one, other) = (outages.waiting(1), outages.waiting(1));
        one.unanswered(at(0), "refused");
        other.unanswered(at(9), "no route");
        assert_eq!(outages.told(1, at(10)).as_deref(), Some("refused"));
        drop(one);
        assert_eq!(outages.told(1, at(11)).as_deref(), Some("refused"), "it goes on");
        drop(other);
        assert_eq!(outages.told(1, at(12)), None, "both have given up");
        let again = outages.waiting(1);
        again.unanswered(at(60), "no route");
        assert_eq!(outages.told(1, at(61)).as_deref(), Some("refused"), "nobody has got through meanwhile");
        again.answered();
        again.unanswered(at(70), "no leader");
        assert_eq!(outages.told(1, at(79)), None, "it is another outage");
        assert_eq!(outages.told(1, at(80)).as_deref(), Some("no leader"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_looked_into_and_told_only_where_nobody_answers() {
        let watch = Watch::new("Kafka at b:9092".to_owned(), Arc::new(Paused::new()));
        // It is slow for a minute, and somebody answers.
        let asked = AtomicU64::new(0);
        let answers = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok::<(), String>(())
        };
        let slow = async {
            tokio::time::sleep(Duration::from_secs(59)).await;
            Ok::<_, Infallible>(())
        };
        assert_eq!(watch.over(slow, answers).await, Ok(()));
        assert_eq!(asked.load(Ordering::Relaxed), 11, "each five seconds");
        assert_eq!(watch.told(), None);
        // From second 59 on nobody does.
        let silent = || async { Err::<(), _>("connection refused".to_owned()) };
        let told_after = async |seconds: u64| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            watch.told()
        };
        let (early, late) = tokio::select! {
            biased;
            _ = watch.over(std::future::pending::<Result<(), Infallible>>(), silent) => panic!("it does not end"),
            told = async { (told_after(9).await, told_after(2).await) } => told,
        };
        assert_eq!(early, None, "it may be over soon");
        let expected = "Kafka at b:9092 has taken nothing since 1970-01-01T00:00:59Z (connection refused)";
        assert_eq!(late.as_deref(), Some(expected));
        assert_eq!(watch.told(), None, "nobody wants it any more");
        // Whoever tries again is told of the same outage, and whoever gets through ends it.
        let fails = async {
            tokio::time::sleep(Duration::from_secs(6)).await;
            Err::<(), _>(watch.told())
        };
        assert_eq!(watch.over(fails, silent).await, Err(Some(expected.to_owned())));
        assert_eq!(watch.over(std::future::ready(Ok::<_, Infallible>(())), silent).await, Ok(()));
        let begins = async {
            tokio::time::sleep(Duration::from_secs(6)).await;
            Err::<(), _>(watch.told())
        };
        assert_eq!(watch.over(begins, silent).await, Err(None), "it may be over soon");
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_that_fail_again_and_again_are_told_though_somebody_answers() {
        let watch = Watch::new("Kafka at b:9092".to_owned(), Arc::new(Paused::new()));
        let attempt = watch.attempt();
        attempt.failed("no leader");
        tokio::time::sleep(TOLD_AFTER - Duration::from_secs(1)).await;
        assert_eq!(watch.told(), None);
        tokio::time::sleep(Duration::from_secs(1)).await;
        attempt.failed("too few replicas");
        let told = watch.told().expect("it lasts");
        assert!(told.ends_with("since 1970-01-01T00:00:00Z (no leader)"), "{told}");
        drop(attempt);
        assert_eq!(watch.told(), None, "it has got through");
    }
}
