//! Writes the rows of one unit into files, one a folder and seal.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use thalweg_core::decode::BadRecord;
use thalweg_core::error::Result;
use thalweg_core::share::Holder;
use thalweg_core::sink::{Label, Rejected, Sealed, SinkWriter};

use super::names::{FileName, WriterName};
use super::partition::Part;
use super::publish::{SealedFiles, Stage, StagedFile};
use super::sink::Output;
use crate::formats::{Encoder, JsonEncoder};

/// The most files that are written side by side; beyond it the one that waited longest is finished.
const MAX_OPEN: usize = 128;
/// More finished files are not gathered for one seal, whose record names each.
const MAX_FINISHED: usize = 4_096;
/// Bytes that wait to be written, over all files.
const MAX_BUFFERED: usize = 4 << 20;
/// How much of a writer's part of the memory waits to be written, beside what encoders keep back: one of so many.
const BUFFERED_OF_PART: usize = 4;
/// Fewer bytes of a file are not written by themselves.
const MIN_FLUSH: usize = MAX_BUFFERED / MAX_OPEN;
/// What is buffered of one file from the start.
const MIN_BUFFER: usize = 64 << 10;
/// Bytes that encoders keep back, over all files of all writers of a sink.
const MAX_HELD: usize = 96 << 20;
/// What one writer may hold of it at least.
const MIN_HELD: usize = 4 << 20;
/// The same, where memory has a limit.
const LEAST_HELD: usize = 1 << 20;

/// The writer of one unit.
pub(crate) struct FilesWriter {
    output: Arc<Output>,
    id: WriterName,
    stage: Box<dyn Stage>,
    open: BTreeMap<String, OpenFile>,
    /// Finished, not sealed.
    finished: Vec<FinishedFile>,
    /// How many files of a folder were started since the last seal.
    parts: HashMap<String, u32>,
    uses: u64,
    /// Of the last write.
    rejected: Vec<Rejected>,
    /// Its part of the memory of all sinks.
    memory: Holder,
}

/// A file that takes rows.
struct OpenFile {
    encoder: Box<dyn Encoder>,
    staged: Box<dyn StagedFile>,
    buffer: Vec<u8>,
    part: u32,
    bytes: u64,
    last_use: u64,
}

/// A file that takes no more.
struct FinishedFile {
    folder: String,
    part: u32,
    staged: Box<dyn StagedFile>,
}

impl FilesWriter {
    /// A writer on a stage.
    pub(crate) fn new(output: Arc<Output>, id: WriterName, stage: Box<dyn Stage>) -> Self {
        output.writers.fetch_add(1, Ordering::Relaxed);
        let (open, finished, parts) = (BTreeMap::new(), Vec::new(), HashMap::new());
        let memory = output.memory.holder(LEAST_HELD);
        Self { output, id, stage, open, finished, parts, uses: 0, rejected: Vec::new(), memory }
    }

    /// Takes rows.
    async fn put(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let output = Arc::clone(&self.output);
        if output.partitioner.is_none() {
            return self.write_to("", rows).await;
        }
        for part in output.partitioner.split(rows)? {
            match part.problem() {
                None => self.write_to(&part.folder, &part.rows).await?,
                Some(problem) => self.reject(rows, &part, &problem)?,
            }
        }
        self.rejected.sort_by_key(|rejected| rejected.row);
        Ok(())
    }

    /// Finishes all files, and makes them a seal.
    async fn complete(&mut self, label: &Label) -> Result<Option<Sealed>> {
        let folders: Vec<String> = self.open.keys().cloned().collect();
        for folder in folders {
            self.finish(Some(folder)).await?;
        }
        self.parts.clear();
        if self.finished.is_empty() {
            return Ok(None);
        }
        let names = self.finished.iter().map(|file| self.name(file, label)).collect();
        let files = self.finished.drain(..).map(|file| file.staged).collect();
        self.stage.seal(files, names, label).await?.record().map(Some)
    }

    async fn write_to(&mut self, folder: &str, rows: &RecordBatch) -> Result<()> {
        if !self.open.contains_key(folder) {
            self.make_room().await?;
            self.start(folder, rows).await?;
        }
        let buffered = self.memory.part(BUFFERED_OF_PART * MAX_BUFFERED) / BUFFERED_OF_PART;
        let threshold = (buffered / self.open.len().max(4)).max(MIN_FLUSH);
        self.uses += 1;
        let Some(file) = self.open.get_mut(folder) else { return Ok(()) };
        file.last_use = self.uses;
        file.encoder.write(rows, &mut file.buffer)?;
        if file.buffer.len() >= threshold {
            file.flush().await?;
        }
        self.hold_less().await
    }

