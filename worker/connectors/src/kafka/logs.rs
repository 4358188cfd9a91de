//! What readers of a topic have found out of its logs, for as long as a job lives: whoever reads a partition after one of them
//! must not take another log for the one that was read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::watchdog::Seen;

/// That a log was cut back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// The offset that was wanted of it.
    pub next: u64,
    /// Where it ended then, where that was told.
    pub end: Option<u64>,
}

/// What is known, by partition.
#[derive(Debug, Default)]
pub(super) struct Logs(Mutex<BTreeMap<u32, Log>>);

#[derive(Debug, Default)]
struct Log {
    seen: Option<Seen>,
    cut: Option<Cut>,
}

impl Logs {
    fn logs(&self) -> MutexGuard<'_, BTreeMap<u32, Log>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader has got a record.
    pub(super) fn saw(&self, partition: u32, seen: Seen) {
        let mut logs = self.logs();
        let last = &mut logs.entry(partition).or_default().seen;
        if last.is_none_or(|last| last.next < seen.next) {
            *last = Some(seen);
        }
    }

    /// The last record that any reader has got.
    pub(super) fn seen(&self, partition: u32) -> Option<Seen> {
        self.logs().get(&partition).and_then(|log| log.seen)
    }

    /// A reader has found that the log was cut; what the first one has found.
    pub(super) fn note(&self, partition: u32, cut: Cut) -> Cut {
        *self.logs().entry(partition).or_default().cut.get_or_insert(cut)
    }

    /// What the first reader has found that found the log cut.
    pub(super) fn cut(&self, partition: u32) -> Option<Cut> {
        self.logs().get(&partition).and_then(|log| log.cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_log_the_last_record_counts_and_the_first_cut() {
        let logs = Logs::default();
        assert_eq!((logs.seen(0), logs.cut(0)), (None, None));
        let last = Seen { epoch: 2, next: 20 };
        // One who reads behind the others has seen less.
        for seen in [Seen { epoch: 1, next: 10 }, last, Seen { epoch: 1, next: 5 }] {
            logs.saw(0, seen);
        }
        assert_eq!((logs.seen(0), logs.seen(1)), (Some(last), None));
        let first = Cut { next: 20, end: Some(10) };
        assert_eq!(logs.note(0, first), first);
        assert_eq!(logs.note(0, Cut { next: 5, end: None }), first);
        assert_eq!((logs.cut(0), logs.cut(1)), (Some(first), None));
    }
}
