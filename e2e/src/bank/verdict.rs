//! What came of the input, by an independent reader.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use super::ledger::{Ledger, Place, Sum};
use super::{COPIES, SUMS, WINDOW_MS, dead_letters};
use crate::kafka::{Kafka, Seen};

/// What is amiss with what should be there once, and in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amiss {
    /// Not there.
    pub lost: u64,
    /// There again.
    pub duplicated: u64,
    /// After a later one of its key.
    pub out_of_order: u64,
    /// There with another value.
    pub wrong: u64,
    /// There, and should not be.
    pub unexpected: u64,
}

/// The verdict on both pipelines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Rows that were passed on.
    pub copies: (u64, Amiss),
    /// Dead letters of the pipeline that passes rows on.
    pub copies_dead: (u64, Amiss),
    /// Windows.
    pub sums: (u64, Amiss),
    /// Dead letters of the windows, late rows among them.
    pub sums_dead: (u64, Amiss),
    /// Windows of the whole bank of which credits and debits are not equal, with no late row to explain it.
    pub unbalanced: u64,
}

impl Verdict {
    /// Whether everything is as it should be.
    pub fn is_clean(&self) -> bool {
        let all = [self.copies, self.copies_dead, self.sums, self.sums_dead];
        self.unbalanced == 0 && all.iter().all(|(_, amiss)| *amiss == Amiss::default())
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let of = |(found, amiss): (u64, Amiss)| {
            json!({
                "found": found, "lost": amiss.lost, "duplicated": amiss.duplicated, "outOfOrder": amiss.out_of_order,
                "wrong": amiss.wrong, "unexpected": amiss.unexpected,
            })
        };
        json!({
            "copies": of(self.copies), "copiesDeadLetters": of(self.copies_dead), "windows": of(self.sums),
            "windowsDeadLetters": of(self.sums_dead), "unbalancedWindows": self.unbalanced,
        })
    }
}

/// Reads all output, and compares it with what must have come of the input.
pub fn judge(kafka: &Kafka, ledger: &Ledger) -> Verdict {
    let broken = ledger.broken.iter().map(|place| (*place, false));
    let letters: BTreeSet<_> = broken.clone().collect();
    let with_late: BTreeSet<_> = broken.chain(ledger.late.iter().map(|place| (*place, true))).collect();
    std::thread::scope(|side_by_side| {
        let copies = side_by_side.spawn(|| judge_copies(kafka, ledger));
        let copies_dead = side_by_side.spawn(|| judge_letters(kafka, COPIES, &letters));
        let sums_dead = side_by_side.spawn(|| judge_letters(kafka, SUMS, &with_late));
        let (sums, unbalanced) = judge_sums(kafka, ledger);
        let [copies, copies_dead, sums_dead] =
            [copies, copies_dead, sums_dead].map(|judging| judging.join().expect("judged"));
        Verdict { copies, copies_dead, sums, sums_dead, unbalanced }
    })
}

/// [`judge`], of the pipeline that passes rows on only.
pub fn judge_copies(kafka: &Kafka, ledger: &Ledger) -> (u64, Amiss) {
    let mut copies = Copies::new(ledger);
    kafka.each_committed(COPIES, |seen| copies.see(&seen));
    copies.end()
}

/// Rows by account, against the order of the input.
struct Copies<'a> {
    /// By account and id: where the row stands among those of its account, and how often it was seen.
    places: HashMap<(&'a str, u64), (usize, u64)>,
    next: HashMap<&'a str, usize>,
    found: u64,
    amiss: Amiss,
}

impl<'a> Copies<'a> {
    fn new(ledger: &'a Ledger) -> Self {
        let rows = ledger.rows.iter().flat_map(|(account, ids)| {
            ids.iter().enumerate().map(move |(place, id)| ((account.as_str(), *id), (place, 0)))
        });
        let next = ledger.rows.keys().map(|account| (account.as_str(), 0)).collect();
        Self { places: rows.collect(), next, found: 0, amiss: Amiss::default() }
    }

    fn see(&mut self, seen: &Seen) {
        self.found += 1;
        let row = value(seen);
        let account = row["account"].as_str().expect("an account");
        let id = row["id"].as_u64().expect("an id");
        let known = self.next.get_key_value(account).map(|(account, _)| *account);
        let Some((account, (place, times))) =
            known.and_then(|account| Some((account, self.places.get_mut(&(account, id))?)))
        else {
            self.amiss.unexpected += 1;
            return;
        };
        *times += 1;
        self.amiss.duplicated += u64::from(*times > 1);
        let next = self.next.get_mut(account).expect("known");
        self.amiss.out_of_order += u64::from(*times == 1 && *place < *next);
        *next = (*place + 1).max(*next);
    }

    fn end(mut self) -> (u64, Amiss) {
        self.amiss.lost = self.places.values().filter(|(_, times)| *times == 0).count() as u64;
        (self.found, self.amiss)
    }
}

