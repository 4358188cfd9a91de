//! What was written last, for as long as the caches have not seen it: a decision never rests on what we know is old.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Kind, namespace and name.
type Key = (String, String, String);

/// Namespace and name of an object that was written.
pub type Pending = (String, String);

/// Answers of the API server to our writes.
#[derive(Default)]
pub struct Overlay {
    newest: Mutex<HashMap<Key, Value>>,
}

impl Overlay {
    /// Notes what the API server answered to a write.
    pub fn wrote<K: Resource<DynamicType = ()> + Serialize>(&self, object: &K) {
        if let Ok(value) = serde_json::to_value(object) {
            self.lock().insert(key::<K>(&object.namespace().unwrap_or_default(), &object.name_any()), value);
        }
    }

    /// The newer one of what is cached and what was written.
    pub fn newest<K>(&self, namespace: &str, name: &str, cached: Option<Arc<K>>) -> Option<Arc<K>>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let key = key::<K>(namespace, name);
        let mut newest = self.lock();
        let Some(written) = newest.get(&key) else { return cached };
        let cached_version = cached.as_ref().and_then(|cached| cached.resource_version());
        if is_older(cached_version.as_deref(), written["metadata"]["resourceVersion"].as_str()) {
            // What does not parse was not written by this version.
            return serde_json::from_value(written.clone()).ok().map(Arc::new).or(cached);
        }
        newest.remove(&key);
        cached
    }

    /// The cache has taken an object, or that it was deleted, at the version that it has: what was written before counts no
    /// more.
    pub fn seen<K: Resource<DynamicType = ()>>(&self, object: &K) {
        let key = key::<K>(&object.namespace().unwrap_or_default(), &object.name_any());
        let mut newest = self.lock();
        let version = newest.get(&key).and_then(|written| written["metadata"]["resourceVersion"].as_str());
        if version.is_some_and(|written| !is_older(object.resource_version().as_deref(), Some(written))) {
            newest.remove(&key);
        }
    }

    /// What was written of a kind before it is listed anew.
    pub fn pending<K: Resource<DynamicType = ()>>(&self) -> Vec<Pending> {
        let kind = K::kind(&());
        let of_kind = |key: &&Key| key.0 == kind;
        self.lock().keys().filter(of_kind).map(|(_, namespace, name)| (namespace.clone(), name.clone())).collect()
    }

    /// Forgets what was written before a list that does not hold it: it was deleted unseen.
    pub fn not_listed<K: Resource<DynamicType = ()>>(&self, (namespace, name): &Pending) {
        self.lock().remove(&key::<K>(namespace, name));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Value>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key<K: Resource<DynamicType = ()>>(namespace: &str, name: &str) -> Key {
    (K::kind(&()).into_owned(), namespace.to_owned(), name.to_owned())
}

/// Whether a version is older than another. They are decimal numbers that grow, as the API conventions say since
/// Kubernetes 1.35; what is none is taken for new, so that a cache is never overruled by mistake.
fn is_older(cached: Option<&str>, written: Option<&str>) -> bool {
    let number = |version: Option<&str>| version.and_then(|version| version.parse::<u128>().ok());
    match (cached, number(cached), number(written)) {
        (None, _, _) => true,
        (_, Some(cached), Some(written)) => cached < written,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn map(version: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some("a".to_owned());
        map.metadata.namespace = Some("n".to_owned());
        map.metadata.resource_version = Some(version.to_owned());
        map
    }

    #[test]
    fn what_was_written_counts_until_the_cache_has_seen_it() {
        let overlay = Overlay::default();
        overlay.wrote(&map("10"));
        let version = |cached: Option<&str>| {
            let newest = overlay.newest("n", "a", cached.map(|version| Arc::new(map(version))));
            newest.and_then(|map| map.resource_version())
        };
        assert_eq!(version(Some("9")).as_deref(), Some("10"));
        assert_eq!(version(None).as_deref(), Some("10"));
        assert_eq!(version(Some("11")).as_deref(), Some("11"));
        assert_eq!(version(None), None, "deleted since");
        overlay.wrote(&map("20"));
        overlay.seen(&map("19"));
        assert_eq!(version(None).as_deref(), Some("20"), "that was before");
        overlay.seen(&map("21"));
        assert_eq!(version(None), None);
    }
}
