//! Folders of state and output that cannot be had.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{FIRST, LAST, Pipeline, Ran, has_output, many, rows_of};
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
                 TUMBLE(2 s) (";
    assert!(refused.error().starts_with(error), "{}", refused.error());
    assert_eq!(rows_of(&place, "out").len(), 2, "nothing was written");

    let fresh = Ran::of(&place, &place.run(&[STATE, &["--fresh"]].concat()));
    fresh.completed();
    assert_eq!(fresh.summary["sources"][0]["rows"], 2, "it read from the start");
    assert_eq!(rows_of(&place, "out").len(), 3, "the output of both incarnations stands side by side");
    assert!(place.path("state/default/p/1").is_dir(), "the old state is kept");
}

#[test]
fn a_record_that_is_none_is_one_dead_letter_whatever_statements_are_written_in_front() {
    let place = Workplace::new();
    place.write("data/a.json", &format!("{FIRST}\nno row\n{LAST}\n"));
    let copy = "INSERT INTO out SELECT id, zone, at, note FROM trips";
    for sql in [copy.to_owned(), format!("{copy} WHERE id = 1; {copy}"), format!("{copy}; {copy} WHERE id = 1")] {
        Pipeline { sql, ..Pipeline::new("DeadLetter") }.write(&place);
        Ran::of(&place, &place.run(STATE)).completed();
        assert_eq!(rows_of(&place, "bad").len(), 1);
    }
    assert_eq!(rows_of(&place, "out").len(), 3, "both rows of one, and one row of the other");
}

#[test]
fn output_whose_state_is_gone_is_not_written_again_unless_that_is_meant() {
    let place = place();
    Pipeline::new("Drop").write(&place);
    let run = |words: &[&str]| Ran::of(&place, &place.run(words));
    let fresh = [STATE, &["--fresh"]].concat();
    // What keeps no state begins anew each time, and says so.
    run(&["run", "p.yaml", "-o", "json"]).completed();
    run(STATE).completed();
    assert_eq!(rows_of(&place, "out").len(), 4);
    let mut rows = 4;
    for _ in 0..2 {
        std::fs::remove_dir_all(place.path("state")).expect("removed");
        for _ in 0..2 {
            let refused = run(STATE);
            let error = refused.error();
            let start = "StreamSink/out: it holds output of this pipeline, such as `default.p-";
            assert!(error.starts_with(start) && error.contains("and its state is not in `state` ("), "{error}");
            assert!(error.contains("begin anew: with `--fresh`"), "{error}");
            assert_eq!(refused.rows.len(), rows, "nothing was written");
        }
        // The first of these runs has left the number of the state that is gone.
        let anew = run(&fresh);
        anew.completed();
        rows += 2;
        assert_eq!(anew.rows.len(), rows);
        run(STATE).completed();
        assert_eq!(rows_of(&place, "out").len(), rows, "it goes on, and there is no more");
        let second = seconds();
        eventually("another second", Duration::from_secs(30), || seconds() > second);
    }
    std::fs::remove_dir_all(place.path("state")).expect("removed");
    run(&fresh).completed();
    assert_eq!(rows_of(&place, "out").len(), rows + 2);
    let left = std::fs::read_dir(place.path("out")).expect("a folder").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    let is_sealed = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(".thalweg-sealed");
    assert!(!left.iter().any(is_sealed), "nothing was left half done: {left:?}");
}

fn seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

#[test]
fn a_state_folder_that_is_taken_away_ends_the_run_at_its_next_commit() {
    let place = Workplace::new();
    place.write("data/a.json", &many(0..1000));
    let out = "files: { url: out, roll: { every: 50ms } }".to_owned();
    Pipeline { out, files: "url: data/*, watch: 100ms".to_owned(), ..Pipeline::new("Drop") }.write(&place);
    let mut child = place.command(STATE).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    eventually("output", Duration::from_secs(60), || has_output(&place, "out"));
    std::fs::rename(place.path("state"), place.path("gone")).expect("moved");
    let (started, mut files) = (Instant::now(), 0);
    eventually("end", Duration::from_secs(60), || {
        // There is always something to commit.
        if started.elapsed() >= Duration::from_millis(100) * files {
            files += 1;
            place.write(&format!("data/b-{files}.json"), &many(1000..1010));
        }
        child.try_wait().expect("a child").is_some()
    });
    let ran = Ran::of(&place, &child.wait_with_output().expect("reaped"));
    let expected = "DataLoss: state folder `state`: it was removed or replaced while this process used it (";
    assert!(ran.error().starts_with(expected), "{}", ran.error());
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
