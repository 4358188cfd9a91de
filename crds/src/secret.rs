//! References to values kept in Secrets and ConfigMaps, and the one shape of TLS and SASL settings.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A key of a Secret or ConfigMap of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::pattern::OBJECT_NAME))]
    pub name: String,
    /// Key within it.
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::pattern::OBJECT_KEY))]
    pub key: String,
}

/// Where a value comes from: a value itself never stands in a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.secretKeyRef) != has(self.configMapKeyRef)",
    "exactly one of secretKeyRef and configMapKeyRef is expected"
))]
pub struct ValueFrom {
    /// A key of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// Transport security towards one system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.certFrom) == has(self.keyFrom)",
    "certFrom and keyFrom belong together: give both or neither"
))]
pub struct Tls {
    /// Certificates to trust; by default those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_from: Option<ValueFrom>,
    /// The client's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_from: Option<ValueFrom>,
    /// The key of the client's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_from: Option<ValueFrom>,
    /// The name that the server's certificate must carry; by default the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// Accept any certificate. For tests only.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// How to log in over SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    /// User name and password as they are: use it with `tls` only.
    Plain,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
    /// OAUTHBEARER (RFC 7628): a token of an identity provider, as it is: use it with `tls` only.
    OAuthBearer,
    /// AWS_MSK_IAM: the identity of the worker in AWS, from its service account or the usual `AWS_…` variables.
    AwsMskIam,
}

/// Log-in over SASL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.username) == (self.mechanism in ['Plain', 'ScramSha256', 'ScramSha512']) && has(self.username) == \
     has(self.passwordFrom)",
    "username and passwordFrom belong to the mechanisms Plain, ScramSha256 and ScramSha512: give both with these, and \
     neither with another"
))]
#[x_kube(validation = (
    "has(self.tokenFrom) == (self.mechanism == 'OAuthBearer')",
    "tokenFrom belongs to mechanism: OAuthBearer, and to no other"
))]
#[x_kube(validation = (
    "has(self.region) == (self.mechanism == 'AwsMskIam')",
    "region belongs to mechanism: AwsMskIam, and to no other"
))]
pub struct Sasl {
    /// How to log in.
    pub mechanism: SaslMechanism,
    /// As whom, with `Plain`, `ScramSha256` and `ScramSha512`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub username: Option<String>,
    /// Where the password is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_from: Option<ValueFrom>,
    /// With `OAuthBearer`: where the token is kept. It is read again before it expires, as its claim `exp` says; every five
    /// minutes where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_from: Option<ValueFrom>,
    /// With `AwsMskIam`: the region of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = crate::pattern::AWS_REGION))]
    pub region: Option<String>,
}
