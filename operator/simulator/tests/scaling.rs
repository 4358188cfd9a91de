//! How loads are scaled: the autoscaler's code in the fluid model.

use thalweg_crds::scaling::ScalingSpec;
use thalweg_simulator::{Kind, Ours, Outcome, Settings, Trace, compare, made, simulate, table};

fn settings(splits: i32) -> Settings {
    let scaling = ScalingSpec { max_workers: splits, ..ScalingSpec::default() };
    Settings { capacity: 1_000.0, start_seconds: 20, pause_seconds: 2, stalls: Vec::new(), scaling }
}

/// A load that is the same for each split, as a row for each stretch of it: its first second, and records a second.
fn steps(splits: usize, rows: &[(u32, f64)]) -> Trace {
    let names: String = (0..splits).map(|split| format!(",split_{split}")).collect();
    let row = |(second, each): &(u32, f64)| format!("{second}{}\n", format!(",{each}").repeat(splits));
    Trace::parse(&format!("second{names}\n{}", rows.iter().map(row).collect::<String>())).expect("a trace")
}

fn ours(trace: &Trace, settings: &Settings) -> Outcome {
    simulate(trace, settings, &mut Ours::new(&settings.scaling))
}

#[test]
fn a_constant_load_is_not_scaled_again_after_ten_minutes_for_six_hours() {
    for (splits, tenths) in [(6, 0), (12, 1), (24, 2)]
        .into_iter()
        .flat_map(|(splits, first)| (2 + first..=80).step_by(9).map(move |tenths| (splits, tenths)))
    {
        let total = f64::from(tenths) * 100.0;
        let trace = steps(splits, &[(0, total / splits as f64), (6 * 3_600 + 599, total / splits as f64)]);
        let outcome = ours(&trace, &settings(splits as i32));
        let late: Vec<_> = outcome.decisions.iter().filter(|decision| decision.second >= 600).collect();
        assert!(late.is_empty(), "{splits} splits, {total}/s: {late:?}");
    }
}

#[test]
fn a_sink_that_stalls_adds_no_worker() {
    let mut settings = settings(12);
    settings.stalls = vec!["3600-7200".parse().expect("a stall")];
    let outcome = ours(&steps(12, &[(0, 250.0), (7_199, 250.0)]), &settings);
    let workers = |second: usize| outcome.seconds[second].workers;
    assert!((3_600..7_200).all(|second| workers(second) <= workers(3_599)), "{:?}", outcome.decisions);
    assert!(outcome.worst_lag_seconds >= 3_600.0, "it did stall");
}

#[test]
fn four_times_the_load_in_one_step_stays_within_the_target_and_falls_soon_after_the_start() {
    let outcome = ours(&steps(24, &[(0, 62.5), (3_600, 250.0), (7_200, 250.0)]), &settings(24));
    let lag = |second: usize| outcome.seconds[second].lag_seconds;
    let peak = (3_600..7_200).max_by(|a, b| lag(*a).total_cmp(&lag(*b))).expect("seconds");
    let first = outcome.decisions.iter().find(|decision| decision.second >= 3_600).expect("a step up");
    assert!(lag(peak) < 30.0, "{}", lag(peak));
    assert!(peak as u32 <= first.second + 1 + 20 + 10, "at most ten seconds after the start: {peak}");
    let last_up = outcome.decisions.iter().rfind(|decision| decision.to > decision.from).expect("one");
    assert!(last_up.second <= 3_600 + 20, "no second wave: {:?}", outcome.decisions);
}

#[test]
fn a_split_that_becomes_hot_is_moved_and_nobody_is_added() {
    let names: String = (0..8).map(|split| format!(",split_{split}")).collect();
    // In a quarter of an hour from an eighth of 1,200 records a second to three quarters of them.
    let row = |step: u32| {
        let hot = 150 + step.min(30) * 25;
        let other = f64::from(1_200 - hot) / 7.0;
        format!("{},{hot}{}\n", 3_600 + step * 30, format!(",{other}").repeat(7))
    };
    let rows: String = (0..=120).map(row).collect();
    let text = format!("second{names}\n0{}\n{rows}", ",150".repeat(8));
    let outcome = ours(&Trace::parse(&text).expect("a trace"), &settings(8));
    let late: Vec<_> = outcome.decisions.iter().filter(|decision| decision.second >= 600).collect();
    assert!(late.is_empty(), "{late:?}");
    // Without a move, one worker would have 1,029 records a second, and be 104 s late in the end.
    assert!(outcome.seconds[3_600..].iter().all(|second| second.lag_seconds < 30.0));
}

#[test]
fn silence_ends_in_zero_and_what_comes_wakes_all_that_it_needs_at_once() {
    let mut settings = settings(12);
    settings.scaling.min_workers = 0;
    let outcome = ours(&steps(12, &[(0, 250.0), (1_800, 0.0), (5_400, 250.0), (7_200, 250.0)]), &settings);
    assert_eq!(outcome.seconds[5_399].workers, 0);
    let woken = outcome.decisions.iter().find(|decision| decision.second >= 5_400).expect("a decision");
    assert!(woken.second < 5_406 && woken.from == 0 && woken.to >= 3, "{woken:?}");
    assert!(outcome.seconds[5_400..].iter().all(|second| second.lag_seconds < 40.0));
}

#[test]
fn a_load_gives_the_same_outcome_each_time() {
    let (trace, settings) = made(Kind::Silence, 4);
    assert_eq!(ours(&trace, &settings), ours(&trace, &settings));
}

#[test]
fn every_rule_is_run_on_the_same_load() {
    let comparison = compare(&steps(4, &[(0, 100.0), (1_200, 600.0), (3_600, 600.0)]), &settings(4));
    let names: Vec<_> = comparison.peers.iter().map(|row| row.name).collect();
    assert_eq!(names, ["KEDA, threshold 10", "KEDA, threshold 2,000", "Numaflow", "Flink, default", "Flink, tuned"]);
    assert!(comparison.peers.iter().all(|row| !row.outcome.decisions.is_empty()), "each of them scales");
    assert!(comparison.peers.iter().all(|row| row.outcome.worker_hours >= 1.0));
}

/// The rows of a kind in the table of `docs/design/0011-autoscaler.md`, as they are written there.
fn rows_in_the_document(kind: Kind, seed: u64) -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/design/0011-autoscaler.md");
    let text = std::fs::read_to_string(path).expect("the document");
    let begin = format!("| {} {seed} | ", kind.name());
    text.lines().filter(|line| line.starts_with(&begin) && line.matches('|').count() == 9).map(str::to_owned).collect()
}

fn assert_as_in_the_document(kinds: &[Kind], seeds: &[u64]) {
    for (kind, seed) in kinds.iter().flat_map(|kind| seeds.iter().map(move |seed| (*kind, *seed))) {
        let (table, written) = (table(&[kind], &[seed]), rows_in_the_document(kind, seed));
        let begin = format!("| {} {seed} | ", kind.name());
        let rows: Vec<_> = table.lines().filter(|line| line.starts_with(&begin)).collect();
        assert_eq!(rows, written, "docs/design/0011-autoscaler.md: `thalweg simulate-scaling --table` prints it");
        assert_eq!(rows.len(), 6, "Thalweg and five others");
    }
}

#[test]
fn the_document_says_what_comes_out_of_the_loads_that_are_quickest_to_play() {
    assert_as_in_the_document(&[Kind::Hot, Kind::Batches], &[1]);
}

#[test]
#[ignore = "minutes: all of the table"]
fn the_document_says_what_comes_out_of_every_load() {
    assert_as_in_the_document(&Kind::ALL, &[1, 2, 3]);
}
