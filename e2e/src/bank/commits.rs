//! Commits of units that write to Kafka, by the progress topic: when each was written, and at which epoch.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kafka::{Kafka, Seen};

/// A change of a unit's owner, as the progress topic shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The unit, by its partition of the progress topic.
    pub unit: u32,
    /// The epoch of the new owner.
    pub epoch: u64,
    /// When the owner before committed last, in milliseconds since 1970.
    pub last_before: i64,
    /// When the new owner first committed input of its own.
    pub first_after: i64,
}

impl Change {
    /// How long the unit committed nothing, beyond the rhythm of commits, in milliseconds.
    pub fn pause(&self, commit_every_ms: i64) -> i64 {
        (self.first_after - self.last_before - commit_every_ms).max(0)
    }
}

#[derive(Default)]
struct Unit {
    epoch: u64,
    label: Value,
    last: Option<i64>,
    /// The last commit of the owner before, until the new one has committed input.
    before: Option<i64>,
}

/// When each unit of a pipeline of one stage committed, in milliseconds since 1970, by the unit's number.
pub fn times(kafka: &Kafka, namespace: &str, pipeline: &str) -> BTreeMap<u32, Vec<i64>> {
    let mut times = BTreeMap::<u32, Vec<i64>>::new();
    kafka.each_committed(&format!("thalweg-progress.{namespace}.{pipeline}"), |seen| {
        if let Some(unit) = committed(&seen) {
            times.entry(unit).or_default().push(seen.time);
        }
    });
    times
}

/// The number of the unit that a record of the progress topic is of, by its key `STAGE-INDEX`. Units have partitions in the
/// order in which they were first prepared, behind the pipeline's own.
fn committed(seen: &Seen) -> Option<u32> {
    let key = seen.key.as_deref().filter(|_| seen.partition > 0)?;
    key.split_once('-')?.1.parse().ok()
}

/// The times between two commits that touch a time. What comes of them after its end is not counted: something else may have
/// happened by then.
pub fn gaps(times: &[i64], from: i64, to: i64) -> Vec<i64> {
    let touching = times.windows(2).filter(|pair| pair[0] < to && pair[1] > from);
    touching.map(|pair| pair[1].min(to) - pair[0]).collect()
}

/// Every change of owner of a pipeline's units. Only committed records count, so what a fenced owner tried is not among
/// them.
pub fn changes(kafka: &Kafka, pipeline: &str) -> Vec<Change> {
    let (mut units, mut changes) = (BTreeMap::<u32, Unit>::new(), Vec::new());
    kafka.each_committed(&format!("thalweg-progress.default.{pipeline}"), |seen| {
        let Some(value) = seen.value.as_deref() else { return };
        let Ok(value) = serde_json::from_str::<Value>(value) else { return };
        let Some(epoch) = value["epoch"].as_u64() else { return };
        let unit = units.entry(seen.partition).or_default();
        changes.extend(unit.commit(seen.partition, epoch, &value["label"], seen.time));
    });
    changes
}

impl Unit {
    fn commit(&mut self, unit: u32, epoch: u64, label: &Value, time: i64) -> Option<Change> {
        if epoch > self.epoch {
            (self.before, self.epoch) = (self.last.filter(|_| self.epoch > 0), epoch);
            // What it took over is no commit of input yet.
            if *label == self.label || label.is_null() {
                return None;
            }
        }
        let is_input = *label != self.label && !label.is_null();
        if is_input {
            self.label.clone_from(label);
            self.last = Some(time);
        }
        let last_before = self.before.filter(|_| is_input)?;
        self.before = None;
        Some(Change { unit, epoch, last_before, first_after: time })
    }
}

/// The value below which a share of some values lies; nothing of none.
pub fn quantile(values: &mut [i64], share: f64) -> Option<i64> {
    values.sort_unstable();
    let at = (values.len() as f64 * share).ceil() as usize;
    values.get(at.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_of_owner_ends_with_the_first_commit_of_input() {
        let mut unit = Unit::default();
        let mut commit = |epoch, seq: Option<u64>, time| {
            unit.commit(3, epoch, &seq.map_or(Value::Null, |seq| json!({"seq": seq})), time)
        };
        assert_eq!(commit(1, None, 0), None);
        assert_eq!(commit(1, Some(1), 100), None);
        assert_eq!(commit(1, Some(2), 200), None);
        assert_eq!(commit(2, Some(2), 260), None);
        let change = Change { unit: 3, epoch: 2, last_before: 200, first_after: 300 };
        assert_eq!(commit(2, Some(3), 300), Some(change));
        assert_eq!(change.pause(60), 40);
        assert_eq!(commit(2, Some(4), 400), None);
    }

    #[test]
    fn a_gap_counts_where_it_touches_a_time_and_up_to_its_end() {
        let times = [0, 100, 900, 1_000, 1_300];
        assert_eq!(gaps(&times, 200, 1_000), [800, 100]);
        assert_eq!(gaps(&times, 200, 300), [200]);
        assert_eq!(gaps(&times, 900, 1_100), [100, 100]);
        assert!(gaps(&times, 1_300, 2_000).is_empty());
    }

    #[test]
    fn a_commit_is_of_the_unit_that_its_key_names_whatever_partition_it_was_given() {
        let record = |partition, key: Option<&str>| {
            let key = key.map(str::to_owned);
            committed(&Seen { time: 5, partition, offset: 0, key, value: None })
        };
        assert_eq!(record(7, Some("0-3")), Some(3));
        assert_eq!(record(0, Some("list-3")), None, "what the pipeline says of itself");
        assert_eq!(record(1, None), None);
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        assert_eq!(quantile(&mut [], 0.5), None);
        assert_eq!(quantile(&mut [3, 1, 2], 0.5), Some(2));
        assert_eq!(quantile(&mut [3, 1, 2], 0.99), Some(3));
    }
}
