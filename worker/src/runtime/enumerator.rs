//! One source of a process that owns all units: its splits, the units that take them, and splits that appear later.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use thalweg_core::source::Split;
use thalweg_core::unit::UnitId;
use thalweg_exchange::hub::Served;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::error::Result;
use super::joined;
use super::node::{Node, split_log, unit_span};
use super::ownership::Ownership;
use super::unit::Done;

/// How often a source that may grow is asked for new splits.
const DISCOVERY: Duration = Duration::from_secs(1);

/// How a job is stopped in order: first its readers, then its units, once they have taken what was read.
pub struct Stop {
    /// Ends the readers.
    pub readers: CancellationToken,
    /// Ends the units, which take what is on its way to them.
    pub units: CancellationToken,
    reading: AtomicUsize,
}

impl Stop {
    /// For so many enumerators, once `readers` is cancelled.
    pub fn new(readers: CancellationToken, enumerators: usize) -> Self {
        Self { readers, units: CancellationToken::new(), reading: AtomicUsize::new(enumerators) }
    }

    /// The readers of one enumerator have ended.
    fn one_has_ended(&self) {
        if self.reading.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.units.cancel();
        }
    }
}

/// Reads the splits of a source.
pub struct Enumerator {
    node: Arc<Node>,
    source: usize,
    stop: Arc<Stop>,
    served: Vec<Served>,
    units: JoinSet<Result<()>>,
}

impl Enumerator {
    /// An enumerator that has started nothing yet.
    pub fn new(node: Arc<Node>, source: usize, stop: Arc<Stop>) -> Self {
        Self { node, source, stop, served: Vec::new(), units: JoinSet::new() }
    }

    /// Reads the splits that are known, and those that appear, until `done`: everybody else has ended.
    pub async fn run(mut self, splits: Vec<Split>, done: CancellationToken) -> Result<()> {
        let grows = self.node.job.sources[self.source].source.grows();
        self.introduce(splits, grows).await?;
        let mut discovery = tokio::time::interval(DISCOVERY);
        // What is missing several times in a row is gone: after an answer that came late, looks must not follow one another at once.
        discovery.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_stopped = false;
        loop {
            tokio::select! {
                Some(ended) = self.units.join_next() => {
                    joined(ended)?;
                }
                () = self.stop.readers.cancelled(), if !is_stopped => {
                    is_stopped = true;
                    join_all(self.served.drain(..).map(Served::end)).await;
                    self.stop.one_has_ended();
                }
                _ = discovery.tick(), if grows && !self.stop.readers.is_cancelled() => {
                    let splits = tokio::select! {
                        () = self.stop.readers.cancelled() => continue,
                        splits = self.node.job.sources[self.source].source.splits() => splits?,
                    };
                    self.introduce(splits, grows).await?;
                }
                () = done.cancelled(), if self.units.is_empty() => return Ok(()),
            }
        }
    }

    /// Starts what takes the splits that were not known before.
    async fn introduce(&mut self, splits: Vec<Split>, grows: bool) -> Result<()> {
        let known = self.served.len();
        if splits.len() == known && grows {
            return Ok(());
        }
        let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let units = self.node.stateless(self.source, number(known)..number(splits.len()));
        self.node.prepare(&units).await?;
        let job = &self.node.job;
        let (source, counters) = (&job.sources[self.source], &job.counters.sources[self.source]);
        for (index, split) in splits.iter().enumerate().skip(known) {
            counters.size.add(split.size.unwrap_or(0));
            self.served.push(self.node.read(self.source, number(index), &split.id));
        }
        self.node.listing(self.source).send_modify(|listing| {
            listing.logs.extend(splits.iter().skip(known).map(|split| split_log(&source.name, &split.id)));
            listing.is_complete = !grows;
        });
        for unit in units {
            self.start(unit).await?;
        }
        Ok(())
    }

    async fn start(&mut self, unit: UnitId) -> Result<()> {
        let span = unit_span(&self.node.job, unit);
        let acquired = self.node.acquire(unit, Ownership::Own, None, (self.stop.units.clone(), Done::End)).await?;
        self.units.spawn(acquired.run().instrument(span));
        Ok(())
    }
}
