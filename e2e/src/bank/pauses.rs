//! How long each unit was silent, as a reader sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kafka::{Kafka, Seen, Tail};

/// Silences that are shorter are the rhythm of commits.
const SHORTEST: Duration = Duration::from_millis(300);

/// Who watches an output while others write to it.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Arrivals>>,
    _tail: Tail,
}

/// A time without rows of a unit.
#[derive(Clone, Debug)]
pub struct Silence {
    /// The input partition whose rows the unit passes on: `p3`.
    pub unit: String,
    /// Its first moment.
    pub from: Instant,
    /// The moment of the next row.
    pub to: Instant,
}

impl Silence {
    /// How long it was.
    pub fn length(&self) -> Duration {
        self.to - self.from
    }
}

#[derive(Debug, Default)]
struct Arrivals {
    rows: u64,
    /// The greatest offset of each partition: a consumer that lost its broker may begin again.
    known: HashMap<u32, u64>,
    /// By input partition, whose unit passes its rows on: when the last row came.
    last: HashMap<String, Instant>,
    last_of_all: Option<Instant>,
    of_units: Vec<Silence>,
    of_all: Duration,
}

impl Watch {
    /// Watches an output of the bank.
    pub fn of(kafka: &Kafka, topic: &str) -> Self {
        let seen = Arc::<Mutex<Arrivals>>::default();
        let noted = seen.clone();
        let tail = kafka.tail(topic, move |row| lock(&noted).note(&row, now()));
        Self { seen, _tail: tail }
    }

    /// How many rows came.
    pub fn rows(&self) -> u64 {
        lock(&self.seen).rows
    }

    /// The longest silence of the unit of any input partition within a time; nothing where all of them spoke.
    pub fn longest(&self, from: Instant, to: Instant) -> Duration {
        self.silences(from, to).iter().map(Silence::length).max().unwrap_or_default()
    }

    /// The silences that touch a time, in the order in which they ended; those under 300 ms are not told.
    pub fn silences(&self, from: Instant, to: Instant) -> Vec<Silence> {
        let seen = lock(&self.seen);
        seen.of_units.iter().filter(|silence| silence.from < to && silence.to > from).cloned().collect()
    }

    /// How many units have passed on rows since.
    pub fn units_since(&self, since: Instant) -> usize {
        lock(&self.seen).last.values().filter(|last| **last > since).count()
    }

    /// The longest time in which no unit spoke.
    pub fn longest_of_all(&self) -> Duration {
        lock(&self.seen).of_all
    }
}

impl Arrivals {
    fn note(&mut self, row: &Seen, now: Instant) {
        let known = self.known.entry(row.partition).or_default();
        if row.offset < *known {
            return;
        }
        *known = row.offset + 1;
        self.rows += 1;
        if let Some(before) = self.last_of_all.replace(now) {
            self.of_all = self.of_all.max(now - before);
        }
        let unit = row.value.as_deref().and_then(unit);
        let Some(unit) = unit else { return };
        let before = self.last.insert(unit.clone(), now);
        if let Some(from) = before.filter(|before| now - *before >= SHORTEST) {
            self.of_units.push(Silence { unit, from, to: now });
        }
    }
}

/// The input partition that a row's account belongs to.
fn unit(value: &str) -> Option<String> {
    let row: Value = serde_json::from_str(value).ok()?;
    let account = row["account"].as_str()?;
    account.split_once('-').map(|(partition, _)| partition.to_owned()).filter(|partition| partition != "end")
}

fn now() -> Instant {
    Instant::now()
}

fn lock(seen: &Mutex<Arrivals>) -> MutexGuard<'_, Arrivals> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_silent_between_its_own_rows_and_rows_that_come_again_are_none() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        let mut note = |offset, account: &str, millis| {
            let value = format!(r#"{{"account":"{account}"}}"#);
            let row = Seen { time: 0, partition: 0, offset, key: None, value: Some(value) };
            arrivals.note(&row, start + Duration::from_millis(millis));
        };
        note(0, "p0-1", 0);
        note(1, "p1-1", 100);
        note(2, "p0-2", 1_000);
        note(1, "p1-1", 1_100);
        note(3, "p1-3", 2_100);
        assert_eq!(arrivals.rows, 4);
        assert_eq!(arrivals.of_all, Duration::from_millis(1_100));
        let silences: Vec<_> =
            arrivals.of_units.iter().map(|silence| (&*silence.unit, silence.length().as_millis())).collect();
        assert_eq!(silences, [("p0", 1_000), ("p1", 2_000)]);
    }
}
