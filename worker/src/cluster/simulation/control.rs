//! Leases and assignment, and the operator that writes them: its rules are `thalweg-operator-plan`'s, its API server is
//! played.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use rand::Rng;
use thalweg_crds::assignment::AssignmentSpec;
use thalweg_crds::ids::{RunId, Slot};
use thalweg_crds::report::Report;
use thalweg_operator_plan::check::Stage;
use thalweg_operator_plan::held::moves;
use thalweg_operator_plan::objects::{Owner, slot_lease};
use thalweg_operator_plan::observed::Observed;
use thalweg_operator_plan::plan::plan;
use thalweg_operator_plan::validate::ValidatedPipeline;

use super::world::{Fate, System, World};
use crate::cluster::folder::Written;
use crate::cluster::lease::{self, released, seen};
use crate::cluster::slot::Watch;
use crate::cluster::table::Published;
use crate::cluster::{ClusterError, Table};
use crate::coordinator::{Which, moved, observed_slots};

/// How often a worker looks whether the assignment has changed, in milliseconds.
const LOOK_MILLIS: std::ops::RangeInclusive<u64> = 10..=60;
/// How long a slot's Lease may stand unchanged, in seconds.
const LASTS_SECONDS: i32 = 6;

/// The API server of a history.
pub struct Server {
    world: Arc<World>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    leases: Vec<Lease>,
    assignment: Option<Published>,
    version: u64,
}

impl Server {
    pub fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self { world, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn travel(&self, what: &str) -> Result<Fate, ClusterError> {
        match self.world.travel(System::Control).await {
            Fate::Lost => Err(silent(what)),
            fate => Ok(fate),
        }
    }

    /// The assignment as it is.
    pub fn assignment(&self) -> Option<AssignmentSpec> {
        self.state().assignment.as_ref().map(|published| published.spec.clone())
    }

    /// The Leases as they are.
    pub fn leases(&self) -> Vec<Lease> {
        self.state().leases.clone()
    }

    fn publish(&self, spec: AssignmentSpec) {
        let mut state = self.state();
        let generation = state.assignment.as_ref().map_or(1, |published| published.generation + 1);
        state.assignment = Some(Published { uid: "assignment".to_owned(), generation, spec });
    }

    fn replace(&self, mut lease: Lease) -> lease::Written {
        let mut state = self.state();
        state.version += 1;
        let version = state.version.to_string();
        let Some(known) = state.leases.iter_mut().find(|known| known.name_any() == lease.name_any()) else {
            return Written::Gone;
        };
        if known.resource_version() != lease.resource_version() {
            return Written::Overtaken;
        }
        lease.metadata.resource_version = Some(version);
        *known = lease.clone();
        Written::Done(Box::new(lease))
    }
}

fn silent(what: &str) -> ClusterError {
    ClusterError::Api { what: what.to_owned(), said: "no answer".to_owned(), hint: None }
}

fn heard<T>(fate: Fate, what: &str, done: T) -> Result<T, ClusterError> {
    if fate == Fate::AnswerLost { Err(silent(what)) } else { Ok(done) }
}

/// The way to the API server.
#[derive(Clone)]
pub struct Way(pub Arc<Server>);

#[async_trait]
impl lease::Store for Way {
    async fn all(&self) -> Result<Vec<Lease>, ClusterError> {
        self.0.travel("reading Leases").await?;
        Ok(self.0.state().leases.clone())
    }

    async fn get(&self, name: &str) -> Result<Option<Lease>, ClusterError> {
        self.0.travel("reading a Lease").await?;
        Ok(self.0.state().leases.iter().find(|lease| lease.name_any() == name).cloned())
    }

    async fn replace(&self, lease: Lease) -> Result<lease::Written, ClusterError> {
        let fate = self.0.travel("writing a Lease").await?;
        let written = self.0.replace(lease);
        heard(fate, "writing a Lease", written)
    }
}

#[async_trait]
impl Table for Way {
    fn changes(&self) -> BoxStream<'static, Result<Option<Published>, ClusterError>> {
        let looks = stream::unfold((self.clone(), None), |(way, known)| async move {
            loop {
                let pause = way.0.world.draw(|rng| Duration::from_millis(rng.random_range(LOOK_MILLIS)));
                tokio::time::sleep(pause).await;
                match way.read().await {
                    Ok(found) if found == known && found.is_some() => {}
                    Ok(found) => return Some((Ok(found.clone()), (way, found))),
                    Err(error) => return Some((Err(error), (way, known))),
                }
            }
        });
        looks.boxed()
    }

