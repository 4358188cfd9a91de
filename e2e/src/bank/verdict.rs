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

/// What became of the records of the input, by what is there of one pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Records of the input.
    pub records: u64,
    /// Rows that came out: passed on, or added up in windows.
    pub out: u64,
    /// Dead letters that say `Late`.
    pub late: u64,
    /// Other dead letters.
    pub dead: u64,
    /// Rows of windows that are open still.
    pub open: u64,
}

impl Account {
    /// Records of which nothing came, or, below 0, what came of none.
    pub fn unaccounted(&self) -> i64 {
        let count = |count: u64| i64::try_from(count).expect("not so many");
        count(self.records) - count(self.out + self.late + self.dead + self.open)
    }

    fn json(&self) -> Value {
        json!({
            "records": self.records, "out": self.out, "late": self.late, "dead": self.dead, "open": self.open,
            "unaccounted": self.unaccounted(),
        })
    }
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
    /// Rows of added partitions that units found late, each a dead letter, and in no window.
    pub late_for_units: u64,
    /// Windows of the whole bank of which credits and debits are not equal, with no late row to explain it.
    pub unbalanced: u64,
    /// What became of each record where rows are passed on.
    pub copies_account: Account,
    /// What became of each record where windows add up.
    pub sums_account: Account,
}

impl Verdict {
    /// Whether everything is as it should be.
    pub fn is_clean(&self) -> bool {
        let all = [self.copies, self.copies_dead, self.sums, self.sums_dead];
        let is_accounted = [self.copies_account, self.sums_account].iter().all(|account| account.unaccounted() == 0);
        is_accounted && self.unbalanced == 0 && all.iter().all(|(_, amiss)| *amiss == Amiss::default())
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
            "windowsDeadLetters": of(self.sums_dead), "lateForUnits": self.late_for_units,
            "unbalancedWindows": self.unbalanced,
            "accounts": { "copies": self.copies_account.json(), "windows": self.sums_account.json() },
        })
    }
}

/// Reads all output, and compares it with what must have come of the input.
pub fn judge(kafka: &Kafka, ledger: &Ledger) -> Verdict {
    let letters: BTreeSet<_> = ledger.broken.iter().map(|place| (*place, false)).collect();
    std::thread::scope(|side_by_side| {
        let copies = side_by_side.spawn(|| judge_copies(kafka, ledger));
        let copies_dead = side_by_side.spawn(|| Letters::read(kafka, COPIES));
        let sums = judge_sums(kafka, ledger);
        let (copies, copies_dead) = (copies.join().expect("judged"), copies_dead.join().expect("read"));
        Verdict {
            copies,
            copies_dead: copies_dead.judge(&letters),
            copies_account: Account { out: copies.0, ..copies_dead.account(ledger) },
            ..sums
        }
    })
}

/// [`judge`], of the pipeline with windows only: nothing is amiss with the other one.
pub fn judge_sums(kafka: &Kafka, ledger: &Ledger) -> Verdict {
    let broken = ledger.broken.iter().map(|place| (*place, false));
    let with_late: BTreeSet<_> = broken.chain(ledger.late.iter().map(|place| (*place, true))).collect();
    std::thread::scope(|side_by_side| {
        let windows = side_by_side.spawn(|| Windows::read(kafka));
        let mut sums_dead = Letters::read(kafka, SUMS);
        let of_sums = sums_dead.account(ledger);
        let late = sums_dead.take_late_for_units(ledger);
        let windows = windows.join().expect("read");
        Verdict {
            sums: windows.judge(&without(ledger, &late)),
            sums_dead: sums_dead.judge(&with_late),
            late_for_units: late.len() as u64,
            unbalanced: if late.is_empty() { unbalanced(&windows.found) } else { 0 },
            sums_account: Account { out: windows.rows(), open: ledger.open_rows, ..of_sums },
            ..Verdict::default()
        }
    })
}

/// [`judge`], of the pipeline that passes rows on only.
pub fn judge_copies(kafka: &Kafka, ledger: &Ledger) -> (u64, Amiss) {
    let mut copies = Copies::new(ledger);
    kafka.each_committed(COPIES, |seen| copies.see(&seen));
    copies.end()
}

/// A row of the input that is passed on.
struct Awaited {
    /// Where it stands among those of its account.
    place: usize,
    /// What is made of its amount.
    twice: i64,
    /// How often it was seen.
    times: u64,
}

/// Rows by account, against the order of the input.
struct Copies<'a> {
    /// By account and id.
    awaited: HashMap<(&'a str, u64), Awaited>,
    next: HashMap<&'a str, usize>,
    found: u64,
    amiss: Amiss,
}

impl<'a> Copies<'a> {
    fn new(ledger: &'a Ledger) -> Self {
        let rows = ledger.rows.iter().flat_map(|(account, rows)| {
            let awaited =
                |(place, (id, amount)): (usize, &(u64, i64))| (*id, Awaited { place, twice: 2 * amount, times: 0 });
            rows.iter().enumerate().map(awaited).map(move |(id, awaited)| ((account.as_str(), id), awaited))
        });
        let next = ledger.rows.keys().map(|account| (account.as_str(), 0)).collect();
        Self { awaited: rows.collect(), next, found: 0, amiss: Amiss::default() }
    }

