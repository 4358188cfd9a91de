//! What a worker does next, by what it is doing, what is asked of it, and the time. What it does about one unit is decided
//! by [`thalweg_core::ownership::tenure`].

use std::time::Duration;

use super::backoff::Backoff;
use super::duty::Duty;
use crate::runtime::RunError;

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// A job runs.
    Running {
        /// Failures before it.
        failures: Backoff,
        /// Since when.
        since: Duration,
    },
    /// A job was told to commit and end.
    Stopping,
    /// It failed.
    Failed {
        /// With those before.
        failures: Backoff,
        /// When it may be tried again.
        retry_at: Duration,
    },
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for news.
    Wait,
    /// Wait for news, until then at the most.
    WaitUntil(Duration),
    /// Start the job.
    Start,
    /// Have the job commit and end.
    Stop,
}

/// What to do next.
pub fn next_step(phase: Phase, duty: &Duty, now: Duration) -> Step {
    match (phase, duty) {
        (Phase::Running { .. }, Duty::Rest(_)) => Step::Stop,
        (Phase::Running { .. } | Phase::Stopping, _) | (_, Duty::Rest(_)) => Step::Wait,
        (Phase::Failed { retry_at, .. }, Duty::Serve) if now < retry_at => Step::WaitUntil(retry_at),
        (Phase::Idle | Phase::Failed { .. }, Duty::Serve) => Step::Start,
    }
}

/// What a worker is doing once its job has ended.
pub fn after(phase: Phase, end: &Result<(), RunError>, now: Duration) -> Phase {
    match (phase, end) {
        (Phase::Running { mut failures, since }, Err(error)) => {
            let pause = failures.failed_of(error, now.saturating_sub(since));
            Phase::Failed { failures, retry_at: now + pause }
        }
        _ => Phase::Idle,
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::error::Error;

    use super::super::duty::Why;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn running() -> Phase {
        Phase::Running { failures: Backoff::default(), since: Duration::ZERO }
    }

    fn failed() -> Result<(), RunError> {
        Err(RunError::Connector(Error::external("writing", "it failed")))
    }

    #[test]
    fn a_job_runs_while_the_worker_is_named_and_stops_when_that_changes() {
        let step = |phase, duty: &Duty| next_step(phase, duty, Duration::ZERO);
        assert_eq!(step(Phase::Idle, &Duty::Serve), Step::Start);
        assert_eq!(step(running(), &Duty::Serve), Step::Wait);
        assert_eq!(step(running(), &Duty::Rest(Why::NoAssignment)), Step::Stop);
        assert_eq!(step(Phase::Stopping, &Duty::Serve), Step::Wait);
        assert_eq!(step(Phase::Idle, &Duty::Rest(Why::NotEntered)), Step::Wait);
    }

    #[test]
    fn a_job_that_fails_is_tried_again_after_longer_and_longer_pauses() {
        let (mut phase, mut pauses) = (running(), Vec::new());
        for _ in 0..3 {
            let Phase::Failed { failures, retry_at } = after(phase, &failed(), SECOND) else { panic!("it failed") };
            pauses.push((retry_at - SECOND).as_millis());
            phase = Phase::Running { failures, since: SECOND };
        }
        assert_eq!(pauses, [100, 200, 400]);
        let (failed, retry_at) = (after(running(), &failed(), SECOND), SECOND + Duration::from_millis(100));
        assert_eq!(next_step(failed, &Duty::Serve, Duration::ZERO), Step::WaitUntil(retry_at));
        assert_eq!(next_step(failed, &Duty::Serve, retry_at), Step::Start);
    }

    #[test]
    fn a_job_that_was_told_to_stop_leaves_nothing_behind_however_it_ends() {
        for end in [Ok(()), failed()] {
            assert_eq!(after(Phase::Stopping, &end, Duration::ZERO), Phase::Idle);
        }
    }
}
