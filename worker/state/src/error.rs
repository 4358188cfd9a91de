//! What the stores' errors mean for a unit.

use slatedb::{CloseReason, ErrorKind as SlateKind};
use thalweg_core::error::{Error, ErrorKind};
pub(crate) use thalweg_objects::error as from_objects;

/// Classes an error of SlateDB. Persisted data in an unexpected state counts as `DataLoss`: going on would be a silent
/// start from something else.
pub(crate) fn from_slate(what: impl Into<String>, error: &slatedb::Error) -> Error {
    let kind = match error.kind() {
        SlateKind::Closed(CloseReason::Fenced) => ErrorKind::Fenced,
        SlateKind::Unavailable => ErrorKind::External,
        SlateKind::Data => ErrorKind::DataLoss,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, what, error)
}
