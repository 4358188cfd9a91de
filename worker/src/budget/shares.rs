//! How the memory of a process is shared out to what its units hold, state and rows on their way to sinks, and to what its readers
//! have fetched.
//!
//! | share | what it bounds |
//! |---|---|
//! | a quarter | chunks in work ([`Budget::chunks`]) |
//! | a sixteenth | records of brokers that were fetched and are not decoded yet ([`Budget::fetched_bytes`]) |
//! | an eighth | ranges that wait for their units ([`Budget::exchange_bytes`]) |
//! | an eighth | state on its way into stores, and the cache of what is read of it ([`Budget::cache_bytes`], [`Budget::of_unit`]) |
//! | a quarter | rows that sinks hold until they are delivered ([`Budget::sink_bytes`]) |
//! | the rest | windows, tables of lookups, code |
//!
//! What was fetched is shared by those who read at a time, rows of sinks by those who write ([`thalweg_core::share`]). What a store may
//! hold is said when it is opened, so state is shared by all keyed units of the plan: one worker may come to own all of them.

use thalweg_core::share;

use super::Budget;

/// How much of a keyed unit's part one commit takes for each of what changed and what is emitted: both are here as rows, as
/// entries, in the store's table, and in the object that is written.
const COPIES_OF_COMMIT: usize = 8;
/// Entries of one unit that are not flushed yet, at the most and at the least.
const STORE_BYTES: (usize, usize) = (64 << 20, 2 << 20);
/// What one commit takes of either, at the most and at the least.
const COMMIT_BYTES: (usize, usize) = (2 << 20, STORE_BYTES.1 / COPIES_OF_COMMIT);
/// Entries for the next stage of one unit that are in memory, where there is no store: at the most and at the least.
const OUTBOX_BYTES: (usize, usize) = (16 << 20, STORE_BYTES.1);

/// What one keyed unit may hold beside its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfUnit {
    /// Entries that its store has not flushed yet.
    pub store_bytes: usize,
    /// What was merged since the last commit makes the next one due at this size; so does what is to be emitted, and no commit
    /// emits more.
    pub commit_bytes: usize,
    /// Entries for the next stage, where they are in memory.
    pub outbox_bytes: usize,
}

impl Budget {
    /// Records of brokers that were fetched and are not decoded yet: nothing where there is no limit.
    pub fn fetched_bytes(self) -> Option<usize> {
        self.share(16)
    }

    /// Rows that sinks hold until they are delivered: nothing where there is no limit.
    pub fn sink_bytes(self) -> Option<usize> {
        self.share(4)
    }

    /// What is cached of state that is read, for all units, and never more than `most`.
    pub fn cache_bytes(self, most: u64) -> u64 {
        self.share(32).map_or(most, |bytes| most.min(bytes as u64))
    }

    /// What each of so many keyed units may hold.
    pub fn of_unit(self, units: usize) -> OfUnit {
        let part = |(most, least)| share::part(self.of_units(), units, least, most);
        OfUnit {
            store_bytes: part(STORE_BYTES),
            commit_bytes: share::part(
                self.of_units(),
                units.saturating_mul(COPIES_OF_COMMIT),
                COMMIT_BYTES.1,
                COMMIT_BYTES.0,
            ),
            outbox_bytes: part(OUTBOX_BYTES),
        }
    }

    /// Whether so many keyed units can have the least that they go on with.
    pub fn suffices_for(self, units: usize) -> bool {
        share::suffices(self.of_units(), units, STORE_BYTES.1)
    }

    /// What keyed units may hold together: an eighth, without the cache.
    fn of_units(self) -> Option<usize> {
        Some(self.share(8)? - self.share(32)?)
    }

    fn share(self, of: u64) -> Option<usize> {
        self.0.map(|bytes| usize::try_from(bytes / of).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const GIB: u64 = 1 << 30;
    /// What a unit has where nothing limits it.
    const MOST: OfUnit = OfUnit { store_bytes: 64 * MIB, commit_bytes: 2 * MIB, outbox_bytes: 16 * MIB };

    #[test]
    fn without_a_limit_or_with_much_memory_a_unit_has_what_it_can_use() {
        assert_eq!(Budget(None).of_unit(1_000), MOST);
        assert_eq!((Budget(None).sink_bytes(), Budget(None).cache_bytes(32 << 20)), (None, 32 << 20));
        assert_eq!(Budget(Some(GIB)).of_unit(1), MOST);
        assert_eq!(Budget(Some(8 * GIB)).of_unit(12), MOST);
        assert!(Budget(None).suffices_for(usize::MAX));
    }

    #[test]
    fn twenty_units_stay_within_the_share_of_one_gibibyte() {
        let budget = Budget(Some(GIB));
        let of_unit = budget.of_unit(20);
        let share = budget.of_units().expect("a limit");
        assert_eq!((share, budget.cache_bytes(32 << 20)), (96 * MIB, 32 << 20));
        assert!(20 * of_unit.store_bytes <= share && 20 * of_unit.outbox_bytes <= share, "{of_unit:?}");
        assert!(20 * COPIES_OF_COMMIT * of_unit.commit_bytes <= share, "{of_unit:?}");
        assert!(of_unit.store_bytes > 4 * MIB, "and have their part of it: {of_unit:?}");
        assert_eq!(budget.sink_bytes(), Some(256 * MIB));
        assert!(budget.suffices_for(48) && !budget.suffices_for(49));
    }

    #[test]
    fn all_shares_together_leave_three_sixteenths() {
        for bytes in [Budget::LEAST_BYTES, 256 << 20, GIB, 16 * GIB] {
            let budget = Budget(Some(bytes));
            let state = budget.of_units().expect("a limit") + budget.cache_bytes(u64::MAX) as usize;
            let rows = budget.sink_bytes().expect("a limit") + budget.fetched_bytes().expect("a limit");
            let shared = state + rows + budget.exchange_bytes();
            assert!(shared as u64 + bytes / 4 <= bytes - bytes / 16 * 3, "{bytes}: {shared}");
        }
    }

    #[test]
    fn however_little_memory_there_is_a_unit_goes_on() {
        let least = OfUnit { store_bytes: 2 * MIB, commit_bytes: MIB / 4, outbox_bytes: 2 * MIB };
        assert_eq!(Budget(Some(Budget::LEAST_BYTES)).of_unit(20), least);
        assert!(!Budget(Some(Budget::LEAST_BYTES)).suffices_for(20));
        assert_eq!(Budget(Some(1)).of_unit(0), least);
    }
}
