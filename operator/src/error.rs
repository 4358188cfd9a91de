//! What can go wrong while a pipeline is brought to where it should be, and who has to act.

use std::fmt;

use thalweg_operator_plan::problem::{Problem, summary};

/// Why a pipeline was not brought to where it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("{what}: {source}")]
    Api {
        /// What was asked of it.
        what: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// The SQL could not be checked.
    #[error("checking SQL with {binary}: {what}")]
    Check {
        /// The binary.
        binary: String,
        /// What happened.
        what: String,
    },
    /// An object has the name that one of ours is to have, and somebody else owns it.
    #[error("{kind} {name} exists and does not belong to this pipeline: rename the pipeline, or remove that object")]
    NameTaken {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The API server does not take an object of ours: a quota, a policy, a namespace that is being deleted, or a value.
    #[error("the API server refuses {kind} {name}: {message}")]
    Refused {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// What it said.
        message: String,
    },
    /// An object was written by somebody else since it was read for a decision.
    #[error("{kind} {name} has changed since it was read")]
    Overtaken {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// An object without which nothing can be decided is of another version.
    #[error("{0}")]
    Unreadable(String),
    /// What says which installation this is says nothing.
    #[error(
        "ConfigMap {name} holds no `id` of this installation: put it back as it was, or delete it and be another installation, to \
         which nothing that is kept belongs"
    )]
    NoInstallation {
        /// Its name.
        name: String,
    },
    /// Another operator leads.
    #[error("this operator no longer leads")]
    NotLeader,
    /// What must not happen.
    #[error("{0} (this is a bug: please report it)")]
    Internal(String),
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The user, by a change of the spec.
    User,
    /// Nobody: it is tried again.
    External,
    /// The developers.
    Internal,
}

impl Error {
    /// A failed request.
    pub fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api { what, source: Box::new(source) }
    }

    /// A failed write of an object; one that is refused stays so until somebody acts.
    pub fn write(kind: impl Into<String>, name: &str, source: kube::Error) -> Self {
        let kind = kind.into();
        match source {
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => {
                Self::Refused { kind, name: name.to_owned(), message: status.message.clone() }
            }
            source => Self::api(format!("writing {kind} {name}"))(source),
        }
    }

    /// An object cannot be read.
    pub fn unreadable(problems: &[Problem]) -> Self {
        Self::Unreadable(summary(problems).1)
    }

    /// Who has to act.
    pub fn class(&self) -> Class {
        match self {
            Self::Api { .. } | Self::Overtaken { .. } | Self::NotLeader => Class::External,
            Self::NameTaken { .. } | Self::Refused { .. } | Self::Unreadable(_) | Self::NoInstallation { .. } => {
                Class::User
            }
            Self::Check { .. } | Self::Internal(_) => Class::Internal,
        }
    }

    /// Whether somebody else wrote first: what was read is old, and the next look will see it.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Api { source, .. } => is_status(source, 409),
            Self::Overtaken { .. } => true,
            _ => false,
        }
    }

    /// The name of the variant: an event's reason, a metric's label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Api { .. } if self.is_conflict() => "Conflict",
            Self::Api { .. } => "ApiRequestFailed",
            Self::Check { .. } => "CheckFailed",
            Self::NameTaken { .. } => "NameTaken",
            Self::Refused { .. } => "Refused",
            Self::Overtaken { .. } => "Conflict",
            Self::Unreadable(_) => "Unreadable",
            Self::NoInstallation { .. } => "NoInstallation",
            Self::NotLeader => "NotLeader",
            Self::Internal(_) => "Internal",
        }
    }
}

/// Whether the API server answered with this HTTP status.
pub fn is_status(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
