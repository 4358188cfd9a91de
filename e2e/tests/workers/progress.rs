//! A progress topic that was deleted under a worker: nothing begins anew by itself.

use std::time::Duration;

use krafka::Record;
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Fleet;

use crate::bed::LIMIT;

const PIPELINE: &str = "forgetful";
const PROGRESS: &str = "thalweg-progress.default.forgetful";

fn manifest(kafka: &Kafka) -> String {
    let broker = kafka.address();
    format!(
        r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: events }}
spec:
  kafka: {{ brokers: ["{broker}"], topic: events }}
  schema: [{{ name: "n", type: BIGINT }}]
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: out }}
spec:
  kafka: {{ brokers: ["{broker}"], topic: out }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: {PIPELINE} }}
spec:
  sources: [{{ name: events }}]
  sinks: [{{ name: out }}]
  sql: INSERT INTO out SELECT n FROM events
  state: {{ commitEvery: 200ms }}
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_progress_topic_that_was_deleted_is_data_loss_for_workers_before_and_after_their_restart() {
    let kafka = Kafka::start();
    kafka.create_topic("events", 2, &[]).await;
    kafka.create_topic("out", 1, &[]).await;
    let mut fleet = Fleet::new(&manifest(&kafka), &["--workers", "1"]);
    let worker = fleet.add_worker(PIPELINE, &[]);
    let event = |n: u64, partition| Record::new("events", format!(r#"{{"n":{n}}}"#)).partition(partition);
    kafka.send((0..10).map(|n| event(n, (n % 2) as i32))).await;
    wait_for("rows", LIMIT, || (kafka.committed("out").len() == 10).then_some(()));
    let known = fleet.assignment(PIPELINE)["spec"]["progress"].as_str().map(str::to_owned);
    assert!(known.is_some_and(|known| known.len() == 32), "{}", fleet.assignment(PIPELINE));
    kafka.delete_topic(PROGRESS).await;
    kafka.send([event(10, 0), event(11, 1)]).await;
    // Whoever was there says so once the brokers have told that the topic is missing, and whoever comes later at once.
    for limit in [Duration::from_secs(240), LIMIT] {
        let message = wait_for("what was lost", limit, || {
            let report = fleet.report_of(worker)?;
            // Of the whole job, and not only of a unit whose writes fail.
            let is_all = report["units"].as_array().is_some_and(Vec::is_empty);
            let failure = report["failures"][0].as_object().filter(|_| is_all)?;
            (failure["reason"] == "DataLoss").then(|| failure["message"].as_str().unwrap_or_default().to_owned())
        });
        assert!(message.contains(PROGRESS) && message.contains("restart.nonce"), "{message}");
        fleet.workers()[worker].kill();
        assert_eq!(kafka.committed("out").len(), 10, "nothing was written without progress");
        assert!(kafka.committed(PROGRESS).is_empty(), "nobody has made it again");
        fleet.workers()[worker].start();
    }
}
