//! Manifests that are wrong: every problem at once, each at its place; exit code 2.

use serde_json::{Value, json};

use super::Pipeline;
use crate::command::{Workplace, text};

/// The manifests after an edit.
fn place(edits: &[(&str, &str)]) -> Workplace {
    let place = Workplace::new();
    let mut manifests = Pipeline::new("Fail").text();
    for (from, to) in edits {
        assert!(manifests.contains(from), "{from}");
        manifests = manifests.replacen(from, to, 1);
    }
    place.write("p.yaml", &manifests);
    place
}

const EDITS: &[(&str, &str)] = &[
    ("zone, type: INT", "zone, type: DECIMAL(10, 2)"),
    ("watermark:", "watermarks:"),
    ("onError: Fail", "onError: Failed"),
];

#[test]
fn every_problem_is_told_for_people_with_file_line_and_column() {
    let place = place(EDITS);
    for command in ["run", "check", "explain"] {
        let output = place.run(&[command, "p.yaml"]);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{command}");
        let expected = "\
p.yaml:9:27: StreamSource/taxi-trips spec.schema[1].type: `DECIMAL(10` was cut in two by its comma: `2)` became a key of its own
  help: quote it: type: \"DECIMAL(10, 2)\"
p.yaml:12:3: StreamSource/taxi-trips spec.watermarks: unknown field
  help: did you mean watermark?
p.yaml:13:12: StreamSource/taxi-trips spec.onError: expected Fail, Drop or DeadLetter, found `Failed`
  help: did you mean Fail?
";
        assert_eq!(text(&output.stderr), expected, "{command}");
    }
}

#[test]
fn what_is_amiss_in_a_manifest_does_not_hide_what_is_in_sql() {
    let (copy, id) = ("INSERT INTO out SELECT id, zone, at, note FROM trips", "INSERT INTO out SELECT idd FROM trips");
    let unknown = "column `idd` not found";
    let unknown_field = ("onError: Fail", "onErorr: Fail");
    let unread = ("zone, type: INT", "zone, type: INTS");
    let nowhere = ("sinks: [{ name: out", "sinks: [{ name: oud");
    for (edit, sql, told) in [
        (unknown_field, copy, None),
        (unknown_field, id, Some(unknown)),
        (("deadLetter: { sink: bad }", "deadLetter: { sinc: bad }"), id, Some(unknown)),
        (("url: out }", "url: out, partitionBys: [zone] }"), id, Some(unknown)),
        (("url: out }", "urls: out }"), id, Some(unknown)),
        (nowhere, id, Some(unknown)),
        (unread, id, None),
        (unread, "INSERT INTO out SELECT id FROM trips ORDER BY id", Some("ORDER BY is not supported")),
        (unread, "INSERT INTO out SELECT id FROM trip", Some("there is no source or view `trip`")),
        (unread, "INSERT INTO out SELEC id FROM trips", Some("")),
    ] {
        let place = place(&[edit, (copy, sql)]);
        let output = place.run(&["check", "p.yaml", "-o", "json"]);
        assert_eq!(output.status.code(), Some(2), "{edit:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let problems = answer["problems"].as_array().expect("problems");
        let (of_sql, others): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem["path"] == "spec.sql");
        assert!(!others.is_empty(), "{edit:?}");
        let of_sql: Vec<_> = of_sql.iter().filter_map(|problem| problem["message"].as_str()).collect();
        let is_told = match told {
            Some(start) => of_sql.len() == 1 && of_sql[0].starts_with(start),
            None => of_sql.is_empty(),
        };
        assert!(is_told, "{edit:?} {sql}: {of_sql:?}, expected {told:?}");
    }
}

#[test]
fn every_problem_is_told_for_scripts_on_standard_output() {
    let place = place(EDITS);
    for command in ["run", "check"] {
        let output = place.run(&[command, "p.yaml", "-o", "json"]);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(2), ""), "{command}");
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let problem = &told["problems"][1];
        let expected = json!({
            "resource": "StreamSource/taxi-trips", "file": "p.yaml", "line": 12, "column": 3, "path": "spec.watermarks",
            "message": "unknown field", "help": "did you mean watermark?",
        });
        assert_eq!((problem, told["problems"].as_array().map(Vec::len)), (&expected, Some(3)), "{command}");
    }
}

