//! Objects of ours in the cache: as JSON text, a tenth of what their Rust types take. With thousands of pipelines these
//! are nearly all that is cached, and after a start nobody looks into them.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// An object of a kind: who it is, and the rest as text.
pub struct Kept<K> {
    /// Its name, its version and its owners; no labels and no annotations.
    metadata: ObjectMeta,
    text: Box<str>,
    kind: PhantomData<fn() -> K>,
}

impl<K: DeserializeOwned> Kept<K> {
    /// The object; `None` if it is not one of its kind, which the API server does not store.
    pub fn object(&self) -> Option<K> {
        serde_json::from_str(&self.text).ok()
    }

    /// The object as JSON, without its version and kind.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

impl<K> Clone for Kept<K> {
    fn clone(&self) -> Self {
        Self { metadata: self.metadata.clone(), text: self.text.clone(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Kept<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<K> Serialize for Kept<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: Value = serde_json::from_str(&self.text).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'de, K> Deserialize<'de> for Kept<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        drop_kind(&mut value);
        if let Some(metadata) = value["metadata"].as_object_mut() {
            // Who wrote which field is a third of an object, and nobody asks for it.
            metadata.shift_remove("managedFields");
        }
        let metadata = ObjectMeta::deserialize(&value["metadata"]).map_err(D::Error::custom)?;
        Ok(Self { metadata: slim(metadata), text: value.to_string().into(), kind: PhantomData })
    }
}

/// Takes away what an object says of its kind: watches tell it with each object, and lists do not, and it is to be the same
/// by both ways.
pub fn drop_kind(object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("apiVersion");
        fields.shift_remove("kind");
    }
}

fn slim(metadata: ObjectMeta) -> ObjectMeta {
    let owner = |owner: OwnerReference| OwnerReference { api_version: String::new(), ..owner };
    ObjectMeta {
        owner_references: metadata.owner_references.map(|owners| owners.into_iter().map(owner).collect()),
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        generation: metadata.generation,
        deletion_timestamp: metadata.deletion_timestamp,
        ..ObjectMeta::default()
    }
}

impl<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>> Resource for Kept<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_kept_whole_but_for_who_wrote_it_and_its_kind() {
        let written = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
            "metadata": {
                "name": "m", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"l": "1"},
                "managedFields": [{"manager": "somebody"}],
            },
        });
        let kept: Kept<ConfigMap> = serde_json::from_value(written.clone()).unwrap();
        assert_eq!((kept.name_any().as_str(), kept.resource_version().as_deref()), ("m", Some("7")));
        assert_eq!(kept.object().unwrap().data.unwrap()["a"], "b");
        assert_eq!(kept.json()["metadata"]["labels"]["l"], "1");
        assert_eq!(kept.json()["metadata"].get("managedFields"), None);
        assert_eq!(serde_json::to_value(&kept).unwrap(), kept.json());
        // As lists have it.
        let mut listed = written;
        drop_kind(&mut listed);
        assert_eq!(serde_json::from_value::<Kept<ConfigMap>>(listed).unwrap().json(), kept.json());
        assert_eq!(<Kept<ConfigMap> as Resource>::plural(&()), "configmaps");
    }
}
