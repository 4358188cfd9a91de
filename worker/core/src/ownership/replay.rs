//! Where logs are read from: invariant I6 of `docs/design/0007-ownership-model.md`.

use crate::position::Position;
use crate::unit::Incarnation;

/// Where a cursor of a log starts that serves these subscribers: at the least position that one of them wants, so that
/// replay never starts past the least `V`. `None` without subscribers.
pub fn cursor_start(accepted: impl IntoIterator<Item = Position>) -> Option<Position> {
    accepted.into_iter().min()
}

/// Whether a log can still be read from where it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Yes.
    Held,
    /// It was trimmed beyond: stop with `DataLoss`; nothing is skipped silently.
    Trimmed,
    /// It ends before (it was deleted and made again): stop with `DataLoss`, for what comes there is something else.
    BeyondEnd,
}

/// Whether a log that holds `first..end` reaches back, and on, to `wanted`.
pub fn reach(wanted: Position, first: Position, end: Position) -> Reach {
    if wanted < first {
        Reach::Trimmed
    } else if wanted > end {
        Reach::BeyondEnd
    } else {
        Reach::Held
    }
}

/// What one unit has committed of a shard that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentProgress {
    /// The incarnation that the unit works under.
    pub incarnation: Incarnation,
    /// Its committed `V` of the parent; `None` if it has none.
    pub committed: Option<Position>,
}

/// Whether a shard's child may be published: every unit has committed the parent's end, under the present incarnation.
///
/// Rows of one key move from the parent to the child, so a unit that reads the child before the parent's end sees them
/// out of order. Accepted positions do not count: they can be lost. For a parent whose output is stateless, what was
/// emitted must be delivered too; its units commit the end of the parent only then.
pub fn child_may_start(
    parent_end: Position,
    incarnation: Incarnation,
    units: impl IntoIterator<Item = ParentProgress>,
) -> bool {
    let at_end = |unit: ParentProgress| {
        unit.incarnation == incarnation && unit.committed.is_some_and(|committed| committed >= parent_end)
    };
    units.into_iter().all(at_end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_subscriber_is_served_from_past_what_it_wants(wanted in prop::collection::vec(0u64..9, 1..6)) {
            let start = cursor_start(wanted.iter().map(|&at| Position::at(at))).expect("there are subscribers");
            prop_assert!(wanted.iter().all(|&at| start <= Position::at(at)));
            prop_assert!(wanted.iter().any(|&at| start == Position::at(at)), "nothing is read in vain");
        }
    }

    #[test]
    fn a_log_that_does_not_reach_to_what_is_wanted_is_not_read_elsewhere() {
        let at = Position::at;
        assert_eq!(reach(at(4), at(4), at(9)), Reach::Held);
        assert_eq!(reach(at(9), at(4), at(9)), Reach::Held);
        assert_eq!(reach(at(3), at(4), at(9)), Reach::Trimmed);
        assert_eq!(reach(at(10), at(4), at(9)), Reach::BeyondEnd);
    }

    #[test]
    fn a_child_waits_for_every_unit_of_the_present_incarnation() {
        let end = Position::at(5);
        let unit = |incarnation, committed: Option<u64>| ParentProgress {
            incarnation: Incarnation(incarnation),
            committed: committed.map(Position::at),
        };
        assert!(child_may_start(end, Incarnation(2), [unit(2, Some(5)), unit(2, Some(5))]));
        assert!(!child_may_start(end, Incarnation(2), [unit(2, Some(5)), unit(2, Some(4))]));
        assert!(!child_may_start(end, Incarnation(2), [unit(2, Some(5)), unit(2, None)]));
        assert!(!child_may_start(end, Incarnation(2), [unit(2, Some(5)), unit(1, Some(5))]), "a report from before");
    }
}
