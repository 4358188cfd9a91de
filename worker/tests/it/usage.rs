//! What is wrong to ask for on the command line, and what the help shows.

use std::path::Path;

use crate::bad_input::{FIRST, Pipeline};
use crate::command::{Workplace, text};

#[test]
fn wrong_usage_is_told_and_exits_with_2() {
    let place = Workplace::new();
    place.write("data/a.json", FIRST);
    Pipeline::new("Fail").write(&place);
    let cases: [(&[&str], &str); 12] = [
        (&["run", "p.yaml", "--state", ""], "state URL: it is empty; expected a folder, or s3://bucket/prefix"),
        (&["run", "p.yaml", "--state", "ftp://x"], "found `ftp://`, expected a folder, or s3://bucket/prefix"),
        (&["explain", "p.yaml", "--state", ""], "state URL: it is empty"),
        (&["run", "p.yaml", "--secrets", "nope"], "there is no such folder"),
        (&["run", "p.yaml", "--secrets", "p.yaml"], "there is no such folder"),
        (&["run", "p.yaml", "--memory-bytes", "1"], "1 is not in 16777216.."),
        (&["run", "p.yaml", "--fresh"], "--fresh begins anew beside kept state, and none is kept here"),
        (&["generate", "nexmark", "--out", "made", "--broken", "0.1"], "--broken is for taxi"),
        (&["generate", "nexmark", "--out", "made", "--late", "0.1"], "--late is for taxi"),
        (&["generate", "nexmark", "--out", "made", "--hot-zone", "7"], "--hot-zone is for taxi"),
        (&["generate", "taxi", "--out", "made", "--format", "csv", "--broken", "0.5"], "--broken is for --format json"),
        (
            &["generate", "taxi", "--out", "made", "--format", "parquet", "--broken", "0.5"],
            "--broken is for --format json",
        ),
    ];
    for (words, message) in cases {
        let ran = place.run(words);
        let said = text(&ran.stderr);
        assert_eq!((ran.status.code(), said.contains(message)), (Some(2), true), "{words:?}: {said}");
    }
    assert!(!place.path("made").exists(), "nothing was written");
}

#[test]
fn the_examples_of_the_help_run_in_their_order() {
    let place = Workplace::new();
    let example = "manifests/examples/boroughs/boroughs.yaml";
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(example);
    place.write(example, &std::fs::read_to_string(manifest).expect("the example"));
    let help = place.succeed(&["--help"]);
    let commands: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  thalweg ")).collect();
    assert_eq!(commands.len(), 4, "{help}");
    for command in commands {
        let (command, _) = command.split_once("  ").expect("a command, and what it does");
        place.succeed(&command.split_whitespace().collect::<Vec<_>>());
    }
}
