//! What both kinds of units share: identity, store, record, and `V`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::try_join;
use thalweg_core::clock::SharedClock;
use thalweg_core::commit::{UnitEntries, UnitStore, WriteSet};
use thalweg_core::log::LogId;
use thalweg_core::ownership::Stored;
use thalweg_core::progress::{LogProgress, unit_watermark};
use thalweg_core::time::Watermark;
use thalweg_core::unit::{RunId, UnitId};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::counters::{Counters, StageCounters, UnitCounters};
use super::emitter::{self, Emitter, Pending};
use super::error::{Result, RunError};
use super::groups::GroupPolicy;
use super::inbox::Inbox;
use super::layout::{self, UnitRecord};
use super::logs::{Inputs, Listing};
use super::message::LogKey;
use super::ownership::Ownership;

/// Small entries read from the store at once.
const SCAN: usize = 1_024;

/// What tells each commit of each unit, for whoever measures: `--log thalweg::commits=debug`.
const COMMITS: &str = "thalweg::commits";

/// What a unit needs from outside.
pub struct UnitContext {
    /// Which unit.
    pub id: UnitId,
    /// How often it commits at the most.
    pub commit_every: Duration,
    /// Where time comes from.
    pub clock: SharedClock,
    /// Counters of the pipeline.
    pub counters: Arc<Counters>,
    /// Counters of the unit.
    pub counted: Arc<UnitCounters>,
    /// What becomes of groups on which an expression fails.
    pub groups: GroupPolicy,
    /// Its logs, by input.
    pub inputs: Inputs,
    /// What comes of them.
    pub inbox: Inbox,
    /// Ends it in order: what was taken is committed.
    pub stop: CancellationToken,
    /// What it does once all its input was read and delivered.
    pub done: Done,
}

/// What a unit does once all its input was read and delivered.
#[derive(Clone, Debug)]
pub enum Done {
    /// It ends.
    End,
    /// It says so and stays, until it is told to stop: other units may be taken over and begin anew, which need its outbox,
    /// and must hear what it has committed of theirs.
    Stay(Arc<Notify>),
}

impl UnitContext {
    /// Reads the logs that have become known, each from where the unit has committed it.
    pub fn add_logs(&mut self, ledger: &mut Ledger) {
        for (number, input) in (0u16..).zip(&mut self.inputs) {
            let listing = input.borrow_and_update();
            for (log, id) in (0u32..).zip(&listing.logs).skip(ledger.count(number)) {
                let (key, name) = (LogKey { input: number, log }, stored_name(id));
                let progress = ledger.committed(number, &name);
                ledger.add_log(key, name, progress);
                self.inbox.add(key, id.clone(), progress);
            }
        }
    }

    /// Counts and tells a commit that began at `started`, of a unit whose windows hold so many bytes. Gives the moment at
    /// which it was durable: now.
    pub fn has_committed(&self, started: Duration, state_bytes: usize) -> Duration {
        let (now, counters) = (self.clock.monotonic(), stage_counters(&self.counters, self.id));
        let (took, wall_millis) = (now - started, self.clock.wall_millis());
        let micros = took.as_micros() as u64;
        counters.commits.add(1);
        counters.commit_times.note(took);
        self.counted.committed(wall_millis, took);
        let (unit, epoch) = (self.id, self.counted.epoch.0);
        tracing::debug!(target: COMMITS, %unit, epoch, wall_millis, micros, state_bytes, "committed");
        now
    }

