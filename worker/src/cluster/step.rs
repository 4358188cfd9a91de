//! What a worker does next, by what it is doing, what is asked of it, and the time.

use std::time::Duration;

use thalweg_core::error::ErrorKind;

use super::duty::{Duty, Handover};
use crate::runtime::RunError;
use crate::runtime::ownership::Epochs;

/// How long a planned handover leaves to the owner before, who was told in the same write. Whoever is slower is fenced.
const HANDOVER: Duration = Duration::from_secs(2);
/// How long a job that failed is left alone, at first and at the most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A job that ran this long before it failed is as good as new.
const SOUND: Duration = Duration::from_mins(2);

/// What a worker is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// A job runs.
    Running {
        /// At which epochs.
        epochs: Epochs,
        /// Failures before it, one after the other.
        failures: u32,
        /// Since when.
        since: Duration,
    },
    /// A job was told to commit and end.
    Stopping,
    /// All input of the job was read and delivered.
    Completed(Epochs),
    /// Its state was taken over at a higher epoch: only an assignment above that helps.
    Refused(Epochs),
    /// A log lost rows that were not read: only a change of the plan or of the assignment helps.
    Lost(Epochs),
    /// It failed, or was fenced.
    Failed {
        /// At which epochs it ran.
        epochs: Epochs,
        /// Failures, one after the other.
        failures: u32,
        /// When it may be tried again.
        retry_at: Duration,
        /// What is known to be so before it is.
        then: Then,
    },
}

impl Phase {
    /// What was to be read was read: if this worker is still asked at the same epochs, it may open its units again.
    pub fn confirmed(&self) -> Self {
        match self.clone() {
            Self::Failed { epochs, failures, retry_at, .. } => {
                Self::Failed { epochs, failures, retry_at, then: Then::Retry }
            }
            other => other,
        }
    }

    /// It could not be read, and is tried again after a while.
    pub fn unconfirmed(&self, now: Duration) -> Self {
        match self.clone() {
            Self::Failed { epochs, failures, then, .. } => {
                Self::Failed { epochs, failures, retry_at: now + PAUSE.0, then }
            }
            other => other,
        }
    }
}

/// What must be known before a job that failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing more.
    Retry,
    /// It was fenced: a fresh read of the assignment must still name this worker.
    ReadFirst,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for news.
    Wait,
    /// Wait for news, until then at the most.
    WaitUntil(Duration),
    /// Acquire all units at these epochs.
    Start(Epochs),
    /// Have the job commit and end.
    Stop,
    /// Read the assignment anew, past every cache and watch.
    Read,
}

/// What to do next. `asked_since` is when this duty was first seen.
pub fn next_step(phase: &Phase, duty: &Duty, asked_since: Duration, now: Duration) -> Step {
    let own = match duty {
        Duty::Rest(_) => None,
        Duty::Own(epochs, handover) => Some((epochs, *handover)),
    };
    match (phase, own) {
        (Phase::Running { epochs, .. }, own) if own.is_none_or(|(asked, _)| asked != epochs) => Step::Stop,
        (Phase::Running { .. } | Phase::Stopping, _) | (_, None) => Step::Wait,
        (Phase::Completed(epochs) | Phase::Refused(epochs) | Phase::Lost(epochs), Some((asked, _)))
            if epochs == asked =>
        {
            Step::Wait
        }
        (Phase::Failed { epochs, retry_at, .. }, Some((asked, _))) if epochs == asked && now < *retry_at => {
            Step::WaitUntil(*retry_at)
        }
        (Phase::Failed { epochs, then: Then::ReadFirst, .. }, Some((asked, _))) if epochs == asked => Step::Read,
        (_, Some((asked, handover))) => start(asked, handover, asked_since, now),
    }
}

fn start(asked: &Epochs, handover: Handover, asked_since: Duration, now: Duration) -> Step {
    match handover {
        Handover::Planned if now < asked_since + HANDOVER => Step::WaitUntil(asked_since + HANDOVER),
        Handover::Planned | Handover::Takeover => Step::Start(asked.clone()),
    }
}

/// What a worker is doing once its job has ended.
pub fn after(phase: &Phase, end: &Result<(), RunError>, now: Duration) -> Phase {
    let Phase::Running { epochs, failures, since } = phase else { return Phase::Idle };
    let before = if now.saturating_sub(*since) < SOUND { *failures } else { 0 };
    let (epochs, failures) = (epochs.clone(), before.saturating_add(1));
    let Err(error) = end else { return Phase::Completed(epochs) };
    if matches!(error, RunError::Superseded { .. }) {
        return Phase::Refused(epochs);
    }
    match error.kind() {
        ErrorKind::DataLoss => Phase::Lost(epochs),
        ErrorKind::Fenced => {
            Phase::Failed { epochs, failures, retry_at: now + pause(failures - 1), then: Then::ReadFirst }
        }
        ErrorKind::User | ErrorKind::External | ErrorKind::Internal => {
            Phase::Failed { epochs, failures, retry_at: now + pause(failures), then: Then::Retry }
        }
    }
}

