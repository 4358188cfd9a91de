//! The manifests.

use super::{COPIES, DELAY_MS, EVENTS, SUMS, WINDOW_MS, dead_letters};
use crate::kafka::Kafka;

/// Where windows keep their state.
#[derive(Clone, Debug)]
pub enum State {
    /// In a folder.
    Folder(String),
    /// In a bucket, with the `s3` of a pipeline in flow style.
    Bucket(String),
}

/// Two pipelines over one topic.
#[derive(Clone, Debug)]
pub struct Pipelines {
    /// The brokers.
    pub broker: String,
    /// State of the windows.
    pub state: State,
    /// How often units commit, in milliseconds.
    pub commit_every_ms: u64,
    /// Units of the windows.
    pub key_groups: u32,
    /// Workers of each pipeline.
    pub workers: usize,
}

impl Pipelines {
    /// Both, and what they read and write.
    pub fn manifest(&self) -> String {
        format!("{}---\n{}---\n{}", self.source(), self.copies(), self.sums())
    }

    /// The pipeline that passes rows on, alone.
    pub fn only_copies(&self) -> String {
        format!("{}---\n{}", self.source(), self.copies())
    }

    /// The pipeline with windows, alone.
    pub fn only_sums(&self) -> String {
        format!("{}---\n{}", self.source(), self.sums())
    }

    /// The `kafka` of a source or a sink, in flow style. A broker on this machine has to be allowed by its address.
    fn kafka(&self, more: &str) -> String {
        let host = self.broker.rsplit_once(':').expect("host:port").0;
        format!(r#"{{ brokers: ["{}"], allowPrivateAddresses: ["{host}/32"], {more} }}"#, self.broker)
    }

    fn source(&self) -> String {
        format!(
            r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: events }}
spec:
  kafka: {}
  format: {{ json: {{ timestampFormat: EpochMillis }} }}
  schema:
    - {{ name: id, type: BIGINT }}
    - {{ name: account, type: STRING }}
    - {{ name: at, type: TIMESTAMP(3) }}
    - {{ name: amount, type: BIGINT }}
  watermark: {{ column: at, delay: {DELAY_MS}ms, late: DeadLetter }}
  onError: DeadLetter
"#,
            self.kafka(&format!("topic: {EVENTS}"))
        )
    }

    fn copies(&self) -> String {
        let sql = "INSERT INTO copies SELECT id, account, amount * 2 AS twice FROM events";
        self.pipeline(COPIES, sql, &format!("commitEvery: {}ms", self.commit_every_ms))
    }

    fn sums(&self) -> String {
        let sql = format!(
            "INSERT INTO sums SELECT account, window_start, count(*) AS events, \
             sum(CASE WHEN amount > 0 THEN amount ELSE 0 END) AS credits, \
             sum(CASE WHEN amount < 0 THEN amount ELSE 0 END) AS debits \
             FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(at), INTERVAL '{}' SECOND)) \
             GROUP BY window_start, window_end, account",
            WINDOW_MS / 1_000
        );
        let kept = match &self.state {
            State::Folder(path) => format!("url: {path}"),
            State::Bucket(settings) => format!("url: 's3://bucket/state', s3: {settings}"),
        };
        let state = format!("commitEvery: {}ms, keyGroups: {}, {kept}", self.commit_every_ms, self.key_groups);
        self.pipeline(SUMS, &sql, &state)
    }

    fn pipeline(&self, name: &str, sql: &str, state: &str) -> String {
        let (dead, workers) = (dead_letters(name), self.workers);
        let (out, letters) =
            (self.kafka(&format!("topic: {name}, key: [account]")), self.kafka(&format!("topic: {dead}")));
        format!(
            r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: {name} }}
spec:
  kafka: {out}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: {dead} }}
spec:
  kafka: {letters}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: {name} }}
spec:
  sources: [{{ name: events }}]
  sinks: [{{ name: {name} }}]
  deadLetter: {{ sink: {dead} }}
  sql: "{sql}"
  state: {{ {state} }}
  scaling: {{ mode: Manual, workers: {workers}, maxWorkers: {} }}
"#,
            workers.max(4)
        )
    }
}

impl Kafka {
    /// Makes the topics of both pipelines, with so many partitions of input.
    pub async fn make_bank(&self, partitions: i32) {
        self.create_topic(EVENTS, partitions, &[]).await;
        for pipeline in [COPIES, SUMS] {
            self.create_topic(pipeline, 6, &[]).await;
            self.create_topic(&dead_letters(pipeline), 1, &[]).await;
        }
    }
}
