//! Conditions: each with a reason and a message that says what to do.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::SignedDuration;
use thalweg_crds::condition::{ConditionStatus, ConditionType, Reason, condition};
use thalweg_crds::ids::RunId;
use thalweg_crds::report::{Failure, Report, WorkerState};
use thalweg_crds::scaling::ScalingMode;

use super::{Facts, figures};
use crate::assignment::UNITS_PER_OBJECT;
use crate::autoscale::Hold;
use crate::held::Held;
use crate::objects::REPORT_PORT;
use crate::observed::{HEARING_LIMIT, Observed, REPORT_LIMIT, Rollout, WorkerPod};
use crate::plan::{Step, asked_for};
use crate::problem::summary;
use crate::scaling::is_scaled;

/// A pod that waits no longer than this is starting, whatever it waits for.
const PATIENCE: Duration = Duration::from_secs(3);

/// The same of a lookout, of which nothing is awaited while it starts.
const LOOKOUT_PATIENCE: Duration = Duration::from_secs(8);

/// For how long units may move, one after the other, until what was ready is so no more.
const MOVING: SignedDuration = SignedDuration::from_secs(60);

/// Status, reason and message of one condition.
type Verdict = (ConditionStatus, Reason, String);

/// Makes the conditions of one status.
pub(super) struct Conditions<'a> {
    facts: &'a Facts<'a>,
    units: Held,
    now: Time,
}

impl<'a> Conditions<'a> {
    pub(super) fn new(facts: &'a Facts<'a>, units: Held, now: Time) -> Self {
        Self { facts, units, now }
    }

    pub(super) fn all(&self) -> Vec<Condition> {
        ConditionType::ALL.iter().map(|kind| self.condition(*kind)).collect()
    }

    fn condition(&self, kind: ConditionType) -> Condition {
        let (status, reason, message) = self.verdict(kind);
        let (generation, previous) = (self.facts.generation, &self.facts.previous.conditions);
        condition(kind, status, reason, message, generation, previous, self.now.clone())
    }

    fn verdict(&self, kind: ConditionType) -> Verdict {
        match kind {
            ConditionType::Ready => self.ready(),
            ConditionType::Reconciling => self.reconciling(),
            ConditionType::Stalled => self.stalled(),
            ConditionType::ConfigValid => self.config_valid(),
            ConditionType::SourcesReachable => self.reachable("StreamSource/"),
            ConditionType::SinksReachable => self.reachable("StreamSink/"),
            ConditionType::CommitHealthy => self.commit_healthy(),
            ConditionType::LagWithinTarget => self.lag_within_target(),
            ConditionType::ScalingActive => self.scaling_active(),
            ConditionType::ScalingLimited => self.scaling_limited(),
            ConditionType::Rebalancing => self.rebalancing(),
            ConditionType::Paused => self.paused(),
            ConditionType::Complete => self.complete(),
        }
    }

    fn ready(&self) -> Verdict {
        let failure = failure_of_running(self.facts);
        let invalid = self.facts.validated.err().filter(|_| self.facts.plan.assignment.is_none());
        match self.facts.plan.step {
            Step::Pause => no(Reason::Paused, "spec.paused is true: set it to false to go on"),
            Step::Complete => yes(Reason::Completed, "all input was read and delivered"),
            Step::Idle => self.idle(),
            _ if self.facts.plan.left_out > 0 => self.too_many_units(),
            _ if invalid.is_some() => {
                let (reason, message) = summary(invalid.unwrap_or_default());
                no(reason, message)
            }
            _ if failure.is_some() => worker_failed(failure),
            _ if self.units.is_all() => yes(Reason::AsExpected, format!("{} units run", self.units.total)),
            _ if self.stays_ready() => {
                yes(Reason::AsExpected, format!("{} units run, {} of them move", self.units.total, self.units.moving))
            }
            _ if self.units.moving > 0 => no(Reason::UnitsMoving, format!("{} units move", self.units.moving)),
            _ => self.starting(),
        }
    }

    /// Whether what was ready is so, although units go from one worker to another: they do whenever loads differ, and each
    /// stands still for a moment.
    fn stays_ready(&self) -> bool {
        let since = |kind: ConditionType| {
            let conditions = &self.facts.previous.conditions;
            let held =
                conditions.iter().find(|it| it.type_ == kind.as_str() && it.status == ConditionStatus::True.as_str());
            held.map(|held| self.now.0.duration_since(held.last_transition_time.0))
        };
        let moves_long = since(ConditionType::Rebalancing).is_some_and(|moving| moving >= MOVING);
        let Held { total, owned, moving, unlisted } = self.units;
        unlisted == 0 && owned + moving == total && since(ConditionType::Ready).is_some() && !moves_long
    }

