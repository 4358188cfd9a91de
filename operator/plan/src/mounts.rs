//! Secrets and ConfigMaps that resources name: mounted as files, never read by the operator.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use thalweg_crds::secret::KeyRef;

use crate::resources::Written;

/// Keys by the name of the object that holds them.
pub type Keys = BTreeMap<String, BTreeSet<String>>;

/// What workers read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// Of Secrets.
    pub secrets: Keys,
    /// Of ConfigMaps.
    pub config_maps: Keys,
}

impl Mounts {
    /// Every `secretKeyRef` and `configMapKeyRef` of a pipeline's sources, sinks and state.
    pub fn of(written: &Written) -> Self {
        let mut mounts = Self::default();
        written.sources.values().for_each(|spec| mounts.add(spec));
        written.sinks.values().for_each(|spec| mounts.add(spec));
        mounts.add(&written.spec.state);
        mounts
    }

    fn add(&mut self, spec: &impl Serialize) {
        self.walk(&serde_json::to_value(spec).unwrap_or(Value::Null));
    }

    /// Connectors differ in their settings, and a reference has one shape in all of them.
    fn walk(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| match name.as_str() {
                "secretKeyRef" => keep(&mut self.secrets, value),
                "configMapKeyRef" => keep(&mut self.config_maps, value),
                _ => self.walk(value),
            }),
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            _ => {}
        }
    }
}

fn keep(keys: &mut Keys, reference: &Value) {
    if let Ok(KeyRef { name, key }) = serde_json::from_value(reference.clone()) {
        keys.entry(name).or_default().insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_wherever_they_stand() {
        let kafka = serde_json::json!({"kafka": {
            "brokers": ["kafka:9092"], "topic": "trips",
            "tls": {"caFrom": {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}}},
            "sasl": {"mechanism": "Plain", "username": "u", "passwordFrom": {"secretKeyRef": {"name": "kafka", "key": "password"}}},
        }});
        let mut mounts = Mounts::default();
        mounts.walk(&kafka);
        assert_eq!(mounts.secrets, Keys::from([("kafka".to_owned(), ["password".to_owned()].into())]));
        assert_eq!(mounts.config_maps, Keys::from([("ca".to_owned(), ["ca.crt".to_owned()].into())]));
    }
}
