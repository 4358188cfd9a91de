//! A keyed unit: merges partial aggregates into panes, closes windows behind its watermark, and commits state, `V` and
//! outbox as one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use thalweg_core::commit::WriteSet;
use thalweg_core::error::Error as CoreError;
use thalweg_core::time::Watermark;
use thalweg_exchange::hub::Served;
use thalweg_exchange::message::Rows;
use thalweg_sql::window::{Closed, Merge, Partial, StateEntry};

use super::backlog::{self, Backlog};
use super::emitter::{self, Emitter, Pending, Target};
use super::error::{Result, RunError};
use super::layout;
use super::logs;
use super::message::Range;
use super::outbox::{Entry, Outbox, encode_rows};
use super::restored::Restored;
use super::unit::{Ledger, UnitContext, stage_counters, unreadable};
use crate::budget::OfUnit;

/// How much a row weighs that must be stored: it is here as a row and as a value, which the store copies.
const STORED_WEIGHT: usize = 2;
/// How often a unit that hears nothing looks whether something is due.
const TICK: Duration = Duration::from_millis(50);
/// How often windows are closed, in memory: tables are smaller and faster for it. Without a store that is a commit too.
const CLOSE_EVERY: Duration = Duration::from_millis(50);
/// `V` is committed at least this often, though nothing else changes.
const PROGRESS_EVERY: Duration = Duration::from_secs(60);

/// Where a windowed unit's rows go.
pub enum Downstream {
    /// To its sink.
    Sink,
    /// To the next stage, which subscribes to its outbox until the guard is dropped.
    Stage(Arc<Outbox>, #[expect(dead_code, reason = "dropped, it ends the serving")] Served),
}

/// A keyed unit, acquired.
pub struct WindowedUnit {
    context: UnitContext,
    ledger: Ledger,
    windows: Restored,
    emitter: Emitter,
    downstream: Downstream,
    /// Outbox entries in the store.
    backlog: Backlog,
    /// Entries below this were written to the sink's writers.
    written: u64,
    /// What was closed since the last commit, and waits for the next one. Nobody sees it before.
    closed: Vec<Entry>,
    /// Bytes of these rows, weighed.
    closed_bytes: usize,
    /// Bytes of rows that one commit emits at the most; the rest of a large pane follows in the next ones. All units of a stage
    /// close their windows at about the same time. What was merged since the last commit makes the next one due at this size, too:
    /// it becomes entries to be stored, all at once.
    commit_bytes: usize,
    last_close: Duration,
    /// Dead letters that wait for the next commit.
    dead_letters: Vec<RecordBatch>,
    dirty: bool,
    /// Whether an outbox upstream waits for a commit of what was taken.
    is_awaited: bool,
    /// Bytes that its windows held when it last said so.
    state_bytes: u64,
    /// At first so long ago that what comes first is committed at once: its rows have waited for a new owner.
    last_commit: Duration,
}

impl WindowedUnit {
    /// Emits again what the outbox of a unit holds, whose windows are restored. `memory` is what it may hold beside them.
    pub async fn open(
        context: UnitContext,
        ledger: Ledger,
        windows: Restored,
        emitter: Emitter,
        downstream: Downstream,
        memory: OfUnit,
    ) -> Result<Self> {
        let (now, next) = (context.clock.monotonic(), ledger.record.outbox_next);
        let due_at_once = now.saturating_sub(context.commit_every);
        let limit = if ledger.store.is_some() { backlog::STORED_BYTES } else { memory.outbox_bytes };
        let mut unit = Self {
            context,
            ledger,
            windows,
            emitter,
            downstream,
            backlog: Backlog::new(next, limit),
            written: next,
            closed: Vec::new(),
            closed_bytes: 0,
            commit_bytes: memory.commit_bytes,
            last_close: now,
            dead_letters: Vec::new(),
            dirty: false,
            is_awaited: false,
            state_bytes: 0,
            last_commit: due_at_once,
        };
        unit.check_delivered()?;
        unit.restore_outbox().await?;
        unit.context.add_logs(&mut unit.ledger);
        Ok(unit)
    }

