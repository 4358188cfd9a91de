//! The account of workers: cloud roles are bound to it by annotations.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::Build;

impl Build<'_> {
    /// None where the user named an account of their own.
    pub(super) fn service_account(&self) -> Option<ServiceAccount> {
        let worker = &self.pipeline.worker;
        let mut metadata = self.named();
        metadata.annotations = Some(worker.service_account_annotations.clone()).filter(|all| !all.is_empty());
        worker.service_account_name.is_none().then(|| ServiceAccount { metadata, ..ServiceAccount::default() })
    }
}
