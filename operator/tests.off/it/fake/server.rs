//! Requests of kube's client, answered from the store.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::stream;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body as RequestBody;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::faults::Fault;
use super::path::Target;
use super::responses::{Body, document, lines};
use super::store::{Key, Store, Write, refusal};

/// An API server in memory.
#[derive(Clone, Default)]
pub struct FakeApi {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    store: Mutex<Store>,
    changed: Notify,
    writes: Mutex<Vec<Write>>,
    /// Faults by the number of the write, from 0.
    faults: Mutex<BTreeMap<usize, Fault>>,
    killed: Notify,
}

impl FakeApi {
    /// An API server that does this to its write of this number.
    pub fn with_fault(number: usize, fault: Fault) -> Self {
        let api = Self::default();
        api.inner.faults.lock().expect("unpoisoned").insert(number, fault);
        api
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        let inner = Arc::clone(&self.inner);
        let service = tower::service_fn(move |request: Request<RequestBody>| {
            let inner = Arc::clone(&inner);
            async move { Ok::<_, Infallible>(inner.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Its store.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.inner.store.lock().expect("unpoisoned")
    }

    /// Something was written by [`FakeApi::store`]: watches are to look.
    pub fn changed(&self) {
        self.inner.changed.notify_waiters();
    }

    /// Writes so far.
    pub fn writes(&self) -> Vec<Write> {
        self.inner.writes.lock().expect("unpoisoned").clone()
    }

    /// Waits until a fault kills the operator.
    pub async fn killed(&self) {
        self.inner.killed.notified().await;
    }

    /// Waits until something changes.
    pub async fn change(&self) {
        self.inner.changed.notified().await;
    }
}

impl Inner {
    async fn answer(self: Arc<Self>, request: Request<RequestBody>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let target = Target::parse(parts.uri.path(), parts.uri.query().unwrap_or_default());
        let bytes = body.collect().await.expect("a body").to_bytes();
        let body: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
        match (&parts.method, &target.name) {
            (&Method::GET, Some(_)) => self.get(&target),
            (&Method::GET, None) if target.query.contains_key("watch") => self.watch(target),
            (&Method::GET, None) => self.list(&target),
            // Events are told, and nothing is decided by them.
            (&Method::POST | &Method::PATCH, _) if target.kind == "events.k8s.io/v1/events" => document(201, &body),
            (method, _) => self.write(method, &target, body).await,
        }
    }

    fn get(&self, target: &Target) -> Response<Body> {
        let store = self.store.lock().expect("unpoisoned");
        match store.objects.get(&key(target)) {
            Some(object) => document(200, object),
            None => document(404, &refusal((404, "NotFound"))),
        }
    }

    fn list(&self, target: &Target) -> Response<Body> {
        let store = self.store.lock().expect("unpoisoned");
        let items: Vec<&Value> = store
            .objects
            .iter()
            .filter(|(key, object)| is_in(target, &key.0, &key.1) && target.selects(object))
            .map(|(_, object)| object)
            .collect();
        let metadata = json!({"resourceVersion": store.version().to_string()});
        document(200, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
    }

    fn watch(self: Arc<Self>, target: Target) -> Response<Body> {
        let from = target.query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        lines(stream::unfold((self, target, from), |(inner, target, from)| async move {
            let (event, version) = inner.next_event(&target, from).await;
            Some((event, (inner, target, version)))
        }))
    }

    async fn next_event(&self, target: &Target, from: u64) -> (Value, u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let found = {
                let store = self.store.lock().expect("unpoisoned");
                let namespace = |object: &Value| object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
                let mut newer = store.events.iter().filter(|event| event.version > from);
                newer
                    .find(|event| is_in(target, &event.kind, &namespace(&event.object)) && target.selects(&event.object))
                    .map(|event| (json!({"type": event.what, "object": event.object}), event.version))
            };
            match found {
                Some(found) => return found,
                None => changed.await,
            }
        }
    }

    async fn write(&self, method: &Method, target: &Target, body: Value) -> Response<Body> {
        let fault = self.note(method, target, &body);
        if fault.is_none_or(Fault::commits) {
            let done = self.commit(method, target, body);
            self.changed.notify_waiters();
            if fault.is_none() {
                return match done {
                    Ok(object) => document(200, &object),
                    Err(refused) => document(refused.0, &refusal(refused)),
                };
            }
        }
        match fault {
            Some(Fault::Refuse(code)) => document(code, &refusal((code, "Injected"))),
            Some(Fault::LoseAnswer) => document(504, &refusal((504, "Timeout"))),
            _ => {
                self.killed.notify_one();
                std::future::pending().await
            }
        }
    }

    /// Notes a write; the fault that it meets.
    fn note(&self, method: &Method, target: &Target, body: &Value) -> Option<Fault> {
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::DELETE => "delete",
            _ if target.part.is_some() => "status",
            _ => "apply",
        };
        let name = target.name.clone().or_else(|| body["metadata"]["name"].as_str().map(str::to_owned));
        let mut writes = self.writes.lock().expect("unpoisoned");
        writes.push(Write { verb, kind: target.kind.clone(), name: name.unwrap_or_default() });
        self.faults.lock().expect("unpoisoned").remove(&(writes.len() - 1))
    }

    fn commit(&self, method: &Method, target: &Target, body: Value) -> Result<Value, super::store::Refusal> {
        let mut store = self.store.lock().expect("unpoisoned");
        let named = body["metadata"]["name"].as_str().map(str::to_owned);
        let target = Target { name: target.name.clone().or(named), ..target.clone() };
        match *method {
            Method::POST => store.create(key(&target), body),
            Method::PUT => store.update(key(&target), body),
            Method::DELETE => store.delete(&key(&target), &body),
            _ => store.apply(key(&target), body, target.part.as_deref() == Some("status")),
        }
    }
}

fn key(target: &Target) -> Key {
    (target.kind.clone(), target.namespace.clone().unwrap_or_default(), target.name.clone().unwrap_or_default())
}

fn is_in(target: &Target, kind: &str, namespace: &str) -> bool {
    target.kind == kind && target.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
}
