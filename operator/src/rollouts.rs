//! Pipelines whose pods are being replaced because the installation has changed: so many at once, and no more.

use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use thalweg_operator_plan::names::Names;
use thalweg_operator_plan::rollout::Places;
use tokio::time::Instant;

use crate::kept::Kept;
use crate::pods::rollout;
use crate::watch::owner;

/// Namespace and name.
type Key = (String, String);

/// Places for pipelines that replace their pods.
pub struct Rollouts {
    limit: usize,
    began: Instant,
    places: Mutex<Places<Key>>,
}

impl Rollouts {
    /// No place is taken.
    pub fn new(limit: u16) -> Self {
        Self { limit: limit.into(), began: Instant::now(), places: Mutex::default() }
    }

    /// Gives places to those that are under way, which whoever led before has let begin: places are in memory only.
    pub fn resume(&self, deployments: &Store<Kept<Deployment>>) {
        for deployment in deployments.state() {
            let Some(pipeline) = owner(&*deployment) else { continue };
            let is_of_workers = deployment.name_any() == Names::new(&pipeline.name).base();
            let is_under_way = || deployment.object().is_some_and(|found| rollout(&found).is_under_way());
            if is_of_workers && is_under_way() {
                let key = (pipeline.namespace.unwrap_or_default(), pipeline.name);
                self.places().occupy(key, self.began.elapsed());
            }
        }
    }

    /// Whether a pipeline may begin, or has begun.
    pub fn take(&self, namespace: &str, name: &str) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        self.places().take(key, self.limit, self.began.elapsed())
    }

    /// Its pods are replaced, or it is gone.
    pub fn leave(&self, namespace: &str, name: &str) {
        self.places().leave(&(namespace.to_owned(), name.to_owned()));
    }

    fn places(&self) -> MutexGuard<'_, Places<Key>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
