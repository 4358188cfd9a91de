//! What a unit does with what comes of a log, by the rules of `docs/design/0007-ownership-model.md`. Pure: whoever holds
//! the connection sends what is said here.

use std::time::Duration;

use thalweg_core::position::Position;
use thalweg_core::progress::{LogProgress, Offer, offer};
use thalweg_core::time::Watermark;

use crate::message::{Attempt, Refusal, Stamp};
use crate::pauses::Pauses;

/// A unit's view of one log.
#[derive(Clone, Debug)]
pub struct Subscriber {
    attempt: Attempt,
    stamp: Stamp,
    accepted: LogProgress,
    pauses: Pauses,
}

/// What to do with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRange {
    /// Fold it; the accepted position has moved.
    Take,
    /// It was taken before, or answers an earlier subscription: drop it.
    Drop,
    /// Something is missing before it, or it cannot be cut, or it was made by another plan: subscribe again.
    SubscribeAgain,
}

/// What to do where a reader does not serve, or the connection to it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnRefusal {
    /// It answers an earlier subscription: nothing.
    Nothing,
    /// Read a newer assignment after this pause, then subscribe again with the reader that it names.
    FindReader(Duration),
    /// Another owner has come: read the assignment anew, and decide as after a fenced commit.
    ReadAnew,
    /// The log has lost what is wanted: stop the unit with `DataLoss`, for people's eyes.
    DataLoss(String),
}

impl Subscriber {
    /// A unit at `accepted`, which is `V` after a start. `attempt` is the first of its owner's.
    pub fn new(attempt: Attempt, stamp: Stamp, accepted: LogProgress) -> Self {
        Self { attempt, stamp, accepted, pauses: Pauses::default() }
    }

    /// The number of the subscription that counts.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// How rows must be made.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// `A`, the next position wanted, with the watermark there.
    pub fn accepted(&self) -> LogProgress {
        self.accepted
    }

    /// A range came that answers subscription `attempt`.
    pub fn on_range(&mut self, attempt: Attempt, stamp: &Stamp, from: Position, after: LogProgress) -> OnRange {
        if attempt != self.attempt {
            return OnRange::Drop;
        }
        if *stamp != self.stamp {
            return OnRange::SubscribeAgain;
        }
        match offer(self.accepted.next, from, after.next) {
            Offer::Take => {
                self.accepted = after;
                self.pauses.succeeded();
                OnRange::Take
            }
            Offer::Skip => OnRange::Drop,
            Offer::Straddles | Offer::Gap => OnRange::SubscribeAgain,
        }
    }

    /// A reader refused subscription `attempt`.
    pub fn on_refused(&mut self, attempt: Attempt, reason: Refusal) -> OnRefusal {
        if attempt != self.attempt {
            return OnRefusal::Nothing;
        }
        match reason {
            Refusal::DataLoss { detail } => OnRefusal::DataLoss(detail),
            Refusal::Superseded => OnRefusal::ReadAnew,
            Refusal::NotReader | Refusal::OtherPlan | Refusal::Failed { .. } => self.on_disconnected(),
        }
    }

    /// The connection to the reader is gone, or there was none.
    pub fn on_disconnected(&mut self) -> OnRefusal {
        OnRefusal::FindReader(self.pauses.failed())
    }

    /// The range that came last has rows of windows that the unit has closed: it is not taken after all. The next
    /// subscription starts before it, and says up to where windows are closed.
    pub fn take_back(&mut self, before: LogProgress, closed: Watermark) {
        (self.accepted, self.stamp.closed) = (before, closed);
        self.attempt.count += 1;
    }

    /// The next subscription: what answers earlier ones counts no more.
    pub fn subscribe_again(&mut self) -> Attempt {
        self.attempt.count += 1;
        self.attempt
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thalweg_core::unit::{Epoch, Incarnation};

    use super::*;

    fn stamp(plan: u8) -> Stamp {
        Stamp {
            plan: format!("plan-{plan}").into(),
            layout: 1,
            incarnation: Incarnation(1),
            closed: Watermark::UNKNOWN,
        }
    }

    fn attempt(count: u64) -> Attempt {
        Attempt { epoch: Epoch(1), count }
    }

    fn at(offset: u64) -> LogProgress {
        LogProgress { next: Position::at(offset), ..LogProgress::START }
    }

    proptest! {
        #[test]
        fn whatever_comes_each_position_is_taken_once_in_order_by_one_plan(
            messages in prop::collection::vec((0..3u64, 0..2u8, 0..20u64, 0..6u64), 0..200),
        ) {
            let mut unit = Subscriber::new(attempt(0), stamp(0), LogProgress::START);
            let mut taken = 0;
            for (count, plan, from, length) in messages {
                let came = unit.on_range(attempt(count), &stamp(plan), Position::at(from), at(from + length));
                match came {
                    OnRange::Take => {
                        prop_assert_eq!((attempt(count), plan, from), (unit.attempt(), 0, taken));
                        taken += length;
                    }
                    OnRange::SubscribeAgain => {
                        unit.subscribe_again();
                    }
                    OnRange::Drop => {}
                }
                prop_assert_eq!(unit.accepted(), at(taken));
            }
        }
    }

    #[test]
    fn what_answers_an_earlier_subscription_counts_no_more() {
        let mut unit = Subscriber::new(attempt(0), stamp(0), at(5));
        assert_eq!(unit.on_range(attempt(0), &stamp(0), Position::at(7), at(9)), OnRange::SubscribeAgain);
        unit.subscribe_again();
        assert_eq!(unit.on_range(attempt(0), &stamp(0), Position::at(5), at(9)), OnRange::Drop);
        assert_eq!(unit.on_refused(attempt(0), Refusal::Superseded), OnRefusal::Nothing);
        assert_eq!(unit.on_range(attempt(1), &stamp(0), Position::at(5), at(9)), OnRange::Take);
    }

    #[test]
    fn a_unit_tries_again_after_growing_pauses_until_something_comes() {
        let mut unit = Subscriber::new(attempt(0), stamp(0), at(0));
        let mut pauses = Pauses::default();
        for _ in 0..8 {
            assert_eq!(unit.on_disconnected(), OnRefusal::FindReader(pauses.failed()));
        }
        assert_eq!(unit.on_range(attempt(0), &stamp(0), Position::START, at(3)), OnRange::Take);
        assert_eq!(unit.on_disconnected(), OnRefusal::FindReader(Pauses::default().failed()));
    }

    #[test]
    fn a_unit_stops_where_its_log_has_lost_rows_and_asks_who_owns_it_where_another_came() {
        let mut unit = Subscriber::new(attempt(0), stamp(0), at(0));
        let lost = Refusal::DataLoss { detail: "it starts at 0.5".to_owned() };
        assert_eq!(unit.on_refused(attempt(0), lost), OnRefusal::DataLoss("it starts at 0.5".to_owned()));
        assert_eq!(unit.on_refused(attempt(0), Refusal::Superseded), OnRefusal::ReadAnew);
        assert_eq!(unit.on_refused(attempt(0), Refusal::NotReader), OnRefusal::FindReader(Pauses::default().failed()));
    }
}
