//! Which installation this is: an id that is made once, kept beside the operator, and part of who owns state and progress.
//!
//! Two clusters may have pipelines of one name over one bucket or one cluster of Kafka. By the id the second one is refused,
//! where it would share positions, transactions and state with the first.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use rand::{Rng, SeedableRng};
use thalweg_operator_plan::names::MANAGER;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::error::{Error, Result, is_status};

/// Name of the ConfigMap. There is one a namespace, as there is one leader.
pub const NAME: &str = "thalweg-installation";
/// Its key.
const ID: &str = "id";
/// How long an API server that does not answer is borne.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// The id: that which stands there, or one that is made now. Of several replicas that make one the first counts.
///
/// # Errors
/// The API server refuses, or has not answered for a while; what stands there holds no id.
pub async fn id(api: &Api<ConfigMap>) -> Result<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        match find_or_make(api).await {
            Err(error @ Error::Api { .. }) if Instant::now() < until => {
                warn!(%error, "looking for the installation's id")
            }
            done => return done,
        }
        sleep(PAUSE).await;
    }
}

async fn find_or_make(api: &Api<ConfigMap>) -> Result<String> {
    let read = || async { api.get_opt(NAME).await.map_err(Error::api(format!("reading ConfigMap {NAME}"))) };
    if let Some(found) = read().await? {
        return id_of(&found);
    }
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &made()).await {
        Ok(made) => {
            let id = id_of(&made)?;
            info!(id, "this is a new installation");
            Ok(id)
        }
        // Another replica was quicker.
        Err(error) if is_status(&error, 409) => {
            let found = read().await?;
            id_of(&found.ok_or_else(|| Error::Overtaken { kind: "ConfigMap".to_owned(), name: NAME.to_owned() })?)
        }
        Err(error) => Err(Error::write("ConfigMap", NAME, error)),
    }
}

/// One that nobody can change: what stands somewhere in its name would be another's.
fn made() -> ConfigMap {
    let id: u128 = rand::rngs::StdRng::from_os_rng().random();
    let labels = [("app.kubernetes.io/managed-by", MANAGER)].map(|(key, value)| (key.to_owned(), value.to_owned()));
    ConfigMap {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), labels: Some(labels.into()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([(ID.to_owned(), format!("{id:032x}"))])),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

/// The id that stands in it: a word that names of transactions may hold.
fn id_of(found: &ConfigMap) -> Result<String> {
    let id = found.data.as_ref().and_then(|data| data.get(ID)).map(|id| id.trim());
    let is_word = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let none = || Error::NoInstallation { name: NAME.to_owned() };
    id.filter(is_word).map(str::to_owned).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(id: &str) -> ConfigMap {
        ConfigMap { data: Some(BTreeMap::from([(ID.to_owned(), id.to_owned())])), ..made() }
    }

    #[test]
    fn each_that_is_made_is_another_one_and_nobody_can_change_it() {
        let (a, b) = (made(), made());
        assert_ne!(id_of(&a).expect("an id"), id_of(&b).expect("an id"));
        assert_eq!(a.immutable, Some(true));
    }

    #[test]
    fn an_id_is_a_word() {
        assert_eq!(id_of(&holding("eu-1")).expect("an id"), "eu-1");
        for not in ["", " ", "a b", "a/b", &"x".repeat(65)] {
            assert!(matches!(id_of(&holding(not)), Err(Error::NoInstallation { .. })), "`{not}`");
        }
        assert!(id_of(&ConfigMap::default()).is_err());
    }
}
