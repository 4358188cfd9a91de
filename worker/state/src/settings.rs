//! How SlateDB is set up. Measurements: `docs/design/0003-state-store.md`.

use std::time::Duration;

use slatedb::BlockCachePolicy;
use slatedb::config::{
    CompactionWorkerOptions, CompactorOptions, DbReaderOptions, GarbageCollectorDirectoryOptions,
    GarbageCollectorOptions, GarbageCollectorScheduleOptions, Settings, SizeTieredCompactionSchedulerOptions,
};

/// Where the stores of a root lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A local folder that this process has locked.
    LockedFolder,
    /// A local folder that other processes of this machine may use too: epochs and create-if-absent tell them apart.
    SharedFolder,
    /// An object store with conditional update, shared by any number of processes.
    Bucket,
}

/// How long a commit may wait for its flush. SlateDB retries a failed upload for ever (a full disk, a bucket that is
/// gone); a commit that waits this long fails with the last thing that the medium said, and at once where a local disk
/// says what no second try mends. On local files a commit of 100 entries took 6 ms, 22 ms at the 99th percentile, with
/// fsync on a busy disk.
pub const COMMIT_DEADLINE: Duration = Duration::from_secs(60);

/// How many flushes may wait for compaction. With SlateDB's default of 8 a flush stalled for up to 6.6 s until the next
/// compaction; at a commit a second and a poll a second, 256 are over four minutes of compaction standing still.
const L0_MAX_SSTS: usize = 256;

/// How often compaction looks for work, and how often finished work is taken over. Each look lists and reads manifests, for
/// every unit: two each second were a third of what state costs. The longer, the more small tables pile up, and a scan
/// reads each of them.
pub(crate) const COMPACTION_POLL: Duration = Duration::from_secs(3);

/// Tables of one compaction: at a commit a second, a merge each eight seconds; after a burst, up to 64 at once. The
/// default (4 to 8) merges twice as often, and cannot follow more than eight commits a poll.
const COMPACTION_SOURCES: (usize, usize) = (8, 64);

/// Largest table that a compaction writes, and what it reads at once of each of its sources, at the least and at the most: both are
/// held in memory for each unit that compacts. A quarter, and half, of what a unit may hold.
const COMPACTED_SST_BYTES: (usize, usize) = (1 << 20, 4 << 20);
const COMPACTION_FETCH_BYTES: (usize, usize) = (16 << 10, 128 << 10);

/// Smallest and largest table that a memtable becomes before a commit asks for it.
const L0_SST_BYTES: (usize, usize) = (1 << 20, 64 << 20);

/// Retries of one request, with pauses of 0.1 s doubling up to 1 s, above the HTTP client's own. Unbounded by default,
/// so that nothing would ever say why a unit stands still.
const REQUEST_RETRIES: u32 = 8;

/// How long what nothing refers to any more is kept. What several processes use: a day, longer than any process may sleep in the middle
/// of a write and wake up. A locked folder: a process that sleeps holds the lock, and its own collection sleeps with
/// it, so an hour is safe; a day would keep 2.4 files a commit and unit, 1.6 million at eight units and a commit
/// a second.
const fn garbage_min_age(medium: Medium) -> Duration {
    match medium {
        Medium::LockedFolder => Duration::from_hours(1),
        Medium::SharedFolder | Medium::Bucket => Duration::from_hours(24),
    }
}

/// How long versions of the manifest and of the list of compactions are kept that are no longer the last. Whoever opens a store
/// lists them all: a day's, at a commit a second, are 87 pages of S3, asked for one after the other. In a bucket the
/// boundary file refuses whoever was asleep for longer and writes one of them again, so nothing needs the day.
const fn versions_min_age(medium: Medium) -> Duration {
    match medium {
        Medium::Bucket => Duration::from_mins(5),
        Medium::LockedFolder | Medium::SharedFolder => garbage_min_age(medium),
    }
}

