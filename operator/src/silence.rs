//! How long each Lease has been unchanged, by this process's monotonic clock: clocks of machines are never compared.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::runtime::watcher::{self, Event};
use tokio::time::Instant;

/// A Lease by namespace and name.
type Key = (String, String);

/// When each Lease was last seen to change.
#[derive(Default)]
pub struct Silence {
    seen: Mutex<HashMap<Key, Seen>>,
    /// Those of a list that has begun.
    listed: Mutex<HashSet<Key>>,
}

struct Seen {
    version: String,
    since: Instant,
}

impl Silence {
    /// Takes note of an event of the Leases' watch. While the watch is broken nothing counts as silent, so that an outage
    /// of the API server is not taken for the death of every worker.
    pub fn note(&self, event: &watcher::Result<Event<Lease>>) {
        match event {
            Ok(Event::Apply(lease)) => self.touch(lease),
            Ok(Event::InitApply(lease)) => {
                self.listed().insert(key(lease));
                self.touch(lease);
            }
            Ok(Event::Delete(lease)) => drop(self.lock().remove(&key(lease))),
            Ok(Event::Init) => self.listed().clear(),
            Ok(Event::InitDone) => {
                // Others were deleted while nobody watched.
                let listed = std::mem::take(&mut *self.listed());
                self.lock().retain(|key, _| listed.contains(key));
            }
            Err(_) => self.restart(),
        }
    }

    /// A Lease was read; if it is another version than the one before, it was changed just now.
    pub fn touch(&self, lease: &Lease) {
        let version = lease.resource_version().unwrap_or_default();
        let mut seen = self.lock();
        let known = seen.get(&key(lease)).is_some_and(|seen| seen.version == version);
        if !known {
            seen.insert(key(lease), Seen { version, since: Instant::now() });
        }
    }

    /// How long a Lease has been unchanged; nothing for one that was never seen.
    pub fn of(&self, lease: &Lease) -> Duration {
        self.lock().get(&key(lease)).map(|seen| seen.since.elapsed()).unwrap_or_default()
    }

    /// Begins anew for one Lease: what is known of it may be old.
    pub fn doubt(&self, lease: &Lease) {
        if let Some(seen) = self.lock().get_mut(&key(lease)) {
            seen.since = Instant::now();
        }
    }

    fn restart(&self) {
        self.lock().values_mut().for_each(|seen| seen.since = Instant::now());
    }

    fn listed(&self) -> std::sync::MutexGuard<'_, HashSet<Key>> {
        self.listed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Seen>> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn key(lease: &Lease) -> Key {
    (lease.namespace().unwrap_or_default(), lease.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.name = Some("p-0".to_owned());
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_last_change_and_not_over_an_outage() {
        let silence = Silence::default();
        assert_eq!(silence.of(&lease("1")), Duration::ZERO);
        silence.note(&Ok(Event::Apply(lease("1"))));
        tokio::time::advance(Duration::from_secs(9)).await;
        silence.note(&Ok(Event::InitApply(lease("1"))));
        assert_eq!(silence.of(&lease("1")), Duration::from_secs(9));
        silence.note(&Ok(Event::Apply(lease("2"))));
        assert_eq!(silence.of(&lease("2")), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(9)).await;
        silence.note(&Err(watcher::Error::NoResourceVersion));
        assert_eq!(silence.of(&lease("2")), Duration::ZERO);
    }

    #[test]
    fn a_lease_that_a_list_does_not_hold_is_gone() {
        let silence = Silence::default();
        let other = |version| {
            let mut other = lease(version);
            other.metadata.name = Some("p-1".to_owned());
            other
        };
        for event in [Event::Apply(lease("1")), Event::Apply(other("2")), Event::Init, Event::InitApply(other("2"))] {
            silence.note(&Ok(event));
        }
        assert_eq!(silence.lock().len(), 2, "the list has not ended");
        silence.note(&Ok(Event::InitDone));
        assert_eq!(silence.lock().keys().collect::<Vec<_>>(), [&key(&other("2"))]);
    }
}
