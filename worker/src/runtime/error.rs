//! Why a pipeline stopped.

use thalweg_core::decode::BadRecord;
use thalweg_core::error::{Error as CoreError, ErrorKind};
use thalweg_core::ownership::Superseded;
use thalweg_core::sink::Rejected;
use thalweg_core::unit::{Epoch, UnitId};

use super::dead_letter::readable;

/// An error that ends a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A record could not become a row, and its source says `onError: Fail`.
    #[error(
        "{place}: {message}{found}\n  help: mend it, or set `onError: Drop` or `DeadLetter` on {resource}",
        found = if raw.is_empty() { String::new() } else { format!("\n  found: {raw}") }
    )]
    BadRecord {
        /// The source's resource.
        resource: String,
        /// File, line and column, or partition and offset.
        place: String,
        /// What was found and what was expected.
        message: String,
        /// The start of the record; nothing where a whole file is meant.
        raw: String,
    },
    /// An expression of the query failed on a group of rows, and a source says `onError: Fail`.
    #[error(
        "INSERT {statement}, {place}: {message}\n  found: {row}\n  help: guard it, for example with NULLIF or TRY_CAST, or set \
         `onError: Drop` or `DeadLetter` on {resources}"
    )]
    FailedGroup {
        /// The number of the statement, from 1.
        statement: usize,
        /// The window.
        place: String,
        /// The expression, and what it says.
        message: String,
        /// The group: keys, results, window.
        row: String,
        /// Which sources decide.
        resources: String,
    },
    /// A row that the sink would not take, and the sink says `onError: Fail`.
    #[error("{resource}: {said}", said = rejected(resource, message, raw))]
    RejectedRow {
        /// The sink's resource.
        resource: String,
        /// What was found and what was expected.
        message: String,
        /// The start of the row.
        raw: String,
    },
    /// A connector or the store failed.
    #[error(transparent)]
    Connector(#[from] CoreError),
    /// A unit's state was taken over by somebody else at an epoch that is not below the one assigned.
    #[error(
        "unit {unit} is assigned at epoch {assigned}, and was taken over at epoch {stored}; it goes on once it \
         is assigned above that"
    )]
    Superseded {
        /// The unit.
        unit: UnitId,
        /// What the assignment says.
        assigned: Epoch,
        /// What its state says.
        stored: Epoch,
    },
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
    /// What follows from it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadRecord { .. } | Self::FailedGroup { .. } | Self::RejectedRow { .. } => ErrorKind::User,
            Self::Connector(error) => error.kind,
            Self::Superseded { .. } => ErrorKind::Fenced,
            Self::Plan { .. } | Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// Whether it is about what one unit or one log holds: rows, state, or a bug that they meet. Others can go on then.
    /// Otherwise something outside stands in the way, and connectors are made anew with what is mounted now.
    pub fn is_local(&self) -> bool {
        let is_of_rows = matches!(self, Self::BadRecord { .. } | Self::FailedGroup { .. } | Self::RejectedRow { .. });
        is_of_rows || matches!(self.kind(), ErrorKind::DataLoss | ErrorKind::Internal)
    }

    /// The resource that it is about, where that is known, and what is said of it.
    pub fn told(&self) -> (Option<&str>, String) {
        match self {
            Self::BadRecord { resource, .. } => (Some(resource.as_str()), self.to_string()),
            Self::RejectedRow { resource, message, raw } => (Some(resource.as_str()), rejected(resource, message, raw)),
            Self::Connector(error) => {
                let said = CoreError { resource: None, ..error.clone() };
                (error.resource.as_deref(), said.to_string())
            }
            _ => (None, self.to_string()),
        }
    }

    /// A unit could not be acquired in a sink.
    pub fn acquiring(unit: UnitId, error: CoreError) -> Self {
        match error.superseded {
            Some(Superseded { assigned, stored }) => Self::Superseded { unit, assigned, stored },
            None => error.into(),
        }
    }

    /// A record that may not be skipped.
    pub fn bad_record(resource: &str, place: String, record: &BadRecord) -> Self {
        let (message, raw) = (record.message.clone(), start_of(&record.raw));
        Self::BadRecord { resource: resource.to_owned(), place, message, raw }
    }

    /// A row that the sink would not take and that may not be skipped.
    pub fn rejected_row(resource: &str, row: &Rejected) -> Self {
        let (message, raw) = (row.message.clone(), start_of(&row.raw));
        Self::RejectedRow { resource: resource.to_owned(), message, raw }
    }
}

/// What is said of a row that the sink of a resource would not take.
fn rejected(resource: &str, message: &str, raw: &str) -> String {
    format!(
        "{message}\n  found: {raw}\n  help: write shorter rows, or set `onError: Drop` or `DeadLetter` on {resource}"
    )
}

/// The start of a record, for people.
fn start_of(raw: &[u8]) -> String {
    /// Characters, and the bytes that one can have.
    const SHOWN: usize = 200;
    const MOST_BYTES: usize = 4;
    let raw = raw[..raw.len().min(SHOWN * MOST_BYTES)].trim_ascii_end();
    readable(raw).chars().take(SHOWN).collect()
}

/// The result of a part of a run.
pub type Result<T, E = RunError> = std::result::Result<T, E>;
