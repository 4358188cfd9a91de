//! The sink side of a unit: writers, and the three steps seal → commit → publish that make output exactly once.

use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use thalweg_connectors::formats::years::{self, Within};
use thalweg_core::clock::SharedClock;
use thalweg_core::commit::WriteSet;
use thalweg_core::position::Position;
use thalweg_core::sink::{Capability, Label, Rejected, Sealed, SinkWriter, WriterId};
use thalweg_core::unit::UnitId;
use thalweg_crds::source::OnError;

use super::counters::{Counters, UnitCounters};
use super::error::{Result, RunError};
use super::load;
use super::unit::stage_counters;
use super::{JobSink, layout, rejected};

/// Which of a unit's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Target {
    /// The sink of the `INSERT`.
    Main = 0,
    /// The dead-letter sink.
    DeadLetters = 1,
}

impl Target {
    /// The target that a stored number stands for.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Main),
            1 => Some(Self::DeadLetters),
            _ => None,
        }
    }
}

/// The writers of one unit.
pub struct Emitter {
    unit: UnitId,
    outputs: Vec<Output>,
    shown: Option<(Arc<Counters>, UnitId)>,
    /// Where it is counted how long the unit waits for its sinks.
    waits: Option<(SharedClock, Arc<UnitCounters>)>,
}

struct Output {
    target: Target,
    /// The name in SQL, and the resource.
    name: String,
    resource: String,
    on_error: OnError,
    writer: Box<dyn SinkWriter>,
    capability: Capability,
    /// When the first row since the last seal was written.
    since: Option<Duration>,
    /// Rows that were written and are not sealed yet.
    rows: u64,
    /// Rows that were sealed and are not published yet, by the number of the seal.
    sealed: Vec<(u64, u64)>,
    /// The label of the last delivery, of this owner or an earlier one.
    delivered: Option<Label>,
}

/// Sealed output on its way: it must be in a commit before it is published.
#[derive(Clone, Debug)]
pub struct Pending {
    seq: u64,
    target: Target,
    sealed: Sealed,
}

impl Emitter {
    /// Opens the writers of a unit.
    pub async fn open(id: &WriterId, main: Option<&JobSink>, dead_letters: Option<&JobSink>) -> Result<Self> {
        let mut outputs = Vec::new();
        for (target, job) in [(Target::Main, main), (Target::DeadLetters, dead_letters)] {
            if let Some(job) = job {
                let sink = &job.sink;
                let writer = sink.writer(id).await.map_err(|error| RunError::acquiring(id.unit, error));
                let (mut writer, capability) = (writer?, sink.capability());
                let delivered = match capability {
                    Capability::Transactional => writer.last_published().await?,
                    Capability::Volatile | Capability::SealAndPublish { .. } => None,
                };
                outputs.push(Output {
                    target,
                    name: job.name.clone(),
                    resource: job.resource.clone(),
                    on_error: job.on_error,
                    writer,
                    capability,
                    since: None,
                    rows: 0,
                    sealed: Vec::new(),
                    delivered,
                });
            }
        }
        Ok(Self { unit: id.unit, outputs, shown: None, waits: None })
    }

    /// The same, but counts the rows that can be seen in the unit's sink.
    pub fn counting(self, counters: Arc<Counters>, unit: UnitId) -> Self {
        Self { shown: Some((counters, unit)), ..self }
    }

    /// From now on it is counted how long the unit waits for its sinks.
    pub fn count_waits(&mut self, clock: SharedClock, counters: Arc<UnitCounters>) {
        self.waits = Some((clock, counters));
    }

    fn count(&self, target: Target, rows: u64) {
        if let Some((counters, unit)) = self.shown.as_ref().filter(|_| target == Target::Main) {
            stage_counters(counters, *unit).rows_shown.add(rows);
        }
    }

    /// Whether publishing one file can be the commit: one output, and it can carry a position. So can the transactions of
    /// a sink.
    pub fn is_direct(&self) -> bool {
        let one_file =
            matches!(&self.outputs[..], [Output { capability: Capability::SealAndPublish { direct: true }, .. }]);
        one_file || self.is_transactional()
    }

    /// Whether all outputs are written in the transactions of a sink.
    pub fn is_transactional(&self) -> bool {
        let mut outputs = self.outputs.iter();
        !self.outputs.is_empty() && outputs.all(|output| output.capability == Capability::Transactional)
    }

    /// The number of the first outbox entry that transactional outputs have not delivered; nothing where there are none.
    pub fn delivered(&self) -> Option<u64> {
        let transactional = self.outputs.iter().filter(|output| output.capability == Capability::Transactional);
        transactional.map(|output| output.delivered.as_ref().map_or(0, |label| label.seq)).max()
    }

