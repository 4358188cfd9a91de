//! What keeps a coordinator from its work.

use thalweg_crds::manifest;
use thalweg_operator_plan::problem::Problem;

use crate::cluster::ClusterError;

/// An error of the coordinator.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// A file of the folder cannot be used.
    #[error(transparent)]
    Folder(#[from] ClusterError),
    /// The manifests are wrong.
    #[error(transparent)]
    Manifests(#[from] manifest::Problems),
    /// The manifests are right, and a pipeline cannot run on several workers.
    #[error("{}", lines(.0))]
    Pipeline(Vec<Problem>),
    /// The plan of a pipeline cannot be checked.
    #[error("checking the plan of {pipeline}: {said}")]
    Check {
        /// `NAMESPACE/NAME`.
        pipeline: String,
        /// Why.
        said: String,
    },
    /// An order that cannot be carried out.
    #[error("{0}")]
    Order(String),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
