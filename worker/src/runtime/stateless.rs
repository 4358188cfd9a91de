//! A stateless unit: one split's rows, written as they come, committed when its output is sealed.

use std::time::Duration;

use thalweg_core::commit::WriteSet;
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_exchange::message::Rows;

use super::emitter::{self, Emitter, Target};
use super::error::Result;
use super::message::Range;
use super::unit::{Ledger, UnitContext, stage_counters};

/// How often a unit that gets no rows looks whether its output is old enough to be sealed.
const TICK: Duration = Duration::from_millis(200);

/// `V` is committed at least this often, though no row is left of what was read.
const PROGRESS_EVERY: Duration = Duration::from_secs(60);

/// A stateless unit, acquired.
pub struct StatelessUnit {
    context: UnitContext,
    ledger: Ledger,
    emitter: Emitter,
    /// At first so long ago that what comes first is committed at once: its rows have waited for a new owner.
    last_commit: Duration,
}

/// How far a unit's log was taken before this run: by its store, or, where files are the commits, by their names.
pub async fn taken(ledger: &mut Ledger, emitter: &mut Emitter, input: u16, log: &str) -> Result<LogProgress> {
    let mut taken = ledger.committed(input, log);
    if ledger.store.is_none()
        && emitter.is_direct()
        && let Some(label) = emitter.last_published().await?
    {
        ledger.record.seal_next = label.seq + 1;
        taken.next = label.position.unwrap_or(Position::START);
    }
    Ok(taken)
}

impl StatelessUnit {
    /// A unit that continues where `ledger` stands.
    pub fn new(context: UnitContext, ledger: Ledger, emitter: Emitter) -> Self {
        let last_commit = context.clock.monotonic().saturating_sub(context.commit_every);
        Self { context, ledger, emitter, last_commit }
    }

    /// Writes until its log ends, or until it is told to stop.
    pub async fn run(mut self) -> Result<()> {
        let mut tick = tokio::time::interval(TICK);
        while !self.context.has_all(&self.ledger) {
            tokio::select! {
                biased;
                () = self.context.stop.cancelled() => break,
                range = self.context.inbox.next() => self.take(range?).await?,
                _ = tick.tick() => {}
            }
            if self.begins() {
                self.begin().await?;
            } else if self.is_due() {
                self.commit().await?;
            }
        }
        while let Some(range) = self.context.inbox.arrived()? {
            self.take(range).await?;
        }
        self.commit().await?;
        if self.ledger.has_published() {
            self.ledger.write(WriteSet::default()).await?;
        }
        if self.context.stop.is_cancelled() {
            return Ok(());
        }
        self.context.finish().await
    }

    async fn take(&mut self, range: Range) -> Result<()> {
        self.ledger.take(range.log, range.after)?;
        let now = self.context.clock.monotonic();
        if let Some(Rows::Plain(rows)) = &range.rows {
            stage_counters(&self.context.counters, self.context.id).rows_out.add(rows.num_rows() as u64);
            self.ledger.record.counts.rows_out += rows.num_rows() as u64;
            let refused = self.emitter.write(Target::Main, rows, now).await?;
            self.context.count_dead_letters(&mut self.ledger, refused);
        }
        if let Some(rows) = &range.dead_letters {
            self.context.count_dead_letters(&mut self.ledger, rows.num_rows() as u64);
            self.emitter.write(Target::DeadLetters, rows, now).await?;
        }
        stage_counters(&self.context.counters, self.context.id).set_watermark(range.after.watermark);
        Ok(())
    }

    /// Whether nothing of the unit was ever committed, and it has just heard where its log begins, or that rows of it are none
    /// of its own.
    fn begins(&self) -> bool {
        let is_first = self.ledger.record.seal_next == 0 && self.ledger.has_moved();
        is_first && self.emitter.is_transactional() && self.emitter.is_clean()
    }

    /// From now on nothing of its log may go before it is read. What comes first is shown at once all the same.
    async fn begin(&mut self) -> Result<()> {
        let last_commit = self.last_commit;
        self.commit().await?;
        self.last_commit = last_commit;
        Ok(())
    }

    fn is_due(&self) -> bool {
        let now = self.context.clock.monotonic();
        if self.emitter.is_volatile() {
            return self.ledger.has_moved() && now - self.last_commit >= self.context.commit_every;
        }
        // Rows that were written are sealed when their sink wants it, not for the sake of `V`.
        let (is_clean, since) = (self.emitter.is_clean(), now - self.last_commit);
        let is_quiet = is_clean && self.ledger.has_moved();
        // What comes first, after a start or a while of nothing, is shown at once.
        let is_new = self.emitter.is_transactional() && !is_clean && since >= self.context.commit_every;
        is_new || self.emitter.wants_seal(now) || (is_quiet && since >= PROGRESS_EVERY)
    }

