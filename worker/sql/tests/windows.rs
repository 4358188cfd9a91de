//! Random rows through folders, key groups and units that are killed and restored, against DataFusion's batch answer.

#[path = "windows/job.rs"]
mod job;
#[path = "windows/oracle.rs"]
mod oracle;
#[path = "windows/table.rs"]
mod table;
#[path = "windows/unit.rs"]
mod unit;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thalweg_core::time::Watermark;
use thalweg_sql::window::{Merge, Partial, StateEntry, WindowSpec, WindowedAggregate};

use crate::job::{Job, Settings};
use crate::oracle::window_ends;
use crate::table::{AGGREGATES, FAST, Keys, Row, aggregate, batch};

const ALL_KEYS: [Keys; 4] = [Keys::None, Keys::Number, Keys::Text, Keys::TextAndNumber];

/// Runs the same windows over all kinds of keys with other seeds, and compares with the oracle.
fn equals_batch_sql(window: &WindowSpec, seeds: std::ops::Range<u64>) {
    for keys in ALL_KEYS {
        for seed in seeds.clone() {
            Job::random(window.clone(), keys, Settings::default(), seed).check();
        }
    }
}

#[test]
fn tumbling_windows_equal_batch_sql_through_kills() {
    equals_batch_sql(&WindowSpec::Tumble { size: 1_000, offset: 0 }, 0..12);
    equals_batch_sql(&WindowSpec::Tumble { size: 777, offset: -123 }, 100..104);
    // Windows far smaller than the disorder: hundreds of panes are open at once.
    equals_batch_sql(&WindowSpec::Tumble { size: 7, offset: 3 }, 200..204);
}

#[test]
fn hopping_windows_equal_batch_sql_through_kills() {
    equals_batch_sql(&WindowSpec::Hop { size: 1_000, slide: 200, offset: 0 }, 0..10);
    equals_batch_sql(&WindowSpec::Hop { size: 900, slide: 600, offset: 50 }, 100..104);
    equals_batch_sql(&WindowSpec::Hop { size: 200, slide: 500, offset: 0 }, 200..203);
    equals_batch_sql(&WindowSpec::Hop { size: 40, slide: 10, offset: 7 }, 300..303);
}

#[test]
fn cumulating_windows_equal_batch_sql_through_kills() {
    equals_batch_sql(&WindowSpec::Cumulate { size: 2_000, step: 250, offset: 0 }, 0..10);
    equals_batch_sql(&WindowSpec::Cumulate { size: 300, step: 10, offset: -45 }, 100..104);
}

#[test]
fn attached_windows_equal_batch_sql_through_kills() {
    equals_batch_sql(&WindowSpec::Attached, 0..10);
}

#[test]
fn many_keys_equal_batch_sql_through_kills() {
    let settings = Settings { rows: 60_000, distinct: 40_000, functions: &FAST, ..Settings::default() };
    let windows = [
        WindowSpec::Tumble { size: 20_000, offset: 0 },
        WindowSpec::Tumble { size: 300, offset: 0 },
        WindowSpec::Hop { size: 10_000, slide: 2_000, offset: 0 },
        WindowSpec::Cumulate { size: 20_000, step: 4_000, offset: 0 },
    ];
    for (seed, window) in windows.into_iter().enumerate() {
        for keys in [Keys::Number, Keys::TextAndNumber] {
            Job::random(window.clone(), keys, settings.clone(), seed as u64).check();
        }
    }
}

#[test]
fn sessions_equal_a_reference_through_kills() {
    // Gaps below, near and above the distance of neighbouring rows of a key, and below and above the disorder.
    for (seed, gap) in [5, 40, 150, 700, 3_000].into_iter().enumerate() {
        let seed = 100 * seed as u64;
        equals_batch_sql(&WindowSpec::Session { gap }, seed..seed + 5);
    }
}

