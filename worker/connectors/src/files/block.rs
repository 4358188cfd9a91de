//! Whole records of one file, read ahead of those who take them.

use std::collections::VecDeque;

use bytes::Bytes;
use thalweg_core::decode::BadRecord;
use thalweg_core::error::{Error, Result};
use thalweg_core::source::Payload;
use tokio::task::JoinHandle;

/// A run of whole records of one file.
#[derive(Debug)]
pub(crate) struct Block {
    /// Where it starts: a byte of the decompressed text, or a row.
    pub(crate) from: u64,
    /// Where the next one starts.
    pub(crate) to: u64,
    /// The records.
    pub(crate) payload: Payload,
    /// Those that could not be delimited.
    pub(crate) bad: Vec<BadRecord>,
    /// How much of the file, as stored, was read by then.
    pub(crate) stored: u64,
}

impl Block {
    /// A block of text.
    pub(crate) fn text(from: u64, text: Bytes, stored: u64) -> Self {
        Self { from, to: from + text.len() as u64, payload: Payload::Text(text), bad: Vec::new(), stored }
    }

    /// A stretch that holds no row.
    pub(crate) fn gap(from: u64, to: u64, bad: Vec<BadRecord>, stored: u64) -> Self {
        Self { from, to, payload: Payload::Text(Bytes::new()), bad, stored }
    }

    /// Cuts at `at`, the boundary of a record inside; the rest comes second.
    pub(crate) fn split_at(mut self, at: u64) -> (Self, Option<Self>) {
        if at >= self.to || at < self.from {
            return (self, None);
        }
        let length = (at - self.from) as usize;
        let rest = match &mut self.payload {
            Payload::Text(text) if length <= text.len() => Payload::Text(text.split_off(length)),
            Payload::Columns(rows) if length <= rows.num_rows() => {
                let rest = rows.slice(length, rows.num_rows() - length);
                *rows = rows.slice(0, length);
                Payload::Columns(rest)
            }
            _ => return (self, None),
        };
        let rest = Self { from: at, to: self.to, payload: rest, bad: Vec::new(), stored: self.stored };
        self.to = at;
        (self, Some(rest))
    }
}

/// The blocks of one file, in order. Its methods block.
pub(crate) trait Blocks: Send {
    /// The next one; `None` at the file's end.
    ///
    /// # Errors
    /// Storage failed, or rows were lost; open it anew to try again.
    fn next(&mut self) -> Result<Option<Block>>;
}

/// What a task of reading gives back: who reads on, and what was read, which ends with the file's end or an error.
type Step = (Option<Box<dyn Blocks>>, VecDeque<Result<Option<Block>>>);

/// Reads ahead, so that disk and decoder work side by side: `count` blocks at a time, while the ones before are taken. One
/// at a time would wake a thread for each block, and the decoders wait for it.
pub(crate) struct Prefetch {
    count: usize,
    idle: Option<Box<dyn Blocks>>,
    task: Option<JoinHandle<Step>>,
    read: VecDeque<Result<Option<Block>>>,
}

impl Prefetch {
    /// Opens a file and starts reading so many blocks at a time.
    pub(crate) fn start(count: usize, open: impl FnOnce() -> Result<Box<dyn Blocks>> + Send + 'static) -> Self {
        let count = count.max(1);
        let task = tokio::task::spawn_blocking(move || match open() {
            // The first one is waited for.
            Ok(blocks) => step(blocks, 1),
            Err(error) => (None, VecDeque::from([Err(error)])),
        });
        Self { count, idle: None, task: Some(task), read: VecDeque::new() }
    }

    /// The next block; `None` at the file's end, and for ever after an error.
    ///
    /// # Cancel safety
    /// A call that is dropped loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Block>> {
        if self.read.is_empty()
            && let Some(task) = &mut self.task
        {
            let joined = task.await;
            self.task = None;
            let lost = |error| (None, VecDeque::from([Err(Error::internal("reading a file ahead", error))]));
            (self.idle, self.read) = joined.unwrap_or_else(lost);
        }
        if let Some(blocks) = self.idle.take() {
            let count = self.count;
            self.task = Some(tokio::task::spawn_blocking(move || step(blocks, count)));
        }
        self.read.pop_front().unwrap_or(Ok(None))
    }
}

/// Reads so many blocks, or to the end.
fn step(mut blocks: Box<dyn Blocks>, count: usize) -> Step {
    let mut read = VecDeque::with_capacity(count);
    while read.len() < count {
        let block = blocks.next();
        let is_last = !matches!(block, Ok(Some(_)));
        read.push_back(block);
        if is_last {
            return (None, read);
        }
    }
    (Some(blocks), read)
}
