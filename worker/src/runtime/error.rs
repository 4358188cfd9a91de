//! Why a pipeline stopped.

use thalweg_core::decode::BadRecord;
use thalweg_core::error::Error as CoreError;

/// An error that ends a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A record could not become a row, and its source says `onError: Fail`.
    #[error(
        "{place}: {message}\n  found: {raw}\n  help: mend the record, or set `onError: Drop` or `DeadLetter` on StreamSource `{source_name}`"
    )]
    BadRecord {
        /// The source's name in SQL.
        source_name: String,
        /// File, line and column, or partition and offset.
        place: String,
        /// What was found and what was expected.
        message: String,
        /// The start of the record.
        raw: String,
    },
    /// A connector or the store failed.
    #[error(transparent)]
    Connector(#[from] CoreError),
    /// An operator of the plan failed on data that it should take.
    #[error("stage {stage}: {message}")]
    Plan {
        /// The stage.
        stage: u32,
        /// What happened.
        message: String,
    },
    /// A part of the runtime ended without a result.
    #[error("{0}; this is a bug in Thalweg, please report it")]
    Internal(String),
}

impl RunError {
    /// A record that may not be skipped.
    pub fn bad_record(source: &str, place: String, record: &BadRecord) -> Self {
        const SHOWN: usize = 200;
        let raw = String::from_utf8_lossy(&record.raw[..record.raw.len().min(SHOWN)]).into_owned();
        Self::BadRecord { source_name: source.to_owned(), place, message: record.message.clone(), raw }
    }
}

/// The result of a part of a run.
pub type Result<T, E = RunError> = std::result::Result<T, E>;
