//! The manifests.

use super::{COPIES, DELAY_MS, EVENTS, SUMS, WINDOW_MS, dead_letters};
use crate::kafka::Kafka;
use crate::manifest::Manifest;

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
        self.sums(self.copies(self.source())).to_string()
    }

    /// The pipeline that passes rows on, alone.
    pub fn only_copies(&self) -> String {
        self.copies(self.source()).to_string()
    }

    /// The pipeline with windows, alone.
    pub fn only_sums(&self) -> String {
        self.sums(self.source()).to_string()
    }

    /// The input of both. A broker on this machine has to be allowed by its address.
    fn source(&self) -> Manifest {
        let host = self.broker.rsplit_once(':').expect("host:port").0;
        Manifest::at(&self.broker)
            .everywhere(&format!(r#"allowPrivateAddresses: ["{host}/32"]"#))
            .source(EVENTS, &["id BIGINT", "account STRING", "at TIMESTAMP(3)", "amount BIGINT"])
            .spec("format: { json: { timestampFormat: EpochMillis } }")
            .spec(&format!("watermark: {{ column: at, delay: {DELAY_MS}ms, late: DeadLetter }}"))
            .spec("onError: DeadLetter")
    }

    fn copies(&self, manifest: Manifest) -> Manifest {
        let sql = "INSERT INTO copies SELECT id, account, amount * 2 AS twice FROM events";
        self.pipeline(manifest, COPIES, sql, &format!("commitEvery: {}ms", self.commit_every_ms))
    }

    fn sums(&self, manifest: Manifest) -> Manifest {
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
        self.pipeline(manifest, SUMS, &sql, &state)
    }

    fn pipeline(&self, manifest: Manifest, name: &str, sql: &str, state: &str) -> Manifest {
        let (dead, workers) = (dead_letters(name), self.workers);
        manifest
            .sink(name)
            .kafka("key: [account]")
            .sink(&dead)
            .pipeline(name, &[EVENTS], &[name], sql)
            .spec(&format!("deadLetter: {{ sink: {dead} }}"))
            .spec(&format!("state: {{ {state} }}"))
            .spec(&format!("scaling: {{ mode: Manual, workers: {workers}, maxWorkers: {} }}", workers.max(4)))
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