#[test]
fn many_sessions_equal_a_reference_through_kills() {
    let settings = Settings { rows: 30_000, distinct: 20_000, functions: &FAST, ..Settings::default() };
    for (seed, gap) in [20, 5_000, 60_000].into_iter().enumerate() {
        for keys in [Keys::Number, Keys::TextAndNumber] {
            Job::random(WindowSpec::Session { gap }, keys, settings.clone(), seed as u64).check();
        }
    }
}

#[test]
fn batches_of_one_row_and_of_8192_give_the_same_groups_and_late_rows() {
    let windows = [
        WindowSpec::Tumble { size: 500, offset: 0 },
        WindowSpec::Hop { size: 900, slide: 300, offset: 0 },
        WindowSpec::Cumulate { size: 1_000, step: 250, offset: 0 },
        WindowSpec::Session { gap: 30 },
        WindowSpec::Attached,
    ];
    for window in windows {
        for seed in 0..5 {
            let settings = Settings { late: 0.1, ..Settings::default() };
            let job = || Job::random(window.clone(), Keys::TextAndNumber, settings.clone(), seed);
            let (late, groups) = job().with_batches_of(1).fold_first_split();
            assert_eq!((late, groups), job().fold_first_split(), "{window:?}, seed {seed}");
            assert!(late > 0 || window == WindowSpec::Attached, "the test has late rows");
        }
    }
}

/// A row of key 0 at a time; its attached window is the second that it is in.
fn row(time: i64) -> Row {
    let start = time.div_euclid(1_000) * 1_000;
    let window = (start, start + 1_000);
    Row { time, key: 0, window, x: Some(1), f: None, s: None, b: None, number: time }
}

#[test]
fn a_partial_with_rows_of_a_closed_pane_is_refused_whole() {
    let windows = [
        (WindowSpec::Tumble { size: 1_000, offset: 0 }, 999, 1_000),
        (WindowSpec::Hop { size: 1_000, slide: 500, offset: 0 }, 499, 1_000),
        (WindowSpec::Cumulate { size: 2_000, step: 500, offset: 0 }, 999, 1_000),
        (WindowSpec::Session { gap: 10 }, 999, 1_000),
        (WindowSpec::Attached, 999, 1_000),
    ];
    for (window, late, on_time) in windows {
        let plan = aggregate(window.clone(), Keys::Number, &AGGREGATES);
        let rows = batch(&plan.input_schema, &[row(late), row(on_time)]);
        let mut folder = plan.folder();
        folder.push(&rows).expect("folds");
        let partial = folder.finish().expect("a partial");
        assert_eq!(plan.state().merge(&partial).expect("merges"), Merge::Done, "{window:?}: nothing is closed yet");
        let mut state = plan.state();
        assert!(state.close_raw(Watermark(1_000)).expect("closes").is_none());
        assert_eq!(state.merge(&partial).expect("an answer"), Merge::TouchesClosed, "{window:?}");
        assert!(state.close_raw(Watermark::END).expect("closes").is_none(), "{window:?}: nothing of it was merged");
        let closed = plan.closed(&rows, Watermark(1_000)).expect("an answer").expect("a mask");
        assert_eq!((closed.value(0), closed.value(1)), (true, false), "{window:?}");
    }
}

#[test]
fn a_pane_that_stays_open_for_thousands_of_commits_keeps_a_short_log() {
    let day = 86_400_000;
    let windows = [
        WindowSpec::Tumble { size: day, offset: 0 },
        WindowSpec::Cumulate { size: day, step: day, offset: 0 },
        WindowSpec::Session { gap: day },
        WindowSpec::Attached,
    ];
    for window in windows {
        let plan = aggregate(window.clone(), Keys::Number, &AGGREGATES);
        let mut state = plan.state();
        let mut stored: Vec<StateEntry> = Vec::new();
        let mut most = 0;
        for commit in 0..2_000 {
            let rows: Vec<Row> = (0..5).map(|key| Row { key, time: commit, ..row(0) }).collect();
            let mut folder = plan.folder();
            folder.push(&batch(&plan.input_schema, &rows)).expect("folds");
            assert_eq!(state.merge(&folder.finish().expect("a partial")), Ok(Merge::Done));
            stored.extend(state.take_delta().expect("a delta"));
            let dropped = state.take_dropped();
            stored.retain(|entry| !dropped.contains(&entry.pane));
            most = most.max(stored.len());
        }
        assert!((10..200).contains(&most), "{most} entries, {window:?}");
        let mut restored = plan.state();
        stored.iter().for_each(|entry| restored.restore(entry).expect("restores"));
        let closed = restored.close_raw(Watermark::END).expect("closes").expect("groups");
        let counts = closed.batch.column(1).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(counts, [2_000; 5], "{window:?}");
    }
}

