//! Lookup tables: sources that are read whole before anything else, and joined as static tables.

use std::collections::HashMap;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use thalweg_core::position::Position;
use thalweg_core::source::Read;
use thalweg_crds::source::OnError;
use thalweg_sql::stages::PlannedPipeline;

use super::JobSource;
use super::counters::SourceCounters;
use super::error::{Result, RunError};

/// The most bytes that a lookup table may take in memory.
const MAX_BYTES: usize = 256 << 20;

/// Reads a source to its end.
pub async fn read_whole(source: &JobSource, counters: &SourceCounters) -> Result<RecordBatch> {
    let mut batches = Vec::new();
    let mut bytes = 0;
    for split in source.source.splits().await? {
        let mut reader = source.source.open(&split.id, Position::START).await?;
        while let Read::Chunk(chunk) = reader.read(None).await? {
            let chunk = chunk.fetched().await.map_err(|error| error.of(&source.resource))?;
            let decoded = source.decoder.decode(&chunk);
            for bad in &decoded.bad {
                counters.bad.of(bad.class).add(1);
                if source.on_error == OnError::Fail {
                    let place = source.source.describe(&split.id, bad.position, bad.column).await;
                    return Err(RunError::bad_record(&source.resource, place, bad));
                }
            }
            counters.rows.add(decoded.batch.num_rows() as u64);
            bytes += decoded.batch.get_array_memory_size();
            if bytes > MAX_BYTES {
                return Err(too_large(&source.name));
            }
            batches.push(decoded.batch);
        }
    }
    concat_batches(source.decoder.schema(), &batches).map_err(|error| RunError::Internal(error.to_string()))
}

/// Gives every transform the tables that it joins.
pub fn bind(plan: &mut PlannedPipeline, tables: &HashMap<String, RecordBatch>) -> Result<()> {
    for stage in &mut plan.stages {
        *stage = stage.bind(tables).map_err(|message| RunError::Plan { stage: stage.id.0, message })?;
    }
    Ok(())
}

fn too_large(source: &str) -> RunError {
    let what = format!("reading lookup `{source}`");
    let detail = format!("it takes more than {} MiB in memory", MAX_BYTES >> 20);
    thalweg_core::error::Error::user(what, detail)
        .with_hint("a lookup is a small static table; declare fewer columns")
        .into()
}