/// Settings of one unit's store that may hold `budget_bytes` of entries not yet flushed.
pub(crate) fn unit_settings(budget_bytes: usize) -> Settings {
    let l0_sst_size_bytes = (budget_bytes / 2).clamp(L0_SST_BYTES.0, L0_SST_BYTES.1);
    Settings {
        wal_enabled: false,
        flush_interval: None,
        l0_max_ssts: L0_MAX_SSTS,
        l0_max_ssts_per_key: L0_MAX_SSTS,
        l0_sst_size_bytes,
        max_unflushed_bytes: budget_bytes.max(2 * l0_sst_size_bytes),
        // They begin later.
        compactor_options: None,
        garbage_collector_options: None,
        object_store_max_retries: Some(REQUEST_RETRIES),
        ..Settings::default()
    }
}

/// Settings of a view, which stays where it was opened.
pub(crate) fn view_options() -> DbReaderOptions {
    DbReaderOptions {
        // It looks once more, and then no longer: whoever wants the next commits opens another view.
        manifest_poll_interval: Duration::from_hours(24),
        skip_wal_replay: true,
        object_store_max_retries: Some(REQUEST_RETRIES),
        ..DbReaderOptions::default()
    }
}

/// How tables of a unit are merged that may hold `budget_bytes` of entries not yet flushed.
pub(crate) fn compaction(budget_bytes: usize) -> CompactorOptions {
    let of_source = budget_bytes / 2 / COMPACTION_SOURCES.1;
    CompactorOptions {
        poll_interval: COMPACTION_POLL,
        commit_compacted_interval: COMPACTION_POLL,
        max_concurrent_compactions: 2,
        scheduler_options: SizeTieredCompactionSchedulerOptions {
            min_compaction_sources: COMPACTION_SOURCES.0,
            max_compaction_sources: COMPACTION_SOURCES.1,
            ..Default::default()
        }
        .into(),
        worker: Some(CompactionWorkerOptions {
            compactions_poll_interval: COMPACTION_POLL,
            max_concurrent_compactions: 2,
            max_sst_size: (budget_bytes / 4).clamp(COMPACTED_SST_BYTES.0, COMPACTED_SST_BYTES.1),
            max_fetch_tasks: 1,
            bytes_to_fetch: of_source.clamp(COMPACTION_FETCH_BYTES.0, COMPACTION_FETCH_BYTES.1),
            max_subcompactions: 1,
            ..Default::default()
        }),
        object_store_max_retries: Some(REQUEST_RETRIES),
        ..Default::default()
    }
}

/// How garbage is collected.
pub(crate) fn garbage_collection(medium: Medium) -> GarbageCollectorOptions {
    let older_than = |min_age| Some(GarbageCollectorDirectoryOptions { min_age, ..Default::default() });
    GarbageCollectorOptions {
        manifest_options: older_than(versions_min_age(medium)),
        compactions_options: older_than(versions_min_age(medium)),
        compacted_options: older_than(garbage_min_age(medium)),
        // There is no write-ahead log, and no store is a clone of another.
        wal_options: None,
        wal_fence_options: None,
        detach_options: None::<GarbageCollectorScheduleOptions>,
        boundary_files_enabled: medium == Medium::Bucket,
        object_store_max_retries: Some(REQUEST_RETRIES),
        ..Default::default()
    }
}

/// What is written is not kept to be read: a unit reads its store once, after a restart.
pub(crate) fn block_cache_policy() -> BlockCachePolicy {
    BlockCachePolicy::default().with_flush_targets(&[]).with_compaction_output_targets(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_budget_gives_settings_that_slatedb_accepts() {
        for budget in [0, 1 << 10, 1 << 20, 3 << 20, 1 << 26, 1 << 30, 8 << 30] {
            unit_settings(budget).validate().expect("valid settings");
        }
    }

    #[test]
    fn merging_takes_what_it_needs_and_less_where_a_unit_may_hold_little() {
        let of = |budget| {
            let worker = compaction(budget).worker.expect("it is set");
            (worker.max_sst_size, worker.bytes_to_fetch)
        };
        assert_eq!([of(64 << 20), of(16 << 20)], [(4 << 20, 128 << 10); 2]);
        assert_eq!([of(8 << 20), of(0)], [(2 << 20, 64 << 10), (1 << 20, 16 << 10)]);
    }
}
