//! What keeps a worker from its work in a cluster.

use std::path::PathBuf;

use thalweg_crds::API_VERSION;
use thalweg_mtls::identity::IdentityError;

/// An error between a worker and its cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no way to the API server.
    #[error("finding the API server: {0}; a worker runs in a pod with a service account, or where KUBECONFIG leads")]
    Client(String),
    /// The API server refused a request.
    #[error("{what}: {said}{hint}", hint = hint.iter().map(|hint| format!(" ({hint})")).collect::<String>())]
    Api {
        /// What was tried.
        what: String,
        /// What it answered.
        said: String,
        /// What to do, where that is known.
        hint: Option<String>,
    },
    /// A file of the pod is missing or cannot be used.
    #[error("`{}`: {said}; {expected}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        said: String,
        /// What it is for.
        expected: &'static str,
    },
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] IdentityError),
    /// A port cannot be served.
    #[error("serving {address}: {said}")]
    Port {
        /// Where.
        address: String,
        /// What the system says.
        said: String,
    },
}

impl ClusterError {
    /// The API server refused a request, or did not answer.
    pub fn api(what: impl Into<String>, error: &kube::Error) -> Self {
        let (said, hint) = match error {
            kube::Error::Api(status) if status.code == 403 => (
                status.message.clone(),
                Some(
                    "the worker's Role names its slot Leases and its StreamAssignment: is the operator older?"
                        .to_owned(),
                ),
            ),
            kube::Error::Api(status) => (status.message.clone(), None),
            other => (other.to_string(), None),
        };
        Self::Api { what: what.into(), said, hint }
    }

    /// The assignment cannot be read.
    pub fn assignment(name: &str, error: &kube::Error) -> Self {
        let not_served = matches!(error, kube::Error::Api(status) if status.code == 404);
        match Self::api(format!("reading StreamAssignment `{name}`"), error) {
            Self::Api { what, said, .. } if not_served => {
                let hint =
                    format!("the cluster serves no StreamAssignment of {API_VERSION}: install the chart's definitions");
                Self::Api { what, said, hint: Some(hint) }
            }
            other => other,
        }
    }
}
