//! One watch a kind: it fills a cache, and says which pipeline is to be looked at again.
//!
//! kube's shared streams drop deletions, and a pod that is gone is what a takeover waits for. So each watch drives its own
//! cache here, and deletions are passed on like any other event.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use futures::StreamExt;
use futures::channel::mpsc::UnboundedSender;
use kube::api::Api;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_kind};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use thalweg_crds::StreamPipeline;
use tokio::task::JoinSet;
use tracing::warn;

use crate::kept::Kept;
use crate::overlay::{Overlay, Pending};

/// A pipeline by namespace and name.
pub type PipelineRef = ObjectRef<Kept<StreamPipeline>>;

/// Where pipelines are named that are to be looked at.
pub type Triggers = UnboundedSender<PipelineRef>;

/// The caches of some watches, which live as long as this does.
pub struct Watches {
    tasks: JoinSet<()>,
    triggers: Triggers,
    overlay: Arc<Overlay>,
    pipelines: Arc<OnceLock<Store<Kept<StreamPipeline>>>>,
}

impl Watches {
    /// No watch yet.
    pub fn new(triggers: Triggers, overlay: Arc<Overlay>) -> Self {
        Self { tasks: JoinSet::new(), triggers, overlay, pipelines: Arc::default() }
    }

    /// Where all pipelines are, which are looked at again when a kind had to be listed anew: what was deleted meanwhile is
    /// in no event.
    pub fn pipelines(&self, store: &Store<Kept<StreamPipeline>>) {
        // There is one such cache, and a second call changes nothing.
        let _ = self.pipelines.set(store.clone());
    }

    /// Watches a kind. `seen` is shown each event before the cache takes it; `affected` names pipelines.
    pub fn start<K, A>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        seen: impl FnMut(&watcher::Result<Event<K>>) + Send + 'static,
        affected: impl Fn(Change<'_, K>) -> A + Send + 'static,
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        A: IntoIterator<Item = PipelineRef>,
        A::IntoIter: Send,
    {
        self.start_trimmed(api, config, seen, affected, |_| {})
    }

    /// Watches a kind whose objects are cached without what `trim` takes away.
    pub fn start_trimmed<K, A>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        mut seen: impl FnMut(&watcher::Result<Event<K>>) + Send + 'static,
        affected: impl Fn(Change<'_, K>) -> A + Send + 'static,
        trim: fn(&mut K),
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        A: IntoIterator<Item = PipelineRef>,
        A::IntoIter: Send,
    {
        let (store, writer) = reflector::store::<K>();
        // Who wrote which field is a third of an object, and nobody asks for it.
        let trimmed = move |object: &mut K| {
            object.managed_fields_mut().clear();
            trim(object);
        };
        let events = watch_kind(api, config).modify(trimmed).default_backoff();
        let mut keeper = Keeper {
            cache: store.clone(),
            writer,
            pending: Vec::new(),
            before: Vec::new(),
            triggers: self.triggers.clone(),
            overlay: Arc::clone(&self.overlay),
            pipelines: Arc::clone(&self.pipelines),
        };
        self.tasks.spawn(async move {
            let mut events = Box::pin(events);
            while let Some(event) = events.next().await {
                seen(&event);
                match event {
                    Ok(event) => {
                        let before = keeper.before(&event);
                        let gone = keeper.take(&event, before.as_deref());
                        let changes = gone.iter().map(|gone| Change::Was(&**gone));
                        let changes = changes.chain(change(&event, before.as_deref()));
                        changes.flat_map(&affected).for_each(|pipeline| keeper.trigger(pipeline));
                    }
                    Err(error) => warn!(kind = %K::kind(&()), %error, "watching"),
                }
            }
        });
        store
    }

    /// Watches a kind of which nothing is kept. `affected` names pipelines by each event.
    pub fn notice<K>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        affected: impl Fn(&Event<K>) -> Vec<PipelineRef> + Send + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let events = watch_kind(api, config).default_backoff();
        let triggers = self.triggers.clone();
        self.tasks.spawn(async move {
            let mut events = Box::pin(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => affected(&event).into_iter().for_each(|pipeline| {
                        // Without a receiver the process is about to end.
                        let _ = triggers.unbounded_send(pipeline);
                    }),
                    Err(error) => warn!(kind = %K::kind(&()), %error, "watching"),
                }
            }
        });
    }
}

