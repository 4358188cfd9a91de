//! Disks that are full.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

/// A small file system, gone when dropped; `None` where it cannot be had.
struct SmallDisk<'a>(&'a Workplace);

impl<'a> SmallDisk<'a> {
    fn mount(place: &'a Workplace, size: &str) -> Option<Self> {
        let folder = place.path("small");
        std::fs::create_dir(&folder).expect("a folder");
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(&folder).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(place)),
            other => {
                println!("skipped: a small file system needs the right to mount one: {other:?}");
                None
            }
        }
    }

    /// Makes room.
    fn grow(&self) {
        let grown = Command::new("mount").args(["-o", "remount,size=64m"]).arg(self.0.path("small")).output();
        let grown = grown.expect("mount");
        assert!(grown.status.success(), "{}", text(&grown.stderr));
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
    let Some(disk) = SmallDisk::mount(&place, "1m") else { return };
    place.write("data/a.json", &many(0..100_000));
    Pipeline { out: "files: { url: small/out }".to_owned(), ..Pipeline::new("Fail") }.write(&place);
    let words = ["run", "p.yaml", "--state", "state", "-o", "json"];
    let ran = Ran::of(&place, &place.run(&words));
    let error = ran.error();
    assert!(error.contains("` to `small/out`: No space left on device"), "{error}");
    assert!(error.ends_with(" (free some space, then run it again)"), "{error}");
    assert!(rows_of(&place, "small/out").is_empty());

    disk.grow();
    Ran::of(&place, &place.run(&words)).completed();
    assert_eq!(rows_of(&place, "small/out").len(), 100_000);
    let left = std::fs::read_dir(place.path("small/out")).expect("a folder");
    let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(
        left.iter().all(|name| !name.to_string_lossy().starts_with(".thalweg-open")),
        "unfinished files were cleared: {left:?}"
    );
}

/// A store asks again for ever; the run must not wait for it.
const AT_ONCE: Duration = Duration::from_secs(40);
const KEYS: u64 = 20_000;

/// State that each commit makes larger by up to a megabyte.
fn much_state(place: &Workplace, out: &str) {
    place.write("data/a.json", &many(0..KEYS).repeat(50));
    let sql = "INSERT INTO out SELECT window_start, id, count(*) AS n FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), \
               INTERVAL '1' HOUR)) GROUP BY window_start, window_end, id";
    Pipeline { sql: sql.to_owned(), out: out.to_owned(), ..Pipeline::new("Fail") }.write(place);
}

#[test]
fn a_full_disk_under_the_state_is_named_at_once_and_once_there_is_room_the_run_goes_on() {
    let place = Workplace::new();
    let Some(disk) = SmallDisk::mount(&place, "1m") else { return };
    much_state(&place, "files: { url: out }");
    let words = ["run", "p.yaml", "--state", "small/state", "-o", "json"];
    let started = Instant::now();
    let ran = Ran::of(&place, &place.run(&words));
    let error = ran.error();
    assert!(error.contains(" `small/state`: No space left on device"), "{error}");
    assert!(error.ends_with(" (free some space, then run it again)"), "{error}");
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());

    disk.grow();
    Ran::of(&place, &place.run(&words)).completed();
    let rows = rows_of(&place, "out");
    assert_eq!(rows.len() as u64, KEYS);
    assert!(rows.iter().all(|row| row.ends_with("\"n\":50}")), "each was counted as often as it is there");
}

/// The same without the right to mount: the state's tables outgrow what the process may write.
#[test]
fn state_that_outgrows_the_limit_of_the_process_is_named_at_once() {
    let place = Workplace::new();
    much_state(&place, "blackhole: {}");
    let script = "ulimit -f 16; exec \"$0\" run p.yaml -o json --state state";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_thalweg")]).current_dir(place.path(".")).stdin(Stdio::null());
    let started = Instant::now();
    let ran = Ran::of(&place, &shell.output().expect("a shell"));
    let error = ran.error();
    let (start, end) = ("writing `default/p/1/units/", "` to state `state`: File too large");
    assert!(error.starts_with(start) && error.contains(end), "{error}");
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
}
