//! How an S3 or S3-compatible object store is reached.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::secret::ValueFrom;

/// How an object store is reached; what is absent comes from the environment, as AWS tools read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.accessKeyFrom) == has(self.secretKeyFrom)",
    "accessKeyFrom and secretKeyFrom belong together: give both or neither"
))]
pub struct S3 {
    /// The URL of an S3-compatible service; by default AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = crate::pattern::HTTP_URL))]
    pub endpoint: Option<String>,
    /// The region; by default that of the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = crate::pattern::REGION))]
    pub region: Option<String>,
    /// Where the access key id is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_from: Option<ValueFrom>,
    /// Where the secret access key is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_from: Option<ValueFrom>,
    /// Allow an endpoint without TLS.
    #[serde(default)]
    pub allow_http: bool,
    /// Addresses that the endpoint may have although they are refused, each as CIDR: those of a machine's own network
    /// (link-local), of a cloud's metadata service, of the API server, and, in a pod, of the pod itself. Others, such as
    /// 10.0.0.0/8, need none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64), regex(pattern = crate::address::PATTERN)))]
    pub allow_private_addresses: Vec<String>,
}
