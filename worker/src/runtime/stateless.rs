//! A stateless unit: one split's rows, written as they come, committed when its output is sealed.

use std::time::Duration;

use thalweg_core::commit::WriteSet;

use super::emitter::{self, Emitter, Target};
use super::error::Result;
use super::message::{Message, Range, Rows};
use super::unit::{Ledger, UnitContext, stage_counters};

/// How often a unit that gets no rows looks whether its output is old enough to be sealed.
const TICK: Duration = Duration::from_millis(200);

/// A stateless unit, acquired.
pub struct StatelessUnit {
    context: UnitContext,
    ledger: Ledger,
    emitter: Emitter,
    last_commit: Duration,
}

impl StatelessUnit {
    /// A unit that continues where `ledger` stands.
    pub fn new(context: UnitContext, ledger: Ledger, emitter: Emitter) -> Self {
        let last_commit = context.clock.monotonic();
        Self { context, ledger, emitter, last_commit }
    }

    /// Writes until its log ends or everybody who could send is gone.
    pub async fn run(mut self) -> Result<()> {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                message = self.context.messages.recv() => match message {
                    Some(Message::Range(range)) => self.take(range).await?,
                    Some(Message::AddLog { key, name, progress }) => self.ledger.add_log(key, name, progress),
                    None => break,
                },
                _ = tick.tick() => {}
            }
            if self.is_due() {
                self.commit().await?;
            }
        }
        self.commit().await?;
        if self.ledger.has_published() {
            self.ledger.write(WriteSet::default()).await?;
        }
        Ok(())
    }

    async fn take(&mut self, range: Range) -> Result<()> {
        if !self.ledger.accept(&range)? {
            return Ok(());
        }
        let now = self.context.clock.monotonic();
        let counters = stage_counters(&self.context.counters, self.context.id);
        if let Rows::Batch(rows) = &range.rows {
            counters.rows_out.add(rows.num_rows() as u64);
            self.ledger.record.counts.rows_out += rows.num_rows() as u64;
            self.emitter.write(Target::Main, rows, now).await?;
        }
        if let Some(rows) = &range.dead_letters {
            counters.dead_letters.add(rows.num_rows() as u64);
            self.ledger.record.counts.dead_letters += rows.num_rows() as u64;
            self.emitter.write(Target::DeadLetters, rows, now).await?;
        }
        counters.set_watermark(range.after.watermark);
        Ok(())
    }

    fn is_due(&self) -> bool {
        let now = self.context.clock.monotonic();
        if self.emitter.is_volatile() {
            return self.ledger.has_moved() && now - self.last_commit >= self.context.commit_every;
        }
        self.emitter.wants_seal(now)
    }

    async fn commit(&mut self) -> Result<()> {
        let started = self.context.clock.monotonic();
        let direct = self.ledger.store.is_none() && self.emitter.is_direct();
        let position = self.ledger.only_log().filter(|_| direct).map(|log| log.next);
        let pending = self.emitter.seal(self.ledger.record.seal_next, position).await?;
        if pending.is_empty() && !self.ledger.has_moved() {
            return Ok(());
        }
        self.ledger.record.seal_next += 1;
        let mut writes = WriteSet::default();
        emitter::record(&pending, &mut writes);
        self.ledger.write(writes).await?;
        self.ledger.publish(&mut self.emitter, pending).await?;
        self.last_commit = self.context.clock.monotonic();
        let counters = stage_counters(&self.context.counters, self.context.id);
        counters.commits.add(1);
        counters.commit_micros.add((self.last_commit - started).as_micros() as u64);
        Ok(())
    }
}