    /// Whether nothing here is ever sealed.
    pub fn is_volatile(&self) -> bool {
        self.outputs.iter().all(|output| output.capability == Capability::Volatile)
    }

    /// Whether rows for a target need not outlive this process.
    pub fn forgets(&self, target: Target) -> bool {
        self.find(target).is_some_and(|output| output.capability == Capability::Volatile)
    }

    /// Whether everything that was written is sealed, or never will be.
    pub fn is_clean(&self) -> bool {
        self.outputs.iter().all(Output::is_clean)
    }

    /// What the sink itself knows of this unit's last direct commit.
    pub async fn last_published(&mut self) -> Result<Option<Label>> {
        if self.is_transactional() {
            // They share the unit's transactions.
            return Ok(self.outputs.first().and_then(|output| output.delivered.clone()));
        }
        match &mut self.outputs[..] {
            [output] => Ok(output.writer.last_published().await?),
            _ => Ok(None),
        }
    }

    /// Writes rows to one output. What its system would not take becomes dead letters, or an error, or nothing, as the sink
    /// says; how many dead letters.
    pub async fn write(&mut self, target: Target, rows: &RecordBatch, now: Duration) -> Result<u64> {
        let mut refused = self.put(target, rows, now).await?;
        if target == Target::DeadLetters && !refused.is_empty() {
            // A letter holds much of a long record: where the system does not take that, it takes the beginning.
            refused = self.put(target, &rejected::shortened(rows, &refused)?, now).await?;
        }
        let Some(first) = refused.first() else { return Ok(0) };
        let (unit, output) = (self.unit, self.output(target)?);
        let letters = match output.on_error {
            OnError::Fail => return Err(RunError::rejected_row(&output.resource, first)),
            OnError::Drop => None,
            OnError::DeadLetter => Some(rejected::letters(&output.name, unit, &refused)?),
        };
        if let Some((counters, unit)) = &self.shown {
            stage_counters(counters, *unit).rejected.add(refused.len() as u64);
        }
        let Some(letters) = letters else { return Ok(0) };
        // Those who take dead letters make none.
        Box::pin(self.write(Target::DeadLetters, &letters, now)).await?;
        Ok(letters.num_rows() as u64)
    }

    /// Hands rows to an output, but for those with times that no sink takes; the rows that were refused.
    async fn put(&mut self, target: Target, rows: &RecordBatch, now: Duration) -> Result<Vec<Rejected>> {
        let within = years::within(rows).map_err(|error| RunError::Internal(error.to_string()))?;
        let Some(Within { rows, numbers, mut refused }) = within else {
            return self.hand_over(target, rows, now).await;
        };
        if rows.num_rows() > 0 {
            let others = self.hand_over(target, &rows, now).await?;
            refused.extend(others.into_iter().map(|other| Rejected { row: numbers[other.row], ..other }));
            refused.sort_by_key(|refused| refused.row);
        }
        Ok(refused)
    }

    async fn hand_over(&mut self, target: Target, rows: &RecordBatch, now: Duration) -> Result<Vec<Rejected>> {
        let waits = self.waits.clone();
        let output = self.output(target)?;
        output.since.get_or_insert(now);
        waiting(waits.as_ref(), output.writer.write(rows)).await?;
        let refused = output.writer.rejected();
        let rows = (rows.num_rows() - refused.len()) as u64;
        if output.capability == Capability::Volatile {
            self.count(target, rows);
        } else {
            output.rows += rows;
        }
        Ok(refused)
    }

    /// Whether some output is large or old enough to be sealed.
    pub fn wants_seal(&self, now: Duration) -> bool {
        let wants = |output: &Output| {
            let age = output.since.map(|since| now.saturating_sub(since));
            output.capability != Capability::Volatile && age.is_some_and(|age| output.writer.wants_seal(age))
        };
        self.outputs.iter().any(wants)
    }

    /// Seals every output, so that they stand at one position together.
    pub async fn seal(&mut self, seq: u64, position: Option<Position>) -> Result<Vec<Pending>> {
        let mut pending = Vec::new();
        let sealed = |output: &&mut Output| output.capability != Capability::Transactional;
        for output in self.outputs.iter_mut().filter(sealed) {
            let has_rows = output.since.take().is_some() && output.capability != Capability::Volatile;
            output.sealed.push((seq, std::mem::take(&mut output.rows)));
            let label = Label { seq, position };
            // It is asked without rows, too, which says nothing of how fast it is.
            let stage = self.shown.as_ref().filter(|_| has_rows);
            if let Some(sealed) = timed(self.waits.as_ref(), stage, output.writer.seal(&label)).await? {
                pending.push(Pending { seq, target: output.target, sealed });
            }
        }
        Ok(pending)
    }