#[test]
fn what_is_over_before_the_commit_is_never_stored() {
    let windows = [
        (WindowSpec::Tumble { size: 1_000, offset: 0 }, 1),
        // The pane that ends at 1,000 is still needed.
        (WindowSpec::Hop { size: 2_000, slide: 1_000, offset: 0 }, 2),
        (WindowSpec::Attached, 1),
    ];
    for (window, left) in windows {
        let plan = aggregate(window.clone(), Keys::Number, &AGGREGATES);
        let mut folder = plan.folder();
        folder.push(&batch(&plan.input_schema, &[row(-500), row(500), row(1_500)])).expect("folds");
        let mut state = plan.state();
        assert_eq!(state.merge(&folder.finish().expect("a partial")), Ok(Merge::Done));
        assert!(state.close_early_raw(Watermark(-501)).expect("closes").is_none(), "{window:?}");
        while state.close_early_raw(Watermark(1_000)).expect("closes").is_some() {}
        let stored: usize = state.take_delta().expect("a delta").iter().map(|entry| entry.batch.num_rows()).sum();
        assert_eq!(stored, left, "{window:?}");
        assert!(state.take_delta().expect("a delta").is_empty(), "each is stored once");
    }
}

#[test]
fn a_row_at_the_very_end_of_a_session_is_of_it_even_after_a_watermark_at_that_end() {
    let plan = aggregate(WindowSpec::Session { gap: 10 }, Keys::Number, &AGGREGATES);
    let mut state = plan.state();
    for time in [0, 10] {
        let mut folder = plan.folder();
        folder.push(&batch(&plan.input_schema, &[row(time)])).expect("folds");
        assert_eq!(state.merge(&folder.finish().expect("a partial")).expect("merges"), Merge::Done);
        assert!(state.close_raw(Watermark(10)).expect("closes").is_none());
    }
    let closed = state.close_raw(Watermark(21)).expect("closes").expect("the session");
    assert_eq!(closed.batch.column(1).as_primitive::<Int64Type>().values(), &[2]);
    assert_eq!(window_ends(&closed.batch), [20]);
}

/// What a plan makes of rows.
fn folded(plan: &Arc<WindowedAggregate>, rows: &[Row]) -> Partial {
    let mut folder = plan.folder();
    folder.push(&batch(&plan.input_schema, rows)).expect("folds");
    folder.finish().expect("a partial")
}

#[test]
fn the_next_stage_takes_a_session_that_ends_where_the_watermark_stood() {
    let plan = aggregate(WindowSpec::Session { gap: 10 }, Keys::Number, &AGGREGATES);
    let mut state = plan.state();
    assert_eq!(state.merge(&folded(&plan, &[row(0)])), Ok(Merge::Done));
    assert!(state.close_raw(Watermark(10)).expect("closes").is_none());
    let told = state.output_watermark(Watermark(10));
    let closed = state.close_raw(Watermark(11)).expect("closes").expect("the session");
    assert_eq!(window_ends(&closed.batch), [10]);
    let next = [WindowSpec::Attached, WindowSpec::Tumble { size: 10, offset: 0 }, WindowSpec::Session { gap: 10 }];
    for window in next {
        let plan = aggregate(window.clone(), Keys::Number, &AGGREGATES);
        let mut next = plan.state();
        assert!(next.close_raw(told).expect("closes").is_none());
        let session = Row { window: (0, 10), ..row(9) };
        assert_eq!(next.merge(&folded(&plan, &[session])), Ok(Merge::Done), "{window:?}");
    }
    for edge in [Watermark::UNKNOWN, Watermark::END] {
        assert_eq!(state.output_watermark(edge), edge);
    }
}

