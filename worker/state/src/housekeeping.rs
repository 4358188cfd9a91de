//! What keeps a store in shape beside its writer: tables are merged, garbage is collected. It begins once the store is open,
//! as it has much to ask of the medium that nobody should wait for who takes a unit over.

use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use slatedb::admin::{Admin, AdminBuilder};
use slatedb::{CompactorBuilder, GarbageCollectorBuilder};
use tokio::sync::{Notify, watch};

use crate::clock::StoreClock;
use crate::root::StateRoot;
use crate::settings::{COMPACTION_POLL, Medium, compaction, garbage_collection};

/// When garbage is collected for the first time, and how often after that.
const COLLECT: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(5));

/// A task that keeps a store in shape until it is told to stop.
pub(crate) struct Housekeeping {
    stop: Arc<Notify>,
    has_ended: watch::Receiver<bool>,
}

impl Housekeeping {
    /// Begins, in a store that may hold `budget_bytes` of entries not yet flushed. `failed` hears why nobody merges tables any
    /// more: then commits stand still before long.
    pub fn begin(
        root: &StateRoot,
        path: &Path,
        medium: Medium,
        clock: Arc<StoreClock>,
        budget_bytes: usize,
        failed: impl FnOnce(&slatedb::Error) + Send + 'static,
    ) -> Self {
        let stop = Arc::new(Notify::new());
        let (ended, has_ended) = watch::channel(false);
        let keeping = keep(root.clone(), path.clone(), medium, clock, budget_bytes, stop.clone());
        tokio::spawn(async move {
            if let Err(error) = keeping.await {
                failed(&error);
            }
            ended.send_replace(true);
        });
        Self { stop, has_ended }
    }

    /// Ends it, and waits until it writes nothing any more. Twice changes nothing.
    pub async fn end(&self) {
        self.stop.notify_one();
        // An error says that the task is gone.
        let _ = self.has_ended.clone().wait_for(|has_ended| *has_ended).await;
    }
}

async fn keep(
    root: StateRoot,
    path: Path,
    medium: Medium,
    clock: Arc<StoreClock>,
    budget_bytes: usize,
    stop: Arc<Notify>,
) -> Result<(), slatedb::Error> {
    let compactor = CompactorBuilder::new(path.clone(), root.objects().clone())
        .with_options(compaction(budget_bytes))
        .with_system_clock(clock.clone())
        .build();
    let merging = async {
        tokio::time::sleep(phase(&path)).await;
        let admin = AdminBuilder::new(path.clone(), root.objects().clone()).build();
        compactions_seen(&admin, &clock).await?;
        compactor.run().await
    };
    let ended = tokio::select! {
        ended = merging => ended,
        () = collect(&root, &path, medium, &clock) => Ok(()),
        () = stop.notified() => Ok(()),
    };
    // The tasks that it has started.
    compactor.stop().await.and(ended)
}

/// How long after its opening the tables of a store are looked at for the first time. The units of a process are opened together:
/// if they were looked at together too, all would merge at one moment, and hold at once what each needs for that.
fn phase(path: &Path) -> Duration {
    let text: &str = path.as_ref();
    // FNV-1a: units next to each other, whose last digits are, lie apart by the same time.
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    Duration::from_millis(text.bytes().fold(0xcbf2_9ce4_8422_2325, mix) % COMPACTION_POLL.as_millis() as u64)
}

/// Tells the clock when the last compactions began: a job must not begin before those that are on record.
async fn compactions_seen(admin: &Admin, clock: &StoreClock) -> Result<(), slatedb::Error> {
    let recorded = admin.read_compactions(None).await?;
    for compaction in recorded.iter().flat_map(|recorded| recorded.recent_compactions()) {
        clock.has_seen(i64::try_from(compaction.id().timestamp_ms()).unwrap_or(i64::MIN));
    }
    Ok(())
}

async fn collect(root: &StateRoot, path: &Path, medium: Medium, clock: &Arc<StoreClock>) {
    let collector = GarbageCollectorBuilder::new(path.clone(), root.objects().clone())
        .with_options(garbage_collection(medium))
        .with_system_clock(clock.clone())
        .build();
    let mut pause = COLLECT.0;
    loop {
        tokio::time::sleep(pause).await;
        collector.run_gc_once().await;
        pause = COLLECT.1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_of_a_stage_are_looked_at_one_after_the_other() {
        let unit = |index: usize| phase(&Path::from(format!("default/own/1/units/1-{index}")));
        let mut phases: Vec<_> = (0..8).map(unit).collect();
        phases.sort();
        assert!(phases.windows(2).all(|pair| pair[1] - pair[0] > Duration::from_millis(200)), "{phases:?}");
        assert!(phases.iter().all(|phase| *phase < COMPACTION_POLL), "{phases:?}");
    }
}
