//! Folders of state and output that cannot be had.

use std::process::Stdio;
use std::time::Duration;

use super::{FIRST, LAST, Pipeline, Ran, many, rows_of};
use crate::command::{Workplace, eventually, text};

fn place() -> Workplace {
    let place = Workplace::new();
    place.write("data/a.json", &format!("{FIRST}\n{LAST}\n"));
    place
}

const STATE: &[&str] = &["run", "p.yaml", "--state", "state", "-o", "json"];

#[test]
fn an_output_folder_that_cannot_be_made_ends_the_run_before_anything_is_read() {
    let place = place();
    place.write("taken", "");
    let hint = "(choose another `files.url`, or let the worker write there)";
    for (out, bad) in [("taken/out", "bad"), ("out", "taken")] {
        let url = |url: &str| format!("files: {{ url: {url} }}");
        let ran = Pipeline { out: url(out), bad: url(bad), ..Pipeline::new("Drop") }.run(&place);
        let error = ran.error();
        let folder = if out == "out" { bad } else { out };
        assert!(error.starts_with(&format!("writing to `{folder}`: ")) && error.ends_with(hint), "{error}");
        assert!(ran.stderr.ends_with(&format!("error: default.p: {error}\n")), "{}", ran.stderr);
        assert_eq!(ran.summary["sources"], serde_json::json!([]));
    }
}

#[test]
fn a_state_folder_that_cannot_be_made_is_named() {
    let place = place();
    place.write("taken", "");
    Pipeline::new("Drop").write(&place);
    let ran = Ran::of(&place, &place.run(&["run", "p.yaml", "--state", "taken/state", "-o", "json"]));
    let error = ran.error();
    assert!(error.starts_with("state folder `taken/state`: "), "{error}");
    assert!(error.ends_with(" (choose a folder that can be written)"), "{error}");
}

#[test]
fn a_second_process_on_one_state_folder_is_refused_with_the_folder_and_the_first_one() {
    let place = Workplace::new();
    place.write("data/a.json", &many(0..1000));
    // A watched folder never ends.
    Pipeline { files: "url: data/*, watch: 1s".to_owned(), ..Pipeline::new("Drop") }.write(&place);
    let mut first = place.command(STATE).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let locked = || std::fs::read_to_string(place.path("state/thalweg.lock")).is_ok_and(|pid| !pid.trim().is_empty());
    eventually("a lock", Duration::from_secs(30), locked);
    let second = Ran::of(&place, &place.run(STATE));
    let error = format!(
        "state folder `state`: another `thalweg` (process {}) holds it (stop that one first, or give this one a \
         folder of its own with `--state`)",
        first.id()
    );
    assert_eq!(second.error(), error);
    first.kill().expect("killed");
    first.wait().expect("reaped");

    Pipeline::new("Drop").write(&place);
    let output = place.run(STATE);
    assert!(text(&output.stderr).lines().all(|line| !line.contains("holds it")), "a killed process holds nothing");
}

#[test]
fn state_of_another_plan_is_refused_with_each_difference_and_fresh_starts_anew() {
    let place = place();
    let windowed = |size: &str| {
        let pipeline = Pipeline::windowed("Drop");
        Pipeline { sql: pipeline.sql.replace("'1'", size), ..pipeline }
    };
    windowed("'1'").write(&place);
    Ran::of(&place, &place.run(STATE)).completed();
    windowed("'2'").write(&place);
    let refused = Ran::of(&place, &place.run(STATE));
    let error = "state of pipeline `default/p` in `state`, incarnation 1: stage 0: its window was TUMBLE(1 s), now \
                 TUMBLE(2 s) (start with --fresh or a new folder)";
    assert_eq!(refused.error(), error);
    assert_eq!(rows_of(&place, "out").len(), 2, "nothing was written");

    let fresh = Ran::of(&place, &place.run(&[STATE, &["--fresh"]].concat()));
    fresh.completed();
    assert_eq!(fresh.summary["sources"][0]["rows"], 2, "it read from the start");
    assert_eq!(rows_of(&place, "out").len(), 3, "the output of both incarnations stands side by side");
    assert!(place.path("state/default/p/1").is_dir(), "the old state is kept");
}
