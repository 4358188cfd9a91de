//! Errors by what the caller must do about them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ownership::Superseded;

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The resources must change: a wrong path, a wrong password, a schema that does not fit.
    User,
    /// The outside failed; the same call may succeed later.
    External,
    /// The log no longer holds what was not read yet. Going on would skip rows: stop.
    DataLoss,
    /// Another owner took over: stop this unit, write nothing more.
    Fenced,
    /// A bug in Thalweg.
    Internal,
}

/// A cause that people are told by a name of its own: a condition's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A system refuses the log-in, a certificate, or a right.
    Denied,
    /// What a resource names is not there: a topic.
    NotFound,
    /// State belongs to another owner.
    StateInUse,
}

/// An error of a connector or a store, in three parts: what happened, to what, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Error {
    /// What follows from it.
    pub kind: ErrorKind,
    /// What happened, with the thing it happened to: "reading `s3://b/trips.json` at byte 17".
    pub what: String,
    /// What the cause said.
    pub detail: String,
    /// The next thing to do, where there is one.
    pub hint: Option<String>,
    /// Where it is `Fenced`, and another owner had taken over before this one came: the epochs of both.
    pub superseded: Option<Superseded>,
    /// The cause, where it has a name.
    pub cause: Option<Cause>,
    /// The resource that it is about, where that is known: `StreamSource/trips`.
    pub resource: Option<Box<str>>,
}

impl Error {
    /// An error without a hint.
    pub fn new(kind: ErrorKind, what: impl Into<String>, detail: impl fmt::Display) -> Self {
        let (what, detail) = (what.into(), detail.to_string());
        Self { kind, what, detail, hint: None, superseded: None, cause: None, resource: None }
    }

    /// The user must change something.
    pub fn user(what: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::new(ErrorKind::User, what, detail)
    }

    /// The outside failed.
    pub fn external(what: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::new(ErrorKind::External, what, detail)
    }

    /// A log lost rows that were not read yet.
    pub fn data_loss(what: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::new(ErrorKind::DataLoss, what, detail)
    }

    /// Another owner had taken over a unit before this one came.
    pub fn superseded(what: impl Into<String>, superseded: Superseded) -> Self {
        let Superseded { assigned, stored } = superseded;
        let detail = format!("it is assigned at epoch {assigned}, and was taken over at epoch {stored}");
        Self { superseded: Some(superseded), ..Self::new(ErrorKind::Fenced, what, detail) }
    }

    /// A bug.
    pub fn internal(what: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Internal, what, detail)
    }

    /// Says which resource it is about: `StreamSource/trips`.
    #[must_use]
    pub fn of(mut self, resource: &str) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Names its cause.
    #[must_use]
    pub fn because(self, cause: Cause) -> Self {
        Self { cause: Some(cause), ..self }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == ErrorKind::DataLoss {
            f.write_str("DataLoss: ")?;
        }
        self.resource.iter().try_for_each(|resource| write!(f, "{resource}: "))?;
        write!(f, "{}: {}", self.what, self.detail)?;
        self.hint.iter().try_for_each(|hint| write!(f, " ({hint})"))
    }
}

/// The result of anything that talks to the outside.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_happened_why_and_what_to_do() {
        let error = Error::user("writing to `/out`", "read-only file system").with_hint("choose another `files.url`");
        let expected = "writing to `/out`: read-only file system (choose another `files.url`)";
        assert_eq!(error.to_string(), expected);
        let of = error.of("StreamSink/out");
        assert_eq!(of.to_string(), format!("StreamSink/out: {expected}"));
        assert_eq!(of.what, "writing to `/out`", "whoever names the resource says the rest alone");
        let lost = Error::data_loss("its log", "gone").of("StreamSource/trips");
        assert_eq!(lost.to_string(), "DataLoss: StreamSource/trips: its log: gone");
    }
}
