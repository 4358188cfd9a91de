//! How a bucket is reached.

use object_store::ClientConfigKey;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use thalweg_core::address::Reachable;
use thalweg_core::endpoint::must_be_encrypted;
use thalweg_core::error::{Error, Result};

use crate::http::Guarded;

/// How an S3 bucket is reached. What is absent comes from the environment, as AWS tools read it.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct BucketAccess {
    /// The endpoint of a compatible store.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Whether plain HTTP will do.
    pub allow_http: bool,
    /// The key's id.
    pub access_key_id: Option<String>,
    /// The key.
    pub secret_access_key: Option<String>,
    /// Which addresses the endpoint may have.
    pub reachable: Reachable,
}

/// Keys are never shown.
impl std::fmt::Debug for BucketAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, region, allow_http, .. } = self;
        f.debug_struct("BucketAccess")
            .field("endpoint", endpoint)
            .field("region", region)
            .field("allow_http", allow_http)
            .finish_non_exhaustive()
    }
}

impl BucketAccess {
    /// A client of `bucket`, which people know as `what`. Nothing is asked of the bucket yet.
    ///
    /// # Errors
    /// *User*: settings that make no client, an endpoint that is not encrypted and may not be so.
    pub fn open(&self, what: &str, bucket: &str) -> Result<AmazonS3> {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        if self.allow_http {
            builder = builder.with_allow_http(true);
        }
        for (value, set) in [
            (&self.endpoint, AmazonS3Builder::with_endpoint as fn(AmazonS3Builder, String) -> AmazonS3Builder),
            (&self.region, AmazonS3Builder::with_region),
            (&self.access_key_id, AmazonS3Builder::with_access_key_id),
            (&self.secret_access_key, AmazonS3Builder::with_secret_access_key),
        ] {
            if let Some(value) = value {
                builder = set(builder, value.clone());
            }
        }
        let may_be_open = builder.get_config_value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint).unwrap_or_default();
        must_be_encrypted(what, &endpoint, may_be_open.as_deref())?;
        let failed = |error: object_store::Error| Error::user(what, error);
        if builder.get_config_value(&AmazonS3ConfigKey::AccessKeyId).is_none() {
            // Whoever gives this process an identity has a link-local address, by rights: the environment names it, no resource.
            let found = builder.clone().build().map_err(failed)?;
            builder = builder.with_credentials(found.credentials().clone());
        }
        builder.with_http_connector(Guarded::new(self.reachable.clone())).build().map_err(failed)
    }
}
