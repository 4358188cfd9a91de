//! What a sink remembers of a unit, and how a writer goes on from it: `docs/architecture.md`, commits and sinks.
//!
//! Progress is written in the same transaction as the rows. A sink that fences by itself (a Kafka producer) needs only
//! [`resume`]; one that does not (a SQL database) also lets [`admits`] stand in the condition of its update.

use serde::{Deserialize, Serialize};

use super::acquire::{Owner, Stored, Superseded};
use crate::unit::{Epoch, Incarnation};

/// A unit's progress record in a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkProgress {
    /// Number of the next outbox entry wanted: every entry below it is delivered.
    pub next: u64,
    /// The epoch of whoever wrote last.
    pub epoch: Epoch,
    /// The incarnation that `next` counts in.
    pub incarnation: Incarnation,
}

/// The entries of an outbox that its unit's state still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outbox {
    /// Number of the first entry that is still there; those before it were delivered and dropped.
    pub first: u64,
    /// Number that the next entry will get.
    pub next: u64,
}

/// Where a new owner goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// With this entry.
    From(u64),
    /// Not at all: a later owner has written, or a later incarnation.
    Fenced,
    /// Not at all: the sink and the state do not belong together. Progress was deleted, or the state is older than the
    /// sink (restored from a backup). Going on would repeat or skip rows.
    DataLoss,
}

/// Decides where the owner at `epoch` of `incarnation` goes on, by the progress that it read back from the sink after
/// it had taken the unit (and, where the sink fences, after it had fenced earlier writers).
pub fn resume(found: Option<&SinkProgress>, outbox: Outbox, epoch: Epoch, incarnation: Incarnation) -> Resume {
    let next = match found {
        Some(found) if found.incarnation > incarnation => return Resume::Fenced,
        Some(found) if found.incarnation == incarnation && found.epoch > epoch => return Resume::Fenced,
        Some(found) if found.incarnation == incarnation => found.next,
        // Nothing of this incarnation was delivered.
        Some(_) | None => 0,
    };
    if (outbox.first..=outbox.next).contains(&next) { Resume::From(next) } else { Resume::DataLoss }
}

/// Whether a sink takes entry `entry` from the owner at `epoch` of `incarnation`: the condition of its update, in SQL
/// `WHERE next = entry AND epoch <= epoch` within the incarnation.
pub fn admits(found: Option<&SinkProgress>, entry: u64, epoch: Epoch, incarnation: Incarnation) -> bool {
    match found {
        Some(found) if found.incarnation == incarnation => found.next == entry && found.epoch <= epoch,
        Some(found) if found.incarnation > incarnation => false,
        Some(_) | None => entry == 0,
    }
}

/// What a write that the sink did not admit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// The entry is there already (an answer was lost, or an earlier owner was quick): go on with the next one.
    Delivered,
    /// A later owner or incarnation writes: stop.
    Fenced,
    /// Entries before this one are missing: stop with `DataLoss`.
    Gap,
}

/// Explains by the progress that stands in the sink why `entry` was not admitted.
pub fn not_admitted(found: Option<&SinkProgress>, entry: u64, epoch: Epoch, incarnation: Incarnation) -> NotAdmitted {
    match found {
        Some(found) if found.incarnation > incarnation => NotAdmitted::Fenced,
        Some(found) if found.incarnation == incarnation && found.epoch > epoch => NotAdmitted::Fenced,
        Some(found) if found.incarnation == incarnation && found.next > entry => NotAdmitted::Delivered,
        Some(_) | None => NotAdmitted::Gap,
    }
}

/// Who wrote a unit's rows last, by what a sink remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The incarnation that it wrote in.
    pub incarnation: Incarnation,
    /// The marker that it committed before anything else.
    pub stored: Stored,
}

/// Why an owner may not write a unit's rows into a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// Somebody else has taken over.
    Superseded(Superseded),
    /// A later incarnation has begun.
    Restarted(Incarnation),
}