#[test]
fn a_reference_to_nothing_names_what_there_is() {
    let place = place(&[
        ("sources: [{ name: taxi-trips", "sources: [{ name: taxi-trip"),
        ("sinks: [{ name: out", "sinks: [{ name: oud"),
    ]);
    let output = place.run(&["run", "p.yaml"]);
    let expected = "\
p.yaml:30:21: StreamPipeline/p spec.sources[0].name: there is no StreamSource `taxi-trip` in namespace default
  help: did you mean taxi-trips?
p.yaml:31:19: StreamPipeline/p spec.sinks[0].name: there is no StreamSink `oud` in namespace default
  help: did you mean out?
";
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(2), expected));
}

#[test]
fn a_dead_letter_without_a_sink_and_one_folder_for_two_sinks_are_refused() {
    let place = place(&[("  deadLetter: { sink: bad }\n", ""), ("onError: Fail", "onError: DeadLetter")]);
    let output = place.run(&["run", "p.yaml"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    let message =
        "StreamSource/taxi-trips says DeadLetter, and the pipeline has no deadLetter.sink\n  help: add deadLetter:";
    assert!(stderr.contains(message), "{stderr}");

    let place = self::place(&[("files: { url: bad }", "files: { url: ./out/ }")]);
    let output = place.run(&["run", "p.yaml"]);
    let expected = "p.yaml:32:23: StreamPipeline/p spec.deadLetter.sink: StreamSink/bad writes to `out`, as \
                    spec.sinks[0].name does\n  help: give each sink of a pipeline a folder of its own\n";
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(2), expected));
}

#[test]
fn what_is_no_manifest_is_told_with_its_file() {
    let place = Workplace::new();
    place.write("broken.yaml", "kind: [\n");
    for (words, code, start) in [
        (&["run", "nope.yaml"][..], 2, "nope.yaml: cannot be read: No such file or directory"),
        (&["run", "broken.yaml"], 2, "broken.yaml:"),
        (&["run"], 2, "error: the following required arguments were not provided"),
        (&["run", "nope.yaml", "--threads", "0"], 2, "error: invalid value '0' for '--threads <N>'"),
        (&["run", "nope.yaml", "--log", "a=b=c"], 2, "error: --log `a=b=c`: "),
    ] {
        let output = place.run(words);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
        assert!(stderr.starts_with(start), "{words:?}: {stderr}");
    }
}

#[test]
fn manifests_that_are_lines_are_answered_line_by_line_whatever_is_wrong_in_one() {
    let wrong = Pipeline::new("Fail").text().replacen("sources: [{ name: taxi-trips", "sources: [{ name: taxi-trip", 1);
    let texts = [Pipeline::new("Fail").text(), wrong, Pipeline::new("Drop").text()];
    // The same names in each: lines know nothing of each other.
    let lines = texts.iter().map(|text| format!("{}\n", json!(text))).collect::<Vec<_>>().concat();
    let place = Workplace::new();
    place.write("plans", &lines);
    let output = place.run(&["check", "--offline", "-o", "json", "--lines", "plans"]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    let said = text(&output.stdout);
    let answers: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let found = |at: usize, what: &str| answers[at][what].as_array().map(Vec::len);
    assert_eq!(answers.len(), 3, "{said}");
    assert_eq!([0, 1, 2].map(|at| found(at, "problems")), [Some(0), Some(1), Some(0)], "{said}");
    assert_eq!([0, 1, 2].map(|at| found(at, "pipelines")), [Some(1), None, Some(1)], "{said}");
    assert_eq!(answers[1]["problems"][0]["path"], "spec.sources[0].name");

    place.write("plans", &format!("{}\nno JSON\n", json!(texts[0])));
    let output = place.run(&["check", "--offline", "-o", "json", "--lines", "plans"]);
    let said = text(&output.stdout);
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
}