    /// Whether what the store holds and what the sinks say was delivered belong together. Where they do not, rows would be
    /// left out or repeated.
    fn check_delivered(&self) -> Result<()> {
        let (id, record) = (self.context.id, &self.ledger.record);
        let Some(found) = self.emitter.delivered().filter(|_| self.ledger.store.is_some()) else { return Ok(()) };
        let (first, next) = (record.delivered, record.outbox_next);
        if (first..=next).contains(&found) {
            return Ok(());
        }
        let detail =
            format!("its state expects output {first} to {next} to be next in the sink, whose progress says {found}");
        let hint = "one of both is an older copy, or was deleted: restore both as of one time, or begin again with a `restart`";
        Err(CoreError::data_loss(format!("unit {id}"), detail).with_hint(hint).into())
    }

    async fn restore_outbox(&mut self) -> Result<()> {
        let Some(store) = self.ledger.store.clone() else { return Ok(()) };
        let mut entries = store.entries(layout::OUTBOX, None).await?;
        while let Some((key, value)) = entries.next().await? {
            let seq = layout::parse_numbered(layout::OUTBOX, &key).ok_or_else(|| unreadable("an outbox key"))?.0;
            self.backlog.push(seq, value.len());
            self.emit(vec![Entry::decode(seq, &value)?]).await?;
        }
        Ok(())
    }

    /// Runs until everything is closed, or until it is told to stop.
    pub async fn run(mut self) -> Result<()> {
        let mut tick = tokio::time::interval(TICK);
        while !self.context.has_all(&self.ledger) {
            tokio::select! {
                biased;
                () = self.context.stop.cancelled() => break,
                () = logs::changed(&mut self.context.inputs) => self.context.add_logs(&mut self.ledger),
                // A full outbox takes no input.
                range = self.context.inbox.next(), if !self.backlog.is_full() => self.take(range?)?,
                _ = tick.tick() => {}
            }
            if self.is_due() {
                self.commit().await?;
            } else if self.ledger.store.is_some() {
                self.close_early()?;
            }
        }
        while let Some(range) = self.context.inbox.arrived()? {
            self.take(range)?;
        }
        self.commit().await?;
        self.delivered().await?;
        self.flush().await?;
        if self.context.stop.is_cancelled() {
            return Ok(());
        }
        self.context.finish().await
    }

    /// Waits until the next stage has committed all that it reads, or this is told to stop: then the store has it.
    async fn delivered(&mut self) -> Result<()> {
        let Downstream::Stage(outbox, _) = &self.downstream else { return Ok(()) };
        outbox.press(true);
        let next = self.ledger.record.outbox_next;
        tokio::select! {
            () = outbox.wait_for_commits(|committed| committed >= next) => {}
            () = self.context.stop.cancelled() => {}
        }
        Ok(())
    }

    fn take(&mut self, range: Range) -> Result<()> {
        let partial = range.rows.clone().map(|rows| self.partial(rows)).transpose()?;
        if let Some(partial) = &partial {
            if self.windows.state.merge(partial).map_err(|message| self.failed(message))? == Merge::TouchesClosed {
                // Until it comes again the log holds the watermark, so that no further window closes before it.
                self.ledger.awaken(range.log);
                return self.context.inbox.take_back(&range, self.ledger.record.closing);
            }
            self.dirty = true;
        }
        self.ledger.take(range.log, range.after)?;
        self.is_awaited |= range.is_awaited;
        if range.after.idle {
            // Now, not with the next commit: by then others may be idle too, and the watermark would hold.
            self.ledger.record.closing = self.ledger.watermark();
        }
        self.dead_letters.extend(range.dead_letters);
        stage_counters(&self.context.counters, self.context.id).set_watermark(self.ledger.watermark());
        Ok(())
    }