/// The epoch at which `owner` may write a unit's rows into a sink whose transactions remember `found`. Epochs of an
/// earlier incarnation count no more.
///
/// # Errors
/// A later owner, or a later incarnation, has written.
pub fn take(found: Option<&Marked>, owner: &Owner, incarnation: Incarnation) -> Result<Epoch, NotTaken> {
    let stored = match found {
        Some(found) if found.incarnation > incarnation => return Err(NotTaken::Restarted(found.incarnation)),
        Some(found) if found.incarnation == incarnation => Some(&found.stored),
        Some(_) | None => None,
    };
    owner.epoch(stored).map_err(NotTaken::Superseded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::unit::RunId;

    fn progress() -> impl Strategy<Value = Option<SinkProgress>> {
        proptest::option::of((0..5u64, 0..3u64, 0..3u64).prop_map(|(next, epoch, incarnation)| SinkProgress {
            next,
            epoch: Epoch(epoch),
            incarnation: Incarnation(incarnation),
        }))
    }

    proptest! {
        /// I5 in small: whatever is written by whom, what the sink admits is each entry once, in order, and an
        /// incarnation ends where a later one begins.
        #[test]
        fn what_a_sink_admits_is_a_contiguous_prefix_without_repeats(
            writes in prop::collection::vec((0..4u64, 0..3u64, 0..2u64), 0..100),
        ) {
            let mut found: Option<SinkProgress> = None;
            let mut rows: [Vec<u64>; 2] = Default::default();
            for (entry, epoch, incarnation) in writes {
                if admits(found.as_ref(), entry, Epoch(epoch), Incarnation(incarnation)) {
                    if incarnation == 0 {
                        prop_assert!(rows[1].is_empty());
                    }
                    rows[incarnation as usize].push(entry);
                    let (epoch, incarnation) = (Epoch(epoch), Incarnation(incarnation));
                    found = Some(SinkProgress { next: entry + 1, epoch, incarnation });
                }
            }
            for rows in rows {
                prop_assert!(rows.iter().copied().eq(0..rows.len() as u64));
            }
        }

        #[test]
        fn a_new_owner_goes_on_exactly_where_the_sink_admits(
            found in progress(), first in 0..3u64, more in 0..3u64, epoch in 0..3u64, incarnation in 0..3u64,
        ) {
            let (epoch, incarnation) = (Epoch(epoch), Incarnation(incarnation));
            let outbox = Outbox { first, next: first + more };
            match resume(found.as_ref(), outbox, epoch, incarnation) {
                Resume::From(next) => prop_assert!(admits(found.as_ref(), next, epoch, incarnation)),
                Resume::Fenced => {
                    let why = not_admitted(found.as_ref(), 0, epoch, incarnation);
                    prop_assert_eq!(why, NotAdmitted::Fenced);
                }
                Resume::DataLoss => {
                    let held = outbox.first..=outbox.next;
                    prop_assert!(!held.into_iter().any(|entry| admits(found.as_ref(), entry, epoch, incarnation)));
                }
            }
        }
    }

    #[test]
    fn a_unit_is_taken_above_its_last_writer_and_an_earlier_incarnation_counts_no_more() {
        let run = |name: &str| RunId(name.to_owned());
        let owner = |name, epoch| Owner { run: run(name), assigned: Some(Epoch(epoch)) };
        let stored = Stored { epoch: Epoch(3), run_id: run("a") };
        let found = Some(Marked { incarnation: Incarnation(2), stored });
        let take = |owner: &Owner, incarnation| take(found.as_ref(), owner, Incarnation(incarnation));
        let superseded =
            |assigned| Err(NotTaken::Superseded(Superseded { assigned: Epoch(assigned), stored: Epoch(3) }));
        assert_eq!(take(&owner("b", 4), 2), Ok(Epoch(4)));
        assert_eq!(take(&owner("a", 3), 2), Ok(Epoch(3)));
        assert_eq!(take(&owner("b", 3), 2), superseded(3));
        assert_eq!(take(&owner("a", 2), 2), superseded(2));
        assert_eq!(take(&owner("b", 1), 3), Ok(Epoch(1)));
        assert_eq!(take(&owner("b", 9), 1), Err(NotTaken::Restarted(Incarnation(2))));
        assert_eq!(take(&Owner { run: run("b"), assigned: None }, 2), Ok(Epoch(4)));
    }

    #[test]
    fn progress_that_was_deleted_after_entries_were_dropped_is_data_loss() {
        let outbox = Outbox { first: 3, next: 5 };
        assert_eq!(resume(None, outbox, Epoch(1), Incarnation(1)), Resume::DataLoss);
        assert_eq!(resume(None, Outbox { first: 0, next: 5 }, Epoch(1), Incarnation(1)), Resume::From(0));
    }

    #[test]
    fn a_write_with_a_lost_answer_counts_as_delivered() {
        let found = SinkProgress { next: 4, epoch: Epoch(1), incarnation: Incarnation(1) };
        assert_eq!(not_admitted(Some(&found), 3, Epoch(1), Incarnation(1)), NotAdmitted::Delivered);
        assert_eq!(not_admitted(Some(&found), 5, Epoch(1), Incarnation(1)), NotAdmitted::Gap);
        assert_eq!(not_admitted(Some(&found), 3, Epoch(0), Incarnation(1)), NotAdmitted::Fenced);
    }
}
