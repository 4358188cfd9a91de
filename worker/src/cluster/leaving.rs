//! How long a worker works on that was told to end. Whoever is to take its units may come late: after an upgrade, or while no
//! operator leads. Until somebody asks for them nobody is served by closing them.

use std::time::Duration;

use super::duty::{Duty, Why};

/// The part of its time that a worker keeps for the end, one in so many: to commit, to close, and to release its Lease, before
/// the process is killed.
const FOR_THE_END: u32 = 3;
/// How long units are asked for once workers of another plan live. What they have not asked for by then they do not go on with.
const OTHER_PLAN: Duration = Duration::from_secs(10);

/// A worker that was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// When, on its monotonic clock.
    pub since: Duration,
    /// How long after that its process may live.
    pub grace: Duration,
}

impl Leaving {
    /// Until when it works on while nobody has asked for what it has, on its monotonic clock, by what the assignment asks of
    /// it that it has heard last. What is asked for goes over at once.
    pub fn works_until(self, asked: &Duty) -> Duration {
        let most = self.since + (self.grace - self.grace / FOR_THE_END);
        match asked {
            Duty::Serve => most,
            Duty::Rest(Why::OtherPlan(_)) => most.min(self.since + OTHER_PLAN),
            // Its units are others' already, or nobody's: nobody will ask.
            Duty::Rest(_) => self.since,
        }
    }
}

/// What a worker has that it is to hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    /// Units, or splits that others may read through it.
    Work,
    /// Nothing any more.
    Nothing,
}

/// Whether a worker that works on until then is to close what it has.
pub fn is_over(until: Duration, has: Has, now: Duration) -> bool {
    has == Has::Nothing || now >= until
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LEAVING: Leaving = Leaving { since: Duration::from_secs(100), grace: Duration::from_secs(75) };

    #[test]
    fn while_nobody_has_asked_a_worker_works_on_and_keeps_a_third_of_its_time_for_the_end() {
        let until = LEAVING.works_until(&Duty::Serve);
        assert_eq!(until, 150 * SECOND);
        assert!(!is_over(until, Has::Work, 100 * SECOND));
        assert!(!is_over(until, Has::Work, 149 * SECOND));
        assert!(is_over(until, Has::Work, 150 * SECOND));
        for grace in [0, 1, 15, 3_600] {
            let leaving = Leaving { grace: grace * SECOND, ..LEAVING };
            let left = leaving.since + leaving.grace - leaving.works_until(&Duty::Serve);
            assert_eq!(left, leaving.grace / 3, "after a grace of {grace} s");
        }
    }

    #[test]
    fn a_worker_that_nobody_tells_its_time_waits_as_long_as_it_did_before_there_was_one() {
        let leaving = Leaving { grace: 15 * SECOND, ..LEAVING };
        assert_eq!(leaving.works_until(&Duty::Serve), 110 * SECOND);
    }

    #[test]
    fn a_worker_that_has_nothing_any_more_goes_at_once() {
        assert!(is_over(LEAVING.works_until(&Duty::Serve), Has::Nothing, 100 * SECOND));
    }

    #[test]
    fn an_assignment_that_asks_nothing_of_it_any_more_ends_its_work_at_once() {
        for why in [Why::NoAssignment, Why::Completed, Why::NotEntered] {
            let until = LEAVING.works_until(&Duty::Rest(why.clone()));
            assert!(is_over(until, Has::Work, 100 * SECOND), "{why}");
        }
    }

    #[test]
    fn workers_of_another_plan_have_ten_seconds_to_ask_and_never_more_than_there_are() {
        let other = Duty::Rest(Why::OtherPlan("next".to_owned()));
        assert_eq!(LEAVING.works_until(&other), 110 * SECOND);
        let short = Leaving { grace: 6 * SECOND, ..LEAVING };
        assert_eq!(short.works_until(&other), 104 * SECOND);
    }
}
