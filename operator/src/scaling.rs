//! What is remembered of each pipeline for the sake of its number of workers; in memory only.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::{Event, EventType};
use thalweg_operator_plan::autoscale::Hold;
use thalweg_operator_plan::observed::Observed;
use thalweg_operator_plan::plan::Plan;
use thalweg_operator_plan::scaling::{Scaler, Scaling};
use thalweg_operator_plan::validate::ValidatedPipeline;
use tokio::time::Instant;

use crate::context::Context;
use crate::each::limit;
use crate::observe::Subject;
use crate::status::publish;

/// What is remembered, by namespace and name.
pub struct Scalers {
    started: Instant,
    all: Mutex<HashMap<(String, String), Remembered>>,
}

struct Remembered {
    /// UID of the pipeline: one that is made again is another one.
    uid: String,
    scaler: Scaler,
    /// The replicas of its Deployment, as they were written last.
    written: Option<i32>,
}

impl Default for Scalers {
    fn default() -> Self {
        Self { started: Instant::now(), all: Mutex::default() }
    }
}

impl Scalers {
    fn all(&self) -> MutexGuard<'_, HashMap<(String, String), Remembered>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many workers a pipeline is to have, and why.
    pub fn look(&self, subject: &Subject, pipeline: &ValidatedPipeline, observed: &Observed) -> Scaling {
        let uid = &subject.owner.uid;
        let begin = || {
            let status = subject.pipeline.status.as_ref();
            let last = status.and_then(|status| status.scaling.as_ref()?.last_decision.as_ref());
            let limit = status.and_then(limit);
            let held = limit.and_then(|reason| Hold::ALL.into_iter().find(|hold| hold.as_str() == reason));
            let scaler = Scaler::new(&pipeline.scaling, observed, last, held);
            Remembered { uid: uid.clone(), scaler, written: None }
        };
        let mut all = self.all();
        let remembered = all.entry(key(subject)).or_insert_with(begin);
        if remembered.uid != *uid {
            *remembered = begin();
        }
        remembered.scaler.look(pipeline, observed, self.started.elapsed(), &now())
    }

    /// Takes in what is to be published of what was decided.
    pub fn note(
        &self,
        subject: &Subject,
        pipeline: &ValidatedPipeline,
        observed: &Observed,
        plan: &Plan,
        decided: Scaling,
    ) -> Scaling {
        let at = (self.started.elapsed(), &now());
        match self.all().get_mut(&key(subject)) {
            Some(remembered) => remembered.scaler.note(pipeline, observed, plan, at, decided),
            None => decided,
        }
    }

    /// The Deployment was written, or found to be so.
    pub fn wrote(&self, subject: &Subject, replicas: i32) {
        if let Some(remembered) = self.all().get_mut(&key(subject)) {
            remembered.written = Some(replicas);
        }
    }

    /// How many replicas somebody else has written, and how many there were.
    pub fn foreign(&self, subject: &Subject, observed: &Observed) -> Option<(i32, i32)> {
        let found = observed.deployment.as_ref()?.replicas;
        let written = self.all().get(&key(subject)).filter(|it| it.uid == subject.owner.uid)?.written?;
        (found != written).then_some((found, written))
    }

    /// A pipeline that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.all().remove(&(namespace.to_owned(), name.to_owned()));
    }
}

fn key(subject: &Subject) -> (String, String) {
    (subject.namespace.clone(), subject.owner.name.clone())
}

/// Now, to the second: what is written and read again is the same.
fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// Counts what is new, tells whose replicas were put back, and remembers which are ours.
pub async fn tell(subject: &Subject, context: &Context, scaling: &Scaling, plan: &Plan, observed: &Observed) {
    for reason in &scaling.news {
        context.metrics.scalings.with_label_values(&[reason.as_str()]).inc();
    }
    let foreign = context.scalers.foreign(subject, observed);
    context.scalers.wrote(subject, plan.replicas);
    let Some((found, written)) = foreign else { return };
    let note = format!(
        "somebody set the replicas of Deployment {} from {written} to {found}; they are {} again. Set scaling.minWorkers and \
         scaling.maxWorkers of the pipeline instead, or scaling.workers with mode: Manual, which is what its scale \
         subresource sets",
        subject.names.base(),
        plan.replicas
    );
    let event = Event {
        type_: EventType::Warning,
        reason: "ReplicasPutBack".to_owned(),
        note: Some(note),
        action: "Scale".to_owned(),
        secondary: None,
    };
    publish(subject, context, &event).await;
}
