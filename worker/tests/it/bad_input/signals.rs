//! Ctrl-C: commits and stops; once more, stops at once.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Pipeline, Ran, many, rows_of};
use crate::command::{Workplace, eventually, text};

const ROWS: u64 = 1_000_000;
const STATE: &[&str] = &["run", "p.yaml", "--state", "state", "-o", "json"];
const LIMIT: Duration = Duration::from_secs(60);
const STOPPING: &str = "stopping: committing what was read (once more stops at once)\n";

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}

fn start(place: &Workplace) -> Child {
    place.command(STATE).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

#[test]
fn the_first_one_commits_and_a_later_run_goes_on_without_loss_or_repeats() {
    for (name, pipeline) in
        [("-INT", Pipeline::new("Fail")), ("-TERM", Pipeline::new("Fail")), ("-INT", Pipeline::windowed("Fail"))]
    {
        let place = Workplace::new();
        place.write("data/a.json", &many(0..ROWS));
        let out = "files: { url: out, roll: { every: 50ms } }".to_owned();
        Pipeline { out, ..pipeline }.write(&place);
        let child = start(&place);
        eventually("some output", LIMIT, || !rows_of(&place, "out").is_empty());
        signal(&child, name);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), STOPPING));
        let stopped = Ran::of(&place, &output);
        assert_eq!(stopped.summary["outcome"], "Stopped");
        let before = stopped.summary["sources"][0]["rows"].as_u64().expect("rows");
        assert!(before < ROWS, "it ended before it was stopped");

        let ran = Ran::of(&place, &place.run(STATE));
        ran.completed();
        let windowed = ran.rows[0].contains("window_start");
        let expected = if windowed { ROWS / 100 } else { ROWS };
        assert_eq!(ran.rows.len() as u64, expected);
        assert!(ran.rows.windows(2).all(|pair| pair[0] != pair[1]), "no row twice");
        assert!(!windowed || ran.rows.iter().all(|row| row.ends_with("\"n\":100}")));
        let after = ran.summary["sources"][0]["rows"].as_u64().expect("rows");
        assert_eq!(before + after, ROWS, "what was read was committed, and is not read again");
    }
}

#[test]
fn the_second_one_stops_at_once_and_a_later_run_goes_on_all_the_same() {
    let place = Workplace::new();
    place.write("data/a.json", &many(0..ROWS));
    let out = "files: { url: out, roll: { every: 50ms } }".to_owned();
    Pipeline { out, ..Pipeline::new("Fail") }.write(&place);
    let mut child = start(&place);
    eventually("some output", LIMIT, || !rows_of(&place, "out").is_empty());
    // A process that does not get on with its commit: it is stopped with both signals at its door.
    signal(&child, "-INT");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line");
    assert_eq!(line, STOPPING);
    signal(&child, "-INT");
    let status = child.wait().expect("it ends");
    assert!([Some(0), Some(1)].contains(&status.code()), "{status}");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "", "nothing panicked");

    let ran = Ran::of(&place, &place.run(STATE));
    ran.completed();
    assert_eq!(ran.rows.len() as u64, ROWS);
    assert!(ran.rows.windows(2).all(|pair| pair[0] != pair[1]), "no row twice");
}
