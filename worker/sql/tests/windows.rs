//! Random rows through folders, key groups and units that are killed and restored, against DataFusion's batch answer.

#[path = "windows/job.rs"]
mod job;
#[path = "windows/oracle.rs"]
mod oracle;
#[path = "windows/table.rs"]
mod table;
#[path = "windows/unit.rs"]
mod unit;

use thalweg_sql::window::WindowSpec;

use crate::job::{Job, Settings};
use crate::table::{FAST, Keys};

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
    let settings = Settings { rows: 60_000, distinct: 40_000, functions: &FAST, ..Settings::default() };
    for (seed, gap) in [20, 5_000, 60_000].into_iter().enumerate() {
        for keys in [Keys::Number, Keys::TextAndNumber] {
            Job::random(WindowSpec::Session { gap }, keys, settings.clone(), seed as u64).check();
        }
    }
}