    fn idle(&self) -> Verdict {
        if self.facts.plan.lookouts != Some(1) {
            return yes(Reason::Idle, "no worker is asked for: scaling.workers is 0");
        }
        match self.blindness() {
            Some((reason, why)) => no(reason, format!("no worker runs, and nothing watches for what comes: {why}")),
            None => yes(Reason::Idle, "nothing has come for scaling.zeroAfter; a lookout watches for what does"),
        }
    }

    /// Why the lookout does not see what comes: nobody would ever be woken.
    fn blindness(&self) -> Option<(Reason, String)> {
        let lookout = &self.facts.observed.lookout;
        let said = lookout.said();
        let failure = said.filter(|said| said.state == WorkerState::Failed).and_then(|said| said.failures.first());
        let mute = || {
            let mut pods = lookout.pods.iter().filter(|pod| !pod.terminating && pod.age > REPORT_LIMIT);
            let pod = pods.next().filter(|_| said.is_none())?;
            let limit = REPORT_LIMIT.as_secs();
            let what = format!("pod {} has not reported for {limit} s; its port {REPORT_PORT} is asked", pod.name);
            Some((Reason::MetricsStale, what))
        };
        trouble(lookout.deployment.as_ref(), &lookout.pods, LOOKOUT_PATIENCE)
            .or_else(|| failure.map(|failure| (reason_of(failure), failed_message(failure))))
            .or_else(mute)
    }

    fn too_many_units(&self) -> Verdict {
        let left_out = self.facts.plan.left_out;
        let message = format!(
            "{left_out} units are not run, and what they read is not read: a pipeline has {UNITS_PER_OBJECT} at the most, one \
             for each split of a source and each of state.keyGroups; split the pipeline, or give its source fewer splits"
        );
        no(Reason::InvalidSpec, message)
    }

    /// Why no worker runs the units yet.
    fn starting(&self) -> Verdict {
        match self.trouble() {
            Some((reason, trouble)) => no(reason, trouble),
            None => no(Reason::Starting, "workers are being started"),
        }
    }

    /// Why pods that are asked for do not run, in the words of the cluster.
    fn trouble(&self) -> Option<(Reason, String)> {
        let observed = self.facts.observed;
        trouble(observed.deployment.as_ref(), &observed.pods, PATIENCE).or_else(|| mute(observed))
    }

    /// Whether the Deployment is not yet what it is to be, whoever owns the units meanwhile.
    fn is_rolling(&self) -> bool {
        let deployment = self.facts.observed.deployment.as_ref();
        deployment.is_some_and(|it| !it.current || it.updated < it.replicas || it.total > it.updated)
    }

    fn reconciling(&self) -> Verdict {
        if self.facts.validated.is_err() {
            return no(Reason::AsExpected, "the problems of ConfigValid come first");
        }
        let trouble = self.trouble();
        let (reason, what) = match self.facts.plan.step {
            Step::Start => (Reason::Starting, "workers are being started".to_owned()),
            Step::RollOut => (Reason::RollingOut, "workers of a new plan are being started".to_owned()),
            Step::Move => (Reason::UnitsMoving, format!("{} units move", self.units.moving)),
            Step::Run if trouble.is_some() || self.is_rolling() => {
                (Reason::RollingOut, "workers are being started or replaced".to_owned())
            }
            Step::Run | Step::Pause | Step::Idle | Step::Complete => {
                return no(Reason::AsExpected, "nothing is being changed");
            }
        };
        match trouble {
            Some((reason, trouble)) => yes(reason, format!("{what}: {trouble}")),
            None => yes(reason, what),
        }
    }

    fn stalled(&self) -> Verdict {
        match (self.facts.validated, failures(self.facts.observed).next()) {
            (Err(problems), _) => {
                let (reason, message) = summary(problems);
                yes(reason, message)
            }
            (Ok(_), Some(failure)) => {
                let (_, reason, message) = worker_failed(Some(failure));
                yes(reason, message)
            }
            (Ok(_), None) if self.facts.plan.left_out > 0 => {
                let (_, reason, message) = self.too_many_units();
                yes(reason, message)
            }
            (Ok(_), None) => no(Reason::AsExpected, "nothing stands in the way"),
        }
    }

