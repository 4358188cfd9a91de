//! Input that changes between two runs on one state: nothing is skipped silently.

use std::process::Stdio;
use std::time::Duration;

use super::{Pipeline, Ran, has_output, many, rows_of};
use crate::command::{Workplace, eventually};

/// Rows of the file that is being read at the kill, and of the one that must not have been begun then.
const READ: u64 = 1_000_000;
const UNREAD: u64 = 10_000;
const ROWS: u64 = READ + UNREAD;
const STATE: &[&str] = &["run", "p.yaml", "--state", "state", "-o", "json"];
const LIMIT: Duration = Duration::from_secs(60);

/// A run that was killed when some of the output was there.
fn killed_midway() -> Workplace {
    let place = Workplace::new();
    place.write("data/a.json", &many(0..READ));
    place.write("data/b.json", &many(READ..ROWS));
    let out = "files: { url: out, roll: { every: 50ms } }".to_owned();
    Pipeline { out, files: "url: data/*, lanes: 1".to_owned(), ..Pipeline::new("Fail") }.write(&place);
    let mut child = place.command(STATE).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    eventually("output", LIMIT, || has_output(&place, "out"));
    child.kill().expect("killed");
    child.wait().expect("reaped");
    place
}

fn run(place: &Workplace) -> Ran {
    Ran::of(place, &place.run(STATE))
}

#[test]
fn a_file_that_vanished_shrank_or_changed_is_data_loss_until_it_is_back() {
    let place = killed_midway();
    let (path, aside) = (place.path("data/b.json"), place.path("b.json"));
    let size = std::fs::metadata(&path).expect("a file").len();
    std::fs::rename(&path, &aside).expect("moved");
    let help = " (a file that was mended is another one: start anew with `--fresh`, or put the file back with the time it \
                had, as `cp -p` and `mv` do)";

    let gone = "DataLoss: StreamSource/taxi-trips: reading `data/b.json` at byte 0: the file, or the version of it that was \
                listed, is gone";
    assert_eq!(run(&place).error(), format!("{gone}{help}"));

    place.write("data/b.json", &many(READ..READ + 10));
    let found = std::fs::metadata(&path).expect("a file").len();
    let changed =
        "DataLoss: StreamSource/taxi-trips: reading `data/b.json` at byte 0: the file changed since it was listed:";
    assert_eq!(run(&place).error(), format!("{changed} expected {size} bytes, found {found}{help}"));

    std::fs::copy(&aside, &path).expect("copied");
    let same_size = "its size is the same, its time or version is not";
    assert_eq!(run(&place).error(), format!("{changed} {same_size}{help}"));

    std::fs::rename(&aside, &path).expect("moved back");
    run(&place).completed();
    let rows = rows_of(&place, "out");
    assert_eq!(rows.len() as u64, ROWS);
    let distinct: std::collections::BTreeSet<_> = rows.iter().collect();
    assert_eq!(distinct.len() as u64, ROWS, "no row was written twice");
}

#[test]
fn a_file_that_appears_later_is_not_part_of_a_bounded_source() {
    let place = killed_midway();
    place.write("data/c.json", &many(ROWS..ROWS + 10));
    let ran = run(&place);
    ran.completed();
    assert_eq!(rows_of(&place, "out").len() as u64, ROWS);
    let told =
        "`files.url` `data/*`: 1 new since an earlier run listed its files, such as `data/c.json`; the list stays";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
}

#[test]
fn what_came_went_or_changed_after_the_end_is_told_and_nothing_is_read_again() {
    let place = Workplace::new();
    ["a", "b", "c"].iter().for_each(|name| drop(place.write(&format!("data/{name}.json"), &many(0..10))));
    Pipeline::new("Fail").write(&place);
    run(&place).completed();
    let again = run(&place);
    again.completed();
    assert!(!again.stderr.contains("since an earlier run"), "{}", again.stderr);
    std::fs::remove_file(place.path("data/a.json")).expect("removed");
    place.write("data/b.json", &many(0..11));
    place.write("data/d.json", &many(0..10));
    let ran = run(&place);
    ran.completed();
    for told in ["1 new since an earlier", "such as `data/d.json`", "1 gone since", "1 changed since"] {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    assert_eq!(rows_of(&place, "out").len(), 30);
}

#[test]
fn a_bounded_source_that_is_watched_later_is_refused_and_reads_nothing_again() {
    let place = Workplace::new();
    ["a", "b"].iter().for_each(|name| drop(place.write(&format!("data/{name}.json"), &many(0..10))));
    let with = |files: &str| Pipeline { files: format!("url: data/*{files}"), ..Pipeline::new("Fail") }.write(&place);
    with("");
    run(&place).completed();

    with(", watch: 100ms");
    let mut child = place.command(STATE).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    eventually("end", LIMIT, || child.try_wait().expect("a child").is_some());
    let ran = Ran::of(&place, &child.wait_with_output().expect("reaped"));
    let error = "StreamSource/taxi-trips: `files.url` `data/*`: positions that are kept mean nothing any more: `files.watch` was \
                 absent, is set (put it back, or start all of it anew: --fresh, in a cluster another restart.nonce)";
    assert_eq!(ran.error(), error);
    assert_eq!(rows_of(&place, "out").len(), 20, "nothing was read again");

    with(", lanes: 1");
    let ran = run(&place);
    ran.completed();
    let told = "`files.lanes` is 1; files stay dealt to 8 lanes, as an earlier run dealt them, until all of it is started anew";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    assert_eq!(rows_of(&place, "out").len(), 20);
}
