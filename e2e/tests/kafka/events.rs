//! Events that check themselves: each key counts its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use krafka::Record;
use serde_json::{Value, json};
use thalweg_e2e::kafka::{Filler, Kafka, Seen};
use tokio::task::JoinHandle;

/// Keys among which events are dealt.
pub const KEYS: u64 = 37;

/// Event `number` of all: the event `n` of its key, ten milliseconds after the one before.
pub fn event(number: u64) -> (String, Value) {
    let (key, n) = (format!("k{}", number % KEYS), number / KEYS);
    (key.clone(), json!({ "key": key, "n": n, "at": number * 10, "amount": number % 101 }))
}

/// Sends events `from..to` to a topic, so many a second.
pub async fn fill(kafka: &Kafka, topic: &str, numbers: std::ops::Range<u64>, per_second: u64) {
    let _ = fill_with(Filler::new(kafka).await, topic, numbers, per_second).await;
}

/// [`fill`], by a filler that is there already; the number after the last one sent.
pub async fn fill_with(
    mut filler: Filler,
    topic: &str,
    numbers: impl IntoIterator<Item = u64>,
    per_second: u64,
) -> Option<u64> {
    let started = tokio::time::Instant::now();
    let mut last = None;
    for (sent, number) in numbers.into_iter().enumerate() {
        let (key, value) = event(number);
        filler.send(Record::new(topic, value.to_string()).key(key)).await;
        if sent % 100 == 0 {
            tokio::time::sleep_until(started + Duration::from_secs_f64(sent as f64 / per_second as f64)).await;
        }
        last = Some(number);
    }
    filler.finish().await;
    last.map(|last| last + 1)
}

/// Events that are sent until they are stopped, however long what a test waits for takes.
#[must_use]
pub struct Filling {
    stopped: Arc<AtomicBool>,
    task: JoinHandle<Option<u64>>,
}

impl Filling {
    /// Sends events from `first` on, so many a second.
    pub async fn start(kafka: &Kafka, topic: &'static str, first: u64, per_second: u64) -> Self {
        let filler = Filler::new(kafka).await;
        let stopped = Arc::new(AtomicBool::new(false));
        let told = stopped.clone();
        let numbers = (first..).take_while(move |_| !told.load(Ordering::Relaxed));
        Self { stopped, task: tokio::spawn(fill_with(filler, topic, numbers, per_second)) }
    }

    /// Waits until everything sent is acknowledged; the number after the last one.
    pub async fn stop(self) -> u64 {
        self.stopped.store(true, Ordering::Relaxed);
        self.task.await.expect("filled").expect("events")
    }
}

/// What an independent reader found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Events that are not there.
    pub lost: u64,
    /// Events that are there again.
    pub duplicated: u64,
    /// Events that come after a later one of their key.
    pub out_of_order: u64,
}

/// Checks that exactly the events below `total` are there, in the order of their keys; `n` is read off each record.
pub fn check(seen: &[Seen], total: u64) -> Found {
    let mut found = Found::default();
    let mut next: BTreeMap<&str, (u64, Vec<bool>)> = BTreeMap::new();
    for record in seen {
        let key = record.key.as_deref().expect("a key");
        let value: Value = serde_json::from_str(record.value.as_deref().expect("a value")).expect("json");
        assert_eq!(value["key"], key);
        let n = value["n"].as_u64().expect("a number");
        let (expected, there) = next.entry(key).or_default();
        there.resize(there.len().max(n as usize + 1), false);
        found.duplicated += u64::from(std::mem::replace(&mut there[n as usize], true));
        found.out_of_order += u64::from(n < *expected);
        *expected = n + 1;
    }
    for key in 0..KEYS {
        let expected = (total + KEYS - 1 - key) / KEYS;
        let name = format!("k{key}");
        let there = next.get(&*name).map_or(0, |(_, there)| there.iter().filter(|there| **there).count() as u64);
        found.lost += expected.saturating_sub(there);
    }
    found
}
