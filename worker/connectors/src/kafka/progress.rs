//! The records of the progress topic: how far each unit has come, in the same transactions as its rows; and what follows where
//! some of them were deleted.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thalweg_core::error::{Error, Result};
use thalweg_core::ownership::Stored;
use thalweg_core::ownership::claim::StateOwner;
use thalweg_core::ownership::delivery::Marked;
use thalweg_core::sink::Label;
use thalweg_core::unit::{Epoch, Incarnation, RunId};

/// Whose pipeline it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Owner {
    /// The installation's id.
    pub installation: String,
    /// `NAMESPACE.NAME`.
    pub pipeline: String,
    /// How often the topic had changed hands when it came to this one.
    #[serde(default)]
    pub hands: u32,
}

impl Owner {
    /// The same, whenever it had the topic.
    pub fn identity(&self) -> StateOwner {
        let (namespace, name) = self.pipeline.split_once('.').unwrap_or(("", &self.pipeline));
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        StateOwner { installation: self.installation.clone(), namespace, name }
    }

    /// Whether its progress counts for an owner: it is its own, or was noted by somebody from whom the topic came to it.
    pub fn is_before(&self, owner: &Self) -> bool {
        self == owner || self.hands < owner.hands
    }
}

/// One unit's progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Progress {
    /// Whose.
    pub owner: Owner,
    /// The start from scratch that it belongs to.
    pub incarnation: Incarnation,
    /// The ownership number of who wrote it.
    pub epoch: Epoch,
    /// The process that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// What was delivered; nothing where only the epoch was taken.
    pub label: Option<Label>,
}

impl Progress {
    /// Who wrote it. One that does not say is nobody's any more.
    pub fn marked(&self) -> Marked {
        let run_id = self.run.clone().unwrap_or_else(|| RunId(String::new()));
        Marked { incarnation: self.incarnation, stored: Stored { epoch: self.epoch, run_id } }
    }

    /// As it is stored.
    pub fn encode(&self) -> Result<Bytes> {
        let text = serde_json::to_vec(self).map_err(|error| Error::internal("writing progress", error))?;
        Ok(text.into())
    }

    /// What [`Progress::encode`] wrote.
    pub fn decode(value: &[u8]) -> Result<Self> {
        let hint = "was the topic written by something else?";
        serde_json::from_slice(value).map_err(|error| Error::user("reading progress", error).with_hint(hint))
    }
}

/// Whether brokers delete nothing of a topic with this `cleanup.policy` but what was written again under the same key.
pub(super) fn is_compacted(policy: &str) -> bool {
    policy.split(',').map(str::trim).eq(["compact"])
}

/// Where partitions began when an incarnation did, but for those that began at offset 0. Compaction leaves the beginning of a log
/// where it is: what begins later has lost records to retention, or to somebody who deleted them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Cut(BTreeMap<u32, u64>);

impl Cut {
    /// By partition, the offset of the first record that it keeps.
    pub fn of(starts: impl IntoIterator<Item = (u32, u64)>) -> Self {
        Self(starts.into_iter().filter(|(_, start)| *start > 0).collect())
    }

    /// Whether no partition had lost anything.
    pub fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a partition that begins at `start` has lost records since: of a unit of which nothing is found there, nobody knows
    /// how far it came.
    pub fn is_passed(&self, partition: u32, start: u64) -> bool {
        start > self.0.get(&partition).copied().unwrap_or(0)
    }
}

/// What partition 0 says of a pipeline to a process that is of an incarnation of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Noted<'a> {
    /// Nothing.
    Nothing,
    /// That an earlier incarnation was there.
    Earlier,
    /// That this incarnation is there, and what was lost before it.
    This(&'a Cut),
}

/// What follows from where partition 0 begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It has lost nothing that counts.
    Whole,
    /// The incarnation begins: what was lost before counts no more, and is noted.
    Anew,
    /// It has lost what the pipeline had noted, or some of it: where its units keep their progress, and where its splits begin.
    Lost,
}

/// Decides by where partition 0 begins. `may_begin`: whoever would remember the pipeline does not, or it is to start anew.
pub(super) fn beginning(noted: Noted<'_>, start: u64, may_begin: bool) -> Beginning {
    match noted {
        Noted::Earlier => Beginning::Anew,
        Noted::This(cut) if cut.is_passed(0, start) => Beginning::Lost,
        Noted::This(_) => Beginning::Whole,
        // Whoever was there before has left a record.
        Noted::Nothing if start == 0 => Beginning::Whole,
        Noted::Nothing if may_begin => Beginning::Anew,
        Noted::Nothing => Beginning::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_topic_of_which_nothing_goes_by_age_or_size_is_compacted() {
        assert!(is_compacted("compact") && is_compacted(" compact "));
        for policy in ["delete", "compact,delete", "delete, compact", ""] {
            assert!(!is_compacted(policy), "{policy}");
        }
    }

    #[test]
    fn what_a_partition_has_lost_since_its_incarnation_began_counts() {
        let cut = Cut::of([(0, 0), (1, 7), (2, 0)]);
        assert!(!cut.is_nothing() && Cut::of([(0, 0)]).is_nothing());
        assert!(!cut.is_passed(0, 0) && cut.is_passed(0, 1));
        assert!(!cut.is_passed(1, 7) && cut.is_passed(1, 8));
        assert!(cut.is_passed(9, 1), "one that was added later began at 0");
        let text = serde_json::to_string(&cut).expect("JSON");
        assert_eq!((text.as_str(), serde_json::from_str::<Cut>(&text).expect("read")), (r#"{"1":7}"#, cut));
    }

    #[test]
    fn a_pipeline_begins_where_nothing_was_lost_or_somebody_has_it_start_anew_and_nowhere_else() {
        let (whole, cut) = (Cut::default(), Cut::of([(0, 5)]));
        for may_begin in [false, true] {
            assert_eq!(beginning(Noted::Nothing, 0, may_begin), Beginning::Whole);
            assert_eq!(beginning(Noted::This(&whole), 0, may_begin), Beginning::Whole);
            assert_eq!(beginning(Noted::This(&whole), 5, may_begin), Beginning::Lost);
            assert_eq!(beginning(Noted::This(&cut), 5, may_begin), Beginning::Whole);
            assert_eq!(beginning(Noted::This(&cut), 6, may_begin), Beginning::Lost);
            assert_eq!(beginning(Noted::Earlier, 5, may_begin), Beginning::Anew);
        }
        assert_eq!(beginning(Noted::Nothing, 5, false), Beginning::Lost);
        assert_eq!(beginning(Noted::Nothing, 5, true), Beginning::Anew);
    }

    #[test]
    fn progress_comes_back_as_it_was() {
        let owner = Owner { installation: "local".to_owned(), pipeline: "default.p".to_owned(), hands: 1 };
        let label = Some(Label { seq: 3, position: None });
        let run = Some(RunId("pod/0".to_owned()));
        let progress = Progress { owner, incarnation: Incarnation(1), epoch: Epoch(2), run, label };
        assert_eq!(Progress::decode(&progress.encode().expect("encodes")).expect("decodes"), progress);
    }
}
