//! The plan as workers read it: a ConfigMap named by its hash, so that it never changes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use thalweg_crds::restart::RESTART;

use super::Build;
use crate::check::note;

/// Key of the manifests.
pub(crate) const RESOURCES: &str = "resources.yaml";
/// Key of the hash.
const HASH: &str = "plan";
/// Annotation: what the check found out, which is not for workers. It depends on the version that checked, and the data of an
/// immutable ConfigMap can never be written again.
pub(crate) const STAGES: &str = "thalweg.dev/stages";

impl Build<'_> {
    pub(super) fn plan(&self) -> ConfigMap {
        let plan = &self.pipeline.plan;
        let data = [(RESOURCES, plan.resources.clone()), (HASH, plan.hash.clone())];
        let restart = plan.restart.clone().map(|restart| (RESTART, restart));
        let data = data.into_iter().chain(restart).map(|(key, text)| (key.to_owned(), text));
        ConfigMap {
            metadata: ObjectMeta {
                annotations: Some(
                    [(STAGES.to_owned(), note(&self.pipeline.stages, self.pipeline.given.changes))].into(),
                ),
                ..self.metadata(&self.pipeline.names.plan(&plan.hash))
            },
            data: Some(data.collect::<BTreeMap<_, _>>()),
            immutable: Some(true),
            ..ConfigMap::default()
        }
    }
}