    /// All its input was read and delivered.
    pub async fn finish(&mut self) -> Result<()> {
        let Done::Stay(completed) = &self.done else { return Ok(()) };
        completed.notify_one();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                // Nothing comes any more, but subscriptions are renewed.
                range = self.inbox.next() => drop(range?),
            }
        }
    }

    /// Counts dead letters of the unit.
    pub fn count_dead_letters(&self, ledger: &mut Ledger, count: u64) {
        stage_counters(&self.counters, self.id).dead_letters.add(count);
        self.counted.dead_letters.add(count);
        ledger.record.counts.dead_letters += count;
    }

    /// Whether all that ever comes was taken.
    pub fn has_all(&self, ledger: &Ledger) -> bool {
        let is_whole = |(number, input): (u16, &watch::Receiver<Listing>)| {
            let listing = input.borrow();
            listing.is_complete && listing.logs.len() == ledger.count(number)
        };
        ledger.has_ended() && (0..).zip(&self.inputs).all(is_whole)
    }
}

/// A unit's own durable part but for its windows: the record, `V`, and output that is sealed.
pub struct Ledger {
    /// Its durable state.
    pub store: Option<Arc<dyn UnitStore>>,
    /// What the unit knows about itself.
    pub record: UnitRecord,
    /// `A`: how far each log was taken.
    logs: BTreeMap<LogKey, Log>,
    /// `V` of logs that were not added in this run yet, by input and name.
    stored: BTreeMap<(u16, String), LogProgress>,
    changed: BTreeSet<LogKey>,
    /// Published, and still named in the store.
    published: Vec<Pending>,
}

struct Log {
    name: String,
    progress: LogProgress,
}

impl Ledger {
    /// The unit as an earlier owner left it, at the epoch of this one. Nothing is written yet.
    ///
    /// # Errors
    /// `Superseded` where somebody else took over at an epoch that is not below the one assigned.
    pub async fn open(
        id: UnitId,
        store: Option<Arc<dyn UnitStore>>,
        run_id: &RunId,
        ownership: Ownership,
    ) -> Result<Self> {
        let stored = match &store {
            Some(store) => record(&**store).await?,
            None => None,
        };
        let marker = stored.as_ref().map(|record| Stored { epoch: record.epoch, run_id: record.run_id.clone() });
        let epoch = ownership.epoch(id, marker.as_ref(), run_id)?;
        let record = match stored {
            Some(record) => UnitRecord { epoch, run_id: run_id.clone(), ..record },
            None => UnitRecord::new(epoch, run_id.clone()),
        };
        Ok(Self {
            store,
            record,
            logs: BTreeMap::new(),
            stored: BTreeMap::new(),
            changed: BTreeSet::new(),
            published: Vec::new(),
        })
    }

    /// Commits the new epoch, before anything else happens, and reads how far logs were taken. Gives output that was sealed
    /// and may not be published.
    pub async fn mark(&mut self) -> Result<Vec<Pending>> {
        let Some(store) = self.store.clone() else { return Ok(Vec::new()) };
        // Nobody else writes it any more, so it is read while the marker is on its way.
        let marked = self.write(WriteSet::default());
        let read = |prefix| scan_all(&*store, prefix);
        let ((), progress, sealed) = try_join!(marked, read(layout::PROGRESS), read(layout::SEALED))?;
        for (key, value) in progress {
            let (input, log) = layout::parse_progress_key(&key).ok_or_else(|| unreadable("a progress key"))?;
            self.stored.insert((input, log.to_owned()), serde_json::from_slice(&value).map_err(unreadable)?);
        }
        let sealed = sealed
            .iter()
            .map(|(key, value)| emitter::recorded(key, value).ok_or_else(|| unreadable("a record of sealed output")));
        sealed.collect()
    }

    /// The committed progress of a log, from before this run.
    pub fn committed(&self, input: u16, name: &str) -> LogProgress {
        self.stored.get(&(input, name.to_owned())).copied().unwrap_or(LogProgress::START)
    }

    /// Adds a log that the unit waits for.
    pub fn add_log(&mut self, key: LogKey, name: String, progress: LogProgress) {
        self.logs.insert(key, Log { name, progress });
    }

