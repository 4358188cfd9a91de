//! One unit with its store: it merges, commits, is killed, and is handed to whoever followed its store.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use thalweg_core::time::Watermark;
use thalweg_sql::window::{Closed, Merge, Partial, StateEntry, WindowSpec, WindowState, WindowedAggregate};

use crate::oracle::{lines, window_ends};

/// One range of one log, as it comes to a unit.
#[derive(Clone)]
pub struct Range {
    pub partial: Option<Partial>,
    /// The unit's watermark behind it.
    pub watermark: Watermark,
}

/// What the last commit made durable.
#[derive(Clone)]
struct Committed {
    /// By number.
    entries: Vec<(u64, StateEntry)>,
    next: u64,
    taken: usize,
    watermark: Watermark,
    /// What the next stage was told: all that ends at or before it was given out.
    told: Watermark,
    cursor: Option<Vec<u8>>,
    output: Vec<RecordBatch>,
}

/// Who reads the store while the unit works, to go on in its place.
struct Follower {
    state: WindowState,
    /// Entries below this were read.
    next: u64,
}

pub struct Unit {
    aggregate: Arc<WindowedAggregate>,
    state: WindowState,
    log: Vec<Range>,
    taken: usize,
    committed: Committed,
    /// Given out since the last commit.
    closed: Vec<Closed>,
    chunk: usize,
    has_store: bool,
    follower: Follower,
    pub kills: usize,
}

impl Unit {
    pub fn new(aggregate: &Arc<WindowedAggregate>, log: Vec<Range>, chunk: usize, has_store: bool) -> Self {
        let committed = Committed {
            entries: vec![],
            next: 0,
            taken: 0,
            watermark: Watermark::UNKNOWN,
            told: Watermark::UNKNOWN,
            cursor: None,
            output: vec![],
        };
        let state = aggregate.state().with_chunks_of(chunk);
        let follower = Follower { state: aggregate.state().with_chunks_of(chunk), next: 0 };
        let aggregate = Arc::clone(aggregate);
        Self { aggregate, state, log, taken: 0, committed, closed: vec![], chunk, has_store, follower, kills: 0 }
    }

    /// Random steps to the end of the log; what it gave out, and the keys of the store that are left.
    pub fn run(mut self, rng: &mut ChaCha8Rng) -> Self {
        while self.taken < self.log.len() {
            match rng.random_range(0..14) {
                0..6 => self.take_range(),
                6..9 => self.commit(rng.random_range(0..4)),
                9..11 if self.has_store => self.close_early(rng.random_range(0..4)),
                11..13 if self.can_be_followed() => self.follow(),
                _ if self.has_store && self.kills < 20 => self.kill(rng),
                _ => {}
            }
        }
        loop {
            let before = self.committed.output.len();
            self.commit(rng.random_range(1..5));
            if self.committed.output.len() == before {
                return self;
            }
            if self.has_store && self.kills < 40 && rng.random_bool(0.3) {
                self.kill(rng);
            }
            while self.taken < self.log.len() {
                self.take_range();
            }
        }
    }

    fn take_range(&mut self) {
        if let Some(partial) = &self.log[self.taken].partial {
            let merged = self.state.merge(partial).expect("merges");
            assert_eq!(merged, Merge::Done, "the log's watermarks say that no row is late here");
        }
        self.taken += 1;
    }

    fn watermark(&self) -> Watermark {
        self.taken.checked_sub(1).map_or(Watermark::UNKNOWN, |last| self.log[last].watermark)
    }

    /// As the runtime does: delta, output while there is room, dropped panes, all in one.
    fn commit(&mut self, room: usize) {
        if self.has_store {
            let entries = self.state.take_delta().expect("a delta");
            self.committed.entries.extend((self.committed.next..).zip(entries.clone()));
            self.committed.next += entries.len() as u64;
        }
        let watermark = self.watermark();
        let mut is_done = false;
        for _ in 0..room {
            let Some(closed) = self.state.close_raw(watermark).expect("closes") else {
                is_done = true;
                break;
            };
            self.give_out(closed);
        }
        for closed in self.closed.drain(..) {
            self.committed.cursor = Some(closed.cursor);
            self.committed.output.push(closed.batch);
        }
        let dropped = self.state.take_dropped();
        self.committed.entries.retain(|(_, entry)| !dropped.contains(&entry.pane));
        self.committed.taken = self.taken;
        self.committed.watermark = watermark;
        if is_done {
            self.committed.told = self.state.output_watermark(watermark);
        }
    }

    /// Between commits: a kill takes it back.
    fn close_early(&mut self, room: usize) {
        for _ in 0..room {
            let Some(closed) = self.state.close_early_raw(self.watermark()).expect("closes") else { break };
            self.give_out(closed);
        }
    }

    fn give_out(&mut self, closed: Closed) {
        assert!(closed.batch.num_rows() <= self.chunk);
        let last = self.closed.last().map(|closed| &closed.cursor).or(self.committed.cursor.as_ref());
        assert!(last < Some(&closed.cursor), "cursors grow");
        let told = self.committed.told;
        let ends = window_ends(&closed.batch);
        assert!(ends.iter().all(|end| *end > told.0), "the next stage was told that all up to {told} was given out");
        self.closed.push(closed);
    }

    fn kill(&mut self, rng: &mut ChaCha8Rng) {
        self.kills += 1;
        self.closed.clear();
        self.taken = self.committed.taken;
        if self.can_be_followed() && rng.random_bool(0.5) {
            self.follow();
            let next = Follower { state: self.fresh(), next: 0 };
            self.state = std::mem::replace(&mut self.follower, next).state;
            return;
        }
        self.state = self.fresh();
        self.state.resume(self.committed.cursor.as_deref(), self.committed.watermark).expect("resumes");
        let mut entries = self.committed.entries.clone();
        entries.shuffle(rng);
        for (_, entry) in &entries {
            self.state.restore(entry).expect("restores");
        }
    }

    fn fresh(&self) -> WindowState {
        self.aggregate.state().with_chunks_of(self.chunk)
    }

    fn can_be_followed(&self) -> bool {
        self.has_store && !matches!(self.aggregate.window, WindowSpec::Session { .. })
    }

    /// As the runtime does: what is new, or all where that takes the place of something.
    fn follow(&mut self) {
        let (committed, Follower { state, next }) = (&self.committed, &mut self.follower);
        state.resume(committed.cursor.as_deref(), committed.watermark).expect("resumes");
        let is_first = *next == 0;
        for (_, entry) in committed.entries.iter().filter(|(number, _)| number >= next) {
            if !is_first && state.supersedes(entry).expect("an entry") {
                self.follower = Follower { state: self.fresh(), next: 0 };
                return self.follow();
            }
            state.restore(entry).expect("restores");
        }
        *next = committed.next;
    }

    /// Rows given out, as text, without `window_time`.
    pub fn lines(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut last = i64::MIN;
        for batch in &self.committed.output {
            let ends = window_ends(batch);
            assert!(ends.is_sorted() && ends.first().is_none_or(|first| *first >= last), "window ends grow");
            last = ends.last().copied().unwrap_or(last);
            let count = batch.num_columns();
            let columns: Vec<usize> = (0..count - 1).collect();
            all.extend(lines(&batch.project(&columns).expect("columns")));
        }
        all
    }

    /// Entries left in the store once everything was given out.
    pub fn left(&self) -> usize {
        self.committed.entries.len()
    }

    pub fn bytes(&self) -> usize {
        self.state.bytes()
    }
}