    fn config_valid(&self) -> Verdict {
        match self.facts.validated {
            Ok(_) => yes(Reason::AsExpected, "the resources make a plan"),
            Err(problems) => {
                let (reason, message) = summary(problems);
                no(reason, message)
            }
        }
    }

    /// What workers say about the systems of one kind of resource.
    fn reachable(&self, kind: &str) -> Verdict {
        let is_amiss = |failure: &&Failure| {
            let resource = failure.resource.as_deref().unwrap_or_default();
            // What it names, or what has to be in it, may not be there.
            let reason = reason_of(failure);
            let gone = matches!(reason, Reason::ReferenceNotFound | Reason::DataLoss);
            resource.starts_with(kind) && (gone || matches!(reason, Reason::Unreachable | Reason::Unauthorized))
        };
        match failures(self.facts.observed).find(is_amiss) {
            Some(failure) => no(reason_of(failure), failure.message.clone()),
            None if self.units.owned > 0 => yes(Reason::AsExpected, "workers are connected"),
            None => unknown("no worker has tried"),
        }
    }

    fn commit_healthy(&self) -> Verdict {
        let units = self.facts.observed.said().flat_map(|report| &report.units);
        let error = units.filter_map(|unit| Some(format!("unit {}: {}", unit.unit, unit.error.as_ref()?))).next();
        match (error, figures::commit(self.facts.observed)) {
            (Some(error), _) => no(Reason::CommitFailing, error),
            (None, Some(_)) => yes(Reason::AsExpected, "units commit"),
            (None, None) => unknown("no worker says that it has committed"),
        }
    }

    fn lag_within_target(&self) -> Verdict {
        let target = self.facts.validated.map(|pipeline| pipeline.scaling.target_lag).unwrap_or_default();
        let seconds = figures::lag(self.facts.observed).and_then(|lag| lag.seconds);
        match seconds {
            None => unknown("the lag is not known"),
            Some(seconds) if seconds <= target.as_std().as_secs_f64() => {
                yes(Reason::AsExpected, "the lag is below targetLag")
            }
            Some(seconds) => no(
                Reason::LagAboveTarget,
                format!("the oldest record waits for {seconds:.0} s, the target is {target}"),
            ),
        }
    }

    fn scaling_active(&self) -> Verdict {
        let Ok(pipeline) = self.facts.validated else {
            return no(Reason::ScalingDisabled, "the problems of ConfigValid come first");
        };
        let (spec, hold) = (&pipeline.scaling, self.facts.scaling.and_then(|scaling| scaling.hold));
        match spec.mode {
            ScalingMode::Manual => no(Reason::ScalingDisabled, "scaling.mode is Manual: scaling.workers says how many"),
            _ if !is_scaled(spec) => {
                no(Reason::ScalingDisabled, "scaling.minWorkers equals scaling.maxWorkers (each is 1 by default)")
            }
            _ if hold == Some(Hold::MetricsStale) => no(Reason::MetricsStale, Hold::MetricsStale.advice()),
            ScalingMode::Recommend => {
                no(Reason::ScalingDisabled, "scaling.mode is Recommend: status.scaling says what would be done")
            }
            ScalingMode::Auto => {
                let (least, most) = (spec.min_workers, spec.max_workers);
                yes(Reason::AsExpected, format!("workers follow the load, from {least} to {most}"))
            }
        }
    }

    fn scaling_limited(&self) -> Verdict {
        let asked = self.facts.validated.map_or(0, |pipeline| asked_for(&pipeline.scaling));
        let stops = matches!(self.facts.plan.step, Step::Pause | Step::Idle | Step::Complete);
        let limited = !stops && self.units.unlisted == 0 && asked > self.units.total.max(1);
        if limited {
            let message = format!(
                "scaling asks for {asked} workers, and there is work for {}: a unit takes one split of a source or one of \
                 state.keyGroups",
                self.units.total
            );
            return yes(Reason::TooFewUnits, message);
        }
        match self.facts.scaling.and_then(|scaling| scaling.hold).filter(|_| !stops) {
            Some(hold) => yes(reason_of_hold(hold), hold.advice()),
            None => no(Reason::AsExpected, "no limit stands in the way"),
        }
    }

    fn rebalancing(&self) -> Verdict {
        match self.units.moving {
            0 => no(Reason::AsExpected, "no unit moves"),
            moving => yes(Reason::UnitsMoving, format!("{moving} of {} units move", self.units.total)),
        }
    }

