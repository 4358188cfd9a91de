//! The records of the progress topic: how far each unit has come, in the same transactions as its rows.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_comes_back_as_it_was() {
        let owner = Owner { installation: "local".to_owned(), pipeline: "default.p".to_owned(), hands: 1 };
        let label = Some(Label { seq: 3, position: None });
        let run = Some(RunId("pod/0".to_owned()));
        let progress = Progress { owner, incarnation: Incarnation(1), epoch: Epoch(2), run, label };
        assert_eq!(Progress::decode(&progress.encode().expect("encodes")).expect("decodes"), progress);
    }
}
