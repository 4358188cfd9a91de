//! `thalweg dev-coordinator`: assigns units and splits without Kubernetes, by the operator's own rules.
//!
//! | To find | look in |
//! |---|---|
//! | from manifests to a pipeline that can be assigned, and its plan for workers | [`pipeline`] |
//! | who lives, and what workers report | [`eyes`] |
//! | what is written into a pipeline's folder | [`hand`] |
//! | what a person asks for: to move a unit, to pause (pure), and how it is written | [`order`] |
//!
//! Who owns what is decided by `thalweg-operator-plan`, as in a cluster. A coordinator that is away is missed only by what
//! changes: workers go on with what they own.

mod error;
mod eyes;
mod hand;
mod order;
mod pipeline;

use std::path::PathBuf;
use std::time::Duration;

use thalweg_core::clock::SharedClock;
use thalweg_operator_plan::held::moves;
use thalweg_operator_plan::observed::Observed;
use thalweg_operator_plan::plan::plan;
use thalweg_operator_plan::validate::ValidatedPipeline;
use tokio_util::sync::CancellationToken;

pub use error::CoordinatorError;
use eyes::Eyes;
#[cfg(test)]
pub use eyes::observed_slots;
use hand::Hand;
pub use hand::known;
pub use order::{Order, give};
#[cfg(test)]
pub use order::{Which, moved};
#[cfg(test)]
pub use pipeline::Known;
pub use pipeline::{Ask, read};

/// How often workers are asked and Leases looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Coordinates pipelines until `terminate` is cancelled; workers go on then.
///
/// # Errors
/// A folder that cannot be written at the start. Later it is tried again.
pub async fn run(
    pipelines: Vec<ValidatedPipeline>,
    folder: PathBuf,
    silence: Duration,
    clock: SharedClock,
    terminate: CancellationToken,
) -> Result<(), CoordinatorError> {
    let mut looked_after = Vec::new();
    for pipeline in pipelines {
        let hand = Hand::new(&folder, pipeline, silence);
        hand.prepare()?;
        tracing::info!(pipeline = hand.name(), plan = hand.pipeline().plan.hash, "coordinating");
        looked_after.push((hand, Eyes::new(clock.clone())));
    }
    let mut said = None;
    loop {
        for (hand, eyes) in &mut looked_after {
            if let Err(error) = look(hand, eyes).await {
                let text = error.to_string();
                if said.as_ref() != Some(&text) {
                    tracing::warn!("{text}");
                    said = Some(text);
                }
            }
        }
        tokio::select! {
            () = terminate.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Looks at one pipeline, and writes what is to be changed.
async fn look(hand: &Hand, eyes: &mut Eyes) -> Result<(), CoordinatorError> {
    let (known, leases) = (hand.assignment()?, hand.leases()?);
    let assignment = known.as_ref().map(|known| known.spec.clone());
    let stages = assignment.as_ref().map(|assignment| hand.stages(&assignment.plan)).unwrap_or_default();
    let observed = Observed { assignment, stages, ..eyes.observe(&leases).await };
    let planned = plan(hand.pipeline(), &observed);
    hand.make_slots(planned.slots, leases.len()).await?;
    let before = known.as_ref().map(|known| known.spec.clone()).unwrap_or_default();
    let desired = match hand.is_paused() {
        true => order::stopped(before.clone()),
        false => planned.assignment.unwrap_or_default(),
    };
    if hand.publish(known, desired.clone()).await? {
        let moves = moves(&before, &desired);
        let workers = desired.workers.len();
        tracing::info!(
            pipeline = hand.name(),
            workers,
            units = desired.units.len(),
            splits = desired.splits.len(),
            handoffs = moves.handoffs,
            takeovers = moves.takeovers,
            "published"
        );
    }
    hand.free(&leases, &planned.freed).await
}
