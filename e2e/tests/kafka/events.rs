//! Events that check themselves: each key counts its own.

use std::collections::BTreeMap;
use std::time::Duration;

use krafka::Record;
use serde_json::{Value, json};
use thalweg_e2e::kafka::{Filler, Kafka, Seen};

/// Keys among which events are dealt.
pub const KEYS: u64 = 37;

/// Event `number` of all: the event `n` of its key, ten milliseconds after the one before.
pub fn event(number: u64) -> (String, Value) {
    let (key, n) = (format!("k{}", number % KEYS), number / KEYS);
    (key.clone(), json!({ "key": key, "n": n, "at": number * 10, "amount": number % 101 }))
}

/// Sends events `from..to` to a topic, so many a second.
pub async fn fill(kafka: &Kafka, topic: &str, numbers: std::ops::Range<u64>, per_second: u64) {
    fill_with(Filler::new(kafka).await, topic, numbers, per_second).await;
}

/// [`fill`], by a filler that is there already.
pub async fn fill_with(mut filler: Filler, topic: &str, numbers: std::ops::Range<u64>, per_second: u64) {
    let started = tokio::time::Instant::now();
    let first = numbers.start;
    for number in numbers {
        let (key, value) = event(number);
        filler.send(Record::new(topic, value.to_string()).key(key)).await;
        let due = Duration::from_secs_f64((number - first) as f64 / per_second as f64);
        if number % 100 == 0 {
            tokio::time::sleep_until(started + due).await;
        }
    }
    filler.finish().await;
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