    fn paused(&self) -> Verdict {
        match self.facts.plan.step {
            Step::Pause => yes(Reason::Paused, "spec.paused is true: set it to false to go on"),
            _ => no(Reason::AsExpected, "spec.paused is false"),
        }
    }

    fn complete(&self) -> Verdict {
        match self.facts.plan.step {
            Step::Complete => yes(Reason::Completed, "all input was read and delivered"),
            _ => no(Reason::AsExpected, "there is input to read, or there may be"),
        }
    }
}

/// Why pods of a Deployment do not run, of those that have waited for longer than `patience`.
fn trouble(deployment: Option<&Rollout>, pods: &[WorkerPod], patience: Duration) -> Option<(Reason, String)> {
    let of_deployment = deployment.and_then(|deployment| deployment.trouble.clone());
    let of_pod = |pod: &WorkerPod| {
        let trouble = pod.trouble.as_ref()?;
        Some((trouble.reason, format!("pod {}: {}", pod.name, trouble.message)))
    };
    let mut waits = pods.iter().filter(|pod| pod.age > patience && !pod.terminating);
    of_deployment.map(|trouble| (Reason::WorkersUnavailable, trouble)).or_else(|| waits.find_map(of_pod))
}

/// A worker that holds a slot, renews its Lease, and has never answered the operator.
fn mute(observed: &Observed) -> Option<(Reason, String)> {
    let mut live = observed.slots.iter().filter_map(|slot| observed.live(slot));
    let is_mute = |holder: &RunId| observed.unheard.get(holder).is_some_and(|known_for| *known_for >= HEARING_LIMIT);
    let pod = observed.pod(&live.find(is_mute)?)?;
    let what = format!(
        "pod {} runs, and the operator gets no report of it: it asks port {REPORT_PORT} of the pod, which NetworkPolicies and \
         firewalls have to let through",
        pod.name
    );
    Some((Reason::WorkersUnavailable, what))
}

fn reason_of_hold(hold: Hold) -> Reason {
    match hold {
        Hold::SinkBound => Reason::SinkBound,
        Hold::ShardBound => Reason::ShardBound,
        Hold::Ineffective => Reason::Ineffective,
        Hold::MetricsStale => Reason::MetricsStale,
        Hold::Quota => Reason::Quota,
        Hold::Rebalancing => Reason::Rebalancing,
        Hold::Bounds => Reason::Bounds,
        Hold::TooFewUnits => Reason::TooFewUnits,
    }
}

fn yes(reason: Reason, message: impl Into<String>) -> Verdict {
    (ConditionStatus::True, reason, message.into())
}

fn no(reason: Reason, message: impl Into<String>) -> Verdict {
    (ConditionStatus::False, reason, message.into())
}

fn unknown(message: &str) -> Verdict {
    (ConditionStatus::Unknown, Reason::Pending, message.to_owned())
}

/// The failure of a worker of the plan that runs: one of a plan that is being tried disturbs nobody.
pub(super) fn failure_of_running<'a>(facts: &Facts<'a>) -> Option<&'a Failure> {
    let running = facts.plan.assignment.as_ref().map(|assignment| &assignment.plan);
    let mut failed = failed(facts.observed).filter(|report| running.is_none_or(|running| report.plan == *running));
    failed.find_map(|report| report.failures.first())
}

/// What a worker that stands still says about a resource.
pub(crate) fn failure_about(observed: &Observed, resource: &str) -> Option<(Reason, String)> {
    let failure = failures(observed).find(|failure| failure.resource.as_deref() == Some(resource))?;
    Some((reason_of(failure), failure.message.clone()))
}

/// The workers of which something stands still.
fn failed(observed: &Observed) -> impl Iterator<Item = &Report> {
    observed.said().chain(observed.lookout.said()).filter(|report| report.state == WorkerState::Failed)
}

fn failures(observed: &Observed) -> impl Iterator<Item = &Failure> {
    failed(observed).flat_map(|report| &report.failures)
}

fn reason_of(failure: &Failure) -> Reason {
    Reason::parse(&failure.reason).unwrap_or(Reason::WorkerFailed)
}

fn worker_failed(failure: Option<&Failure>) -> Verdict {
    no(failure.map_or(Reason::WorkerFailed, reason_of), failure.map(failed_message).unwrap_or_default())
}

fn failed_message(failure: &Failure) -> String {
    let resource = failure.resource.as_ref().map(|resource| format!("{resource}: "));
    format!("{}{}", resource.unwrap_or_default(), failure.message)
}
