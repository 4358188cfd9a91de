//! A whole random job: splits, ranges, key groups, units.

use std::sync::Arc;

use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thalweg_core::time::Watermark;
use thalweg_sql::window::{Folder, Merge, Partial, WindowSpec, WindowedAggregate};

use crate::oracle::{expected, late_by_definition, lines};
use crate::table::{AGGREGATES, Keys, Row, aggregate, batch};
use crate::unit::{Range, Unit};

/// How much of what.
#[derive(Clone, Debug)]
pub struct Settings {
    pub rows: usize,
    pub distinct: u32,
    /// Chance of a row that is older than the delay allows.
    pub late: f64,
    pub functions: &'static [&'static str],
}

impl Default for Settings {
    fn default() -> Self {
        Self { rows: 2_000, distinct: 20, late: 0.02, functions: &AGGREGATES }
    }
}

pub struct Job {
    window: WindowSpec,
    keys: Keys,
    aggregate: Arc<WindowedAggregate>,
    delay: i64,
    splits: Vec<Vec<Row>>,
    rng: ChaCha8Rng,
    seed: u64,
    max_batch: usize,
    functions: &'static [&'static str],
}

impl Job {
    pub fn random(window: WindowSpec, keys: Keys, settings: Settings, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let delay = rng.random_range(0..1_500);
        let count = rng.random_range(1..4);
        let mut number = 0;
        let splits = (0..count)
            .map(|_| {
                let mut clock = -3_000;
                (0..settings.rows / count)
                    .map(|_| {
                        clock +=
                            if rng.random_bool(0.01) { rng.random_range(0..4_000) } else { rng.random_range(0..8) };
                        let back = if rng.random_bool(settings.late) { 6 * delay + 3_000 } else { delay };
                        number += 1;
                        let time = clock - rng.random_range(0..=back);
                        Row::random(&mut rng, time, settings.distinct, number)
                    })
                    .collect()
            })
            .collect();
        let aggregate = aggregate(window.clone(), keys, settings.functions);
        Self { window, keys, aggregate, delay, splits, rng, seed, max_batch: 8_192, functions: settings.functions }
    }

    /// The same with rows in batches of at most so many.
    pub fn with_batches_of(mut self, rows: usize) -> Self {
        self.max_batch = rows;
        self
    }

    /// All rows of the first split, folded at once: late rows, and the groups as text.
    pub fn fold_first_split(mut self) -> (usize, Vec<String>) {
        let rows = std::mem::take(&mut self.splits[0]);
        let (partial, late, _) = self.read(&rows, None);
        let mut state = self.aggregate.state();
        assert_eq!(state.merge(&partial).expect("merges"), Merge::Done);
        let mut found = Vec::new();
        while let Some(closed) = state.close_raw(Watermark::END).expect("closes") {
            found.extend(lines(&closed.batch));
        }
        (late, found)
    }

    /// Runs it, and compares.
    pub fn check(mut self) {
        let what = format!("{:?} by {:?}, seed {}", self.window, self.keys, self.seed);
        let on_time = self.on_time_by_definition();
        let groups = [1, 3, 8][self.rng.random_range(0..3usize)];
        let (logs, late) = self.logs(groups);
        let total: usize = self.splits.iter().map(Vec::len).sum();
        assert_eq!(late, total - on_time.len(), "late rows, {what}");
        let chunk = [3, 100, 8_192][self.rng.random_range(0..3usize)];
        let has_store = self.rng.random_bool(0.8);
        let mut found = Vec::new();
        for log in logs {
            let unit = Unit::new(&self.aggregate, log, chunk, has_store).run(&mut self.rng);
            assert_eq!(unit.left(), 0, "entries are left, {what}");
            assert!(unit.bytes() < 200_000, "{} bytes are left, {what}", unit.bytes());
            found.extend(unit.lines());
        }
        found.sort();
        let expected = expected(&self.window, self.keys, self.functions, &on_time);
        if found != expected {
            let missing: Vec<_> = expected.iter().filter(|line| found.binary_search(line).is_err()).take(3).collect();
            let extra: Vec<_> = found.iter().filter(|line| expected.binary_search(line).is_err()).take(3).collect();
            panic!("{what}: {} rows, not {}; missing {missing:#?}, extra {extra:#?}", found.len(), expected.len());
        }
        assert!(!found.is_empty() || on_time.is_empty() || matches!(self.window, WindowSpec::Hop { .. }), "{what}");
    }

    fn on_time_by_definition(&self) -> Vec<Row> {
        let mut on_time = Vec::new();
        for split in &self.splits {
            let late = late_by_definition(&self.window, split, self.delay);
            on_time.extend(split.iter().zip(late).filter(|(_, late)| !late).map(|(row, _)| row.clone()));
        }
        on_time
    }

    /// Reads the splits in turns, in ranges of random size: the log of each unit, and how many rows were late.
    fn logs(&mut self, groups: u32) -> (Vec<Vec<Range>>, usize) {
        let mut logs = vec![Vec::new(); groups as usize];
        let mut at = vec![0; self.splits.len()];
        let mut max = vec![None; self.splits.len()];
        let mut late = 0;
        while at.iter().zip(&self.splits).any(|(at, split)| *at < split.len()) {
            let split = self.rng.random_range(0..self.splits.len());
            let left = self.splits[split].len() - at[split];
            let size = self.rng.random_range(0..=left.min(400 + left / 8));
            let rows = self.splits[split][at[split]..at[split] + size].to_vec();
            at[split] += size;
            let (partial, late_here, max_after) = self.read(&rows, max[split]);
            max[split] = max_after;
            late += late_here;
            let is_end = at.iter().zip(&self.splits).all(|(at, split)| *at == split.len());
            let least = max.iter().map(|max| Watermark::behind(*max, self.delay)).min().expect("a split");
            // A window that an earlier stage gave closes when that stage says so: here, at the end.
            let least = if self.window == WindowSpec::Attached { Watermark::UNKNOWN } else { least };
            let watermark = if is_end { Watermark::END } else { least };
            let parts = self.aggregate.split(&partial, groups).expect("parts");
            for (log, partial) in logs.iter_mut().zip(parts) {
                log.push(Range { partial, watermark });
            }
        }
        (logs, late)
    }

    /// Folds a range in random batches.
    fn read(&mut self, rows: &[Row], mut max: Option<i64>) -> (Partial, usize, Option<i64>) {
        let mut folder: Folder = self.aggregate.folder();
        let (mut at, mut late_rows) = (0, 0);
        while at < rows.len() {
            let size = self.rng.random_range(1..=self.max_batch.min(rows.len() - at));
            let all = batch(&self.aggregate.input_schema, &rows[at..at + size]);
            at += size;
            let (late, after) = self.aggregate.late(all.column_by_name("t").expect("t"), max, self.delay);
            max = after;
            let kept: RecordBatch = match late {
                None => all,
                Some(late) => {
                    late_rows += late.true_count();
                    filter_record_batch(&all, &arrow::compute::not(&late).expect("a mask")).expect("rows")
                }
            };
            folder.push(&kept).expect("folds");
        }
        (folder.finish().expect("a partial"), late_rows, max)
    }
}
