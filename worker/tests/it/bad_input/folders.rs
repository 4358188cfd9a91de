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
        let (sink, folder) = if out == "out" { ("bad", bad) } else { ("out", out) };
        assert!(
            error.starts_with(&format!("StreamSink/{sink}: writing to `{folder}`: ")) && error.ends_with(hint),
            "{error}"
        );
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

#[test]
fn a_row_whose_folder_no_file_system_takes_goes_the_way_of_bad_rows() {
    let place = Workplace::new();
    let long = "x".repeat(300);
    let row = |id: u64, note: &str| format!(r#"{{"id":{id},"zone":1,"at":"2024-01-01T00:00:00Z","note":"{note}"}}"#);
    place.write("data/a.json", &format!("{}\n{}\n{}\n", row(1, "a"), row(2, &long), row(3, "b")));
    let run = |on_error: &str| {
        let out = format!("files: {{ url: out, partitionBy: [note] }}, onError: {on_error}");
        Pipeline { out, ..Pipeline::new("Fail") }.run(&place)
    };
    let message = "`files.partitionBy`: `note`: expected at most 255 bytes as the name of a folder, found 305";

    let failed = run("Fail");
    let error = failed.error();
    assert!(error.starts_with(&format!("StreamSink/out: {message}\n  found: {{\"id\":2,")), "{error}");

    let dropped = run("Drop");
    dropped.completed();
    assert_eq!((dropped.rows.len(), &dropped.dead), (2, &vec![]));

    let kept = run("DeadLetter");
    kept.completed();
    assert_eq!((kept.rows.len(), kept.dead.len()), (2, 1));
    let letter = &kept.dead[0];
    assert_eq!((&letter["class"], &letter["message"]), (&"Rejected".into(), &message.into()));
    assert!(letter["raw"].as_str().is_some_and(|raw| raw.contains(&long)), "{letter}");
}

#[test]
fn a_pipeline_with_the_longest_name_runs_and_goes_on() {
    let place = Workplace::new();
    place.write("data/a.json", r#"{"id":1,"zone":1,"at":"2024-01-01T00:00:00Z","note":"a"}"#);
    let name = "p".repeat(253);
    place.write("p.yaml", &Pipeline::new("Fail").text().replace("name: p }", &format!("name: {name} }}")));
    for _ in 0..2 {
        let ran = Ran::of(&place, &place.run(STATE));
        ran.completed();
        assert_eq!(ran.rows.len(), 1, "{}", ran.stderr);
    }
}