    async fn commit(&mut self) -> Result<()> {
        let started = self.context.clock.monotonic();
        let direct = self.ledger.store.is_none() && self.emitter.is_direct();
        let position = self.ledger.only_log().filter(|_| direct).map(|log| log.next);
        if self.emitter.is_transactional() {
            return self.deliver(position, started).await;
        }
        let pending = self.emitter.seal(self.ledger.record.seal_next, position).await?;
        if pending.is_empty() && !self.ledger.has_moved() {
            return Ok(());
        }
        self.ledger.record.seal_next += 1;
        let mut writes = WriteSet::default();
        emitter::record(&pending, &mut writes);
        self.ledger.write(writes).await?;
        self.ledger.publish(&mut self.emitter, pending).await?;
        self.last_commit = self.context.has_committed(started, 0);
        Ok(())
    }

    /// The sink's transaction holds the rows and `V`.
    async fn deliver(&mut self, position: Option<Position>, started: Duration) -> Result<()> {
        if !self.ledger.has_moved() {
            return Ok(());
        }
        self.emitter.deliver(self.ledger.record.seal_next, position).await?;
        self.ledger.record.seal_next += 1;
        self.ledger.write(WriteSet::default()).await?;
        self.last_commit = self.context.has_committed(started, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use arrow::array::AsArray;
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;
    use async_trait::async_trait;
    use thalweg_core::clock::{SharedClock, SystemClock};
    use thalweg_core::error::Result as CoreResult;
    use thalweg_core::ownership::Owner;
    use thalweg_core::sink::{Capability, Label, Sealed, Sink, SinkWriter, WriterId};
    use thalweg_core::time::Watermark;
    use thalweg_core::unit::{Epoch, Incarnation, RunId, StageId, UnitId};
    use thalweg_crds::source::OnError;
    use thalweg_exchange::budget::Budget;
    use thalweg_exchange::hub::Hub;
    use thalweg_exchange::message::Stamp;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::runtime::JobSink;
    use crate::runtime::counters::{Counters, StageCounters};
    use crate::runtime::groups::GroupPolicy;
    use crate::runtime::inbox::Inbox;
    use crate::runtime::logs::Inputs;
    use crate::runtime::message::LogKey;
    use crate::runtime::ownership::Ownership;
    use crate::runtime::unit::Done;

    const LOG: LogKey = LogKey { input: 0, log: 0 };

    /// Files by name, as a folder keeps them, and a writer that wants a file for each two rows.
    #[derive(Clone, Default)]
    struct Folder(Arc<Mutex<Vec<File>>>);

    type File = (Label, Vec<i64>);

    struct Writer {
        folder: Folder,
        rows: Vec<i64>,
    }

    impl Folder {
        fn job(&self) -> JobSink {
            let (name, resource) = ("out".to_owned(), "StreamSink/out".to_owned());
            JobSink { name, resource, sink: Arc::new(self.clone()), on_error: OnError::Fail }
        }
    }

    #[async_trait]
    impl Sink for Folder {
        fn capability(&self) -> Capability {
            Capability::SealAndPublish { direct: true }
        }

        async fn check(&self) -> CoreResult<()> {
            Ok(())
        }

        async fn writer(&self, _id: &WriterId) -> CoreResult<Box<dyn SinkWriter>> {
            Ok(Box::new(Writer { folder: self.clone(), rows: Vec::new() }))
        }

        async fn finish(&self) -> CoreResult<()> {
            Ok(())
        }
    }

    #[async_trait]
    impl SinkWriter for Writer {
        async fn write(&mut self, rows: &RecordBatch) -> CoreResult<()> {
            self.rows.extend(rows.column(0).as_primitive::<Int64Type>().values());
            Ok(())
        }

        fn wants_seal(&self, _age: Duration) -> bool {
            self.rows.len() >= 2
        }

        async fn seal(&mut self, label: &Label) -> CoreResult<Option<Sealed>> {
            let rows = std::mem::take(&mut self.rows);
            let sealed = serde_json::json!({ "label": label, "rows": rows });
            Ok((!rows.is_empty()).then_some(Sealed(sealed)))
        }

        async fn publish(&mut self, sealed: &Sealed) -> CoreResult<()> {
            let of = |name: &str| sealed.0[name].clone();
            let label = serde_json::from_value(of("label")).expect("a label");
            let rows = serde_json::from_value(of("rows")).expect("rows");
            self.folder.0.lock().expect("not poisoned").push((label, rows));
            Ok(())
        }

        async fn last_published(&mut self) -> CoreResult<Option<Label>> {
            Ok(self.folder.0.lock().expect("not poisoned").last().map(|(label, _)| label.clone()))
        }
    }

    /// Rows of one column, which are their own positions.
    fn range(from: u64, to: u64) -> Range {
        let numbers = Int64Array::from_iter_values((from..to).map(|number| number as i64));
        let rows = RecordBatch::try_from_iter([("n", Arc::new(numbers) as _)]).expect("a batch");
        let after = LogProgress { next: Position::at(to), watermark: Watermark(0), ..LogProgress::START };
        Range {
            log: LOG,
            before: LogProgress::START,
            after,
            rows: Some(Rows::Plain(rows)),
            dead_letters: None,
            is_awaited: false,
        }
    }

    /// One life of the unit, which takes some ranges and, unless it is killed, ends in peace. Gives where it began, and what
    /// it counted.
    async fn live(folder: &Folder, taken_ranges: &[(u64, u64)], killed: bool) -> (Position, Arc<Counters>) {
        let unit = UnitId { stage: StageId(0), index: 0 };
        let run = RunId("run".to_owned());
        let owner = Owner::own(run.clone());
        let writer = WriterId { pipeline: "a.b".to_owned(), incarnation: Incarnation(1), unit, owner };
        let mut ledger = Ledger::open(unit, None, &run, Ownership::Own).await.expect("acquired");
        let counters = Arc::new(Counters::new(Vec::new(), vec![StageCounters::default()]));
        let counted = counters.acquired(unit, Epoch(1));
        let clock: SharedClock = Arc::new(SystemClock::new());
        let emitter = Emitter::open(&writer, Some(&folder.job()), None).await.expect("opened");
        let mut emitter = emitter.counting(counters.clone(), unit);
        emitter.count_waits(clock.clone(), counted.clone());
        let accepted = taken(&mut ledger, &mut emitter, 0, "log").await.expect("known");
        ledger.add_log(LOG, "log".to_owned(), accepted);
        let stamp = Stamp { plan: "plan".into(), layout: 1, incarnation: Incarnation(1), closed: Watermark::UNKNOWN };
        let hub = Hub::new(run, clock.clone(), Duration::MAX);
        let context = UnitContext {
            id: unit,
            commit_every: Duration::ZERO,
            counted,
            counters: counters.clone(),
            groups: GroupPolicy::default(),
            inputs: Inputs::new(),
            inbox: Inbox::new(unit, Epoch(1), stamp, hub, clock.clone(), Budget::new(usize::MAX, 1, 1)),
            clock,
            stop: CancellationToken::new(),
            done: Done::End,
        };
        let mut unit = StatelessUnit::new(context, ledger, emitter);
        for &(from, to) in taken_ranges {
            unit.take(range(from, to)).await.expect("taken");
            if unit.is_due() {
                unit.commit().await.expect("committed");
            }
        }
        if !killed {
            unit.commit().await.expect("committed");
        }
        (accepted.next, counters)
    }

    #[tokio::test]
    async fn where_files_are_the_commits_their_names_say_where_to_go_on() {
        let folder = Folder::default();
        assert_eq!(live(&folder, &[(0, 1), (1, 3), (3, 4)], true).await.0, Position::START);
        // Row 3 was written to a file that nobody saw.
        assert_eq!(live(&folder, &[(3, 4), (4, 6), (6, 7)], false).await.0, Position::at(3));
        assert_eq!(live(&folder, &[], false).await.0, Position::at(7));
        let files = folder.0.lock().expect("not poisoned").clone();
        let rows: Vec<_> = files.iter().flat_map(|(_, rows)| rows.clone()).collect();
        assert_eq!(rows, [0, 1, 2, 3, 4, 5, 6]);
        let names: Vec<_> = files.iter().map(|(label, _)| (label.seq, label.position)).collect();
        assert_eq!(names, [(0, Some(Position::at(3))), (1, Some(Position::at(6))), (2, Some(Position::at(7)))]);
    }

    #[tokio::test]
    async fn each_commit_is_timed_and_so_is_what_its_sink_does_for_it() {
        let folder = Folder::default();
        for (ranges, counted) in [(&[(0, 2), (2, 3)][..], (2, 2, 4)), (&[], (0, 0, 0))] {
            let (_, counters) = live(&folder, ranges, false).await;
            let stage = counters.stage(StageId(0));
            let [commits, sink]: [u64; 2] = [&stage.commit_times, &stage.sink_times].map(|times| times.counts().sum());
            // Each of two files is sealed, and published.
            assert_eq!((stage.commits.get(), commits, sink), counted);
        }
    }
}
