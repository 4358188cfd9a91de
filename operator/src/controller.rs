//! The loop: pipelines that something happened to are looked at, several at once, each by one look at a time.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use futures::{FutureExt, StreamExt, stream};
use kube::core::DynamicObject;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt};
use thalweg_crds::StreamPipeline;
use thalweg_mtls::identity::Identity;
use thalweg_operator_plan::names::MANAGER;
use thalweg_operator_plan::objects::Settings;
use thalweg_operator_plan::observed::HEARING_LIMIT;
use tokio::time::{Instant, timeout};
use tracing::{debug, error, info, warn};

use crate::backoff::Backoff;
use crate::checks::Checks;
use crate::context::Context;
use crate::error::{Class, Error};
use crate::kept::Kept;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::overlay::Overlay;
use crate::page;
use crate::reconcile::reconcile;
use crate::reports::{Pace, Poller, Reports};
use crate::rollouts::Rollouts;
use crate::scaling::Scalers;
use crate::status::{StatusTimes, tell_unreadable};
use crate::tally::Tally;
use crate::verdicts::{self, Verdicts};
use crate::watch::{PipelineRef, Triggers};
use crate::world::World;

/// Events within this time cost one look: our own writes come back as a handful of them.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// What a controller is made of.
#[derive(Clone)]
pub struct Parts {
    /// The API server.
    pub client: Client,
    /// The namespace that is looked after; all where there is none.
    pub namespace: Option<String>,
    /// What the installation says about workers.
    pub settings: Settings,
    /// The key that is shown to workers.
    pub identity: Identity,
    /// Plans of SQL.
    pub checks: Arc<Checks>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Pipelines and units, summed up.
    pub tally: Arc<Tally>,
    /// What the page shows.
    pub page: Arc<page::Shown>,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// Looks at once.
    pub concurrency: u16,
    /// Pipelines that replace their pods since the installation has changed, in whichever namespace.
    pub rollouts: Arc<Rollouts>,
    /// The name of this process among its replicas.
    pub instance: String,
    /// Seed of the spread of retries.
    pub seed: u64,
}

/// Caches that are filled, and the loop that has not begun.
pub struct Started {
    parts: Parts,
    world: Arc<World>,
    overlay: Arc<Overlay>,
    reports: Arc<Reports>,
    poller: Poller,
    sender: Triggers,
    triggers: UnboundedReceiver<PipelineRef>,
    has_stood_by: bool,
}

impl Started {
    /// Starts every watch, and waits until the caches are filled.
    ///
    /// # Errors
    /// A watch has ended.
    pub async fn new(parts: Parts) -> Result<Self, Error> {
        let (sender, triggers) = unbounded();
        let overlay = Arc::new(Overlay::default());
        let world = Arc::new(World::start(&parts.client, parts.namespace.as_deref(), sender.clone(), &overlay));
        world.filled().await.map_err(|error| Error::Internal(error.to_string()))?;
        let reports = Arc::new(Reports::default());
        let (metrics, identity) = (Arc::clone(&parts.metrics), parts.identity.clone());
        let poller = Poller::new(&world, Arc::clone(&reports), sender.clone(), metrics, identity);
        // Who runs is heard before anything is decided; workers that do not answer hold up nobody for long.
        let _ = timeout(HEARING_LIMIT, poller.round()).await;
        parts.page.add(&world, &reports);
        info!(pipelines = world.pipelines.len(), "caches are filled");
        Ok(Self { parts, world, overlay, reports, poller, sender, triggers, has_stood_by: false })
    }

    /// Waits for its turn, for as long as it is awaited: caches follow, Leases that stand still are noticed, workers are
    /// heard, and nothing is looked at or written.
    pub async fn stand_by(&mut self) {
        // Nobody looks, and all are looked at once somebody does: what happens to them need not be remembered.
        let unheeded = self.triggers.by_ref().for_each(|_| async {});
        self.has_stood_by = true;
        tokio::join!(self.poller.calm(), unheeded);
    }

    /// Looks at pipelines for as long as it is awaited.
    pub async fn run(mut self) {
        // All of them, whatever the replica before has done of it; and each once, whatever has happened to it so far.
        while self.triggers.next().now_or_never().flatten().is_some() {}
        if self.has_stood_by {
            // Of a worker that has come on since it was asked, the replica before may have told more: that stands until it is heard.
            self.reports.forget();
        }
        self.parts.rollouts.resume(&self.world.deployments);
        let pipelines = self.world.pipelines.clone();
        for pipeline in pipelines.state() {
            // The receiver is here.
            let _ = self.sender.unbounded_send(ObjectRef::from_obj(&*pipeline));
        }
        let (concurrency, metrics) = (self.parts.concurrency, Arc::clone(&self.parts.metrics));
        let (context, poller, triggers) = self.divided();
        let triggers = triggers.inspect(move |pipeline| {
            metrics.queue.add(pipeline.namespace.as_deref().unwrap_or_default(), &pipeline.name, DEBOUNCE);
        });
        let looks = Controller::for_shared_stream(stream::pending(), pipelines)
            .with_config(Config::default().concurrency(concurrency).debounce(DEBOUNCE))
            .reconcile_on(triggers)
            .run(look, retry, Arc::clone(&context))
            .for_each(|look| {
                let gone = match look {
                    Err(kube::runtime::controller::Error::ObjectNotFound(gone)) => Some(*gone),
                    _ => None,
                };
                forget(gone, Arc::clone(&context))
            });
        tokio::join!(looks, poller.run(), tell_unused(&context));
    }