    /// Puts the rows of a part aside, as JSON.
    fn reject(&mut self, rows: &RecordBatch, part: &Part, problem: &str) -> Result<()> {
        for row in part.indices.values() {
            let row = *row as usize;
            let mut raw = Vec::new();
            JsonEncoder::new().write(&rows.slice(row, 1), &mut raw)?;
            raw.truncate(raw.trim_ascii_end().len().min(BadRecord::MAX_RAW));
            self.rejected.push(Rejected { row, raw: raw.into(), message: problem.to_owned() });
        }
        Ok(())
    }

    async fn start(&mut self, folder: &str, rows: &RecordBatch) -> Result<()> {
        let encoding = &self.output.encoding;
        let encoder = encoding.encoder(&rows.schema(), self.share() / 4)?;
        let staged = self.stage.create(folder, encoding.suffix()).await?;
        let next_part = self.parts.entry(folder.to_owned()).or_default();
        let part = *next_part;
        *next_part += 1;
        let file = OpenFile { encoder, staged, buffer: Vec::new(), part, bytes: 0, last_use: self.uses };
        self.open.insert(folder.to_owned(), file);
        Ok(())
    }

    /// Finishes files as long as there are too many.
    async fn make_room(&mut self) -> Result<()> {
        while self.open.len() >= MAX_OPEN {
            let oldest = self.open.iter().min_by_key(|(_, file)| file.last_use).map(|(folder, _)| folder.clone());
            self.finish(oldest).await?;
        }
        Ok(())
    }

    /// Finishes files as long as they hold too much.
    async fn hold_less(&mut self) -> Result<()> {
        while self.open.len() > 1 && self.held_bytes() > self.share() {
            let by_held = |(_, file): &(&String, &OpenFile)| file.held_bytes();
            let largest = self.open.iter().max_by_key(by_held).map(|(folder, _)| folder.clone());
            self.finish(largest).await?;
        }
        Ok(())
    }

    /// What this writer may hold.
    fn share(&self) -> usize {
        let of_sink = (MAX_HELD / self.output.writers.load(Ordering::Relaxed).max(1)).max(MIN_HELD);
        self.memory.part(of_sink)
    }

    fn held_bytes(&self) -> usize {
        self.open.values().map(OpenFile::held_bytes).sum()
    }

    async fn finish(&mut self, folder: Option<String>) -> Result<()> {
        let Some((folder, mut file)) = folder.and_then(|folder| self.open.remove_entry(&folder)) else {
            return Ok(());
        };
        file.encoder.finish(&mut file.buffer)?;
        file.flush().await?;
        file.staged.complete().await?;
        self.finished.push(FinishedFile { folder, part: file.part, staged: file.staged });
        Ok(())
    }

    fn name(&self, file: &FinishedFile, label: &Label) -> String {
        let name = FileName { writer: self.id.clone(), label: label.clone(), part: file.part };
        let name = name.with_suffix(self.output.encoding.suffix());
        if file.folder.is_empty() { name } else { format!("{}/{name}", file.folder) }
    }
}

impl OpenFile {
    async fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.bytes += self.buffer.len() as u64;
        // A row group comes at once, and is not what the next bytes need.
        let bytes = std::mem::replace(&mut self.buffer, Vec::with_capacity(MIN_BUFFER));
        self.staged.append(bytes).await
    }

    /// What its encoder keeps back, and what waits to be a part of an upload.
    fn held_bytes(&self) -> usize {
        self.encoder.buffered_bytes() + self.staged.held_bytes()
    }

    fn size(&self) -> u64 {
        self.bytes + self.buffer.len() as u64 + self.encoder.buffered_bytes() as u64
    }
}

impl Drop for FilesWriter {
    fn drop(&mut self) {
        self.output.writers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl SinkWriter for FilesWriter {
    async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let output = Arc::clone(&self.output);
        output.watched(self.put(rows)).await
    }

    fn rejected(&mut self) -> Vec<Rejected> {
        std::mem::take(&mut self.rejected)
    }

    fn wants_seal(&self, age: Duration) -> bool {
        let config = &self.output.config;
        let is_old = age >= config.roll_every && (!self.open.is_empty() || !self.finished.is_empty());
        let are_many = self.finished.len() >= MAX_FINISHED;
        is_old || are_many || self.open.values().any(|file| file.size() >= config.roll_bytes)
    }

    async fn seal(&mut self, label: &Label) -> Result<Option<Sealed>> {
        let output = Arc::clone(&self.output);
        output.watched(self.complete(label)).await
    }

    async fn publish(&mut self, sealed: &Sealed) -> Result<()> {
        let sealed = SealedFiles::recorded(sealed)?;
        self.output.watched(self.stage.publish(&sealed)).await
    }

    async fn last_published(&mut self) -> Result<Option<Label>> {
        self.stage.last_published(self.output.encoding.suffix()).await
    }
}