    fn see(&mut self, seen: &Seen) {
        self.found += 1;
        let row = value(seen);
        let account = row["account"].as_str().expect("an account");
        let id = row["id"].as_u64().expect("an id");
        let known = self.next.get_key_value(account).map(|(account, _)| *account);
        let Some((account, awaited)) = known.and_then(|account| Some((account, self.awaited.get_mut(&(account, id))?)))
        else {
            self.amiss.unexpected += 1;
            return;
        };
        awaited.times += 1;
        self.amiss.duplicated += u64::from(awaited.times > 1);
        self.amiss.wrong += u64::from(row["twice"].as_i64() != Some(awaited.twice));
        let next = self.next.get_mut(account).expect("known");
        self.amiss.out_of_order += u64::from(awaited.times == 1 && awaited.place < *next);
        *next = (awaited.place + 1).max(*next);
    }

    fn end(mut self) -> (u64, Amiss) {
        self.amiss.lost = self.awaited.values().filter(|awaited| awaited.times == 0).count() as u64;
        (self.found, self.amiss)
    }
}

/// The windows that must have been closed, without rows that units found late.
fn without(ledger: &Ledger, late: &BTreeSet<Place>) -> BTreeMap<(String, u64), Sum> {
    let mut windows = ledger.windows.clone();
    for row in late.iter().filter_map(|place| ledger.added.get(place)) {
        if let Some(sum) = windows.get_mut(&row.window) {
            sum.add(row.amount, -1);
        }
    }
    windows.retain(|_, sum| sum.events > 0);
    windows
}

/// The windows that are there.
#[derive(Default)]
struct Windows {
    found: BTreeMap<(String, u64), Sum>,
    records: u64,
    amiss: Amiss,
}

impl Windows {
    fn read(kafka: &Kafka) -> Self {
        let (mut windows, mut latest) = (Self::default(), HashMap::<String, u64>::new());
        kafka.each_committed(SUMS, |seen| {
            windows.records += 1;
            let (account, window, sum) = window(&seen);
            let before = latest.insert(account.clone(), window);
            windows.amiss.out_of_order += u64::from(before.is_some_and(|before| window < before));
            windows.amiss.duplicated += u64::from(windows.found.insert((account, window), sum).is_some());
        });
        windows
    }

    /// Rows that were added up.
    fn rows(&self) -> u64 {
        self.found.values().map(|sum| sum.events).sum()
    }

    fn judge(&self, expected: &BTreeMap<(String, u64), Sum>) -> (u64, Amiss) {
        let mut amiss = self.amiss;
        for (window, sum) in expected {
            match self.found.get(window) {
                None => amiss.lost += 1,
                Some(found) => amiss.wrong += u64::from(found != sum),
            }
        }
        amiss.unexpected = self.found.keys().filter(|window| !expected.contains_key(*window)).count() as u64;
        (self.records, amiss)
    }
}

/// Both legs of a transfer have one time and one partition: either both are late, or none is.
fn unbalanced(windows: &BTreeMap<(String, u64), Sum>) -> u64 {
    let mut totals: BTreeMap<u64, i64> = BTreeMap::new();
    for ((_, window), sum) in windows {
        *totals.entry(*window).or_default() += sum.credits + sum.debits;
    }
    totals.values().filter(|total| **total != 0).count() as u64
}

/// Dead letters by place and whether they say `Late`: how often each is there.
struct Letters(HashMap<(Place, bool), u64>);

impl Letters {
    fn read(kafka: &Kafka, pipeline: &str) -> Self {
        let mut times = HashMap::<(Place, bool), u64>::new();
        kafka.each_committed(&dead_letters(pipeline), |seen| {
            let letter = value(&seen);
            let number =
                |name: &str| letter[name].as_str().and_then(|text| text.parse::<u64>().ok()).expect("a number");
            let place = (u32::try_from(number("split")).expect("a partition"), number("position"));
            *times.entry((place, letter["class"] == "Late")).or_default() += 1;
        });
        Self(times)
    }

    /// What became of the records that came to be dead letters.
    fn account(&self, ledger: &Ledger) -> Account {
        let of = |late: bool| {
            self.0.iter().filter(|((_, is_late), _)| *is_late == late).map(|(_, times)| times).sum::<u64>()
        };
        Account { records: ledger.records, late: of(true), dead: of(false), ..Account::default() }
    }

    /// Takes those of rows that only a unit can have found late: rows of added partitions, in time for their own.
    fn take_late_for_units(&mut self, ledger: &Ledger) -> BTreeSet<Place> {
        let is_meant = |letter: &(Place, bool)| letter.1 && ledger.added.contains_key(&letter.0);
        let late: Vec<_> = self.0.iter().filter(|(letter, times)| is_meant(letter) && **times == 1).collect();
        let late: BTreeSet<Place> = late.into_iter().map(|(letter, _)| letter.0).collect();
        self.0.retain(|(place, is_late), _| !(*is_late && late.contains(place)));
        late
    }

