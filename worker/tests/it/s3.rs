//! Input, output and state in S3, on a real S3 API over HTTP (moto; see `scripts/s3-server`).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{Workplace, text};
use crate::output::{count, rows_in};

/// The first start installs the server.
const START: Duration = Duration::from_secs(180);

struct S3 {
    server: Child,
    port: u16,
}

impl S3 {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/s3-server");
        let mut command = Command::new(script);
        command.arg(port.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut s3 = Self { server: command.spawn().expect("scripts/s3-server"), port };
        let started = Instant::now();
        while s3.request("PUT", "/bucket").is_none() {
            assert!(s3.server.try_wait().expect("a child").is_none(), "scripts/s3-server ended: run it to see why");
            assert!(started.elapsed() < START, "no S3 server after {START:?}");
            std::thread::yield_now();
        }
        s3
    }

    fn request(&self, method: &str, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let host = format!("127.0.0.1:{}", self.port);
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1").then_some(answer)
    }

    /// The settings of a resource.
    fn settings(&self) -> String {
        settings(self.port)
    }

    fn run(&self, place: &Workplace, words: &[&str]) -> Command {
        run(self.port, place, words)
    }
}

/// The settings of a resource that reach the store at a port.
fn settings(port: u16) -> String {
    format!(
        "{{ endpoint: 'http://127.0.0.1:{port}', region: us-east-1, allowHttp: true, \
         accessKeyFrom: {{ secretKeyRef: {{ name: s3, key: id }} }}, \
         secretKeyFrom: {{ secretKeyRef: {{ name: s3, key: key }} }} }}"
    )
}

/// `thalweg run` with the secrets that the settings name, and the variables that a state URL needs.
fn run(port: u16, place: &Workplace, words: &[&str]) -> Command {
    let mut command = place.command(&[&["run", "--secrets", "secrets"], words].concat());
    command
        .env("AWS_ACCESS_KEY_ID", "id")
        .env("AWS_SECRET_ACCESS_KEY", "s3cret-value")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT", format!("http://127.0.0.1:{port}"))
        .env("AWS_ALLOW_HTTP", "true");
    command
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn place() -> Workplace {
    let place = Workplace::new();
    place.write("secrets/s3/id", "id\n");
    place.write("secrets/s3/key", "s3cret-value\n");
    place
}

/// A pipeline that copies trips from one place to another.
fn copy(name: &str, from: &str, to: &str) -> String {
    format!(
        r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: trips }}
spec:
  files: {from}
  schema:
    - {{ name: trip_id, type: BIGINT }}
    - {{ name: pickup_datetime, type: TIMESTAMP(3) }}
    - {{ name: pickup_location_id, type: INT }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: out }}
spec:
  files: {to}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: {name} }}
spec:
  sources: [{{ name: trips }}]
  sinks: [{{ name: out }}]
  sql: INSERT INTO out SELECT trip_id, pickup_datetime, pickup_location_id FROM trips
  state: {{ commitEvery: 200ms }}
"#
    )
}