    /// A log was taken up to here. `V` moves with the next [`Ledger::write`].
    pub fn take(&mut self, key: LogKey, after: LogProgress) -> Result<()> {
        let log = self.logs.get_mut(&key);
        let log = log.ok_or_else(|| RunError::Internal(format!("a range of unknown log {key:?}")))?;
        log.progress = after;
        self.changed.insert(key);
        Ok(())
    }

    /// A log that was idle has rows.
    pub fn awaken(&mut self, key: LogKey) {
        if let Some(log) = self.logs.get_mut(&key) {
            log.progress.idle = false;
        }
    }

    /// Whether it has all of its logs to their ends.
    pub fn has_ended(&self) -> bool {
        self.logs.values().all(|log| log.progress.has_ended())
    }

    /// How many logs of an input it has.
    pub fn count(&self, input: u16) -> usize {
        self.logs.range(LogKey { input, log: 0 }..=LogKey { input, log: u32::MAX }).count()
    }

    /// The least watermark of all logs.
    pub fn watermark(&self) -> Watermark {
        unit_watermark(self.logs.values().map(|log| &log.progress), self.record.closing)
    }

    /// Whether `V` has moved since the last commit.
    pub fn has_moved(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The progress of the unit's one log.
    pub fn only_log(&self) -> Option<&LogProgress> {
        self.logs.values().next().map(|log| &log.progress)
    }

    /// One atomic commit: the caller's writes, the record, what moved of `V`, and what was published before.
    pub async fn write(&mut self, mut writes: WriteSet) -> Result<()> {
        let changed = std::mem::take(&mut self.changed);
        let published = std::mem::take(&mut self.published);
        let Some(store) = &self.store else { return Ok(()) };
        for key in changed {
            let log = &self.logs[&key];
            let value = serde_json::to_vec(&log.progress).map_err(unreadable)?;
            writes.put(layout::progress_key(key.input, &log.name), value);
        }
        emitter::forget(&published, &mut writes);
        writes.put(layout::UNIT, serde_json::to_vec(&self.record).map_err(unreadable)?);
        Ok(store.commit(writes).await?)
    }

    /// Publishes what is in the store, so that the next commit forgets it.
    pub async fn publish(&mut self, emitter: &mut Emitter, pending: Vec<Pending>) -> Result<()> {
        emitter.publish(&pending).await?;
        self.published.extend(pending);
        Ok(())
    }

    /// Whether the store still names published output.
    pub fn has_published(&self) -> bool {
        self.store.is_some() && !self.published.is_empty()
    }
}

/// What a unit's store says of the unit; nothing where it never ran.
pub async fn record(store: &dyn UnitEntries) -> Result<Option<UnitRecord>> {
    let found = store.get(layout::UNIT).await?;
    found.map(|record| serde_json::from_slice(&record).map_err(unreadable)).transpose()
}

/// Every entry under a prefix.
async fn scan_all(store: &dyn UnitEntries, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>> {
    let mut entries: Vec<(Bytes, Bytes)> = Vec::new();
    loop {
        let after = entries.last().map(|(key, _)| key.clone());
        let page = store.scan(prefix, after.as_deref(), SCAN).await?;
        let last = page.len() < SCAN;
        entries.extend(page);
        if last {
            return Ok(entries);
        }
    }
}

/// The name under which a unit keeps how far it has taken a log of an input. Which stage an outbox is of the input says, and its
/// number may be another one in the next plan.
fn stored_name(log: &LogId) -> String {
    match log {
        LogId::Split { .. } => log.to_string(),
        LogId::Outbox(unit) => format!("outbox/{}", unit.index),
    }
}

/// A stored value that this version cannot read.
pub fn unreadable(what: impl std::fmt::Display) -> RunError {
    RunError::Internal(format!("the unit's store holds something unreadable: {what}"))
}

/// The counters of a unit's stage.
pub fn stage_counters(counters: &Counters, id: UnitId) -> &StageCounters {
    counters.stage(id.stage)
}
