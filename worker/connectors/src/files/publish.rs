//! Where output files go: first out of sight, then, once recorded, to where everybody looks.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thalweg_core::error::{Error, Result};
use thalweg_core::sink::{Label, Sealed};

use super::names::WriterName;

/// A place for output.
#[async_trait]
pub(crate) trait Target: Send + Sync {
    /// Proves that it can be written.
    async fn check(&self) -> Result<()>;

    /// Whether it answers; what is said of it where it does not.
    async fn answers(&self) -> Result<(), String> {
        Ok(())
    }

    /// A stage for one life of a writer; removes what earlier lives left unfinished.
    async fn stage(&self, writer: &WriterName) -> Result<Box<dyn Stage>>;

    /// Whether a file's name is chosen when it is sealed, so that it can hold a position.
    fn names_after_seal(&self) -> bool;

    /// Something that a pipeline has published with state that was kept; `None` where that cannot be told.
    async fn output_of(&self, pipeline: &str, suffix: &str) -> Result<Option<String>> {
        let _ = (pipeline, suffix);
        Ok(None)
    }
}

/// The part of a place that one life of a writer works in.
#[async_trait]
pub(crate) trait Stage: Send {
    /// Starts a file that nobody sees, for the folder `folder`.
    async fn create(&mut self, folder: &str, suffix: &str) -> Result<Box<dyn StagedFile>>;

    /// Makes finished files a seal, durable and unseen. `names` are where they will be published, folder and name.
    async fn seal(&mut self, files: Vec<Box<dyn StagedFile>>, names: Vec<String>, label: &Label)
    -> Result<SealedFiles>;

    /// Shows a seal's files.
    async fn publish(&mut self, sealed: &SealedFiles) -> Result<()>;

    /// The last label that the writer published.
    async fn last_published(&mut self, suffix: &str) -> Result<Option<Label>>;
}

/// A file that nobody sees yet.
#[async_trait]
pub(crate) trait StagedFile: Send {
    /// Adds bytes.
    async fn append(&mut self, bytes: Vec<u8>) -> Result<()>;

    /// Ends it, durably.
    async fn complete(&mut self) -> Result<()>;

    /// Bytes that it holds until they are enough to be written.
    fn held_bytes(&self) -> usize {
        0
    }

    /// How the stage finds it again.
    fn key(&self) -> &str;
}

/// A seal in words that any other worker understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SealedFiles {
    /// What was sealed.
    pub(crate) label: Label,
    /// Its files.
    pub(crate) files: Vec<SealedFile>,
}

/// A file of a seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SealedFile {
    /// Where it waits, in the target's words.
    pub(crate) staged: String,
    /// Where it will be, below the sink's folder.
    pub(crate) name: String,
    /// Its size.
    pub(crate) bytes: u64,
}

impl SealedFiles {
    /// For the unit's store.
    ///
    /// # Errors
    /// None that can happen.
    pub(crate) fn record(&self) -> Result<Sealed> {
        let value = serde_json::to_value(self).map_err(|error| Error::internal("recording sealed files", error))?;
        Ok(Sealed(value))
    }

    /// From the unit's store.
    ///
    /// # Errors
    /// Another sink wrote it.
    pub(crate) fn recorded(sealed: &Sealed) -> Result<Self> {
        serde_json::from_value(sealed.0.clone()).map_err(|error| Error::internal("reading sealed files", error))
    }
}