    /// What looks share, which begins with the first of them; who asks workers; who names pipelines.
    fn divided(self) -> (Arc<Context>, Poller, UnboundedReceiver<PipelineRef>) {
        let parts = self.parts;
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(parts.instance) };
        let context = Context {
            events: Recorder::new(parts.client.clone(), reporter),
            client: parts.client,
            world: self.world,
            overlay: self.overlay,
            reports: self.reports,
            checks: parts.checks,
            settings: parts.settings,
            leadership: parts.leadership,
            rollouts: parts.rollouts,
            metrics: parts.metrics,
            backoff: Backoff::new(parts.seed),
            written: StatusTimes::default(),
            tally: parts.tally,
            verdicts: Verdicts::default(),
            scalers: Scalers::default(),
        };
        (Arc::new(context), self.poller, self.triggers)
    }
}

/// After a start, and whenever it failed for a pipeline that is gone; until it has gone well.
async fn tell_unused(context: &Context) {
    const KEY: &str = "sources and sinks that nobody names";
    loop {
        while let Err(error) = verdicts::tell_unused(context).await {
            warn!(%error, "telling {KEY}");
            tokio::time::sleep(context.backoff.failed(KEY)).await;
        }
        context.backoff.went_well(KEY);
        context.verdicts.owed().await;
    }
}

/// A pipeline that is gone leaves nothing behind.
async fn forget(gone: Option<ObjectRef<DynamicObject>>, context: Arc<Context>) {
    let Some(gone) = gone else { return };
    let namespace = gone.namespace.unwrap_or_default();
    context.metrics.queue.take(&namespace, &gone.name);
    context.tally.note(&namespace, &gone.name, None, &context.metrics);
    context.scalers.forget(&namespace, &gone.name);
    context.metrics.each.forget(&namespace, &gone.name);
    context.rollouts.leave(&namespace, &gone.name);
    let pipeline = ObjectRef::new(&gone.name).within(&namespace);
    context.reports.ask_at(&pipeline, Pace::Calm);
    context.written.forget(&pipeline);
    context.backoff.forget(&format!("{namespace}/{}", gone.name));
    if let Err(error) = verdicts::forget(&namespace, &gone.name, &context).await {
        warn!(namespace, pipeline = gone.name, %error, "telling its sources and sinks");
        context.verdicts.owe();
    }
}

/// A look with its time and its result.
async fn look(pipeline: Arc<Kept<StreamPipeline>>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let (namespace, name) = (pipeline.namespace().unwrap_or_default(), pipeline.name_any());
    context.metrics.queue.take(&namespace, &name);
    let result = reconcile(&pipeline, &context).await;
    let told = match &result {
        Ok((_, 0)) => "Unchanged",
        Ok(_) => "Changed",
        Err(error) => error.name(),
    };
    context.metrics.reconciled(told, started.elapsed());
    if let Err(Error::Unreadable(amiss)) = &result {
        tell_unreadable(&pipeline, &context, amiss).await;
        verdicts::says_nothing(&pipeline, &context).await?;
    }
    let (again, writes) = result?;
    context.backoff.went_well(&key(&pipeline));
    debug!(namespace, pipeline = name, writes, "looked at");
    Ok(match again {
        Some(after) => due(&context, &namespace, &name, after),
        None => Action::await_change(),
    })
}

/// A look that is due in so much time.
fn due(context: &Context, namespace: &str, name: &str, after: Duration) -> Action {
    context.metrics.queue.add(namespace, name, after);
    Action::requeue(after)
}

fn retry(pipeline: Arc<Kept<StreamPipeline>>, error: &Error, context: Arc<Context>) -> Action {
    let (namespace, name) = (pipeline.namespace().unwrap_or_default(), pipeline.name_any());
    let delay = context.backoff.failed(&key(&pipeline));
    match error.class() {
        // Somebody wrote first, and the event of that is on its way.
        _ if error.is_conflict() => debug!(namespace, pipeline = name, %error, "looking again"),
        Class::Internal => error!(namespace, pipeline = name, %error, reason = error.name(), "looking again"),
        Class::User | Class::External => {
            warn!(namespace, pipeline = name, %error, reason = error.name(), "looking again")
        }
    }
    due(&context, &namespace, &name, delay)
}

fn key(pipeline: &Kept<StreamPipeline>) -> String {
    format!("{}/{}", pipeline.namespace().unwrap_or_default(), pipeline.name_any())
}
