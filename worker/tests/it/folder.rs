//! Several workers of one pipeline that share a folder, without Kubernetes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::Duration;

use serde_json::Value;

use crate::command::{Workplace, eventually};

const ROWS: usize = 150_000;
const LIMIT: Duration = Duration::from_secs(90);

/// Killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn manifest(rows_per_second: usize) -> String {
    format!(
        "apiVersion: thalweg.dev/v1alpha1\nkind: StreamSource\nmetadata: {{ name: trips }}\nspec:\n  \
         generator: {{ taxi: {{}}, rows: {ROWS}, rowsPerSecond: {rows_per_second} }}\n  \
         schema: [{{ name: trip_id, type: BIGINT }}]\n---\n\
         apiVersion: thalweg.dev/v1alpha1\nkind: StreamSink\nmetadata: {{ name: out }}\n\
         spec: {{ files: {{ url: out, roll: {{ every: 200ms }} }} }}\n---\n\
         apiVersion: thalweg.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {{ name: p }}\nspec:\n  \
         sources: [{{ name: trips }}]\n  sinks: [{{ name: out }}]\n  \
         state: {{ commitEvery: 200ms }}\n  sql: INSERT INTO out SELECT trip_id FROM trips\n"
    )
}

fn coordinator(place: &Workplace) -> Killed {
    let words =
        ["dev-coordinator", "--folder", "run", "p.yaml", "--workers", "2", "--state", "state", "--silence", "3"];
    Killed(place.start(&words))
}

fn worker(place: &Workplace) -> Killed {
    Killed(place.start(&["worker", "--folder", "run", "--pipeline", "p"]))
}

