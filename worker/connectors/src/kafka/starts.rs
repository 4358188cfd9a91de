//! Where the partitions of a topic start: decided once, kept in a list of the pipeline's, and the same ever after.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thalweg_core::error::{Error, Result};

/// One record of the list: partitions that were found together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    /// The topic's id, in hexadecimal.
    pub topic_id: String,
    /// The first offset wanted of each partition.
    pub starts: BTreeMap<u32, u64>,
}

impl Found {
    /// Partitions of a topic.
    pub fn new(topic_id: u128, starts: BTreeMap<u32, u64>) -> Self {
        Self { topic_id: format!("{topic_id:032x}"), starts }
    }

    /// As it is stored.
    pub fn encode(&self) -> Result<Bytes> {
        let text =
            serde_json::to_vec(self).map_err(|error| Error::internal("writing where partitions start", error))?;
        Ok(text.into())
    }
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Starts {
    /// How many records the list has.
    pub records: u64,
    /// The topic's id, once something was found.
    pub topic_id: Option<String>,
    /// The first offset wanted of each partition.
    pub of: BTreeMap<u32, u64>,
}

impl Starts {
    /// Takes records of the list.
    pub fn read(&mut self, records: &[Bytes]) -> Result<()> {
        for record in records {
            let found: Found = serde_json::from_slice(record)
                .map_err(|error| Error::internal("reading where partitions start", error))?;
            self.records += 1;
            self.topic_id.get_or_insert(found.topic_id);
            // What was decided first counts.
            found.starts.into_iter().for_each(|(partition, start)| {
                self.of.entry(partition).or_insert(start);
            });
        }
        Ok(())
    }

    /// Whether it is another topic than the one that the list is about: one that was made again.
    pub fn is_other(&self, topic_id: u128) -> bool {
        self.topic_id.as_ref().is_some_and(|known| *known != format!("{topic_id:032x}"))
    }

    /// The partitions of which nothing is known yet, and whether they are the first ones.
    pub fn unknown(&self, partitions: u32) -> (Vec<u32>, Which) {
        let which = if self.of.is_empty() { Which::First } else { Which::Later };
        ((0..partitions).filter(|partition| !self.of.contains_key(partition)).collect(), which)
    }
}

/// When partitions were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// When the pipeline started: `startAt` says where they start.
    First,
    /// While it ran: they start at their beginning, for nothing of them may be missed.
    Later,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_first_counts_and_only_later_partitions_are_new() {
        let mut starts = Starts::default();
        assert_eq!(starts.unknown(2), (vec![0, 1], Which::First));
        let records =
            [Found::new(7, BTreeMap::from([(0, 100), (1, 200)])), Found::new(7, BTreeMap::from([(1, 5), (2, 0)]))];
        let records: Vec<_> = records.iter().map(|found| found.encode().expect("encodes")).collect();
        starts.read(&records).expect("read");
        assert_eq!((starts.records, &starts.of), (2, &BTreeMap::from([(0, 100), (1, 200), (2, 0)])));
        assert_eq!(starts.unknown(5), (vec![3, 4], Which::Later));
        assert!(starts.is_other(8) && !starts.is_other(7));
    }
}