/// Twice as long after each failure. The first fence is looked into at once.
fn pause(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        failures => PAUSE.0.saturating_mul(1 << (failures - 1).min(16)).min(PAUSE.1),
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::error::Error;
    use thalweg_core::unit::{Epoch, StageId, UnitId};

    use super::super::duty::Why;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const UNIT: UnitId = UnitId { stage: StageId(0), index: 0 };

    fn epochs(epoch: u64) -> Epochs {
        [(UNIT, Epoch(epoch))].into_iter().collect()
    }

    fn own(epoch: u64) -> Duty {
        Duty::Own(epochs(epoch), Handover::Takeover)
    }

    fn running(epoch: u64) -> Phase {
        Phase::Running { epochs: epochs(epoch), failures: 0, since: Duration::ZERO }
    }

    fn step(phase: &Phase, duty: &Duty) -> Step {
        next_step(phase, duty, Duration::ZERO, Duration::ZERO)
    }

    fn failed(kind: ErrorKind) -> Result<(), RunError> {
        Err(RunError::Connector(Error::new(kind, "writing", "it failed")))
    }

    #[test]
    fn a_job_runs_while_its_units_are_assigned_at_its_epochs_and_stops_when_that_changes() {
        assert_eq!(step(&Phase::Idle, &own(1)), Step::Start(epochs(1)));
        assert_eq!(step(&running(1), &own(1)), Step::Wait);
        assert_eq!(step(&running(1), &own(2)), Step::Stop);
        assert_eq!(step(&running(1), &Duty::Rest(Why::NoAssignment)), Step::Stop);
        assert_eq!(step(&Phase::Stopping, &own(2)), Step::Wait);
        assert_eq!(step(&Phase::Idle, &Duty::Rest(Why::OthersOwn)), Step::Wait);
    }

    #[test]
    fn a_planned_handover_leaves_two_seconds_to_the_owner_before() {
        let asked = Duty::Own(epochs(2), Handover::Planned);
        assert_eq!(next_step(&Phase::Idle, &asked, 5 * SECOND, 6 * SECOND), Step::WaitUntil(7 * SECOND));
        assert_eq!(next_step(&Phase::Idle, &asked, 5 * SECOND, 7 * SECOND), Step::Start(epochs(2)));
    }

    #[test]
    fn a_fenced_job_is_opened_again_only_after_a_fresh_read() {
        let fenced = after(&running(1), &failed(ErrorKind::Fenced), SECOND);
        assert_eq!(next_step(&fenced, &own(1), Duration::ZERO, SECOND), Step::Read);
        let unread = fenced.unconfirmed(SECOND);
        assert_eq!(next_step(&unread, &own(1), Duration::ZERO, SECOND), Step::WaitUntil(2 * SECOND));
        assert_eq!(next_step(&unread, &own(1), Duration::ZERO, 2 * SECOND), Step::Read);
        assert_eq!(next_step(&fenced.confirmed(), &own(1), Duration::ZERO, SECOND), Step::Start(epochs(1)));
        assert_eq!(next_step(&fenced, &own(2), Duration::ZERO, SECOND), Step::Start(epochs(2)));
    }

    #[test]
    fn a_job_that_fails_is_tried_again_after_longer_and_longer_pauses() {
        let mut phase = running(1);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let Phase::Failed { failures, retry_at, .. } = after(&phase, &failed(ErrorKind::External), SECOND) else {
                panic!("it failed")
            };
            pauses.push((retry_at - SECOND).as_secs());
            phase = Phase::Running { epochs: epochs(1), failures, since: SECOND };
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        let sound = after(&phase, &failed(ErrorKind::External), SECOND + SOUND);
        assert!(matches!(sound, Phase::Failed { failures: 1, .. }), "{sound:?}");
        let failed = after(&running(1), &failed(ErrorKind::User), SECOND);
        assert_eq!(step(&failed, &own(1)), Step::WaitUntil(2 * SECOND));
        assert_eq!(next_step(&failed, &own(1), Duration::ZERO, 2 * SECOND), Step::Start(epochs(1)));
    }

    #[test]
    fn what_only_a_new_assignment_mends_is_not_tried_again() {
        let superseded = Err(RunError::Superseded { unit: UNIT, assigned: Epoch(1), stored: Epoch(3) });
        for end in [Ok(()), failed(ErrorKind::DataLoss), superseded] {
            let ended = after(&running(1), &end, Duration::ZERO);
            assert_eq!(next_step(&ended, &own(1), Duration::ZERO, 1000 * SECOND), Step::Wait);
            assert_eq!(step(&ended, &own(4)), Step::Start(epochs(4)));
        }
    }

    #[test]
    fn a_job_that_was_told_to_stop_leaves_nothing_behind_however_it_ends() {
        for end in [Ok(()), failed(ErrorKind::Fenced)] {
            assert_eq!(after(&Phase::Stopping, &end, Duration::ZERO), Phase::Idle);
        }
    }
}