    fn partial(&self, rows: Rows) -> Result<Partial> {
        match rows {
            Rows::Folded(batch) => Ok(Partial { batch }),
            Rows::Plain(_) => Err(RunError::Internal(format!("unit {} got rows that are not folded", self.context.id))),
        }
    }

    /// A commit is due when rows were taken or windows can be closed, but not oftener than `commitEvery` unless memory
    /// asks for it, here or upstream.
    fn is_due(&self) -> bool {
        let since = self.context.clock.monotonic() - self.last_commit;
        let every = if self.ledger.store.is_some() { self.context.commit_every } else { CLOSE_EVERY };
        let quiet = self.ledger.has_moved() && since >= PROGRESS_EVERY;
        let large = self.windows.state.delta_bytes() >= self.commit_bytes || self.closed_bytes >= self.commit_bytes;
        let full = large || self.backlog.is_full() || self.is_awaited;
        quiet || full || (since >= every && self.has_work())
    }

    fn has_work(&self) -> bool {
        let advanced = self.ledger.watermark() > self.ledger.record.watermark;
        self.dirty || advanced || !self.dead_letters.is_empty() || self.wants_seal()
    }

    fn wants_seal(&self) -> bool {
        self.emitter.wants_seal(self.context.clock.monotonic())
    }

    async fn commit(&mut self) -> Result<()> {
        loop {
            self.wait_for_room().await;
            let started = self.context.clock.monotonic();
            let mut writes = WriteSet::default();
            let pending = self.seal(&mut writes, self.wants_seal() || self.backlog.is_full()).await?;
            let changed = self.take_delta()?;
            let (entries, done) = self.close(&mut writes)?;
            self.put_panes(changed, &mut writes)?;
            self.trim(&mut writes);
            self.ledger.record.delivered = self.emitter.delivered().unwrap_or(self.ledger.record.delivered);
            self.ledger.write(writes).await?;
            self.committed(started);
            self.ledger.publish(&mut self.emitter, pending).await?;
            self.emit(entries).await?;
            // The transactions of sinks end with each commit; that their entries are no longer needed, the next one knows.
            // Without a store commits cost nothing and are many.
            if self.ledger.store.is_some() || self.wants_seal() {
                self.emitter.deliver(self.written, None).await?;
            }
            if done {
                return Ok(());
            }
        }
    }

    /// Waits as long as the outbox is full of entries that the next stage has not committed. It can do so: it can take
    /// all of them, and waits for nothing of this unit's.
    async fn wait_for_room(&mut self) {
        let Downstream::Stage(outbox, _) = &self.downstream else { return };
        let backlog = &self.backlog;
        tokio::select! {
            () = outbox.wait_for_commits(|committed| !backlog.is_full_without(committed)) => {}
            // Then the next stage does not go on either, and this commit is one of the last.
            () = self.context.stop.cancelled() => {}
        }
    }

    /// Seals what was written; the outbox entries behind it are then no longer needed by the sinks.
    async fn seal(&mut self, writes: &mut WriteSet, wanted: bool) -> Result<Vec<Pending>> {
        if !wanted {
            return Ok(Vec::new());
        }
        let pending = self.emitter.seal(self.ledger.record.seal_next, None).await?;
        self.ledger.record.seal_next += 1;
        self.ledger.record.sealed_through = self.written;
        emitter::record(&pending, writes);
        Ok(pending)
    }

    /// What changed since the last commit; nothing where nothing is stored.
    fn take_delta(&mut self) -> Result<Vec<StateEntry>> {
        self.dirty = false;
        if self.ledger.store.is_none() {
            self.windows.state.absorb_delta().map_err(|message| self.failed(message))?;
            return Ok(Vec::new());
        }
        self.windows.state.take_delta().map_err(|message| self.failed(message))
    }

