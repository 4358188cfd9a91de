//! What the input holds, and what must come of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::{DELAY_MS, EVENTS, WINDOW_MS};
use crate::kafka::{Kafka, Seen};

/// Where a record stands: partition and offset.
pub type Place = (u32, u64);

/// What is known of one account and window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Rows.
    pub events: u64,
    /// What came in.
    pub credits: i64,
    /// What went out, below 0.
    pub debits: i64,
}

impl Sum {
    /// Adds an amount, or takes it back.
    pub fn add(&mut self, amount: i64, times: i64) {
        self.events = self.events.saturating_add_signed(times);
        *(if amount < 0 { &mut self.debits } else { &mut self.credits }) += amount * times;
    }
}

/// A row that was added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its account and the number of its window.
    pub window: (String, u64),
    /// What it adds.
    pub amount: i64,
}

/// The input, as Kafka's own consumer reads it.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Records.
    pub records: u64,
    /// Records of each partition.
    pub by_partition: BTreeMap<u32, u64>,
    /// The ids and amounts of each account's rows, in the order of its partition.
    pub rows: BTreeMap<String, Vec<(u64, i64)>>,
    /// Every window that must have been closed, by account and number.
    pub windows: BTreeMap<(String, u64), Sum>,
    /// Rows that came after their window was closed by rows of their own partition.
    pub late: BTreeSet<Place>,
    /// Records that are no rows.
    pub broken: BTreeSet<Place>,
    /// Windows that are open still.
    pub open: u64,
    /// Rows of those.
    pub open_rows: u64,
    /// Rows of partitions that were added while the pipelines ran: a unit may have closed a window before it heard of them.
    pub added: HashMap<Place, Row>,
    /// The greatest time of each partition.
    pub(super) latest: HashMap<u32, u64>,
    /// How many partitions there were at first.
    pub(super) partitions: u32,
}

impl Ledger {
    /// Reads the whole input, which began with so many partitions. Nothing must be written to it meanwhile.
    pub fn read(kafka: &Kafka, partitions: i32) -> Self {
        let mut ledger = Self { partitions: partitions.unsigned_abs(), ..Self::default() };
        kafka.each_committed(EVENTS, |seen| ledger.enter(&seen));
        ledger.close();
        ledger
    }

    fn enter(&mut self, seen: &Seen) {
        self.records += 1;
        *self.by_partition.entry(seen.partition).or_default() += 1;
        let place = (seen.partition, seen.offset);
        let row: Option<Value> = seen.value.as_deref().and_then(|value| serde_json::from_str(value).ok());
        let Some(row) = row else {
            self.broken.insert(place);
            return;
        };
        let number = |name: &str| row[name].as_u64().expect("a number of the traffic's");
        let account = row["account"].as_str().expect("an account of the traffic's").to_owned();
        let (at, amount) = (number("at"), row["amount"].as_i64().expect("an amount"));
        self.rows.entry(account.clone()).or_default().push((number("id"), amount));
        let window = at / WINDOW_MS;
        let latest = self.latest.get(&seen.partition).copied();
        self.latest.insert(seen.partition, latest.unwrap_or(0).max(at));
        if latest.is_some_and(|latest| (window + 1) * WINDOW_MS + DELAY_MS <= latest) {
            self.late.insert(place);
            return;
        }
        let window = (account, window);
        self.windows.entry(window.clone()).or_default().add(amount, 1);
        if seen.partition >= self.partitions {
            self.added.insert(place, Row { window, amount });
        }
    }

    /// Keeps the windows that end at or before the least watermark of all partitions.
    fn close(&mut self) {
        let watermark = self.latest.values().min().copied().unwrap_or(0).saturating_sub(DELAY_MS);
        let is_closed = |window: u64| (window + 1) * WINDOW_MS <= watermark;
        let open = self.windows.iter().filter(|((_, window), _)| !is_closed(*window));
        let open: Vec<u64> = open.map(|(_, sum)| sum.events).collect();
        (self.open, self.open_rows) = (open.len() as u64, open.iter().sum());
        self.windows.retain(|(_, window), _| is_closed(*window));
    }

    /// Rows that are passed on.
    pub fn copied(&self) -> u64 {
        self.rows.values().map(|rows| rows.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(offset: u64, at: u64, amount: i64) -> Seen {
        let value = format!(r#"{{"id":{offset},"account":"a","at":{at},"amount":{amount}}}"#);
        Seen { time: 0, partition: 0, offset, key: None, value: Some(value) }
    }

    #[test]
    fn a_row_is_late_once_its_own_partition_has_closed_its_window() {
        let mut ledger = Ledger { partitions: 1, ..Ledger::default() };
        ledger.enter(&seen(0, 4_000, -5));
        ledger.enter(&seen(1, 6_999, 5));
        ledger.enter(&seen(2, 4_999, 7));
        ledger.enter(&seen(3, 7_000, 1));
        ledger.enter(&seen(4, 4_999, 9));
        ledger.enter(&Seen { value: Some("{".to_owned()), ..seen(5, 0, 0) });
        ledger.enter(&seen(6, 20_000, 0));
        ledger.close();
        assert_eq!(ledger.late, BTreeSet::from([(0, 4)]));
        assert_eq!(ledger.broken, BTreeSet::from([(0, 5)]));
        assert_eq!(ledger.rows["a"], [(0, -5), (1, 5), (2, 7), (3, 1), (4, 9), (6, 0)]);
        assert_eq!(ledger.windows[&("a".to_owned(), 0)], Sum { events: 2, credits: 7, debits: -5 });
        assert_eq!((ledger.windows.len(), ledger.open, ledger.copied(), ledger.records), (2, 1, 6, 7));
        assert_eq!((ledger.open_rows, ledger.by_partition), (1, BTreeMap::from([(0, 7)])));
    }
}
