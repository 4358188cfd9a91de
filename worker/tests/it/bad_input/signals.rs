//! Ctrl-C: commits and stops; once more, stops at once.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Pipeline, Ran, has_output, many};
use crate::command::{Workplace, eventually, text};

const ROWS: u64 = 1_000_000;
const STATE: &[&str] = &["run", "p.yaml", "--state", "state", "-o", "json"];
const LIMIT: Duration = Duration::from_secs(60);
const STOPPING: &str = "stopping: committing what was read (once more stops at once)\n";

fn signal(child: &Child, name: &str) {
    // One that has ended by now is told by what it printed.
    Command::new("kill").args([name, &child.id().to_string()]).stderr(Stdio::null()).status().expect("kill");
}

fn start(place: &Workplace) -> Child {
    place.command(STATE).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

/// A run that a signal stopped before its input ended: its place, the rows that it had read, and all there are.
fn stopped_midway(name: &str, pipeline: &Pipeline) -> (Workplace, u64, u64) {
    // A machine that reads everything before it hears the signal gets more to read.
    for rows in [ROWS, 2 * ROWS, 4 * ROWS, 8 * ROWS] {
        let place = Workplace::new();
        place.write("data/a.json", &many(0..rows));
        let out = "files: { url: out, roll: { every: 50ms } }".to_owned();
        Pipeline { out, ..pipeline.clone() }.write(&place);
        let child = start(&place);
        eventually("some output", LIMIT, || has_output(&place, "out"));
        signal(&child, name);
        let output = child.wait_with_output().expect("it ends");
        let stopped = Ran::of(&place, &output);
        let before = stopped.summary["sources"][0]["rows"].as_u64().expect("rows");
        if before < rows {
            assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), STOPPING));
            assert_eq!(stopped.summary["outcome"], "Stopped");
            return (place, before, rows);
        }
    }
    panic!("every run ended before it was stopped");
}

#[test]
fn the_first_one_commits_and_a_later_run_goes_on_without_loss_or_repeats() {
    for (name, pipeline) in
        [("-INT", Pipeline::new("Fail")), ("-TERM", Pipeline::new("Fail")), ("-INT", Pipeline::windowed("Fail"))]
    {
        let (place, before, rows) = stopped_midway(name, &pipeline);
        let ran = Ran::of(&place, &place.run(STATE));
        ran.completed();
        let windowed = ran.rows[0].contains("window_start");
        let expected = if windowed { rows / 100 } else { rows };
        assert_eq!(ran.rows.len() as u64, expected);
        assert!(ran.rows.windows(2).all(|pair| pair[0] != pair[1]), "no row twice");
        assert!(!windowed || ran.rows.iter().all(|row| row.ends_with("\"n\":100}")));
        let after = ran.summary["sources"][0]["rows"].as_u64().expect("rows");
        assert_eq!(before + after, rows, "what was read was committed, and is not read again");
    }
}

#[test]
fn one_that_comes_twice_at_once_is_one() {
    let place = Workplace::new();
    place.write("data/a.json", &many(0..ROWS));
    let out = "files: { url: out, roll: { every: 50ms } }".to_owned();
    Pipeline { out, ..Pipeline::new("Fail") }.write(&place);
    let child = start(&place);
    eventually("some output", LIMIT, || has_output(&place, "out"));
    signal(&child, "-INT");
    signal(&child, "-INT");
    assert_eq!(child.wait_with_output().expect("it ends").status.code(), Some(0));
}

#[test]
fn the_second_one_stops_at_once_and_a_later_run_goes_on_all_the_same() {
    for rows in [ROWS, 2 * ROWS, 4 * ROWS, 8 * ROWS] {
        let place = Workplace::new();
        place.write("data/a.json", &many(0..rows));
        let out = "files: { url: out, roll: { every: 50ms } }".to_owned();
        Pipeline { out, ..Pipeline::new("Fail") }.write(&place);
        let mut child = start(&place);
        eventually("some output", LIMIT, || has_output(&place, "out"));
        signal(&child, "-INT");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("a line");
        let mut status = None;
        // The first moments after the first one are its echo.
        eventually("its end", LIMIT, || {
            signal(&child, "-INT");
            status = child.try_wait().expect("a child");
            status.is_some()
        });
        let status = status.expect("it ended");
        if line.is_empty() {
            continue;
        }
        assert_eq!(line, STOPPING);
        assert!([Some(0), Some(1)].contains(&status.code()), "{status}");
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).expect("text");
        assert_eq!(rest, "", "nothing panicked");

        let ran = Ran::of(&place, &place.run(STATE));
        ran.completed();
        assert_eq!(ran.rows.len() as u64, rows);
        assert!(ran.rows.windows(2).all(|pair| pair[0] != pair[1]), "no row twice");
        return;
    }
    panic!("every run ended before it was stopped");
}
