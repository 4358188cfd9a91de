//! Pipelines whose pods are being replaced because the installation has changed: so many at once, and no more.

use std::sync::{Mutex, MutexGuard, PoisonError};

use thalweg_operator_plan::rollout::Places;
use tokio::time::Instant;

/// Namespace and name.
type Key = (String, String);

/// Places for pipelines that replace their pods.
pub struct Rollouts {
    limit: usize,
    began: Instant,
    places: Mutex<Places<Key>>,
}

impl Rollouts {
    /// No place is taken.
    pub fn new(limit: u16) -> Self {
        Self { limit: limit.into(), began: Instant::now(), places: Mutex::default() }
    }

    /// Whether a pipeline may begin, or has begun.
    pub fn take(&self, namespace: &str, name: &str) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        self.places().take(key, self.limit, self.began.elapsed())
    }

    /// Its pods are replaced, or it is gone.
    pub fn leave(&self, namespace: &str, name: &str) {
        self.places().leave(&(namespace.to_owned(), name.to_owned()));
    }

    fn places(&self) -> MutexGuard<'_, Places<Key>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
