//! What stands as it was written while workers that live have not been heard: an operator that has just started would
//! otherwise tell that nothing runs, and a moment later that it does.

use thalweg_crds::condition::ConditionType;
use thalweg_crds::pipeline::PipelineStatus;

use super::Facts;
use crate::plan::Step;

/// Whether it does: for a bounded time, of the spec that it was written of, and where workers have a say.
pub(super) fn stands(facts: &Facts<'_>) -> bool {
    let is_written = !facts.previous.conditions.is_empty() && facts.previous.observed_generation == facts.generation;
    let has_workers = match facts.plan.step {
        Step::Start | Step::Run | Step::RollOut | Step::Move => true,
        Step::Pause | Step::Idle | Step::Complete => false,
    };
    is_written && has_workers && facts.observed.awaits_words().is_some()
}

/// What is seen, with all that rests on the words of workers as it was written.
pub(super) fn over(facts: &Facts<'_>, mut seen: PipelineStatus) -> PipelineStatus {
    let written = facts.previous;
    for condition in &mut seen.conditions {
        let rests = ConditionType::parse(&condition.type_).is_some_and(|kind| rests_on_words(kind, facts));
        let before = written.conditions.iter().find(|before| before.type_ == condition.type_);
        if let Some(before) = before.filter(|_| rests) {
            condition.clone_from(before);
        }
    }
    PipelineStatus {
        phase: written.phase,
        units: written.units.clone(),
        lag: written.lag.clone(),
        commit: written.commit.clone(),
        dead_letters: written.dead_letters,
        active_plan: written.active_plan.clone(),
        ..seen
    }
}

/// Whether what a condition says depends on reports. Problems of the spec come before what workers say of some.
fn rests_on_words(kind: ConditionType, facts: &Facts<'_>) -> bool {
    match kind {
        ConditionType::Ready
        | ConditionType::SourcesReachable
        | ConditionType::SinksReachable
        | ConditionType::CommitHealthy
        | ConditionType::LagWithinTarget
        | ConditionType::ScalingLimited
        | ConditionType::Rebalancing => true,
        ConditionType::Reconciling | ConditionType::Stalled | ConditionType::ScalingActive => facts.validated.is_ok(),
        ConditionType::ConfigValid | ConditionType::Paused | ConditionType::Complete => false,
    }
}
