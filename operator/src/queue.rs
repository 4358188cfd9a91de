//! Looks that are due and have not begun. The controller of kube says nothing of its queue, so what goes in and out is noted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use tokio::time::Instant;

/// When each pipeline is to be looked at next; as a metric, how many wait for their look.
#[derive(Clone)]
pub struct Queue {
    /// By namespace and name.
    due: Arc<Mutex<HashMap<(String, String), Instant>>>,
    length: IntGauge,
}

impl Queue {
    /// An empty one, whose length is shown by a gauge.
    pub fn new(length: IntGauge) -> Self {
        Self { due: Arc::default(), length }
    }

    fn due(&self) -> MutexGuard<'_, HashMap<(String, String), Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A look at a pipeline is due in so much time, unless one is before.
    pub fn add(&self, namespace: &str, name: &str, after: Duration) {
        let at = Instant::now() + after;
        let mut due = self.due();
        let first = due.entry((namespace.to_owned(), name.to_owned())).or_insert(at);
        *first = at.min(*first);
    }

    /// The look begins, or the pipeline is gone.
    pub fn take(&self, namespace: &str, name: &str) {
        self.due().remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// How many pipelines are to be looked at until then.
    pub fn length(&self, until: Instant) -> usize {
        self.due().values().filter(|at| **at <= until).count()
    }
}

impl Collector for Queue {
    fn desc(&self) -> Vec<&Desc> {
        self.length.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.length.set(i64::try_from(self.length(Instant::now())).unwrap_or(i64::MAX));
        self.length.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn what_is_due_waits_until_its_look_begins() {
        let metrics = Metrics::new().unwrap();
        let queue = &metrics.queue;
        let waits = || {
            let text = metrics.text();
            let line = text.lines().find(|line| line.starts_with("thalweg_operator_queue_length "));
            line.unwrap_or_default().to_owned()
        };
        queue.add("shop", "later", HOUR);
        assert_eq!(waits(), "thalweg_operator_queue_length 0");
        queue.add("shop", "fares", Duration::ZERO);
        queue.add("shop", "fares", HOUR);
        queue.add("mint", "fares", Duration::ZERO);
        assert_eq!(waits(), "thalweg_operator_queue_length 2");
        queue.take("shop", "fares");
        assert_eq!(waits(), "thalweg_operator_queue_length 1");
        assert_eq!(queue.length(Instant::now() + 2 * HOUR), 2);
    }
}
