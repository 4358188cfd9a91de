//! How far a unit is in a log, and what it does with a range that it is offered.

use serde::{Deserialize, Serialize};

use crate::position::Position;
use crate::time::Watermark;

/// A log as a unit has taken it: an entry of `V` once it is committed, of `A` before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogProgress {
    /// The next position wanted.
    pub next: Position,
    /// The log's watermark there.
    pub watermark: Watermark,
    /// The greatest event time in milliseconds of the current watermark scope before `next`.
    pub max_event_time: Option<i64>,
    /// The watermark scope that `max_event_time` belongs to.
    pub scope: u64,
    /// The log is quiet: its watermark holds nobody back.
    pub idle: bool,
}

impl LogProgress {
    /// A log of which nothing was read.
    pub const START: Self =
        Self { next: Position::START, watermark: Watermark::UNKNOWN, max_event_time: None, scope: 0, idle: false };

    /// This place, with what another that stands there too knows of the log before it. Who goes on from what a sink holds
    /// knows the place alone.
    pub fn knowing(self, other: &Self) -> Self {
        if other.next != self.next || other.max_event_time <= self.max_event_time {
            return self;
        }
        let watermark = self.watermark.max(other.watermark);
        Self { watermark, max_event_time: other.max_event_time, scope: other.scope, ..self }
    }

    /// Whether both stand at one place and know the same of the log before it.
    pub fn knows_as(&self, other: &Self) -> bool {
        let known = |progress: &Self| (progress.next, progress.scope, progress.max_event_time);
        known(self) == known(other)
    }

    /// Whether nothing comes any more.
    pub fn has_ended(&self) -> bool {
        self.watermark == Watermark::END
    }
}

/// What a unit does with a range `[from, to)` of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Take all of it.
    Take,
    /// All of it was taken before.
    Skip,
    /// It begins before and ends after what was taken: ask for it again as two.
    Straddles,
    /// Something between is missing: subscribe again at the accepted position.
    Gap,
}

/// Decides about a range, `accepted` being the next position wanted (`A`).
pub fn offer(accepted: Position, from: Position, to: Position) -> Offer {
    if from == accepted {
        Offer::Take
    } else if to <= accepted {
        Offer::Skip
    } else if from < accepted {
        Offer::Straddles
    } else {
        Offer::Gap
    }
}

/// A unit's watermark: the least over all its logs that are not idle.
///
/// It never falls (`before` is the last one); if every log is idle, it holds; without logs nothing is known.
pub fn unit_watermark<'a>(logs: impl IntoIterator<Item = &'a LogProgress>, before: Watermark) -> Watermark {
    let least = logs.into_iter().filter(|log| !log.idle).map(|log| log.watermark).min();
    least.map_or(before, |least| least.max(before))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// I3 in small: whatever is offered, in whatever order and however often, what is taken is contiguous and each
        /// position is taken once.
        #[test]
        fn what_is_taken_is_contiguous_and_taken_once(offers in prop::collection::vec((0u64..20, 0u64..6), 0..200)) {
            let mut accepted = Position::START;
            let mut taken = [0u32; 26];
            for (from, length) in offers {
                let to = from + length;
                if offer(accepted, Position::at(from), Position::at(to)) == Offer::Take {
                    prop_assert_eq!(accepted, Position::at(from));
                    (from..to).for_each(|at| taken[at as usize] += 1);
                    accepted = Position::at(to);
                }
            }
            for (at, times) in taken.iter().enumerate() {
                prop_assert_eq!(*times, u32::from(Position::at(at as u64) < accepted));
            }
        }

        #[test]
        fn a_watermark_never_falls(steps in prop::collection::vec(prop::collection::vec((-9i64..9, any::<bool>()), 0..4), 1..20)) {
            let mut watermark = Watermark::UNKNOWN;
            for step in steps {
                let logs: Vec<_> = step
                    .iter()
                    .map(|&(at, idle)| LogProgress { watermark: Watermark(at), idle, ..LogProgress::START })
                    .collect();
                let next = unit_watermark(&logs, watermark);
                prop_assert!(next >= watermark);
                watermark = next;
            }
        }
    }

    #[test]
    fn a_log_not_heard_of_yet_holds_the_watermark_and_an_idle_one_does_not() {
        let heard = LogProgress { watermark: Watermark(7), ..LogProgress::START };
        let idle = LogProgress { idle: true, ..LogProgress::START };
        assert_eq!(unit_watermark([&heard, &LogProgress::START], Watermark::UNKNOWN), Watermark::UNKNOWN);
        assert_eq!(unit_watermark([&heard, &idle], Watermark::UNKNOWN), Watermark(7));
        assert_eq!(unit_watermark([&idle], Watermark(3)), Watermark(3));
    }

    #[test]
    fn who_knows_the_place_alone_learns_from_who_stands_there_too() {
        let alone = LogProgress { next: Position::at(5), ..LogProgress::START };
        let known = LogProgress { watermark: Watermark(7), max_event_time: Some(9), scope: 2, ..alone };
        assert_eq!(alone.knowing(&known), known);
        assert_eq!(known.knowing(&alone), known);
        assert!(!alone.knows_as(&known));
        let further = LogProgress { next: Position::at(6), ..known };
        assert_eq!(alone.knowing(&further), alone);
        let ended = LogProgress { watermark: Watermark::END, ..alone };
        assert!(ended.knowing(&known).has_ended());
    }

    #[test]
    fn a_range_is_taken_skipped_or_asked_for_again() {
        let at = Position::at;
        assert_eq!(offer(at(5), at(5), at(9)), Offer::Take);
        assert_eq!(offer(at(5), at(5), at(5)), Offer::Take);
        assert_eq!(offer(at(5), at(2), at(5)), Offer::Skip);
        assert_eq!(offer(at(5), at(2), at(6)), Offer::Straddles);
        assert_eq!(offer(at(5), at(6), at(9)), Offer::Gap);
    }
}