fn assignment(place: &Workplace) -> Value {
    let text = std::fs::read(place.path("run/default/p/assignment/p.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn owner(place: &Workplace) -> Option<String> {
    assignment(place)["spec"]["units"][0]["owner"].as_str().map(str::to_owned)
}

fn lives(place: &Workplace, slot: &str) -> bool {
    let workers = assignment(place)["spec"]["workers"].as_array().cloned().unwrap_or_default();
    workers.iter().any(|worker| worker["slot"] == slot)
}

/// What is in the files of the sink, each row as often as it is there.
fn rows(place: &Workplace) -> Vec<String> {
    let files = std::fs::read_dir(place.path("out")).into_iter().flatten().flatten().map(|file| file.path());
    let whole = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let texts = whole.map(|path| std::fs::read_to_string(path).expect("readable"));
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn each_row_counts_once_while_units_move_and_workers_and_the_coordinator_are_killed() {
    let place = Workplace::new();
    place.write("p.yaml", &manifest(5_000));
    let first_coordinator = coordinator(&place);
    let first = worker(&place);
    eventually("owner", LIMIT, || owner(&place).as_deref() == Some("p-0"));
    let _second = worker(&place);
    eventually("second worker", LIMIT, || lives(&place, "p-1"));
    eventually("output", LIMIT, || !rows(&place).is_empty());
    place.succeed(&["dev-coordinator", "--folder", "run", "--pipeline", "p", "--move", "all=p-1"]);
    assert_eq!(owner(&place).as_deref(), Some("p-1"));
    drop(first_coordinator);
    place.succeed(&["dev-coordinator", "--folder", "run", "--pipeline", "p", "--move", "0/0=p-0"]);
    let _coordinator = coordinator(&place);
    drop(first);
    eventually("takeover", LIMIT, || owner(&place).as_deref() == Some("p-1"));
    eventually("end", LIMIT, || assignment(&place)["spec"]["completed"] == true);
    let mut rows = rows(&place);
    assert_eq!(rows.len(), ROWS);
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), ROWS);
}

/// What the worker of slot `p-0` reports.
fn report(place: &Workplace) -> Option<Value> {
    let lease: Value = serde_json::from_slice(&std::fs::read(place.path("run/default/p/slots/p-0.json")).ok()?).ok()?;
    let address = lease["metadata"]["annotations"]["thalweg.dev/report"].as_str()?;
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET /report HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

#[test]
fn a_worker_reports_how_busy_it_is_and_a_throttle_sets_what_it_can_do() {
    let place = Workplace::new();
    place.write("p.yaml", &manifest(3_000));
    let _coordinator = coordinator(&place);
    let throttled = ["worker", "--folder", "run", "--pipeline", "p", "--test-rows-per-second", "500"];
    let _worker = Killed(place.start(&throttled));
    let mut last = Value::Null;
    eventually("busy", LIMIT, || {
        last = report(&place).unwrap_or_default();
        last["busyShare"].as_f64().is_some_and(|busy| busy > 0.95)
    });
    let shares = ["busyShare", "blockedShare"].map(|share| last[share].as_f64().expect("a share"));
    // Each is rounded on its own.
    assert!(shares.iter().sum::<f64>() <= 1.0 + 1e-9, "{last:#}");
    // Rows go through one chunk at a time.
    let rate = || report(&place).unwrap_or_default()["splits"][0]["rate"].as_f64();
    eventually("held back", LIMIT, || rate().is_some_and(|rate| rate > 0.0 && rate < 1_000.0));
    let report = report(&place).expect("it answers");
    assert!(report["units"][0]["busyShare"].as_f64().is_some_and(|busy| busy < 0.9), "the unit waits: {report:#}");
}

/// The commits of the unit of a stage; nothing where it is not among those that run.
fn commits(report: &Value, stage: u64) -> Option<u64> {
    let mut units = report["units"].as_array()?.iter();
    let unit = units.find(|unit| unit["unit"]["stage"] == stage && unit["error"].is_null())?;
    unit["commits"].as_u64()
}

const TWO_SOURCES: &str = "
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: { name: broken }
spec:
  generator: { taxi: { brokenRate: 0.01 }, rowsPerSecond: 1000 }
  schema: [{ name: trip_id, type: BIGINT }]
  onError: Fail
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: { name: sound }
spec:
  generator: { taxi: {}, rowsPerSecond: 1000 }
  schema: [{ name: trip_id, type: BIGINT }]
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: { name: out }
spec: { files: { url: out, roll: { every: 200ms } } }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: { name: p }
spec:
  sources: [{ name: broken }, { name: sound }]
  sinks: [{ name: out }]
  state: { commitEvery: 200ms }
  sql: INSERT INTO out SELECT trip_id FROM broken; INSERT INTO out SELECT trip_id FROM sound
";

#[test]
fn a_source_that_cannot_be_read_on_stops_its_own_units_and_is_reported_while_others_go_on() {
    let place = Workplace::new();
    place.write("p.yaml", TWO_SOURCES);
    let _coordinator = coordinator(&place);
    let _worker = worker(&place);
    let fails = || {
        let failure = &report(&place).unwrap_or_default()["failures"][0];
        (failure["resource"].as_str(), failure["reason"].as_str()) == (Some("StreamSource/broken"), Some("BadRecord"))
    };
    eventually("failure", LIMIT, fails);
    let mut before = 0;
    eventually("commits of the others", LIMIT, || {
        let report = report(&place).expect("it answers");
        let commits = commits(&report, 1).expect("the unit runs, and did not begin anew");
        assert!(commits >= before, "it began anew: {commits} commits after {before}");
        before = commits;
        commits >= 20
    });
    eventually("failure, still", LIMIT, fails);
}

#[test]
fn a_paused_pipeline_has_no_worker_and_goes_on_when_it_is_resumed() {
    let place = Workplace::new();
    place.write("p.yaml", &manifest(5_000));
    let _coordinator = coordinator(&place);
    let _worker = worker(&place);
    eventually("output", LIMIT, || !rows(&place).is_empty());
    place.succeed(&["dev-coordinator", "--folder", "run", "--pipeline", "p", "--pause"]);
    eventually("pause", LIMIT, || !lives(&place, "p-0"));
    place.succeed(&["dev-coordinator", "--folder", "run", "--pipeline", "p", "--resume"]);
    eventually("worker", LIMIT, || lives(&place, "p-0"));
    eventually("end", LIMIT, || assignment(&place)["spec"]["completed"] == true);
    assert_eq!(rows(&place).len(), ROWS);
}

#[test]
fn a_coordinator_says_what_keeps_a_pipeline_from_several_workers() {
    let place = Workplace::new();
    place.write("p.yaml", &manifest(1));
    let refused = place.run(&["dev-coordinator", "--folder", "run", "p.yaml"]);
    let said = crate::command::text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("state.url"), "{said}");
}
