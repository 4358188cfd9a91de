//! Addresses that connectors do not reach: a resource that names one, or a name that leads there, is told at once.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::command::{Workplace, eventually, text};

/// Within this time nothing that is tried again has come to its end.
const SOON: Duration = Duration::from_secs(20);
/// Where a pod is told that the API server is, and a worker what its slots are called.
const POD: [(&str, &str); 2] = [("KUBERNETES_SERVICE_HOST", "10.96.0.1"), ("THALWEG_SLOT_PREFIX", "p")];

fn pipeline(source: &str, sink: &str, state: &str) -> String {
    format!(
        r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: trips }}
spec: {{ {source}, schema: [{{ name: trip_id, type: BIGINT }}] }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: out }}
spec: {{ {sink} }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: p }}
spec:
  sources: [{{ name: trips }}]
  sinks: [{{ name: out }}]
  sql: INSERT INTO out SELECT trip_id FROM trips
  state: {{ {state} }}
"#
    )
}

fn kafka(broker: &str, more: &str) -> String {
    format!("kafka: {{ brokers: ['{broker}'], topic: trips {more} }}")
}

fn bucket(endpoint: &str) -> String {
    format!("{{ endpoint: '{endpoint}', region: us-east-1, allowHttp: true }}")
}

/// What `thalweg run` says of a pipeline that it gives up at once.
fn said(pipeline: &str, variables: &[(&str, &str)]) -> String {
    let place = Workplace::new();
    place.write("p.yaml", pipeline);
    let started = Instant::now();
    let mut command = place.command(&["run", "p.yaml"]);
    command.env_remove(POD[0].0).envs(variables.iter().copied());
    let output =
        command.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "key").output().expect("it starts");
    let said = text(&output.stderr);
    assert!(!output.status.success(), "it ended well: {said}");
    assert!(started.elapsed() < SOON, "it took {:?}: {said}", started.elapsed());
    said
}

const GENERATED: &str = "generator: { taxi: {}, rows: 10 }";
const NOWHERE: &str = "blackhole: {}";

#[test]
fn a_broker_at_a_link_local_address_is_named_with_its_resource_and_what_to_write() {
    let broker = kafka("169.254.1.1:9092", "");
    for (pipeline, resource) in
        [(pipeline(&broker, NOWHERE, ""), "StreamSource/trips"), (pipeline(GENERATED, &broker, ""), "StreamSink/out")]
    {
        let expected = format!(
            "{resource}: reaching Kafka at 169.254.1.1:9092: `169.254.1.1` is an address of this machine's own network \
             (link-local), which connectors do not reach (name another host; where this one is meant, say \
             `kafka.allowPrivateAddresses: [\"169.254.1.1/32\"]`)"
        );
        let said = said(&pipeline, &[]);
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn in_a_pod_a_name_that_leads_to_the_pod_itself_is_refused_and_so_is_the_api_server() {
    let refused = |broker: &str| said(&pipeline(&kafka(broker, ""), NOWHERE, ""), &POD);
    let localhost = refused("localhost:8081");
    assert!(localhost.contains("`localhost` is at ") && localhost.contains("this pod itself"), "{localhost}");
    let api_server = refused("10.96.0.1:443");
    assert!(api_server.contains("`10.96.0.1` is the API server of Kubernetes"), "{api_server}");
}

#[test]
fn an_exception_lets_a_source_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("it need not block");
    let broker = listener.local_addr().expect("bound").to_string();
    let place = Workplace::new();
    let source = kafka(&broker, ", allowPrivateAddresses: ['127.0.0.0/8']");
    place.write("p.yaml", &pipeline(&source, NOWHERE, ""));
    let mut command = place.command(&["run", "p.yaml"]);
    command.envs(POD).stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = command.spawn().expect("it starts");
    eventually("connection", SOON, || listener.accept().is_ok());
    let _ = run.kill();
    run.wait().expect("reaped");
}

#[test]
fn an_endpoint_at_the_metadata_service_is_refused_for_sources_sinks_and_state() {
    let s3 = bucket("http://169.254.169.254");
    let files = format!("files: {{ url: 's3://b/in/*.json', s3: {s3} }}");
    for (pipeline, resource) in [
        (pipeline(&files, NOWHERE, ""), "StreamSource/trips"),
        (pipeline(GENERATED, &files.replace("/in/*.json", "/out"), ""), "StreamSink/out"),
        (pipeline(GENERATED, NOWHERE, &format!("url: 's3://b/state', s3: {s3}")), "state `s3://b/state`"),
    ] {
        let said = said(&pipeline, &[]);
        assert!(said.contains(resource), "{said}");
        let expected = "`169.254.169.254` is where clouds hand out the credentials of a machine, which connectors do not reach \
                        (name another host; where this one is meant, say `s3.allowPrivateAddresses: [\"169.254.169.254/32\"]`)";
        assert!(said.contains(expected), "{said}");
    }
}