/// The windows, and how many of the whole bank are not balanced.
fn judge_sums(kafka: &Kafka, ledger: &Ledger) -> ((u64, Amiss), u64) {
    let (mut windows, mut amiss, mut found) = (BTreeMap::<(String, u64), Sum>::new(), Amiss::default(), 0);
    let mut latest: HashMap<String, u64> = HashMap::new();
    kafka.each_committed(SUMS, |seen| {
        found += 1;
        let (account, window, sum) = window(&seen);
        let before = latest.insert(account.clone(), window);
        amiss.out_of_order += u64::from(before.is_some_and(|before| window < before));
        amiss.duplicated += u64::from(windows.insert((account, window), sum).is_some());
    });
    for (window, expected) in &ledger.windows {
        match windows.get(window) {
            None => amiss.lost += 1,
            Some(sum) => amiss.wrong += u64::from(sum != expected),
        }
    }
    amiss.unexpected = windows.keys().filter(|window| !ledger.windows.contains_key(*window)).count() as u64;
    ((found, amiss), unbalanced(&windows))
}

/// Both legs of a transfer have one time and one partition: either both are late, or none is.
fn unbalanced(windows: &BTreeMap<(String, u64), Sum>) -> u64 {
    let mut totals: BTreeMap<u64, i64> = BTreeMap::new();
    for ((_, window), sum) in windows {
        *totals.entry(*window).or_default() += sum.credits + sum.debits;
    }
    totals.values().filter(|total| **total != 0).count() as u64
}

/// Dead letters by place and whether they say `Late`.
fn judge_letters(kafka: &Kafka, pipeline: &str, expected: &BTreeSet<(Place, bool)>) -> (u64, Amiss) {
    let (mut times, mut amiss, mut found) = (HashMap::<(Place, bool), u64>::new(), Amiss::default(), 0);
    kafka.each_committed(&dead_letters(pipeline), |seen| {
        found += 1;
        let letter = value(&seen);
        let number = |name: &str| letter[name].as_str().and_then(|text| text.parse::<u64>().ok()).expect("a number");
        let place = (u32::try_from(number("split")).expect("a partition"), number("position"));
        let letter = (place, letter["class"] == "Late");
        let times = times.entry(letter).or_default();
        *times += 1;
        amiss.duplicated += u64::from(*times > 1);
        amiss.unexpected += u64::from(!expected.contains(&letter));
    });
    amiss.lost = expected.iter().filter(|letter| !times.contains_key(*letter)).count() as u64;
    (found, amiss)
}

fn value(seen: &Seen) -> Value {
    serde_json::from_str(seen.value.as_deref().expect("a value")).expect("JSON")
}

fn window(seen: &Seen) -> (String, u64, Sum) {
    let row = value(seen);
    let number = |name: &str| row[name].as_i64().expect("a number");
    let sum =
        Sum { events: row["events"].as_u64().expect("a number"), credits: number("credits"), debits: number("debits") };
    let start = seconds(row["window_start"].as_str().expect("a time"));
    (row["account"].as_str().expect("an account").to_owned(), start * 1_000 / WINDOW_MS, sum)
}

/// Seconds since midnight of a time of 1970-01-01, which all are.
fn seconds(time: &str) -> u64 {
    let clock = time.strip_prefix("1970-01-01T").expect("the first day");
    let mut parts = clock.split([':', '.', 'Z']).map(|part| part.parse::<u64>().expect("a number"));
    let mut next = || parts.next().expect("a part");
    next() * 3_600 + next() * 60 + next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(account: &str, id: u64) -> Seen {
        let value = format!(r#"{{"account":"{account}","id":{id}}}"#);
        Seen { time: 0, partition: 0, offset: 0, key: None, value: Some(value) }
    }

    fn judged(seen: &[(&str, u64)]) -> Amiss {
        let rows = BTreeMap::from([("a".to_owned(), vec![7, 3, 9]), ("b".to_owned(), vec![1])]);
        let ledger = Ledger { rows, ..Ledger::default() };
        let mut copies = Copies::new(&ledger);
        seen.iter().for_each(|(account, id)| copies.see(&copy(account, *id)));
        copies.end().1
    }

    #[test]
    fn rows_are_expected_once_and_in_the_order_of_the_input() {
        assert_eq!(judged(&[("a", 7), ("b", 1), ("a", 3), ("a", 9)]), Amiss::default());
        assert_eq!(judged(&[("a", 7), ("b", 1), ("a", 9)]), Amiss { lost: 1, ..Amiss::default() });
        assert_eq!(judged(&[("a", 7), ("b", 1), ("a", 9), ("a", 3)]), Amiss { out_of_order: 1, ..Amiss::default() });
        let again = [("a", 7), ("b", 1), ("a", 3), ("a", 9), ("a", 3)];
        assert_eq!(judged(&again), Amiss { duplicated: 1, ..Amiss::default() });
        let foreign = [("a", 7), ("b", 1), ("a", 3), ("a", 9), ("c", 3), ("b", 2)];
        assert_eq!(judged(&foreign), Amiss { unexpected: 2, ..Amiss::default() });
    }

    #[test]
    fn a_bank_whose_credits_are_not_its_debits_is_not_balanced() {
        let sum = |credits, debits| Sum { events: 1, credits, debits };
        let key = |account: &str, window| (account.to_owned(), window);
        let windows = [(key("a", 0), sum(5, 0)), (key("b", 0), sum(0, -5)), (key("a", 1), sum(1, 0))];
        assert_eq!(unbalanced(&windows.into_iter().collect()), 1);
    }
}
