//! Objects in the cache: as compressed JSON, a hundredth of what their Rust types take. With thousands of pipelines these are
//! nearly all that is cached, after a start nobody looks into most of them, and those of a kind are much alike.

use std::any::TypeId;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock, OnceLock, PoisonError, RwLock};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// An object of a kind: who it is, and the rest packed.
pub struct Kept<K> {
    /// Its name, its version, its owners and its finalizers; no labels and no annotations.
    metadata: ObjectMeta,
    json: Packed,
    /// What it was found to be as it should be by; empty until then.
    verified: OnceLock<Box<str>>,
    kind: PhantomData<fn() -> K>,
}

impl<K: DeserializeOwned> Kept<K> {
    /// The object; `None` if it is not one of its kind: the API server stores such a one by a definition of another version.
    pub fn object(&self) -> Option<K> {
        self.read().ok()
    }

    /// The object.
    ///
    /// # Errors
    /// It is not one of its kind.
    pub fn read(&self) -> serde_json::Result<K> {
        serde_json::from_slice(&self.json.unpacked())
    }

    /// The object as JSON, without its version and kind.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.json.unpacked()).unwrap_or(Value::Null)
    }

    /// Whether this version was found to be as it should be, by the hash of that.
    pub fn is_verified(&self, wanted: &str) -> bool {
        self.verified.get().is_some_and(|verified| **verified == *wanted)
    }

    /// Notes that this version is as it should be. Of two hashes the first is kept: by another one it is compared again.
    pub fn verify(&self, wanted: &str) {
        let _ = self.verified.set(wanted.into());
    }
}

impl<K> Clone for Kept<K> {
    fn clone(&self) -> Self {
        let (metadata, json, verified) = (self.metadata.clone(), self.json.clone(), self.verified.clone());
        Self { metadata, json, verified, kind: PhantomData }
    }
}

impl<K> fmt::Debug for Kept<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.json.unpacked()))
    }
}

impl<K> Serialize for Kept<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: Value = serde_json::from_slice(&self.json.unpacked()).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'de, K: 'static> Deserialize<'de> for Kept<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        drop_kind(&mut value);
        if let Some(metadata) = value["metadata"].as_object_mut() {
            // Who wrote which field is a third of an object, and nobody asks for it.
            metadata.shift_remove("managedFields");
        }
        let metadata = ObjectMeta::deserialize(&value["metadata"]).map_err(D::Error::custom)?;
        let json = value.to_string().into_bytes();
        let json = Packed::new(&json, model::<K>(&json));
        Ok(Self { metadata: slim(metadata), json, verified: OnceLock::new(), kind: PhantomData })
    }
}

/// How much of a model is of use: deflate looks back no further (RFC 1951, 2).
const WINDOW_BYTES: usize = 32 * 1024;

/// What the objects of a kind are packed by: the first one that there was.
fn model<K: 'static>(json: &[u8]) -> Arc<[u8]> {
    static MODELS: LazyLock<RwLock<HashMap<TypeId, Arc<[u8]>>>> = LazyLock::new(RwLock::default);
    let kind = TypeId::of::<K>();
    let known = MODELS.read().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned();
    known.unwrap_or_else(|| {
        let mut models = MODELS.write().unwrap_or_else(PoisonError::into_inner);
        let first = || Arc::from(&json[..json.len().min(WINDOW_BYTES)]);
        Arc::clone(models.entry(kind).or_insert_with(first))
    })
}

/// Bytes, as what they have not in common with a model, compressed.
#[derive(Clone)]
struct Packed {
    bytes: Box<[u8]>,
    /// Of the bytes that were packed.
    length: usize,
    model: Arc<[u8]>,
}

impl Packed {
    fn new(bytes: &[u8], model: Arc<[u8]>) -> Self {
        let mut deflate = Compress::new(Compression::fast(), false);
        // A byte takes nine bits at the most (RFC 1951, 3.2.6).
        let mut packed = Vec::with_capacity(bytes.len() + bytes.len() / 8 + 64);
        let ready = deflate.set_dictionary(&model).map(|_| ());
        let status = ready.and_then(|()| deflate.compress_vec(bytes, &mut packed, FlushCompress::Finish));
        debug_assert!(matches!(status, Ok(Status::StreamEnd)), "there was room: {status:?}");
        Self { bytes: packed.into(), length: bytes.len(), model }
    }

    fn unpacked(&self) -> Vec<u8> {
        let mut inflate = Decompress::new(false);
        let mut bytes = Vec::with_capacity(self.length);
        let ready = inflate.set_dictionary(&self.model).map(|_| ());
        let status = ready.and_then(|()| inflate.decompress_vec(&self.bytes, &mut bytes, FlushDecompress::Finish));
        debug_assert!(matches!(status, Ok(Status::StreamEnd)), "what was packed here is unpacked: {status:?}");
        bytes
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
        creation_timestamp: metadata.creation_timestamp,
        deletion_timestamp: metadata.deletion_timestamp,
        finalizers: metadata.finalizers,
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
    fn bytes_are_kept_whole_and_what_they_have_in_common_with_a_model_once() {
        let ordinary = json!({"data": {"query": "INSERT INTO out SELECT a, b FROM t", "number": 1}}).to_string();
        let model: Arc<[u8]> = Arc::from(ordinary.as_bytes());
        let other = ordinary.replace("\"number\":1", "\"number\":2");
        let noise: Vec<u8> = (0..2_000_000u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        for bytes in [other.as_bytes(), b"", "größer".as_bytes(), &noise] {
            assert_eq!(Packed::new(bytes, Arc::clone(&model)).unpacked(), bytes);
            assert_eq!(Packed::new(bytes, Arc::default()).unpacked(), bytes);
        }
        let packed = Packed::new(other.as_bytes(), model);
        assert!(packed.bytes.len() < other.len() / 4, "{} of {}", packed.bytes.len(), other.len());
    }

    #[test]
    fn an_object_is_kept_whole_but_for_who_wrote_it_and_its_kind() {
        let written = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
            "metadata": {
                "name": "m", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"l": "1"},
                "managedFields": [{"manager": "somebody"}], "finalizers": ["f"],
            },
        });
        let kept: Kept<ConfigMap> = serde_json::from_value(written.clone()).unwrap();
        assert_eq!((kept.name_any().as_str(), kept.resource_version().as_deref()), ("m", Some("7")));
        assert_eq!(kept.finalizers(), ["f"]);
        assert_eq!(kept.object().unwrap().data.unwrap()["a"], "b");
        assert_eq!(kept.json()["metadata"]["labels"]["l"], "1");
        assert_eq!(kept.json()["metadata"].get("managedFields"), None);
        assert_eq!(serde_json::to_value(&kept).unwrap(), kept.json());
        assert!(!kept.is_verified("h"));
        kept.verify("h");
        assert_eq!(["h", "i"].map(|wanted| kept.is_verified(wanted)), [true, false]);
        // As lists have it.
        let mut listed = written;
        drop_kind(&mut listed);
        assert_eq!(serde_json::from_value::<Kept<ConfigMap>>(listed).unwrap().json(), kept.json());
        assert_eq!(<Kept<ConfigMap> as Resource>::plural(&()), "configmaps");
    }
}
