//! Requests of kube's client, answered from the store.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::stream;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body as RequestBody;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::faults::Fault;
use super::path::Target;
use super::responses::{Body, document, lines};
use super::store::{Event, Key, Refusal, Store, Write, refusal};

/// An API server in memory.
#[derive(Clone, Default)]
pub struct FakeApi {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    store: Mutex<Store>,
    changed: Notify,
    /// How many writes were asked for.
    asked: AtomicUsize,
    /// Writes that changed something.
    writes: Mutex<Vec<Write>>,
    /// Faults by the number of the write, from 0.
    faults: Mutex<BTreeMap<usize, Fault>>,
    killed: Notify,
    weather: Weather,
    /// Splits of each source beyond the first.
    more_splits: AtomicUsize,
    /// Reasons of the events that were told.
    told: Mutex<Vec<String>>,
    /// What they said.
    notes: Mutex<Vec<String>>,
    /// What comes into the splits.
    load: Mutex<Option<Load>>,
    /// A kind that nobody may write, and what is said about it.
    denied: Mutex<Option<(&'static str, Refusal)>>,
    /// An object that cannot be read by its name.
    unreadable: Mutex<Option<Key>>,
    /// Whether nobody's token is taken.
    locked: AtomicBool,
    /// How many requests were turned away for their tokens.
    turned_away: AtomicUsize,
    /// Whether workers answer nobody who asks.
    mute: AtomicBool,
    /// Whether nothing more comes of any source.
    ended: AtomicBool,
    /// Why pods that are to start do not.
    obstacle: Mutex<Option<Obstacle>>,
    /// UIDs of pods on nodes that have fallen silent.
    cut_off: Mutex<BTreeSet<String>>,
    /// What somebody else does just before an object is written.
    overtaking: Mutex<Option<(Key, Overtaking)>>,
    /// How far each kind was watched: whoever asks for more has taken in what came before.
    watched: Mutex<BTreeMap<String, u64>>,
    asked_for_more: Notify,
}

/// A write of somebody else, with the kind that it is of.
type Overtaking = (&'static str, Box<dyn FnOnce(&mut Store) + Send>);

/// What comes into every split, and what workers can do.
#[derive(Clone, Copy)]
pub struct Load {
    /// Where the ends of the splits are at `since`.
    pub end: f64,
    pub since: Instant,
    /// Records a second of each split.
    pub arrivals: f64,
    /// And of split 0, beyond those.
    pub hot: f64,
    /// Records a second of each worker.
    pub capacity: f64,
    /// Records of each split that wait while a worker has more than it can do.
    pub waiting: u64,
}

impl Load {
    /// Records a second of a split.
    pub fn arrivals_of(&self, split: usize) -> f64 {
        self.arrivals + if split == 0 { self.hot } else { 0.0 }
    }

    /// Where the end of a split is now.
    pub fn end(&self, split: usize) -> f64 {
        self.end + self.arrivals_of(split) * self.since.elapsed().as_secs_f64()
    }
}

/// Why pods that are to start do not.
#[derive(Clone)]
pub enum Obstacle {
    /// None is made, for this reason.
    Refused(&'static str),
    /// They wait; this is in their status.
    Waiting(Value),
}

/// What is wrong with watches.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    /// Events come so much later.
    pub lag: Duration,
    /// After so many events a watch says that its version is too old.
    pub expires_after: Option<usize>,
    /// It tells nothing for so long before it says so: what happens meanwhile is in no event.
    pub silent_for: Duration,
}

impl FakeApi {
    /// An API server that does this to its write of this number.
    pub fn with_fault(number: usize, fault: Fault) -> Self {
        let api = Self::default();
        api.add_fault(number, fault);
        api
    }

    /// This happens to the write of this number.
    pub fn add_fault(&self, number: usize, fault: Fault) {
        self.inner.faults.lock().expect("unpoisoned").insert(number, fault);
    }

    /// Refuses all writes of a kind, as a quota or a policy does.
    pub fn deny(&self, kind: &'static str, said: Refusal) {
        *self.inner.denied.lock().expect("unpoisoned") = Some((kind, said));
    }

    /// Refuses nothing any more.
    pub fn allow(&self) {
        *self.inner.denied.lock().expect("unpoisoned") = None;
    }

    /// Whoever asks for this object, as by its name and not by a watch, gets no answer; `None`: all are read again.
    pub fn lock_away(&self, object: Option<Key>) {
        *self.inner.unreadable.lock().expect("unpoisoned") = object;
    }

    /// Takes nobody's token, as where tokens are rotated and whoever asks has read the old one, or takes them again. Watches that
    /// run go on.
    pub fn refuse_tokens(&self, refuse: bool) {
        self.inner.locked.store(refuse, Ordering::SeqCst);
    }

    /// How many requests were turned away for their tokens.
    pub fn turned_away(&self) -> usize {
        self.inner.turned_away.load(Ordering::SeqCst)
    }

    /// Just before this object is written for the next time somebody else writes one of a kind, and by the time of the answer who
    /// watches that kind has seen it.
    pub fn overtake(&self, written: Key, kind: &'static str, by: impl FnOnce(&mut Store) + Send + 'static) {
        *self.inner.overtaking.lock().expect("unpoisoned") = Some((written, (kind, Box::new(by))));
    }

    /// Workers answer nobody who asks, or do again.
    pub fn mute(&self, mute: bool) {
        self.inner.mute.store(mute, Ordering::SeqCst);
    }

    /// Whether workers answer nobody who asks.
    pub fn is_mute(&self) -> bool {
        self.inner.mute.load(Ordering::SeqCst)
    }

    /// Pods that do not run yet do not start, or do again.
    pub fn obstruct(&self, obstacle: Option<Obstacle>) {
        *self.inner.obstacle.lock().expect("unpoisoned") = obstacle;
        self.changed();
    }

    /// Why no pod starts.
    pub fn obstacle(&self) -> Option<Obstacle> {
        self.inner.obstacle.lock().expect("unpoisoned").clone()
    }

    /// Nothing more comes of any source, and workers have delivered all of it.
    pub fn end_sources(&self) {
        self.inner.ended.store(true, Ordering::SeqCst);
        self.changed();
    }

    /// Whether nothing more comes of any source.
    pub fn has_ended(&self) -> bool {
        self.inner.ended.load(Ordering::SeqCst)
    }

    /// The node of a pod falls silent: it neither answers nor renews its Lease, and nothing is known of it.
    pub fn cut_off(&self, pod_uid: &str) {
        self.inner.cut_off.lock().expect("unpoisoned").insert(pod_uid.to_owned());
    }

    /// The nodes of all pods are back.
    pub fn reconnect(&self) {
        self.inner.cut_off.lock().expect("unpoisoned").clear();
    }

    /// Whether the node of a pod has fallen silent.
    pub fn is_cut_off(&self, pod_uid: &str) -> bool {
        self.inner.cut_off.lock().expect("unpoisoned").contains(pod_uid)
    }

    /// How many splits a worker finds in each source.
    pub fn splits(&self) -> usize {
        1 + self.inner.more_splits.load(Ordering::SeqCst)
    }

    /// Sources have so many splits from now on.
    pub fn find_splits(&self, splits: usize) {
        self.inner.more_splits.store(splits - 1, Ordering::SeqCst);
        self.changed();
    }

    /// Reasons of the events that were told so far.
    pub fn told(&self) -> Vec<String> {
        self.inner.told.lock().expect("unpoisoned").clone()
    }

    /// What those events said.
    pub fn notes(&self) -> Vec<String> {
        self.inner.notes.lock().expect("unpoisoned").clone()
    }

    /// What comes into the splits; workers report nothing of it before it is known.
    pub fn load(&self) -> Option<Load> {
        *self.inner.load.lock().expect("unpoisoned")
    }

    /// So many records a second come into each split from now on, of which each worker does `capacity`.
    pub fn set_load(&self, arrivals: f64, capacity: f64, waiting: u64) {
        let end = self.load().map_or(1e6, |load| load.end(1));
        self.put_load(Load { end, since: Instant::now(), arrivals, hot: 0.0, capacity, waiting });
    }

    /// So many records a second more come into split 0 from now on.
    pub fn set_hot(&self, hot: f64) {
        let load = self.load().expect("a load");
        self.put_load(Load { end: load.end(1), since: Instant::now(), hot, ..load });
    }

    /// The same, with the ends of the splits.
    pub fn put_load(&self, load: Load) {
        *self.inner.load.lock().expect("unpoisoned") = Some(load);
    }

    /// An API server whose watches are like this.
    pub fn with_weather(weather: Weather) -> Self {
        Self { inner: Arc::new(Inner { weather, ..Inner::default() }) }
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

    /// How many writes were asked for, those included that changed nothing or were refused.
    pub fn asked(&self) -> usize {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// Writes so far that changed something.
    pub fn writes(&self) -> Vec<Write> {
        self.inner.writes.lock().expect("unpoisoned").clone()
    }

    /// Waits until a fault kills the operator.
    pub async fn killed(&self) {
        self.inner.killed.notified().await;
    }

    /// Waits until something changes, from the moment at which it is enabled.
    pub fn change(&self) -> Notified<'_> {
        self.inner.changed.notified()
    }
}

/// A part of no object: the request is a merge patch of the whole.
const MERGE: &str = "merge";

impl Inner {
    async fn answer(self: Arc<Self>, request: Request<RequestBody>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let target = Target::parse(parts.uri.path(), parts.uri.query().unwrap_or_default());
        let bytes = body.collect().await.expect("a body").to_bytes();
        let body: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
        if self.locked.load(Ordering::SeqCst) {
            self.turned_away.fetch_add(1, Ordering::SeqCst);
            return document(401, &refusal((401, "Unauthorized")));
        }
        match (&parts.method, &target.name) {
            (&Method::GET, Some(_)) => self.get(&target),
            (&Method::GET, None) if target.query.contains_key("watch") => self.watch(target),
            (&Method::GET, None) => self.list(&target),
            // Events are told, and nothing is decided by them.
            (&Method::POST | &Method::PATCH, _) if target.kind == "events.k8s.io/v1/events" => {
                let said = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
                self.told.lock().expect("unpoisoned").push(said("reason"));
                self.notes.lock().expect("unpoisoned").push(said("note"));
                document(201, &body)
            }
            (method, _) => {
                let is_merge =
                    parts.headers.get("content-type").is_some_and(|kind| kind == "application/merge-patch+json");
                let target =
                    Target { part: if is_merge { Some(MERGE.to_owned()) } else { target.part.clone() }, ..target };
                self.write(method, &target, body).await
            }
        }
    }

    fn get(&self, target: &Target) -> Response<Body> {
        if self.unreadable.lock().expect("unpoisoned").as_ref() == Some(&key(target)) {
            return document(503, &refusal((503, "ServiceUnavailable")));
        }
        let store = self.store.lock().expect("unpoisoned");
        match store.objects.get(&key(target)) {
            Some(object) => document(200, object),
            None => document(404, &refusal((404, "NotFound"))),
        }
    }

    fn list(&self, target: &Target) -> Response<Body> {
        let store = self.store.lock().expect("unpoisoned");
        let items: Vec<Value> = store
            .objects
            .iter()
            .filter(|(key, object)| is_in(target, &key.0, &key.1) && target.selects(object))
            .map(|(_, object)| listed(object))
            .collect();
        let metadata = json!({"resourceVersion": store.version().to_string()});
        document(200, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
    }

    fn watch(self: Arc<Self>, target: Target) -> Response<Body> {
        let from = target.query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        let limit = self.weather.expires_after.unwrap_or(usize::MAX);
        let events = stream::unfold((self, target, from, 0), move |(inner, target, from, count)| async move {
            if count > limit {
                return None;
            }
            inner.watched.lock().expect("unpoisoned").insert(target.kind.clone(), from);
            inner.asked_for_more.notify_waiters();
            let (event, version) = inner.next_event(&target, from).await;
            let silence = if count == limit { inner.weather.silent_for } else { Duration::ZERO };
            tokio::time::sleep(inner.weather.lag + silence).await;
            let expired = json!({"type": "ERROR", "object": refusal((410, "Expired"))});
            Some((if count == limit { expired } else { event }, (inner, target, version, count + 1)))
        });
        lines(events)
    }

    async fn next_event(&self, target: &Target, from: u64) -> (Value, u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let found = {
                let store = self.store.lock().expect("unpoisoned");
                store.events.iter().filter(|event| event.version > from).find_map(|event| shown(target, event))
            };
            match found {
                Some(found) => return found,
                None => changed.await,
            }
        }
    }

    async fn write(&self, method: &Method, target: &Target, body: Value) -> Response<Body> {
        let denied = *self.denied.lock().expect("unpoisoned");
        if let Some((_, said)) = denied.filter(|(kind, _)| target.kind == *kind) {
            return document(said.0, &refusal(said));
        }
        self.overtake(target, &body).await;
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        let fault = self.faults.lock().expect("unpoisoned").remove(&number);
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

    async fn overtake(&self, target: &Target, body: &Value) {
        let name = target.name.as_deref().or(body["metadata"]["name"].as_str()).unwrap_or_default();
        let is_it = |(written, _): &mut (Key, Overtaking)| written.0 == target.kind && written.2 == name;
        let Some((_, (kind, by))) = self.overtaking.lock().expect("unpoisoned").take_if(is_it) else { return };
        let version = {
            let mut store = self.store.lock().expect("unpoisoned");
            by(&mut store);
            store.version()
        };
        self.changed.notify_waiters();
        loop {
            let more = self.asked_for_more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            if self.watched.lock().expect("unpoisoned").get(kind).is_some_and(|watched| *watched >= version) {
                return;
            }
            more.await;
        }
    }

    /// Does a write, and notes it if it changed something.
    fn commit(&self, method: &Method, target: &Target, body: Value) -> Result<Arc<Value>, Refusal> {
        let mut store = self.store.lock().expect("unpoisoned");
        let named = body["metadata"]["name"].as_str().map(str::to_owned);
        let target = Target { name: target.name.clone().or(named), ..target.clone() };
        let (before, is_status) = (store.version(), target.part.as_deref() == Some("status"));
        let (verb, done) = match *method {
            Method::POST => ("create", store.create(key(&target), body)),
            Method::PUT => ("update", store.update(key(&target), body)),
            Method::DELETE => ("delete", store.delete(&key(&target), &body)),
            _ if target.part.as_deref() == Some(MERGE) => ("patch", store.merge(&key(&target), &body)),
            _ if is_status => ("status", store.apply(key(&target), body, true)),
            _ => ("apply", store.apply(key(&target), body, false)),
        };
        if store.version() > before {
            let name = target.name.unwrap_or_default();
            self.writes.lock().expect("unpoisoned").push(Write { verb, kind: target.kind, name });
        }
        done
    }
}

/// An item of a list, which does not say its kind again.
fn listed(object: &Value) -> Value {
    let mut object = object.clone();
    let fields = object.as_object_mut().expect("an object");
    fields.shift_remove("apiVersion");
    fields.shift_remove("kind");
    object
}

/// An event as a watch sees it: an object that is selected no longer is gone, for that watch.
fn shown(target: &Target, event: &Event) -> Option<(Value, u64)> {
    let namespace = event.object["metadata"]["namespace"].as_str().unwrap_or_default();
    if !is_in(target, &event.kind, namespace) {
        return None;
    }
    let was_selected = !event.before.is_null() && target.selects(&event.before);
    let what = match (was_selected, target.selects(&event.object)) {
        (_, true) if event.what == "DELETED" => "DELETED",
        (false, true) => "ADDED",
        (true, true) => event.what,
        (true, false) => "DELETED",
        (false, false) => return None,
    };
    Some((json!({"type": what, "object": event.object}), event.version))
}

fn key(target: &Target) -> Key {
    (target.kind.clone(), target.namespace.clone().unwrap_or_default(), target.name.clone().unwrap_or_default())
}

fn is_in(target: &Target, kind: &str, namespace: &str) -> bool {
    target.kind == kind && target.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
}
