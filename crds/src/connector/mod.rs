//! The settings of each connector. To add one: `CONTRIBUTING.md`.

mod blackhole;
mod files;
mod generator;
mod kafka;
mod s3;
mod stdout;

pub use blackhole::BlackholeSink;
pub use files::{Compression, FilesSink, FilesSource, Order, Roll};
pub use generator::{GeneratorSource, Nexmark, Rows, SchemaRows, TaxiTrips};
pub use kafka::{CreateTopic, KafkaCompression, KafkaSink, KafkaSource, PartitionOffset, StartAt, StartPosition};
pub use s3::S3;
pub use stdout::{StdoutSink, Style};

/// The one connector of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SourceConnector<'a> {
    /// Files on disk or in an object store.
    Files(&'a FilesSource),
    /// A Kafka topic.
    Kafka(&'a KafkaSource),
    /// Made-up records.
    Generator(&'a GeneratorSource),
}

impl SourceConnector<'_> {
    /// Its key in a manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Kafka(_) => "kafka",
            Self::Generator(_) => "generator",
        }
    }

    /// What a column's `metadata` may name.
    pub const fn metadata_keys(self) -> &'static [&'static str] {
        match self {
            Self::Files(_) => &["file", "position"],
            Self::Kafka(_) => &["topic", "partition", "offset", "timestamp", "key", "headers"],
            Self::Generator(_) => &["split", "position"],
        }
    }
}

/// The one connector of a sink.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SinkConnector<'a> {
    /// Files on disk or in an object store.
    Files(&'a FilesSink),
    /// A Kafka topic.
    Kafka(&'a KafkaSink),
    /// The terminal.
    Stdout(&'a StdoutSink),
    /// Nowhere.
    Blackhole(&'a BlackholeSink),
}

impl SinkConnector<'_> {
    /// Its key in a manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Kafka(_) => "kafka",
            Self::Stdout(_) => "stdout",
            Self::Blackhole(_) => "blackhole",
        }
    }
}
