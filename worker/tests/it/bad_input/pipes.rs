//! Standard output that goes away or is full.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::{FIRST, Pipeline, many};
use crate::command::{Workplace, text};

fn to_stdout(style: &str) -> Pipeline {
    Pipeline { out: format!("stdout: {{ style: {style} }}"), ..Pipeline::new("Fail") }
}

#[test]
fn a_reader_that_goes_away_ends_the_run_without_a_panic() {
    for (style, words) in [
        ("Json", &["run", "p.yaml"][..]),
        ("Table", &["run", "p.yaml"]),
        ("Json", &["run", "p.yaml", "--state", "state"]),
    ] {
        let place = Workplace::new();
        place.write("data/a.json", &many(0..200_000));
        to_stdout(style).write(&place);
        let mut child =
            place.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        drop(out);
        let output = child.wait_with_output().expect("it ends");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains("error: default.p: StreamSink/out: writing to stdout: whoever reads it has gone\n"),
            "{stderr}"
        );
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn other_commands_take_a_closed_pipe_for_what_it_is() {
    let place = Workplace::new();
    to_stdout("Json").write(&place);
    for words in [&["explain", "p.yaml"][..], &["check", "p.yaml", "-o", "json"], &["completions", "bash"], &["--help"]]
    {
        let mut child =
            place.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{words:?}");
    }
}

#[test]
fn what_could_not_be_written_is_not_taken_for_done() {
    let place = Workplace::new();
    place.write("data/a.json", FIRST);
    Pipeline::new("Fail").write(&place);
    for words in [
        &["run", "p.yaml", "-o", "json"][..],
        &["explain", "p.yaml"],
        &["check", "p.yaml", "-o", "json"],
        &["completions", "bash"],
    ] {
        let full = File::options().write(true).open("/dev/full").expect("a device");
        let output = place.command(words).stdout(full).output().expect("the binary starts");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {stderr}");
        assert!(
            stderr.ends_with("error: writing to standard output: No space left on device (os error 28)\n"),
            "{stderr}"
        );
    }
}
