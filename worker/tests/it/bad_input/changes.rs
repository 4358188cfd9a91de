//! Input that changes between two runs on one state: nothing is skipped silently.

use std::process::Stdio;
use std::time::Duration;

use super::{Pipeline, Ran, many, rows_of};
use crate::command::{Workplace, eventually};

const ROWS: u64 = 400_000;
const STATE: &[&str] = &["run", "p.yaml", "--state", "state", "-o", "json"];
const LIMIT: Duration = Duration::from_secs(60);

/// A run that was killed when some of the output was there.
fn killed_midway() -> Workplace {
    let place = Workplace::new();
    place.write("data/a.json", &many(0..ROWS));
    place.write("data/b.json", &many(ROWS..2 * ROWS));
    let out = "files: { url: out, roll: { every: 50ms } }".to_owned();
    Pipeline { out, files: "url: data/*, lanes: 1".to_owned(), ..Pipeline::new("Fail") }.write(&place);
    let mut child = place.command(STATE).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    eventually("output", LIMIT, || !rows_of(&place, "out").is_empty());
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
    let help = " (put it back with the time it had, as `cp -p` and `mv` do, or start anew with `--fresh`)";

    let gone = "DataLoss: reading `data/b.json` at byte 0: the file, or the version of it that was listed, is gone";
    assert_eq!(run(&place).error(), format!("{gone}{help}"));

    place.write("data/b.json", &many(ROWS..ROWS + 10));
    let found = std::fs::metadata(&path).expect("a file").len();
    let changed = "DataLoss: reading `data/b.json` at byte 0: the file changed since it was listed:";
    assert_eq!(run(&place).error(), format!("{changed} expected {size} bytes, found {found}{help}"));

    std::fs::copy(&aside, &path).expect("copied");
    let same_size = "its size is the same, its time or version is not";
    assert_eq!(run(&place).error(), format!("{changed} {same_size}{help}"));

    std::fs::rename(&aside, &path).expect("moved back");
    run(&place).completed();
    let rows = rows_of(&place, "out");
    assert_eq!(rows.len() as u64, 2 * ROWS);
    let distinct: std::collections::BTreeSet<_> = rows.iter().collect();
    assert_eq!(distinct.len() as u64, 2 * ROWS, "no row was written twice");
}

#[test]
fn a_file_that_appears_later_is_not_part_of_a_bounded_source() {
    let place = killed_midway();
    place.write("data/c.json", &many(2 * ROWS..2 * ROWS + 10));
    run(&place).completed();
    assert_eq!(rows_of(&place, "out").len() as u64, 2 * ROWS);
}
