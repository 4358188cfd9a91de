//! What workers may do: claim and renew their own slots, read their own assignment, and nothing else.

use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use thalweg_crds::GROUP;

use super::Build;

impl Build<'_> {
    pub(super) fn role(&self, slots: u32) -> Role {
        let names = &self.pipeline.names;
        let leases = (0..slots).map(|number| names.slot(number).0).collect();
        let rules = vec![
            rule("coordination.k8s.io", "leases", leases, &["get", "patch", "update"]),
            // A list or watch is allowed by name if it selects that name by a field selector.
            rule(GROUP, "streamassignments", vec![names.pipeline().to_owned()], &["get", "list", "watch"]),
        ];
        Role { metadata: self.named(), rules: Some(rules) }
    }

    pub(super) fn role_binding(&self) -> RoleBinding {
        RoleBinding {
            metadata: self.named(),
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".to_owned(),
                kind: "Role".to_owned(),
                name: self.pipeline.names.base().to_owned(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name: self.account().to_owned(),
                namespace: Some(self.pipeline.namespace.clone()),
                ..Subject::default()
            }]),
        }
    }
}

fn rule(group: &str, resource: &str, names: Vec<String>, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        resource_names: Some(names),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    }
}
