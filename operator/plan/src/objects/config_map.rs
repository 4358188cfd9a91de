//! The plan as workers read it: a ConfigMap named by its hash, so that it never changes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::Build;

/// Key of the manifests.
pub(super) const RESOURCES: &str = "resources.yaml";
/// Key of the hash.
pub(super) const HASH: &str = "plan";

impl Build<'_> {
    pub(super) fn plan(&self) -> ConfigMap {
        let plan = &self.pipeline.plan;
        let data = [(RESOURCES, &plan.resources), (HASH, &plan.hash)];
        ConfigMap {
            metadata: self.metadata(&self.pipeline.names.plan(&plan.hash)),
            data: Some(data.map(|(key, text)| (key.to_owned(), text.clone())).into_iter().collect::<BTreeMap<_, _>>()),
            immutable: Some(true),
            ..ConfigMap::default()
        }
    }
}
