//! `thalweg simulate-scaling`: how a pipeline would be scaled on a load of the past.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use thalweg_simulator::{
    Comparison, Kind, Ours, Outcome, Settings, Trace, compare, made, simulate, svg, table, terminal,
};

use super::args::{Output, SimulateArgs};
use super::{Exit, print, tell};

/// Characters of a chart's row.
const WIDTH: usize = 100;
/// Seeds of the table: the first is what constants were chosen on.
const SEEDS: [u64; 3] = [1, 2, 3];

/// Runs a load against the autoscaler's code.
pub fn run(args: &SimulateArgs) -> Exit {
    if args.table {
        return print(&table(&Kind::ALL, &SEEDS));
    }
    match simulated(args) {
        Ok(text) => print(&text),
        Err((exit, error)) => {
            tell(&format!("error: {error}"));
            exit
        }
    }
}

/// What is printed, once the files that were asked for are written.
fn simulated(args: &SimulateArgs) -> Result<String, (Exit, String)> {
    let (trace, settings) = load(args).map_err(|error| (Exit::Wrong, error))?;
    write_file(args.write.as_deref(), || trace.csv())?;
    let (outcome, peers) = match args.compare {
        true => {
            let comparison = compare(&trace, &settings);
            (comparison.ours.clone(), Some(comparison))
        }
        false => (simulate(&trace, &settings, &mut Ours::new(&settings.scaling)), None),
    };
    write_file(args.svg.as_deref(), || svg(&outcome, &settings))?;
    Ok(match args.output {
        Output::Json => format!("{}\n", json_of(&outcome, peers.as_ref())),
        Output::Text => text_of(&outcome, peers.as_ref(), &settings),
    })
}

fn write_file(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), (Exit, String)> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, text()).map_err(|error| (Exit::Failed, format!("writing {}: {error}", path.display())))
}

/// The load, and what is assumed: by the arguments, and else as the load was made, or by the defaults.
fn load(args: &SimulateArgs) -> Result<(Trace, Settings), String> {
    // What is assumed by default is the same for every kind but silence.
    let (mut trace, mut settings) = made(args.made.unwrap_or(Kind::Batches), args.seed);
    if let Some(path) = &args.trace {
        let text = std::fs::read_to_string(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
        trace = Trace::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        settings.scaling.max_workers = i32::try_from(trace.splits()).unwrap_or(i32::MAX);
    }
    let scaling = &mut settings.scaling;
    scaling.min_workers = args.min.map_or(scaling.min_workers, i32::from);
    scaling.max_workers = args.max.map_or(scaling.max_workers, i32::from);
    (scaling.target_lag, scaling.catch_up, scaling.zero_after) = (args.target_lag, args.catch_up, args.zero_after);
    if scaling.min_workers > scaling.max_workers {
        let (least, most) = (scaling.min_workers, scaling.max_workers);
        return Err(format!(
            "--min is {least} and --max {most} (by default the number of splits); expected --min ≤ --max"
        ));
    }
    (settings.capacity, settings.start_seconds) = (args.capacity, args.start_seconds);
    settings.pause_seconds = args.pause_seconds;
    if !args.stall.is_empty() {
        settings.stalls.clone_from(&args.stall);
    }
    Ok((trace, settings))
}

fn json_of(outcome: &Outcome, peers: Option<&Comparison>) -> Value {
    let mut value = json!(outcome);
    if let Some(comparison) = peers {
        value["peers"] = json!(comparison.peers);
    }
    value
}

fn text_of(outcome: &Outcome, comparison: Option<&Comparison>, settings: &Settings) -> String {
    let mut text = terminal(outcome, WIDTH);
    let _ = writeln!(
        text,
        "\nlag above {}: {:.2} % of the time, at worst {:.0} s\nworker-hours: {:.1}\nmoves of splits: {}\nchanges of workers: {}",
        settings.scaling.target_lag,
        outcome.percent_time_above_target,
        outcome.worst_lag_seconds,
        outcome.worker_hours,
        outcome.moves,
        outcome.decisions.len()
    );
    for decision in &outcome.decisions {
        let _ = writeln!(text, "  {:>6} s  {} → {}  {}", decision.second, decision.from, decision.to, decision.reason);
    }
    for row in comparison.into_iter().flat_map(|comparison| &comparison.peers) {
        let verdict = match (row.beaten, row.clairvoyant) {
            (true, _) => "more of both",
            (false, Some(_)) => "less of one",
            (false, None) => "less of one, and no schedule that knows what comes was found with less of both",
        };
        let _ = writeln!(
            text,
            "{:<22} {:>6.2} % of the time, {:>7.1} worker-hours, {:>5} moves: {verdict}",
            row.name, row.outcome.percent_time_above_target, row.outcome.worker_hours, row.outcome.moves
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Args, Command};
    use super::*;

    fn args(more: &[&str]) -> SimulateArgs {
        let all = ["thalweg", "simulate-scaling"].into_iter().chain(more.iter().copied());
        match Args::try_parse_from(all).expect("arguments").command {
            Command::SimulateScaling(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn trace(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    #[test]
    fn a_history_by_the_minute_is_simulated_and_told_as_json() {
        let rows: String = (0..60).map(|minute| format!("{},900,900\n", minute * 60)).collect();
        let file = trace(&format!("second,split_0,split_1\n{rows}"));
        let path = file.path().display().to_string();
        let said = simulated(&args(&["--trace", &path, "-o", "json"])).expect("an outcome");
        let value: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(value["percentTimeAboveTarget"], 0.0);
        assert_eq!(value["decisions"][0]["to"], 2, "{value}");
        assert_eq!((&value["moves"], value["decisions"].as_array().map(Vec::len)), (&json!(1), Some(1)));
    }

    #[test]
    fn what_was_said_counts_and_bounds_that_cross_are_told() {
        let file = trace("second,split_0,split_1\n0,1,1\n");
        let path = file.path().display().to_string();
        let (_, settings) =
            load(&args(&["--trace", &path, "--capacity", "7.5", "--stall", "0-1", "--target-lag", "1m"]))
                .expect("settings");
        assert_eq!((settings.capacity, settings.stalls.len(), settings.target_lag_seconds()), (7.5, 1, 60.0));
        assert_eq!((settings.scaling.min_workers, settings.scaling.max_workers), (1, 2));
        let wrong = load(&args(&["--trace", &path, "--min", "3"])).unwrap_err();
        assert_eq!(wrong, "--min is 3 and --max 2 (by default the number of splits); expected --min ≤ --max");
    }

    #[test]
    fn a_wrong_trace_is_told_with_its_file_and_place() {
        let file = trace("second,split_0\n0,many\n");
        let path = file.path().display().to_string();
        let (exit, error) = simulated(&args(&["--trace", &path])).unwrap_err();
        assert_eq!(exit, Exit::Wrong);
        assert_eq!(
            error,
            format!("{path}: line 2, column split_0: found `many`, expected records a second, 0 or more")
        );
    }
}
