//! What resources say, tried by what opens them, without opening anything: no file, no folder, no bucket, no broker.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use thalweg_core::append_log::{AppendLog, MemoryLog};
use thalweg_core::clock::SystemClock;
use thalweg_core::error::Result;
use thalweg_core::share::Share;
use thalweg_crds::connector::{SinkConnector, SourceConnector};
use thalweg_crds::manifest::{ResolvedSink, ResolvedSource};
use thalweg_crds::secret::ValueFrom;

use crate::kafka::client::Library;
use crate::kafka::{self, Waits};

use super::{
    ReadAgain, SourceRequest, Values, again, files_config, files_sink, format, kafka_decoder, source, written,
};

/// Whether the values are there is for those who connect.
#[derive(Clone)]
struct Unread;

impl Values for Unread {
    fn read(&self, _from: &ValueFrom) -> Result<Vec<u8>> {
        Ok(b"unread".to_vec())
    }

    fn read_again(&self, from: &ValueFrom) -> ReadAgain {
        again(self, from)
    }
}

/// Tries a source of which some columns are read.
///
/// # Errors
/// *User*: what [`source`] refuses whatever the outside is like.
pub fn try_source(resolved: &ResolvedSource, schema: SchemaRef, columns: &BTreeSet<String>) -> Result<()> {
    let lists = |_: &str| Arc::new(MemoryLog::new()) as Arc<dyn AppendLog>;
    let clock = Arc::new(SystemClock::new());
    let (kafka, memory) = (Arc::new(Library), Share::default());
    let request = SourceRequest {
        source: resolved,
        schema,
        columns,
        lists: &lists,
        values: &Unread,
        clock,
        kafka,
        memory: &memory,
        waits: Waits::default(),
    };
    match resolved.spec.connector() {
        // Its certificates and keys are parsed with its settings.
        Some(SourceConnector::Kafka(_)) => kafka_decoder(&request).map(drop),
        _ => source(request).map(drop),
    }
}

/// Whether a source would read what a sink writes.
pub fn reads_back(source: &ResolvedSource, sink: &ResolvedSink) -> bool {
    let (Some(SourceConnector::Files(read)), Some(SinkConnector::Files(files))) =
        (source.spec.connector(), sink.spec.connector())
    else {
        return false;
    };
    let sink = files_sink(files, sink, &Unread, Arc::new(SystemClock::new()));
    let source = files_config(read, source, &Unread);
    sink.is_ok_and(|sink| source.is_ok_and(|source| sink.is_read_by(&source)))
}

/// Tries a sink that is given rows of a schema.
///
/// # Errors
/// *User*: what [`super::sink`] refuses whatever the outside is like, or a column that it cannot write.
pub fn try_sink(resolved: &ResolvedSink, rows: &SchemaRef) -> Result<()> {
    let format = written(&resolved.spec);
    match resolved.spec.connector() {
        Some(SinkConnector::Files(files)) => {
            let clock = Arc::new(SystemClock::new());
            files_sink(files, resolved, &Unread, clock)?.check_rows(rows)
        }
        Some(SinkConnector::Kafka(kafka)) => {
            format::kafka_encoding(&format)?;
            kafka::check_rows(kafka, rows)
        }
        Some(SinkConnector::Stdout(_) | SinkConnector::Blackhole(_)) | None => Ok(()),
    }
}
