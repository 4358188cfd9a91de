//! The clock of a store. SlateDB refuses what is made at an earlier time than what a store holds already; the clock of
//! the machine that takes a unit over may be behind that of the one before.

use std::fmt::{Debug, Formatter, Result};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use slatedb::VersionedManifest;
use slatedb_common::clock::{SystemClock, SystemClockTicker};
use thalweg_core::clock::SharedClock;

/// A clock that is never behind what a store has seen: where the machine's is, it stands still until that has caught
/// up. It does not run ahead, as the age of garbage is told by it. A wall clock that is set anew changes it with the
/// next opening.
pub(crate) struct StoreClock {
    machine: SharedClock,
    /// What the machine's clocks showed when this was made: milliseconds since 1970, and since some moment.
    begun: (i64, Duration),
    /// The latest time that the store has seen, in milliseconds since 1970.
    seen: AtomicI64,
}

impl StoreClock {
    /// The machine's clock, for a store of which nothing is known yet.
    pub fn new(machine: SharedClock) -> Self {
        let begun = (machine.wall_millis(), machine.monotonic());
        Self { machine, begun, seen: AtomicI64::new(i64::MIN) }
    }

    /// The store has seen this time, in milliseconds since 1970.
    pub fn has_seen(&self, millis: i64) {
        self.seen.fetch_max(millis, Ordering::Relaxed);
    }

    /// How far the machine's clock is behind what the store has seen, in milliseconds; 0 where it is not.
    pub fn lag_millis(&self) -> i64 {
        self.seen.load(Ordering::Relaxed).saturating_sub(self.machine_millis()).max(0)
    }

    fn machine_millis(&self) -> i64 {
        let since = self.machine.monotonic().saturating_sub(self.begun.1);
        self.begun.0.saturating_add(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The latest time that a manifest tells of, in milliseconds since 1970: of a write, or of a table.
pub(crate) fn latest(manifest: &VersionedManifest) -> i64 {
    let tables = manifest.l0().iter().flat_map(|view| [view.id, view.sst.id.value()]);
    let compacted = manifest.last_compacted_l0_sst_view_id().into_iter().chain(manifest.last_compacted_l0_sst_id());
    let times = tables.chain(compacted).map(|id| id.timestamp_ms());
    times.filter_map(|time| i64::try_from(time).ok()).fold(manifest.last_l0_clock_tick(), i64::max)
}

impl SystemClock for StoreClock {
    fn now(&self) -> DateTime<Utc> {
        let millis = self.machine_millis().max(self.seen.load(Ordering::Relaxed));
        DateTime::from_timestamp_millis(millis).unwrap_or_default()
    }

    fn sleep<'a>(&'a self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn ticker<'a>(&'a self, duration: Duration) -> SystemClockTicker<'a> {
        SystemClockTicker::new(self, duration)
    }
}

impl Debug for StoreClock {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        to.debug_struct("StoreClock").field("begun", &self.begun).field("seen", &self.seen).finish_non_exhaustive()
    }
}
