//! Disks that are full.

use std::process::{Command, Stdio};

use super::{Pipeline, Ran, many, rows_of};
use crate::command::{Workplace, text};

#[test]
fn a_file_that_outgrows_the_limit_of_the_process_is_an_error_and_no_row_is_shown() {
    let place = Workplace::new();
    place.write("data/a.json", &many(0..100_000));
    Pipeline::new("Fail").write(&place);
    let limited = |words: &str| {
        let script = format!("ulimit -f 1000; exec \"$0\" run p.yaml -o json {words}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_thalweg")]).current_dir(place.path(".")).stdin(Stdio::null());
        Ran::of(&place, &shell.output().expect("a shell"))
    };
    let ran = limited("");
    let error = ran.error();
    assert!(error.starts_with("StreamSink/out: writing `.thalweg-open-default.p-"), "{error}");
    assert!(error.ends_with("` to `out`: File too large (os error 27)"), "{error}");
    assert_eq!(ran.rows.len(), 0, "a file that is not whole is not shown");

    let ran = limited("--state state");
    assert!(ran.error().contains("File too large"), "{}", ran.error());
    let ran = Ran::of(&place, &place.run(&["run", "p.yaml", "--state", "state", "-o", "json"]));
    ran.completed();
    assert_eq!(ran.rows.len(), 100_000, "once there is room, every row comes, once");
}

/// A file system of one megabyte, gone when dropped; `None` where it cannot be had.
struct SmallDisk<'a>(&'a Workplace);

impl<'a> SmallDisk<'a> {
    fn mount(place: &'a Workplace) -> Option<Self> {
        let folder = place.path("small");
        std::fs::create_dir(&folder).expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&folder).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(place)),
            other => {
                println!("skipped: a small file system needs the right to mount one: {other:?}");
                None
            }
        }
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path("small")).status();
    }
}

#[test]
fn a_full_disk_is_named_and_once_there_is_room_the_run_goes_on_from_its_state() {
    let place = Workplace::new();
    let Some(_disk) = SmallDisk::mount(&place) else { return };
    place.write("data/a.json", &many(0..100_000));
    Pipeline { out: "files: { url: small/out }".to_owned(), ..Pipeline::new("Fail") }.write(&place);
    let words = ["run", "p.yaml", "--state", "state", "-o", "json"];
    let ran = Ran::of(&place, &place.run(&words));
    let error = ran.error();
    assert!(error.contains("` to `small/out`: No space left on device"), "{error}");
    assert!(error.ends_with(" (free some space, then run it again)"), "{error}");
    assert!(rows_of(&place, "small/out").is_empty());

    let grown = Command::new("mount").args(["-o", "remount,size=64m"]).arg(place.path("small")).output();
    let grown = grown.expect("mount");
    assert!(grown.status.success(), "{}", text(&grown.stderr));
    Ran::of(&place, &place.run(&words)).completed();
    assert_eq!(rows_of(&place, "small/out").len(), 100_000);
    let left = std::fs::read_dir(place.path("small/out")).expect("a folder");
    let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(
        left.iter().all(|name| !name.to_string_lossy().starts_with(".thalweg-open")),
        "unfinished files were cleared: {left:?}"
    );
}
