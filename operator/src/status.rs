//! Writes the status of a pipeline, and tells events of it: on change, and figures alone at most each half minute.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use serde_json::json;
use thalweg_crds::condition::{ConditionStatus, ConditionType, Reason};
use thalweg_crds::pipeline::{PipelineStatus, Restart};
use thalweg_crds::{API_VERSION, StreamPipeline};
use thalweg_operator_plan::names::MANAGER;
use thalweg_operator_plan::problem::Problem;
use thalweg_operator_plan::restart::Begun;
use thalweg_operator_plan::status::differs_in_more_than_figures;
use tokio::time::Instant;
use tracing::debug;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::kept::Kept;
use crate::observe::Subject;
use crate::watch::PipelineRef;

/// How often figures alone are written.
pub const FIGURES: Duration = Duration::from_secs(30);
/// Longest note of an event that the API server takes.
const NOTE_LIMIT: usize = 1024;

/// When the status of each pipeline was written. What was written before this began may have been written just then: a
/// restart is no reason to write the figures of all pipelines at once.
pub struct StatusTimes {
    began: Instant,
    written: Mutex<HashMap<PipelineRef, Instant>>,
}

impl Default for StatusTimes {
    fn default() -> Self {
        Self { began: Instant::now(), written: Mutex::default() }
    }
}

impl StatusTimes {
    fn since(&self, pipeline: &PipelineRef) -> Duration {
        self.written().get(pipeline).unwrap_or(&self.began).elapsed()
    }

    fn note(&self, pipeline: PipelineRef) {
        self.written().insert(pipeline, Instant::now());
    }

    /// A pipeline is gone.
    pub fn forget(&self, pipeline: &PipelineRef) {
        self.written().remove(pipeline);
    }

