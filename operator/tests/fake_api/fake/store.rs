//! Objects, their versions, and what happened to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

/// Group, version and plural, such as `apps/v1/deployments`.
pub type Kind = String;
/// Kind, namespace and name.
pub type Key = (Kind, String, String);

/// A write that changed something or tried to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Write {
    /// `create`, `update`, `apply`, `status` or `delete`.
    pub verb: &'static str,
    /// What was written.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// An event of a watch.
#[derive(Clone, Debug)]
pub struct Event {
    /// The version at which it happened.
    pub version: u64,
    /// What it is about.
    pub kind: Kind,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub what: &'static str,
    /// The object before; null where there was none.
    pub before: Arc<Value>,
    /// The object afterwards.
    pub object: Arc<Value>,
}

/// Why a write was refused: an HTTP status and a reason.
pub type Refusal = (u16, &'static str);

/// Everything that the API server knows.
#[derive(Default)]
pub struct Store {
    /// Objects.
    pub objects: BTreeMap<Key, Arc<Value>>,
    /// Everything that happened.
    pub events: Vec<Event>,
    /// What each object was last applied as.
    applied: BTreeMap<(Key, bool), Value>,
    version: u64,
}

impl Store {
    /// The newest version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Makes an object that is not there.
    pub fn create(&mut self, key: Key, mut object: Value) -> Result<Arc<Value>, Refusal> {
        if self.objects.contains_key(&key) {
            return Err((409, "AlreadyExists"));
        }
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        metadata.insert("name".to_owned(), key.2.clone().into());
        metadata.insert("namespace".to_owned(), key.1.clone().into());
        metadata.insert("uid".to_owned(), format!("uid-{}", self.version + 1).into());
        metadata.insert("generation".to_owned(), 1.into());
        // Later objects are younger, and none of them is of these days.
        let (minutes, seconds) = (self.version / 60 % 60, self.version % 60);
        metadata.insert("creationTimestamp".to_owned(), format!("2026-01-01T00:{minutes:02}:{seconds:02}Z").into());
        metadata.remove("managedFields");
        Ok(self.put(key, object, "ADDED"))
    }

    /// Replaces all of an object but its status, at the version that it carries.
    pub fn update(&mut self, key: Key, mut object: Value) -> Result<Arc<Value>, Refusal> {
        let Some(old) = self.objects.get(&key) else { return Err((404, "NotFound")) };
        let version = &object["metadata"]["resourceVersion"];
        if !version.is_null() && *version != old["metadata"]["resourceVersion"] {
            return Err((409, "Conflict"));
        }
        object["status"] = old["status"].clone();
        object["metadata"]["uid"] = old["metadata"]["uid"].clone();
        object["metadata"]["generation"] = old["metadata"]["generation"].clone();
        self.change(key, object)
    }

    /// Server-side apply by the one manager that there is.
    pub fn apply(&mut self, key: Key, desired: Value, of_status: bool) -> Result<Arc<Value>, Refusal> {
        let Some(old) = self.objects.get(&key).cloned() else {
            if of_status {
                return Err((404, "NotFound"));
            }
            self.applied.insert((key.clone(), false), desired.clone());
            return self.create(key, desired);
        };
        let uid = &desired["metadata"]["uid"];
        if !uid.is_null() && *uid != old["metadata"]["uid"] {
            return Err((409, "Conflict"));
        }
        let mut next = (*old).clone();
        let before = self.applied.insert((key.clone(), of_status), desired.clone()).unwrap_or(Value::Null);
        if of_status {
            prune(&mut next["status"], &before["status"], &desired["status"]);
            merge(&mut next["status"], &desired["status"]);
        } else {
            prune(&mut next, &before, &desired);
            merge(&mut next, &desired);
            let finalizers = applied_finalizers(&old, &before, &desired);
            if next["metadata"].is_object() {
                next["metadata"]["finalizers"] = finalizers.into();
            }
        }
        self.change(key, next)
    }

    /// A merge patch.
    pub fn merge(&mut self, key: &Key, patch: &Value) -> Result<Arc<Value>, Refusal> {
        let Some(old) = self.objects.get(key) else { return Err((404, "NotFound")) };
        let version = &patch["metadata"]["resourceVersion"];
        if !version.is_null() && *version != old["metadata"]["resourceVersion"] {
            return Err((409, "Conflict"));
        }
        let mut next = (**old).clone();
        merge(&mut next, patch);
        let done = self.change(key.clone(), next)?;
        let metadata = &done["metadata"];
        if metadata["deletionTimestamp"].is_string() && metadata["finalizers"].is_null() {
            // What is deleted goes with its last finalizer.
            self.delete(key, &Value::Null)?;
        }
        Ok(done)
    }

    /// Removes an object and all that it owns.
    pub fn delete(&mut self, key: &Key, options: &Value) -> Result<Arc<Value>, Refusal> {
        let Some(old) = self.objects.get(key).cloned() else { return Err((404, "NotFound")) };
        for field in ["uid", "resourceVersion"] {
            let wanted = &options["preconditions"][field];
            if !wanted.is_null() && *wanted != old["metadata"][field] {
                return Err((409, "Conflict"));
            }
        }
        self.remove(key, (*old).clone());
        let uid = old["metadata"]["uid"].clone();
        let is_owned = |object: &Value| {
            object["metadata"]["ownerReferences"]
                .as_array()
                .is_some_and(|owners| owners.iter().any(|o| o["uid"] == uid))
        };
        let owned: Vec<Key> =
            self.objects.iter().filter(|(_, object)| is_owned(object)).map(|(key, _)| key.clone()).collect();
        owned.iter().for_each(|key| drop(self.delete(key, &Value::Null)));
        Ok(old)
    }

    /// Writes as somebody else: no request, no fault, but an event; nothing where the object was deleted meanwhile.
    pub fn edit(&mut self, key: &Key, edit: impl FnOnce(&mut Value)) {
        let Some(object) = self.objects.get(key) else { return };
        let mut object = (**object).clone();
        edit(&mut object);
        self.change(key.clone(), object).expect("nobody may write that");
    }

    fn change(&mut self, key: Key, mut next: Value) -> Result<Arc<Value>, Refusal> {
        let old = &self.objects[&key];
        next["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        drop_nulls(&mut next);
        if next["metadata"]["finalizers"].as_array().is_some_and(Vec::is_empty) {
            next["metadata"].as_object_mut().map(|metadata| metadata.shift_remove("finalizers"));
        }
        if next == **old {
            return Ok(Arc::clone(old));
        }
        if fixed(&key.0, old).iter().any(|field| next.pointer(field) != old.pointer(field)) {
            return Err((422, "Invalid"));
        }
        if next.get("spec") != old.get("spec") {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
            next["metadata"]["generation"] = (generation + 1).into();
        }
        Ok(self.put(key, next, "MODIFIED"))
    }

    fn put(&mut self, key: Key, mut object: Value, what: &'static str) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        drop_nulls(&mut object);
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), Arc::clone(&object)).unwrap_or_default();
        self.events.push(Event { version: self.version, kind: key.0, what, before, object: Arc::clone(&object) });
        object
    }

    fn remove(&mut self, key: &Key, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let before = self.objects.remove(key).unwrap_or_default();
        self.applied.retain(|(applied, _), _| applied != key);
        self.events.push(Event {
            version: self.version,
            kind: key.0.clone(),
            what: "DELETED",
            before,
            object: Arc::new(object),
        });
    }
}