    async fn read(&self) -> Result<Option<Published>, ClusterError> {
        self.0.travel("reading the assignment").await?;
        Ok(self.0.state().assignment.clone())
    }
}

/// Who looks after the pipeline.
pub struct Operator {
    server: Arc<Server>,
    world: Arc<World>,
    pipeline: ValidatedPipeline,
    /// The pipeline before it was another one.
    before: Option<ValidatedPipeline>,
    watch: Watch,
    reports: BTreeMap<RunId, Report>,
}

impl Operator {
    pub fn new(server: Arc<Server>, world: Arc<World>, pipeline: ValidatedPipeline) -> Self {
        Self { server, world, pipeline, before: None, watch: Watch::default(), reports: BTreeMap::new() }
    }

    /// The pipeline is another one from now on.
    pub fn change(&mut self, next: ValidatedPipeline) {
        self.before = Some(std::mem::replace(&mut self.pipeline, next));
    }

    /// The stages of the plan that runs.
    fn stages(&self, assignment: Option<&AssignmentSpec>) -> Vec<Stage> {
        let known = [Some(&self.pipeline), self.before.as_ref()].into_iter().flatten();
        let mut running = known.filter(|known| assignment.is_some_and(|it| it.plan == known.plan.hash));
        running.next().map(|running| running.stages.clone()).unwrap_or_default()
    }

    /// It begins anew, and knows nothing.
    pub fn restart(&mut self) {
        (self.watch, self.reports) = (Watch::default(), BTreeMap::new());
    }

    /// Looks at the slots and at what those report who answer, and writes what is to be changed.
    pub fn look(&mut self, reports: Vec<Report>) {
        let now = self.world.now();
        let leases = self.server.leases();
        for report in reports {
            self.reports.insert(report.run_id.clone(), report);
        }
        let (slots, pods) = observed_slots(&mut self.watch, &leases, now);
        self.reports.retain(|run, _| slots.iter().any(|slot| slot.holder.as_ref() == Some(run)));
        let known = self.server.assignment();
        let (assignment, stages) = (known.clone(), self.stages(known.as_ref()));
        let observed =
            Observed { assignment, stages, slots, pods, reports: self.reports.clone(), ..Default::default() };
        let planned = plan(&self.pipeline, &observed);
        self.make_slots(planned.slots);
        let desired = planned.assignment.unwrap_or_default();
        if known.as_ref() != Some(&desired) {
            let before = known.unwrap_or_default();
            let moves = moves(&before, &desired);
            self.world.note(format!(
                "operator: {} workers, {} units, {} splits, {} handoffs, {} takeovers",
                desired.workers.len(),
                desired.units.len(),
                desired.splits.len(),
                moves.handoffs,
                moves.takeovers
            ));
            self.server.publish(desired);
        }
        for lease in leases.iter().filter(|lease| planned.freed.contains(&seen(lease).slot)) {
            self.server.replace(released(lease));
        }
    }

    fn make_slots(&self, wanted: u32) {
        let mut state = self.server.state();
        let there = u32::try_from(state.leases.len()).unwrap_or(wanted);
        let owner = Owner { name: "p".to_owned(), uid: String::new() };
        for number in there..wanted {
            let mut lease = slot_lease(&self.pipeline, &owner, number);
            lease.spec.get_or_insert_default().lease_duration_seconds = Some(LASTS_SECONDS);
            state.version += 1;
            lease.metadata.resource_version = Some(state.version.to_string());
            state.leases.push(lease);
        }
    }

    /// Hands units over to a worker that lives; how many there are to choose from is drawn.
    pub fn hand_over(&self) {
        let Some(spec) = self.server.assignment() else { return };
        if spec.workers.is_empty() || spec.units.is_empty() {
            return;
        }
        let (worker, unit, all) = self.world.draw(|rng| {
            let worker = rng.random_range(0..spec.workers.len());
            (worker, rng.random_range(0..spec.units.len()), rng.random_bool(0.3))
        });
        let to: &Slot = &spec.workers[worker].slot;
        let which = if all { Which::All } else { Which::One(spec.units[unit].unit) };
        if let Ok(desired) = moved(&spec, &self.stages(Some(&spec)), which, to)
            && desired != spec
        {
            self.world.note(format!("operator: {which:?} goes to {}", to.0));
            self.server.publish(desired);
        }
    }
}