    fn written(&self) -> MutexGuard<'_, HashMap<PipelineRef, Instant>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a status, if it is worth it; whether it was.
///
/// # Errors
/// The write failed.
pub async fn write(subject: &Subject, context: &Context, next: &PipelineStatus) -> Result<bool> {
    let previous = subject.pipeline.status.clone().unwrap_or_default();
    let pipeline = ObjectRef::new(&subject.owner.name).within(&subject.namespace);
    let is_due = context.written.since(&pipeline) >= FIGURES;
    if !differs_in_more_than_figures(&previous, next) && (!is_due || previous == *next) {
        return Ok(false);
    }
    if !context.leadership.holds() {
        return Err(Error::NotLeader);
    }
    let name = &subject.owner.name;
    let api: Api<StreamPipeline> = Api::namespaced(context.client.clone(), &subject.namespace);
    let patch = json!({
        "apiVersion": API_VERSION,
        "kind": "StreamPipeline",
        "metadata": {"name": name, "uid": subject.owner.uid},
        "status": next,
    });
    let answer = api.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await;
    let written = answer.map_err(Error::api(format!("writing the status of StreamPipeline {name}")))?;
    context.metrics.wrote("StreamPipeline", "status");
    context.overlay.wrote(&written);
    context.written.note(pipeline);
    tell(subject, context, &previous, next).await;
    Ok(true)
}

/// Tells events of conditions that have changed.
async fn tell(subject: &Subject, context: &Context, previous: &PipelineStatus, next: &PipelineStatus) {
    for condition in &next.conditions {
        let before = previous.conditions.iter().find(|before| before.type_ == condition.type_);
        if let Some(event) = event(before, condition) {
            publish(subject, context, &event).await;
        }
    }
    if let Some(event) = decided(previous, next) {
        publish(subject, context, &event).await;
    }
}

/// Tells one event of a pipeline, as a leader only: whether somebody hears it changes nothing.
pub async fn publish(subject: &Subject, context: &Context, event: &Event) {
    publish_about(&subject.pipeline, context, event).await;
}

/// The same of a pipeline that may be one that this version cannot read.
pub async fn publish_about(pipeline: &impl Resource<DynamicType = ()>, context: &Context, event: &Event) {
    if !context.leadership.holds() {
        return;
    }
    if let Err(error) = context.events.publish(event, &pipeline.object_ref(&())).await {
        debug!(pipeline = pipeline.name_any(), %error, "telling an event");
    }
}

/// Tells that nobody looks after a pipeline: it, or its assignment, is of another version. Its status may be, too, so none is
/// written.
pub async fn tell_unreadable(pipeline: &Kept<StreamPipeline>, context: &Context, amiss: &str) {
    let note = format!("nobody looks after it: {amiss}");
    let note = note.chars().take(NOTE_LIMIT / 4).collect();
    let (reason, action) = (Reason::Unreadable.to_string(), "Read".to_owned());
    let event = Event { type_: EventType::Warning, reason, note: Some(note), action, secondary: None };
    publish_about(pipeline, context, &event).await;
}

/// Tells what of the pipeline starts from scratch, and why: `because` of what no state fits, else since its user asks for it.
pub async fn tell_start(subject: &Subject, context: &Context, begun: Begun, because: &[Problem]) {
    publish(subject, context, &start(begun, subject.pipeline.spec.restart.as_ref(), because)).await;
}

fn start(begun: Begun, asked: Option<&Restart>, because: &[Problem]) -> Event {
    let why = match asked.filter(|_| because.is_empty()) {
        Some(asked) => format!("restart.nonce is `{}`", asked.nonce),
        None => because.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; "),
    };
    let what = match begun {
        Begun::All(count) => format!("start {count} from scratch, all statements anew"),
        Begun::Changed => "what has changed starts from scratch, the other statements go on".to_owned(),
    };
    let note = format!("{what}; the state before is kept: {why}");
    let note = note.chars().take(NOTE_LIMIT / 4).collect();
    let (reason, action) = ("StartedFromScratch".to_owned(), "Restart".to_owned());
    Event { type_: EventType::Normal, reason, note: Some(note), action, secondary: None }
}

/// The event of a decision of the autoscaler that is not the one before.
fn decided(previous: &PipelineStatus, next: &PipelineStatus) -> Option<Event> {
    let last = |status: &PipelineStatus| status.scaling.as_ref()?.last_decision.clone();
    let now = last(next).filter(|now| last(previous).as_ref() != Some(now))?;
    let workers = match now.from == now.to {
        true => format!("{} workers as before", now.to),
        false => format!("from {} to {} workers", now.from, now.to),
    };
    let note = format!("{workers}: {}; {}", now.reason, now.inputs);
    let note = note.chars().take(NOTE_LIMIT / 4).collect();
    // Events of one reason and action are told as a series, in the words of the first.
    let action = match now.from == now.to {
        true => now.reason.split(':').next().unwrap_or_default().to_owned(),
        false => format!("ScaleTo{}", now.to),
    };
    let reason = "ScalingDecided".to_owned();
    Some(Event { type_: EventType::Normal, reason, note: Some(note), action, secondary: None })
}

/// The event of a condition that is not what it was; none where nobody would want to know.
fn event(before: Option<&Condition>, now: &Condition) -> Option<Event> {
    let same = |before: &Condition| before.status == now.status && before.reason == now.reason;
    if before.is_some_and(same) {
        return None;
    }
    let kind = ConditionType::parse(&now.type_)?;
    // What nobody knows is no news.
    if now.status == ConditionStatus::Unknown.as_str() {
        return None;
    }
    let holds = now.status == ConditionStatus::True.as_str();
    let held = before.is_some_and(|before| before.status == ConditionStatus::True.as_str());
    let type_ = match (kind, holds) {
        (ConditionType::Ready | ConditionType::Complete | ConditionType::Paused, true) => EventType::Normal,
        (ConditionType::Stalled, true)
        | (ConditionType::CommitHealthy | ConditionType::SourcesReachable | ConditionType::SinksReachable, false) => {
            EventType::Warning
        }
        (ConditionType::Ready, false) if held && is_wanted(now) => EventType::Normal,
        (ConditionType::Ready, false) if held => EventType::Warning,
        (ConditionType::Paused, false) if held => EventType::Normal,
        (ConditionType::Rebalancing, true) => EventType::Normal,
        (ConditionType::ScalingLimited, true) => EventType::Warning,
        _ => return None,
    };
    // Where nothing is amiss, what has come true says more than that it is as expected.
    let reason = match kind {
        ConditionType::Paused if !holds => "Resumed".to_owned(),
        _ if matches!(type_, EventType::Normal) && holds => now.type_.clone(),
        _ => now.reason.clone(),
    };
    let note = now.message.chars().take(NOTE_LIMIT / 4).collect();
    Some(Event { type_, reason, note: Some(note), action: "Reconcile".to_owned(), secondary: None })
}

/// Whether it is not ready since somebody asks for that, or since a change is on its way.
fn is_wanted(not_ready: &Condition) -> bool {
    [Reason::Paused, Reason::UnitsMoving].iter().any(|reason| not_ready.reason == reason.as_str())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn condition(kind: ConditionType, status: ConditionStatus, reason: &str) -> Condition {
        Condition {
            type_: kind.as_str().to_owned(),
            status: status.as_str().to_owned(),
            reason: reason.to_owned(),
            message: "so".to_owned(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_pipeline_that_is_gone_no_time_is_kept() {
        let times = StatusTimes::default();
        tokio::time::advance(FIGURES).await;
        let pipeline: PipelineRef = ObjectRef::new("fares").within("shop");
        times.note(pipeline.clone());
        assert_eq!(times.since(&pipeline), Duration::ZERO);
        times.forget(&pipeline);
        assert_eq!((times.since(&pipeline), times.written().len()), (FIGURES, 0));
    }

    #[test]
    fn a_start_from_scratch_says_what_it_is_for() {
        let asked = Restart { nonce: "after the repair".to_owned(), from: None };
        let changed = Problem {
            reason: Reason::IncompatibleChange,
            resource: "StreamPipeline/fares".to_owned(),
            path: "spec.sql".to_owned(),
            place: None,
            message: "stage 0 over trips is gone".to_owned(),
            help: None,
        };
        let note = |because: &[Problem]| start(Begun::All(2), Some(&asked), because).note.unwrap();
        assert_eq!(
            note(&[]),
            "start 2 from scratch, all statements anew; the state before is kept: restart.nonce is `after the repair`"
        );
        assert!(note(std::slice::from_ref(&changed)).ends_with("is kept: stage 0 over trips is gone"));
        assert_eq!(
            start(Begun::Changed, Some(&asked), &[changed]).note.unwrap(),
            "what has changed starts from scratch, the other statements go on; the state before is kept: stage 0 over trips is gone"
        );
    }

    #[test]
    fn an_event_is_told_once_a_change_and_only_of_what_somebody_wants_to_know() {
        let ready = condition(ConditionType::Ready, ConditionStatus::True, "AsExpected");
        let told = event(None, &ready).unwrap();
        assert_eq!((told.type_, told.reason.as_str()), (EventType::Normal, "Ready"));
        assert!(event(Some(&ready), &ready).is_none());
        let stalled = condition(ConditionType::Stalled, ConditionStatus::True, "InvalidSql");
        let told = event(None, &stalled).unwrap();
        assert_eq!((told.type_, told.reason.as_str()), (EventType::Warning, "InvalidSql"));
        assert!(event(None, &condition(ConditionType::Ready, ConditionStatus::False, "Starting")).is_none());
        assert!(event(None, &condition(ConditionType::CommitHealthy, ConditionStatus::Unknown, "Pending")).is_none());
        let lost = [("WorkersUnavailable", EventType::Warning), ("Paused", EventType::Normal)];
        for (reason, type_) in lost {
            let told = event(Some(&ready), &condition(ConditionType::Ready, ConditionStatus::False, reason)).unwrap();
            assert_eq!((told.type_, told.reason.as_str()), (type_, reason));
        }
        for kind in [ConditionType::SourcesReachable, ConditionType::SinksReachable] {
            let told = event(None, &condition(kind, ConditionStatus::False, "Unreachable")).unwrap();
            assert_eq!((told.type_, told.reason.as_str()), (EventType::Warning, "Unreachable"));
        }
        let paused = condition(ConditionType::Paused, ConditionStatus::True, "Paused");
        let goes_on = condition(ConditionType::Paused, ConditionStatus::False, "AsExpected");
        assert_eq!(event(Some(&paused), &goes_on).unwrap().reason, "Resumed");
        assert!(event(None, &goes_on).is_none());
    }
}