    /// Stores what changed, and takes out what is over. A pane that came and went within one commit is never written:
    /// on catching up, a second holds many of them.
    fn put_panes(&mut self, changed: Vec<StateEntry>, writes: &mut WriteSet) -> Result<()> {
        let dropped: HashSet<_> = self.windows.state.take_dropped().into_iter().collect();
        for pane in &dropped {
            self.windows.panes.remove(pane).unwrap_or_default().into_iter().for_each(|key| writes.delete(key));
        }
        for entry in changed.into_iter().filter(|entry| !dropped.contains(&entry.pane)) {
            let key = layout::pane_key(self.ledger.record.pane_next, &entry.pane);
            self.ledger.record.pane_next += 1;
            let mut value = Vec::new();
            encode_rows(&entry.batch, &mut value)?;
            writes.put(key.clone(), value);
            self.windows.panes.entry(entry.pane).or_default().push(key);
        }
        Ok(())
    }

    /// Closes windows between commits: the rows wait for the next one, and until then nothing of it has happened.
    fn close_early(&mut self) -> Result<()> {
        let now = self.context.clock.monotonic();
        if now - self.last_close < CLOSE_EVERY {
            return Ok(());
        }
        self.last_close = now;
        let watermark = self.ledger.watermark();
        self.ledger.record.closing = watermark;
        while self.closed_bytes < self.commit_bytes {
            let closed = self.windows.state.close_early(watermark).map_err(|message| self.failed(message))?;
            let Some(closed) = closed else { break };
            self.append_closed(closed)?;
        }
        Ok(())
    }

    /// Closes windows behind the watermark: the rows become outbox entries. Returns whether all were closed.
    fn close(&mut self, writes: &mut WriteSet) -> Result<(Vec<Entry>, bool)> {
        let watermark = self.ledger.watermark();
        // Committed with the first part of what it closes: whoever continues must not take rows into windows that were
        // given out in part.
        self.ledger.record.closing = watermark;
        for rows in std::mem::take(&mut self.dead_letters) {
            self.count(Target::DeadLetters, &rows);
            self.append(Target::DeadLetters, self.ledger.record.watermark, Some(rows));
        }
        let done = loop {
            if self.closed_bytes >= self.commit_bytes {
                break false;
            }
            let Some(closed) = self.windows.state.close(watermark).map_err(|message| self.failed(message))? else {
                break true;
            };
            self.append_closed(closed)?;
        };
        if done && watermark > self.ledger.record.watermark {
            self.ledger.record.watermark = watermark;
            if matches!(self.downstream, Downstream::Stage(..)) {
                self.append(Target::Main, watermark, None);
            }
        }
        self.closed_bytes = 0;
        let entries = std::mem::take(&mut self.closed);
        self.put_entries(&entries, writes)?;
        Ok((entries, done))
    }

    fn append_closed(&mut self, closed: Closed) -> Result<()> {
        let weight = if self.stores(Target::Main) { STORED_WEIGHT } else { 1 };
        self.closed_bytes += weight * closed.batch.get_array_memory_size();
        self.ledger.record.cursor = Some(closed.cursor);
        if closed.batch.num_rows() > 0 {
            self.count(Target::Main, &closed.batch);
            self.append(Target::Main, self.ledger.record.watermark, Some(closed.batch));
        }
        self.context.groups.count(&self.context.counters, &closed.failed);
        if let Some(letters) = self.context.groups.judge(&closed.failed)? {
            self.count(Target::DeadLetters, &letters);
            self.append(Target::DeadLetters, self.ledger.record.watermark, Some(letters));
        }
        Ok(())
    }

    /// Adds an entry. The next stage must not close windows that sessions of this one may still have.
    fn append(&mut self, target: Target, watermark: Watermark, rows: Option<RecordBatch>) {
        let watermark = self.windows.state.output_watermark(watermark);
        self.closed.push(Entry { seq: self.ledger.record.outbox_next, target, watermark, rows });
        self.ledger.record.outbox_next += 1;
    }

