//! Values of Secrets are asked for by name, and never shown.

use crate::command::{Workplace, text};

const ID: &str = "AKIDSENTINEL000001";
const KEY: &str = "SENTINEL/secret+value=000002";

fn place() -> Workplace {
    let place = Workplace::new();
    place.write(
        "p.yaml",
        r#"apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: { name: trips }
spec:
  files:
    url: s3://bucket/trips/*.json
    s3:
      endpoint: http://127.0.0.1:9
      region: us-east-1
      allowHttp: true
      accessKeyFrom: { secretKeyRef: { name: store, key: id } }
      secretKeyFrom: { secretKeyRef: { name: store, key: key } }
  schema: [{ name: id, type: BIGINT }]
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: { name: out }
spec: { blackhole: {} }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: { name: p }
spec:
  sources: [{ name: trips }]
  sinks: [{ name: out }]
  sql: INSERT INTO out SELECT id FROM trips
"#,
    );
    place
}

#[test]
fn a_missing_key_names_where_it_was_expected_and_no_other_value() {
    let place = place();
    place.write("secrets/store/id", ID);
    for (words, error) in [
        (
            &["run", "p.yaml"][..],
            "reading key `id` of `store`: no folder with secrets was given (give --secrets DIR, where DIR/store/id holds \
             the value)",
        ),
        (
            &["run", "p.yaml", "--secrets", "secrets"],
            "reading key `key` of `store`: No such file or directory (os error 2) (expected the value in the file \
             secrets/store/key)",
        ),
    ] {
        let output = place.run(words);
        assert_eq!(output.status.code(), Some(1));
        let stderr = text(&output.stderr);
        assert!(stderr.starts_with(&format!("error: default.p: StreamSource/trips: {error}\n")), "{stderr}");
        assert!(!stderr.contains(ID), "{stderr}");
    }
}

#[test]
fn a_value_that_is_no_text_is_told_by_its_key() {
    let place = place();
    place.write("secrets/store/id", ID);
    std::fs::write(place.path("secrets/store/key"), [0xff, 0xfe]).expect("written");
    let stderr = text(&place.run(&["run", "p.yaml", "--secrets", "secrets"]).stderr);
    let expected = "error: default.p: StreamSource/trips: key `key` of `store`: expected text, found other bytes\n";
    assert!(stderr.starts_with(expected), "{stderr}");
}

#[test]
fn a_value_is_in_no_output_not_even_in_that_of_trace() {
    let place = place();
    place.write("secrets/store/id", ID);
    // A newline at its end is no part of a value, and makes no header that cannot be sent.
    for key in [KEY.to_owned(), format!("{KEY}\n")] {
        place.write("secrets/store/key", &key);
        let output = place.run(&["run", "p.yaml", "--secrets", "secrets", "--log", "trace", "-o", "json"]);
        assert_eq!(output.status.code(), Some(1));
        let shown = text(&output.stdout) + &text(&output.stderr);
        assert!(shown.contains("listing `s3://bucket/trips/*.json`"), "{shown}");
        assert!(shown.contains("TRACE"), "the log was on");
        let escaped = KEY.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
        for secret in [ID, KEY, &escaped] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}