/// What nobody can change of an object once it is there.
fn fixed(kind: &str, object: &Value) -> &'static [&'static str] {
    match kind {
        "v1/configmaps" if object["immutable"] == true => &["/data", "/binaryData", "/immutable"],
        "apps/v1/deployments" => &["/spec/selector"],
        "rbac.authorization.k8s.io/v1/rolebindings" => &["/roleRef"],
        "batch/v1/jobs" => &["/spec/selector", "/spec/template"],
        _ => &[],
    }
}

/// Removes what was applied before and is not any more.
fn prune(object: &mut Value, before: &Value, now: &Value) {
    let (Value::Object(object), Value::Object(before)) = (object, before) else { return };
    for (key, before) in before {
        match now.get(key) {
            None => drop(object.shift_remove(key)),
            Some(now) => object.get_mut(key).into_iter().for_each(|inner| prune(inner, before, now)),
        }
    }
}

/// A set of which each manager owns what it has applied, and takes away nothing else.
fn applied_finalizers(old: &Value, before: &Value, desired: &Value) -> Vec<Value> {
    let of = |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let (before, desired) = (of(before), of(desired));
    let mut kept = of(old);
    kept.retain(|finalizer| desired.contains(finalizer) || !before.contains(finalizer));
    let added: Vec<Value> = desired.into_iter().filter(|finalizer| !kept.contains(finalizer)).collect();
    kept.into_iter().chain(added).collect()
}

fn merge(object: &mut Value, desired: &Value) {
    let Value::Object(desired) = desired else {
        *object = desired.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    for (key, value) in desired {
        match key.as_str() {
            // Atomic: whoever applies it has all of it.
            "selector" => object[key.as_str()] = value.clone(),
            key => merge(&mut object[key], value),
        }
    }
}

/// The API server stores no null.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// What the API server answers where it refuses.
pub fn refusal((code, reason): Refusal) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code})
}