    /// Stores what somebody needs after a restart: the next stage every entry, a sink those that it promises to show.
    fn put_entries(&mut self, entries: &[Entry], writes: &mut WriteSet) -> Result<()> {
        let to_sink = matches!(self.downstream, Downstream::Sink);
        if self.ledger.store.is_none() {
            let held = |entry: &Entry| entry.rows.as_ref().map_or(0, RecordBatch::get_array_memory_size);
            entries.iter().filter(|_| !to_sink).for_each(|entry| self.backlog.push(entry.seq, held(entry)));
            return Ok(());
        }
        for entry in entries {
            let value = if self.stores(entry.target) { entry.encode()? } else { Bytes::new() };
            self.backlog.push(entry.seq, value.len());
            if !value.is_empty() {
                writes.put(layout::outbox_key(entry.seq), value);
            }
        }
        Ok(())
    }

    /// Whether rows for a target must outlive this process.
    fn stores(&self, target: Target) -> bool {
        let is_forgotten = matches!(self.downstream, Downstream::Sink) && self.emitter.forgets(target);
        self.ledger.store.is_some() && !is_forgotten
    }

    fn count(&mut self, target: Target, rows: &RecordBatch) {
        let rows = rows.num_rows() as u64;
        match target {
            Target::Main => {
                stage_counters(&self.context.counters, self.context.id).rows_out.add(rows);
                self.ledger.record.counts.rows_out += rows;
            }
            Target::DeadLetters => self.context.count_dead_letters(&mut self.ledger, rows),
        }
    }

    /// Takes entries out of the store that nobody needs any more: neither a sink nor the next stage.
    fn trim(&mut self, writes: &mut WriteSet) {
        let by_sinks = self.emitter.done_through(self.written, self.ledger.record.sealed_through);
        let by_stage = match &self.downstream {
            Downstream::Sink => by_sinks,
            Downstream::Stage(outbox, _) => outbox.committed(),
        };
        let stored = self.backlog.trim(by_sinks.min(by_stage));
        stored.into_iter().for_each(|seq| writes.delete(layout::outbox_key(seq)));
    }

    fn committed(&mut self, started: Duration) {
        let held = self.windows.state.bytes();
        self.last_commit = self.context.has_committed(started, held);
        self.last_close = self.last_commit;
        let counters = stage_counters(&self.context.counters, self.context.id);
        counters.state.change(std::mem::replace(&mut self.state_bytes, held as u64), held as u64);
        self.is_awaited = false;
        self.context.inbox.committed();
        if let Downstream::Stage(outbox, _) = &self.downstream {
            outbox.press(self.backlog.is_filling());
        }
    }

    /// Sends committed entries on, in sequence.
    async fn emit(&mut self, entries: Vec<Entry>) -> Result<()> {
        let now = self.context.clock.monotonic();
        for entry in entries {
            let to_sink = matches!(self.downstream, Downstream::Sink) || entry.target == Target::DeadLetters;
            let needed = to_sink && self.emitter.needs(entry.target, entry.seq, self.ledger.record.sealed_through);
            if let Some(rows) = entry.rows.as_ref().filter(|_| needed) {
                let refused = self.emitter.write(entry.target, rows, now).await?;
                self.context.count_dead_letters(&mut self.ledger, refused);
            }
            self.written = entry.seq + 1;
            if let Downstream::Stage(outbox, _) = &self.downstream {
                outbox.push(entry);
            }
        }
        Ok(())
    }

    /// The last two commits: one that seals what is left, one that forgets that it was published.
    async fn flush(&mut self) -> Result<()> {
        let mut writes = WriteSet::default();
        self.emitter.deliver(self.written, None).await?;
        let pending = self.seal(&mut writes, !self.emitter.is_clean()).await?;
        self.trim(&mut writes);
        if !writes.is_empty() {
            self.ledger.write(writes).await?;
        }
        self.ledger.publish(&mut self.emitter, pending).await?;
        if self.ledger.has_published() {
            self.ledger.write(WriteSet::default()).await?;
        }
        Ok(())
    }

    fn failed(&self, message: String) -> RunError {
        RunError::Plan { stage: self.context.id.stage.0, message }
    }
}