    /// Makes visible what was written to the transactional outputs, with a label in the same transaction.
    pub async fn deliver(&mut self, seq: u64, position: Option<Position>) -> Result<()> {
        let label = Label { seq, position };
        // A position moves without rows too.
        let has_moved = |output: &Output| position.is_some() && output.delivered.as_ref() != Some(&label);
        let is_new = |output: &&mut Output| output.since.is_some() || has_moved(output);
        let transactional = |output: &&mut Output| output.capability == Capability::Transactional;
        let mut delivered = Vec::new();
        for output in self.outputs.iter_mut().filter(transactional).filter(is_new) {
            timed(self.waits.as_ref(), self.shown.as_ref(), output.writer.deliver(&label)).await?;
            output.since = None;
            output.delivered = Some(label.clone());
            delivered.push((output.target, std::mem::take(&mut output.rows)));
        }
        delivered.into_iter().for_each(|(target, rows)| self.count(target, rows));
        Ok(())
    }

    /// Whether an output still needs an entry of the outbox, where files hold those below `sealed_through`.
    pub fn needs(&self, target: Target, seq: u64, sealed_through: u64) -> bool {
        self.find(target).is_some_and(|output| seq >= output.kept_from(sealed_through))
    }

    /// Entries below this are needed by no output, `written` being the next that they take.
    pub fn done_through(&self, written: u64, sealed_through: u64) -> u64 {
        let kept = |output: &Output| if output.is_clean() { written } else { output.kept_from(sealed_through) };
        self.outputs.iter().map(kept).min().unwrap_or(written)
    }

    /// Makes committed output visible.
    pub async fn publish(&mut self, pending: &[Pending]) -> Result<()> {
        let (waits, stage) = (self.waits.clone(), self.shown.clone());
        for Pending { seq, target, sealed } in pending {
            let output = self.output(*target)?;
            timed(waits.as_ref(), stage.as_ref(), output.writer.publish(sealed)).await?;
            let (published, later) = output.sealed.drain(..).partition(|(sealed, _)| sealed <= seq);
            output.sealed = later;
            let published: Vec<(u64, u64)> = published;
            self.count(*target, published.iter().map(|(_, rows)| rows).sum());
        }
        Ok(())
    }

    fn find(&self, target: Target) -> Option<&Output> {
        self.outputs.iter().find(|output| output.target == target)
    }

    fn output(&mut self, target: Target) -> Result<&mut Output> {
        let found = self.outputs.iter_mut().find(|output| output.target == target);
        found.ok_or_else(|| RunError::Internal(format!("rows for {target:?}, which this unit does not write")))
    }
}

impl Output {
    /// Whether everything that was written is sealed, or never will be.
    fn is_clean(&self) -> bool {
        self.capability == Capability::Volatile || self.since.is_none()
    }

    /// The first entry of the outbox that it has not for good.
    fn kept_from(&self, sealed_through: u64) -> u64 {
        match self.capability {
            Capability::Transactional => self.delivered.as_ref().map_or(0, |label| label.seq),
            Capability::Volatile | Capability::SealAndPublish { .. } => sealed_through,
        }
    }
}

/// Waits for a sink, and counts for how long where that is counted.
async fn waiting<F: Future>(waits: Option<&(SharedClock, Arc<UnitCounters>)>, sink: F) -> F::Output {
    match waits {
        Some((clock, counters)) => load::waiting(&**clock, &counters.waited, sink).await,
        None => sink.await,
    }
}

/// The same of what makes output last or shows it, of which each is timed by the stage as well.
async fn timed<F: Future>(
    waits: Option<&(SharedClock, Arc<UnitCounters>)>,
    stage: Option<&(Arc<Counters>, UnitId)>,
    sink: F,
) -> F::Output {
    let began = waits.map(|(clock, _)| clock.monotonic());
    let done = waiting(waits, sink).await;
    if let (Some((clock, _)), Some(began), Some((counters, unit))) = (waits, began, stage) {
        stage_counters(counters, *unit).sink_times.note(clock.monotonic().saturating_sub(began));
    }
    done
}

/// Puts sealed output into a commit.
pub fn record(pending: &[Pending], writes: &mut WriteSet) {
    for Pending { seq, target, sealed } in pending {
        writes.put(layout::sealed_key(*seq, *target as u8), sealed.0.to_string());
    }
}

/// Takes published output out of the store, with the next commit.
pub fn forget(pending: &[Pending], writes: &mut WriteSet) {
    for Pending { seq, target, .. } in pending {
        writes.delete(layout::sealed_key(*seq, *target as u8));
    }
}

/// Sealed output that an earlier owner recorded and may not have published.
pub fn recorded(key: &[u8], value: &[u8]) -> Option<Pending> {
    let (seq, target) = layout::parse_numbered(layout::SEALED, key)?;
    let target = Target::from_number(target?)?;
    Some(Pending { seq, target, sealed: Sealed(serde_json::from_slice(value).ok()?) })
}