#[test]
fn sessions_that_the_next_stage_groups_again_equal_a_reference_at_any_watermark() {
    const GAP: i64 = 50;
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let sessions = aggregate(WindowSpec::Session { gap: GAP }, Keys::Number, &["count(1)"]);
        let again = aggregate(WindowSpec::Attached, Keys::None, &["count(1)", "sum(x)"]);
        let (mut first, mut next) = (sessions.state(), again.state());
        let (mut rows, mut found, mut clock) = (Vec::new(), Again::new(), 0_i64);
        for step in 0..300 {
            // Whole tens, so that watermarks often stand where sessions end. No row is late.
            let watermark = if step == 299 { Watermark::END } else { Watermark(clock - 20) };
            while let Some(closed) = first.close_raw(watermark).expect("closes") {
                let merged = next.merge(&folded(&again, &as_rows(&closed.batch))).expect("merges");
                assert_eq!(merged, Merge::Done, "seed {seed}");
            }
            while let Some(closed) = next.close_raw(first.output_watermark(watermark)).expect("closes") {
                found.extend(numbers(&closed.batch));
            }
            clock += rng.random_range(0..4_i64) * 10;
            let new: Vec<Row> = (0..rng.random_range(1..4_usize))
                .map(|_| Row { key: rng.random_range(0..6), ..row(clock - rng.random_range(0..3_i64) * 10) })
                .collect();
            if step < 298 {
                assert_eq!(first.merge(&folded(&sessions, &new)), Ok(Merge::Done));
                rows.extend(new);
            }
        }
        assert_eq!(found, sessions_again(rows, GAP), "seed {seed}");
    }
}

/// Windows of sessions, and how many sessions and rows have each.
type Again = BTreeMap<(i64, i64), (i64, i64)>;

fn sessions_again(mut rows: Vec<Row>, gap: i64) -> Again {
    rows.sort_by_key(|row| (row.key, row.time));
    let mut again = Again::new();
    for session in rows.chunk_by(|a, b| a.key == b.key && b.time - a.time <= gap) {
        let window = (session[0].time, session[session.len() - 1].time + gap);
        let counts = again.entry(window).or_default();
        *counts = (counts.0 + 1, counts.1 + session.len() as i64);
    }
    again
}

/// What the sessions of a batch are to the next stage: `x` is how many rows each has.
fn as_rows(batch: &RecordBatch) -> Vec<Row> {
    let column = |at: usize| batch.column(at).as_primitive::<Int64Type>().values().to_vec();
    let windows = window_starts(batch).into_iter().zip(window_ends(batch));
    let rows = column(1).into_iter().zip(windows);
    rows.map(|(count, window)| Row { window, x: Some(count), ..row(window.1 - 1) }).collect()
}

fn numbers(batch: &RecordBatch) -> Again {
    let column = |at: usize| batch.column(at).as_primitive::<Int64Type>().values().to_vec();
    let windows = window_starts(batch).into_iter().zip(window_ends(batch));
    windows.zip(column(0).into_iter().zip(column(1))).collect()
}

fn window_starts(batch: &RecordBatch) -> Vec<i64> {
    let column = batch.column_by_name("window_start").expect("window_start");
    column.as_primitive::<TimestampMillisecondType>().values().to_vec()
}

#[test]
fn folders_and_states_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let plan = aggregate(WindowSpec::Session { gap: 1 }, Keys::None, &AGGREGATES);
    is_send(&plan.folder());
    is_send(&plan.state());
}
