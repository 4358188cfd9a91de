//! A sink that stands still while input comes as fast as it is read: until others are done, and for as many seconds more as
//! `STALLED_SECONDS` says.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::command::{Workplace, eventually};

const LIMIT: Duration = Duration::from_secs(120);
/// Rows for the sink that stands still: gigabytes in memory, if all of them were read.
const ROWS: usize = 3_000_000;
/// What the process may use, and how much more it takes for its code, stacks, and what the allocator keeps.
const BUDGET_MIB: u64 = 256;
/// Rows of each of the others while it stands still.
const OTHERS: usize = 60_000;

fn source(name: &str, pace: &str) -> String {
    format!(
        "apiVersion: thalweg.dev/v1alpha1\nkind: StreamSource\nmetadata: {{ name: {name} }}\nspec:\n  \
         generator: {{ taxi: {{}}, splits: 4, {pace} }}\n  \
         schema: [{{ name: trip_id, type: BIGINT }}, {{ name: fare_amount, type: DOUBLE }}]\n---\n"
    )
}

fn pipeline(name: &str, sources: &str, sinks: &str, sql: &str) -> String {
    format!(
        "apiVersion: thalweg.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {{ name: {name} }}\nspec:\n  \
         sources: [{sources}]\n  sinks: [{sinks}]\n  state: {{ commitEvery: 200ms }}\n  sql: {sql}\n---\n"
    )
}

fn sink(name: &str, settings: &str) -> String {
    format!(
        "apiVersion: thalweg.dev/v1alpha1\nkind: StreamSink\nmetadata: {{ name: {name} }}\nspec: {{ {settings} }}\n---\n"
    )
}

fn lines(place: &Workplace, folder: &str) -> usize {
    let files = std::fs::read_dir(place.path(folder)).into_iter().flatten().flatten().map(|file| file.path());
    let whole = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    whole.map(|path| std::fs::read_to_string(path).map_or(0, |text| text.lines().count())).sum()
}

/// The most memory that a process has had, in MiB.
fn peak_mib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

#[test]
fn a_sink_that_stands_still_holds_up_its_own_rows_only_within_the_budget_and_goes_on_later() {
    let place = Workplace::new();
    let files = "files: { url: FOLDER, roll: { every: 200ms } }";
    let manifest = [
        source("fast", &format!("rows: {ROWS}")),
        source("beside", &format!("rows: {OTHERS}, rowsPerSecond: 20000")),
        source("apart", &format!("rows: {OTHERS}, rowsPerSecond: 20000")),
        sink("still", "stdout: { style: Json }"),
        sink("side", &files.replace("FOLDER", "side")),
        sink("other", &files.replace("FOLDER", "other")),
        pipeline(
            "one",
            "{ name: fast }, { name: beside }",
            "{ name: still }, { name: side }",
            "INSERT INTO still SELECT trip_id, fare_amount FROM fast; INSERT INTO side SELECT trip_id FROM beside",
        ),
        pipeline("two", "{ name: apart }", "{ name: other }", "INSERT INTO other SELECT trip_id FROM apart"),
    ];
    place.write("p.yaml", &manifest.concat());
    let memory = (BUDGET_MIB << 20).to_string();
    let mut command = place.command(&["run", "p.yaml", "--threads", "2", "--memory-bytes", &memory]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
    eventually("output beside it", LIMIT, || lines(&place, "side") == OTHERS && lines(&place, "other") == OTHERS);
    let seconds = std::env::var("STALLED_SECONDS").map_or(0, |seconds| seconds.parse().expect("seconds"));
    let (begun, stalled) = (Instant::now(), Duration::from_secs(seconds));
    eventually("end of standing still", stalled + LIMIT, || begun.elapsed() >= stalled);
    let peak = peak_mib(&child);
    println!("{peak} MiB of {BUDGET_MIB} at the most, {seconds} s after others were done");
    assert!(peak < BUDGET_MIB, "{peak} MiB of {BUDGET_MIB}");
    let shown = BufReader::new(child.stdout.take().expect("a pipe")).lines().count();
    assert_eq!(shown, ROWS);
    assert!(child.wait().expect("it ends").success());
}