#[test]
fn rows_go_into_a_bucket_and_out_again_with_state_in_it_and_kills_in_between() {
    let (s3, place) = (S3::start(), place());
    place.succeed(&["generate", "taxi", "--rows", "60000", "--files", "3", "--out", "data"]);
    let settings = s3.settings();
    let bucket = format!("{{ url: 's3://bucket/trips', partitionBy: [date(pickup_datetime)], s3: {settings} }}");
    let bucket = bucket.replace(", s3:", ", roll: { every: 100ms }, s3:");
    place.write("up.yaml", &copy("up", "{ url: data/*.json }", &bucket));
    for after in [300, 900] {
        let mut child = s3.run(&place, &["up.yaml", "--state", "s3://bucket/state"]).spawn().expect("starts");
        let started = Instant::now();
        while child.try_wait().expect("a child").is_none() && started.elapsed() < Duration::from_millis(after) {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().expect("reaped");
    }
    let up = s3.run(&place, &["up.yaml", "--state", "s3://bucket/state"]).output().expect("runs");
    assert!(up.status.success(), "{}", text(&up.stderr));
    let again = s3.run(&place, &["up.yaml", "--state", "s3://bucket/other"]).output().expect("runs");
    let said = text(&again.stderr);
    assert_eq!(again.status.code(), Some(1), "{said}");
    let refusal = "StreamSink/out: it holds output of this pipeline, such as `date=";
    assert!(said.contains(refusal) && said.contains("its state is not in `s3://bucket/other`"), "{said}");

    let from = format!("{{ url: 's3://bucket/trips/**/*.json', s3: {settings} }}");
    place.write("down.yaml", &copy("down", &from, "{ url: down }"));
    let down = s3.run(&place, &["down.yaml", "-o", "json"]).output().expect("runs");
    assert!(down.status.success(), "{}", text(&down.stderr));
    let summary: Value = serde_json::from_slice(&down.stdout).expect("a summary");
    assert_eq!(summary["sources"][0]["rows"], 60_000);

    place.write("calm.yaml", &copy("calm", "{ url: data/*.json }", "{ url: calm }"));
    place.succeed(&["run", "calm.yaml"]);
    let expected = rows_in(&place.path("calm"));
    assert_eq!(count(&expected), 60_000);
    assert!(rows_in(&place.path("down")) == expected, "the rows differ");
}

#[test]
fn a_secret_is_never_printed_though_the_bucket_is_missing_or_away() {
    let (s3, place) = (S3::start(), place());
    let missing = format!("{{ url: 's3://no-such-bucket/*.json', s3: {} }}", s3.settings());
    place.write("missing.yaml", &copy("missing", &missing, "{ url: out }"));
    let failed = s3.run(&place, &["missing.yaml", "--log", "debug"]).output().expect("runs");
    let said = text(&failed.stdout) + &text(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    let expected = format!(
        "StreamSource/trips: listing `s3://no-such-bucket/*.json`: `http://127.0.0.1:{}` says NoSuchBucket: ",
        s3.port
    );
    assert!(said.contains(&expected) && said.contains("create the bucket"), "{said}");
    assert!(!said.contains("s3cret-value"), "{said}");
}

/// A store that answers every request with the same; its port.
fn says(status: &'static str, body: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut asked, mut part) = (Vec::<u8>::new(), [0; 4096]);
            while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut part) {
                    Ok(count @ 1..) => asked.extend(&part[..count]),
                    _ => break,
                }
            }
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        }
    });
    port
}

#[test]
fn what_a_bucket_refuses_is_told_with_the_resource_the_url_and_what_to_do() {
    let body = |code: &str, more: &str| {
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>No.</Message>{more}</Error>")
    };
    for (status, code, more, hint) in [
        ("403 Forbidden", "AccessDenied", "", "let the key do it"),
        ("403 Forbidden", "SignatureDoesNotMatch", "", "mend the keys"),
        ("400 Bad Request", "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>", "it is in `eu-west-1`"),
        ("301 Moved Permanently", "PermanentRedirect", "", "name the bucket's region"),
    ] {
        let (place, port) = (place(), says(status, body(code, more)));
        let s3 = settings(port);
        place.write("a.json", "");
        place.write("in.yaml", &copy("in", &format!("{{ url: 's3://bucket/in/*.json', s3: {s3} }}"), "{ url: out }"));
        place.write("out.yaml", &copy("out", "{ url: a.json }", &format!("{{ url: 's3://bucket/out', s3: {s3} }}")));
        place.write("state.yaml", &copy("state", "{ url: a.json }", "{ url: out }"));
        for (manifest, subjects) in [
            ("in.yaml", ["StreamSource/trips", "`s3://bucket/in/*.json`"]),
            ("out.yaml", ["StreamSink/out", "`s3://bucket/out`"]),
            ("state.yaml", ["state `s3://bucket/state`: ", "installation.json"]),
        ] {
            let state: &[&str] = if manifest == "state.yaml" { &["--state", "s3://bucket/state"] } else { &[] };
            let failed = run(port, &place, &[&[manifest], state].concat()).output().expect("runs");
            let said = text(&failed.stderr);
            assert_eq!(failed.status.code(), Some(1), "{said}");
            for part in [subjects[0], subjects[1], &format!("`http://127.0.0.1:{port}` s"), hint] {
                assert!(said.contains(part), "{code}, {manifest}: no {part} in {said}");
            }
            assert!(!said.contains("<Code>"), "{said}");
        }
    }
}