/// Keeps one cache.
struct Keeper<K: Resource<DynamicType = ()> + Clone + 'static> {
    cache: Store<K>,
    writer: Writer<K>,
    /// What was written when the list began that is being read.
    pending: Vec<Pending>,
    /// What was cached when it began.
    before: Vec<Arc<K>>,
    triggers: Triggers,
    overlay: Arc<Overlay>,
    pipelines: Arc<OnceLock<Store<Kept<StreamPipeline>>>>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Keeper<K> {
    /// What the cache holds of an object that there is news of.
    fn before(&self, event: &Event<K>) -> Option<Arc<K>> {
        match event {
            Event::Apply(object) | Event::InitApply(object) => self.cache.get(&ObjectRef::from_obj(object)),
            Event::Delete(_) | Event::Init | Event::InitDone => None,
        }
    }

    /// Brings the cache up to date. Gives what is gone and of which no event told.
    fn take(&mut self, event: &Event<K>, before: Option<&K>) -> Vec<Arc<K>> {
        if let Event::Apply(object) = event {
            self.tell_disowned(object, before);
        }
        self.writer.apply_watcher_event(event);
        match event {
            Event::Init => {
                self.pending = self.overlay.pending::<K>();
                self.before = self.cache.state();
            }
            Event::InitDone => return self.listed(),
            Event::Apply(object) | Event::Delete(object) => self.overlay.seen(object),
            Event::InitApply(_) => {}
        }
        Vec::new()
    }

    fn listed(&mut self) -> Vec<Arc<K>> {
        for key in self.pending.drain(..) {
            if self.cache.get(&ObjectRef::new(&key.1).within(&key.0)).is_none() {
                self.overlay.not_listed::<K>(&key);
            }
        }
        let all = self.pipelines.get().map(Store::state).unwrap_or_default();
        all.iter().for_each(|pipeline| self.trigger(ObjectRef::from_obj(&**pipeline)));
        let mut gone = std::mem::take(&mut self.before);
        gone.retain(|before| self.cache.get(&ObjectRef::from_obj(&**before)).is_none());
        gone
    }

    /// An object whose owner somebody took away is still of interest to it.
    fn tell_disowned(&self, object: &K, before: Option<&K>) {
        let before = before.and_then(owner).filter(|before| owner(object).as_ref() != Some(before));
        before.into_iter().for_each(|owner| self.trigger(owner));
    }

    fn trigger(&self, pipeline: PipelineRef) {
        // Without a receiver the process is about to end.
        let _ = self.triggers.unbounded_send(pipeline);
    }
}

/// What an event says of an object.
#[derive(Debug)]
pub enum Change<'a, K> {
    /// It is so, and it was so before, where it was known.
    Is(&'a K, Option<&'a K>),
    /// It was so when it was deleted.
    Was(&'a K),
}

impl<'a, K> Change<'a, K> {
    /// The object.
    pub fn object(&self) -> &'a K {
        match self {
            Self::Is(object, _) | Self::Was(object) => object,
        }
    }

    /// Whether it means what it meant before.
    pub fn is_the_same<M: PartialEq>(&self, meaning: impl Fn(&K) -> M) -> bool {
        matches!(self, Self::Is(object, Some(before)) if meaning(object) == meaning(before))
    }
}

fn change<'a, K>(event: &'a Event<K>, before: Option<&'a K>) -> Option<Change<'a, K>> {
    match event {
        Event::Apply(object) | Event::InitApply(object) => Some(Change::Is(object, before)),
        Event::Delete(object) => Some(Change::Was(object)),
        Event::Init | Event::InitDone => None,
    }
}

/// The pipeline that owns the object of a change.
pub fn owned<K: Resource>(change: Change<'_, K>) -> Option<PipelineRef> {
    owner(change.object())
}

/// The pipeline that owns an object.
pub fn owner<K: Resource>(object: &K) -> Option<PipelineRef> {
    let namespace = object.meta().namespace.as_deref()?;
    let mut owners = object.meta().owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.kind == "StreamPipeline" && owner.controller == Some(true))?;
    Some(ObjectRef::new(&owner.name).within(namespace))
}
