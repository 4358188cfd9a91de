//! The records of the progress topic: how far each unit has come, in the same transactions as its rows.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thalweg_core::error::{Error, Result};
use thalweg_core::ownership::Stored;
use thalweg_core::ownership::delivery::Marked;
use thalweg_core::sink::Label;
use thalweg_core::unit::{Epoch, Incarnation, RunId, SPLITS_PER_INPUT, StageId, UnitId};

/// Whose pipeline it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Owner {
    /// The installation's id.
    pub installation: String,
    /// `NAMESPACE.NAME`.
    pub pipeline: String,
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

/// Which partition of the progress topic belongs to which unit. Partition 0 is the pipeline's own; then come the units of
/// keyed stages, whose number is fixed; then those of splits, dealt in turn, so that more splits need more partitions and
/// move none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// Keyed stages that write to the cluster, with the number of their key groups.
    pub keyed: Vec<(StageId, u32)>,
    /// Inputs of stateless stages that write to it.
    pub routes: Vec<(StageId, u16)>,
}

impl Layout {
    /// The partition of a unit; `None` where it does not write to the cluster.
    pub fn partition(&self, unit: UnitId) -> Option<u32> {
        let mut next = 1;
        for &(stage, groups) in &self.keyed {
            if stage == unit.stage {
                return (unit.index < groups).then_some(next + unit.index);
            }
            next += groups;
        }
        let (input, log) = (unit.index / SPLITS_PER_INPUT, unit.index % SPLITS_PER_INPUT);
        let route = self.routes.iter().position(|&(stage, of)| stage == unit.stage && u32::from(of) == input)?;
        Some(next + log * u32::try_from(self.routes.len()).ok()? + u32::try_from(route).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_two_units_share_a_partition_and_more_splits_move_none(
            groups in prop::collection::vec(1u32..9, 0..3), inputs in prop::collection::vec(1u16..3, 0..3), logs in 0u32..20,
        ) {
            let keyed: Vec<_> = (0..).map(StageId).zip(groups.iter().copied()).collect();
            let first = keyed.len() as u32;
            let stateless = (first..).map(StageId).zip(inputs.iter().copied());
            let routes: Vec<_> = stateless.flat_map(|(stage, inputs)| (0..inputs).map(move |input| (stage, input))).collect();
            let layout = Layout { keyed: keyed.clone(), routes: routes.clone() };
            let of_groups = keyed.iter().flat_map(|&(stage, groups)| (0..groups).map(move |index| UnitId { stage, index }));
            let of_splits = routes.iter().flat_map(|&(stage, input)| (0..logs).map(move |log| UnitId::of_split(stage, input, log)));
            let partitions: Vec<_> = of_groups.chain(of_splits).map(|unit| layout.partition(unit).expect("one")).collect();
            let distinct: HashSet<_> = partitions.iter().copied().collect();
            prop_assert_eq!(distinct.len(), partitions.len());
            prop_assert!(!distinct.contains(&0));
            // Dense: as many partitions as units, and the pipeline's own.
            prop_assert!(partitions.iter().all(|partition| *partition as usize <= partitions.len()));
        }
    }

    #[test]
    fn progress_comes_back_as_it_was() {
        let owner = Owner { installation: "local".to_owned(), pipeline: "default.p".to_owned() };
        let label = Some(Label { seq: 3, position: None });
        let run = Some(RunId("pod/0".to_owned()));
        let progress = Progress { owner, incarnation: Incarnation(1), epoch: Epoch(2), run, label };
        assert_eq!(Progress::decode(&progress.encode().expect("encodes")).expect("decodes"), progress);
    }
}