    fn judge(&self, expected: &BTreeSet<(Place, bool)>) -> (u64, Amiss) {
        let amiss = Amiss {
            lost: expected.iter().filter(|letter| !self.0.contains_key(*letter)).count() as u64,
            duplicated: self.0.values().map(|times| times - 1).sum(),
            unexpected: self.0.keys().filter(|letter| !expected.contains(*letter)).count() as u64,
            ..Amiss::default()
        };
        (self.0.values().sum(), amiss)
    }
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
    use super::super::ledger::Row;
    use super::*;

    fn copy(account: &str, id: u64, twice: i64) -> Seen {
        let value = format!(r#"{{"account":"{account}","id":{id},"twice":{twice}}}"#);
        Seen { time: 0, partition: 0, offset: 0, key: None, value: Some(value) }
    }

    /// What copies of some rows come to, each with this as twice its amount. The amount of a row of the input is its id, or
    /// below 0 what that is above.
    fn judged_with(seen: &[(&str, u64, i64)]) -> Amiss {
        let rows = BTreeMap::from([("a".to_owned(), vec![(7, 7), (3, -3), (9, 9)]), ("b".to_owned(), vec![(1, 1)])]);
        let ledger = Ledger { rows, ..Ledger::default() };
        let mut copies = Copies::new(&ledger);
        seen.iter().for_each(|(account, id, twice)| copies.see(&copy(account, *id, *twice)));
        copies.end().1
    }

    fn judged(seen: &[(&str, u64)]) -> Amiss {
        let twice = |id: u64| if id == 3 { -6 } else { 2 * i64::try_from(id).expect("small") };
        let seen: Vec<_> = seen.iter().map(|(account, id)| (*account, *id, twice(*id))).collect();
        judged_with(&seen)
    }

    #[test]
    fn a_row_with_another_value_than_twice_its_amount_is_wrong() {
        assert_eq!(judged_with(&[("a", 7, 14), ("a", 3, -6), ("a", 9, 18), ("b", 1, 2)]), Amiss::default());
        let wrong = [("a", 7, 7), ("a", 3, -6), ("a", 9, 18), ("b", 1, 2)];
        assert_eq!(judged_with(&wrong), Amiss { wrong: 1, ..Amiss::default() });
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
    fn a_row_that_a_unit_found_late_is_a_dead_letter_and_in_no_window() {
        let mut ledger = Ledger::default();
        let window = ("a".to_owned(), 3);
        ledger.added.insert((12, 5), Row { window: window.clone(), amount: -4 });
        ledger.windows.insert(window.clone(), Sum { events: 2, credits: 9, debits: -4 });
        let mut letters = Letters(HashMap::from([(((12, 5), true), 1), (((0, 5), true), 1)]));
        let late = letters.take_late_for_units(&ledger);
        assert_eq!(late, BTreeSet::from([(12, 5)]));
        assert_eq!(without(&ledger, &late)[&window], Sum { events: 1, credits: 9, debits: 0 });
        assert_eq!(letters.judge(&BTreeSet::from([((0, 5), true)])), (1, Amiss::default()));
        assert_eq!(letters.judge(&BTreeSet::new()).1, Amiss { unexpected: 1, ..Amiss::default() });
    }

    #[test]
    fn each_record_is_out_late_dead_or_in_an_open_window_or_the_verdict_is_not_clean() {
        let letters = Letters(HashMap::from([(((0, 5), true), 1), (((0, 6), false), 1), (((12, 5), true), 1)]));
        let ledger = Ledger { records: 10, ..Ledger::default() };
        let account = Account { out: 6, open: 1, ..letters.account(&ledger) };
        assert_eq!(account, Account { records: 10, out: 6, late: 2, dead: 1, open: 1 });
        assert_eq!(account.unaccounted(), 0);
        assert!(Verdict { sums_account: account, ..Verdict::default() }.is_clean());
        for (out, unaccounted) in [(5, 1), (7, -1)] {
            let account = Account { out, ..account };
            assert_eq!(account.unaccounted(), unaccounted);
            assert!(!Verdict { sums_account: account, ..Verdict::default() }.is_clean());
            assert!(!Verdict { copies_account: account, ..Verdict::default() }.is_clean());
        }
    }

    #[test]
    fn a_bank_whose_credits_are_not_its_debits_is_not_balanced() {
        let sum = |credits, debits| Sum { events: 1, credits, debits };
        let key = |account: &str, window| (account.to_owned(), window);
        let windows = [(key("a", 0), sum(5, 0)), (key("b", 0), sum(0, -5)), (key("a", 1), sum(1, 0))];
        assert_eq!(unbalanced(&windows.into_iter().collect()), 1);
    }
}
