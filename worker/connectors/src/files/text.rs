//! Text files as blocks of whole records, in bounded memory whatever they hold. Blocks.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use thalweg_core::decode::{BadClass, BadRecord};
use thalweg_core::error::{Error, Result};
use thalweg_core::position::Position;

use super::block::{Block, Blocks};
use super::buffers::{Buffer, Buffers};
use super::config::Compression;
use super::input::{Input, storage_error};
use super::store::{Found, PUT_BACK, Stored, read_error};
use super::unfit::OpenError;
use super::unread::Lines;
use crate::formats::framing::{Framing, Within};

/// The offset after which nothing of a file is left, however long it would have been: where a file breaks off.
pub(crate) const BROKEN_OFF: u64 = u64::MAX;
/// What is kept of a record that is too long.
const KEPT_BYTES: usize = 1 << 10;

/// How one text file is read.
#[derive(Clone, Debug)]
pub(crate) struct TextOptions {
    /// Its name in messages.
    pub(crate) shown: Arc<str>,
    /// Its number in the lane.
    pub(crate) entry: u64,
    /// How it is compressed.
    pub(crate) compression: Compression,
    /// How its records are told apart.
    pub(crate) framing: Framing,
    /// Whether it may grow: then a record counts only with its newline.
    pub(crate) grows: bool,
    /// What it is read into.
    pub(crate) buffers: Arc<Buffers>,
    /// A longer record is skipped.
    pub(crate) max_record_bytes: usize,
    /// Whether the log tells where a file breaks off.
    pub(crate) tells_unread: bool,
}

/// A text file, read in order.
pub(crate) struct TextBlocks {
    options: TextOptions,
    stored: Arc<Stored>,
    listed: Found,
    /// Where chunks may be left to those who decode them.
    lines: Option<Arc<Lines>>,
    input: Option<Input>,
    fault: Option<io::Error>,
    buffer: Buffer,
    /// Where the buffer starts.
    offset: u64,
    skipping: Option<Skipped>,
    ready: VecDeque<Block>,
}

/// A record that is too long, as far as it was seen.
struct Skipped {
    head: Bytes,
    from: u64,
    within: Within,
}

impl TextBlocks {
    /// Opens a file so that the first block starts at `from`, the boundary of a record.
    ///
    /// # Errors
    /// Storage failed, or the file is shorter.
    pub(crate) fn open(stored: Arc<Stored>, listed: Found, from: u64, options: TextOptions) -> Result<Self> {
        let is_empty = listed.size == 0 && !options.grows;
        let input = if is_empty { None } else { Some(Input::open(&stored, options.compression, from)) };
        let (input, fault) = match input.transpose() {
            Ok(input) => (input, None),
            Err(error) => (None, Some(error)),
        };
        let buffer = Buffer::new(Arc::clone(&options.buffers));
        let (skipping, ready) = (None, VecDeque::new());
        let lines = Lines::of(&stored, &listed, &options);
        let mut blocks = Self { options, stored, listed, lines, input, fault, buffer, offset: from, skipping, ready };
        blocks.fault = blocks.fault.take().map(|error| blocks.storage_fault(error)).transpose()?;
        Ok(blocks)
    }

    /// Starts with a stretch that holds no row: the header line that ends where this opened.
    pub(crate) fn after_header(mut self, from: u64) -> Self {
        self.ready.push_back(Block::gap(from, self.offset, Vec::new(), 0));
        self
    }

    /// An error of the storage ends the reading; any other means that the file is broken, which is for `onError`.
    fn storage_fault(&self, error: io::Error) -> Result<io::Error> {
        match storage_error(&error) {
            Some(storage) => Err(read_error(&self.options.shown, self.offset, storage)),
            None => Ok(error),
        }
    }

    /// Reads about one chunk more; nothing at the end.
    fn fill(&mut self) -> Result<usize> {
        let Some(input) = &mut self.input else { return Ok(0) };
        let (read, fault) = read_full(input, self.buffer.room());
        self.buffer.add(read);
        if let Some(fault) = fault {
            self.fault = Some(self.storage_fault(fault)?);
            self.input = None;
        }
        Ok(read)
    }

    /// A chunk that need not be read here.
    fn leave(&mut self) -> Result<Option<Block>> {
        let lines = self.lines.as_ref().filter(|_| self.input.is_some() && self.skipping.is_none());
        let Some(block) = lines.map(|lines| lines.chunk(self.offset)).transpose()?.flatten() else { return Ok(None) };
        self.offset = block.to;
        // Reading goes on behind it, without what was read of it before.
        self.buffer = Buffer::new(Arc::clone(&self.options.buffers));
        let input = Input::open(&self.stored, self.options.compression, self.offset);
        self.input = Some(input.map_err(|error| read_error(&self.options.shown, self.offset, &error))?);
        Ok(Some(block))
    }

    fn advance(&mut self) -> Result<bool> {
        if let Some(block) = self.leave()? {
            self.ready.push_back(block);
        } else if self.fill()? > 0 {
            self.cut();
        } else if let Some(fault) = self.fault.take() {
            return self.break_off(&fault);
        } else {
            return self.finish();
        }
        Ok(true)
    }

    /// Moves whole records from the buffer to the blocks.
    fn cut(&mut self) {
        if !self.skip_on() {
            return;
        }
        loop {
            let complete = self.options.framing.complete_prefix(self.buffer.text());
            let torn = if complete > 0 {
                let records = self.buffer.split_to(complete);
                self.give(records)
            } else if self.buffer.text().len() > self.options.max_record_bytes {
                let Some(line) = self.torn_line(self.buffer.text()) else { return self.start_skipping() };
                Some((self.buffer.split_to(self.buffer.text().len()), line))
            } else {
                return;
            };
            if let Some((mut text, line)) = torn {
                self.give_long(text.split_to(line), "a quote that is not closed within as many");
                // Where records end behind that line is another question now.
                self.buffer.put_in_front(&text);
            }
        }
    }

    /// The first line of a record that is too long, where only that seems to be damaged.
    fn torn_line(&self, text: &[u8]) -> Option<usize> {
        self.options.framing.torn_line(&text[..text.len().min(self.options.max_record_bytes)])
    }

    /// Takes a text for a bad record.
    fn give_long(&mut self, text: Bytes, found: &str) {
        let raw = Bytes::copy_from_slice(&text[..text.len().min(KEPT_BYTES)]);
        let from = self.offset;
        self.offset += text.len() as u64;
        let bad = self.too_long(from, found, raw);
        self.ready.push_back(Block::gap(from, self.offset, vec![bad], self.taken()));
    }

    fn start_skipping(&mut self) {
        let mut within = Within::default();
        let text = self.buffer.text();
        let head = Bytes::copy_from_slice(&text[..text.len().min(KEPT_BYTES)]);
        self.options.framing.record_end(text, &mut within);
        self.skipping = Some(Skipped { head, from: self.offset, within });
        self.offset += text.len() as u64;
        self.buffer = Buffer::new(Arc::clone(&self.options.buffers));
    }

    /// Drops what belongs to a record that is too long; whether anything else follows.
    fn skip_on(&mut self) -> bool {
        let Some(skipped) = &mut self.skipping else { return true };
        let end = self.options.framing.record_end(self.buffer.text(), &mut skipped.within);
        let dropped = end.unwrap_or(self.buffer.text().len());
        self.buffer.drop_first(dropped);
        self.offset += dropped as u64;
        if end.is_some() {
            self.give_skipped();
        }
        end.is_some()
    }

    fn give_skipped(&mut self) {
        if let Some(Skipped { head, from, .. }) = self.skipping.take() {
            let bad = self.too_long(from, &format!("a record of {}", self.offset - from), head);
            self.ready.push_back(Block::gap(from, self.offset, vec![bad], self.taken()));
        }
    }

    fn too_long(&self, from: u64, found: &str, raw: Bytes) -> BadRecord {
        let limit = self.options.max_record_bytes;
        self.bad(from, format!("expected at most {limit} bytes (`maxRecordBytes`), found {found}"), raw)
    }

    fn bad(&self, from: u64, message: String, raw: Bytes) -> BadRecord {
        let position = Position::within(self.options.entry, from);
        BadRecord { position, class: BadClass::Decode, message, column: None, raw, record_time: None }
    }

    /// Gives records that start at the buffer's offset; long ones are taken out. One whose first line is torn, and its length, come
    /// back with all behind it.
    fn give(&mut self, mut records: Bytes) -> Option<(Bytes, usize)> {
        loop {
            let (good, long) = self.first_long(&records);
            self.give_text(records.split_to(good));
            if long == 0 {
                return None;
            }
            if let Some(line) = self.torn_line(&records) {
                return Some((records, line));
            }
            self.give_long(records.split_to(long), &format!("a record of {long}"));
        }
    }

    /// The length of the records before the first that is too long, and of that one, if there is one.
    fn first_long(&self, records: &[u8]) -> (usize, usize) {
        if records.len() <= self.options.max_record_bytes {
            return (records.len(), 0);
        }
        let mut at = 0;
        while at < records.len() {
            let rest = &records[at..];
            let length = self.options.framing.record_end(rest, &mut Within::default()).unwrap_or(rest.len());
            if length > self.options.max_record_bytes {
                return (at, length);
            }
            at += length;
        }
        (at, 0)
    }

    fn give_text(&mut self, text: Bytes) {
        if !text.is_empty() {
            let block = Block::text(self.offset, text, self.taken());
            self.offset = block.to;
            self.ready.push_back(block);
        }
    }

    fn taken(&self) -> u64 {
        self.input.as_ref().map_or(self.listed.size, Input::stored)
    }

    /// The file's end. A last record without its newline counts, unless the file grows.
    fn finish(&mut self) -> Result<bool> {
        self.input = None;
        if self.options.grows {
            return Ok(false);
        }
        check_unchanged(&self.stored, &self.listed, &self.options.shown, self.offset)?;
        self.give_skipped();
        let last = self.buffer.split_to(self.buffer.text().len());
        self.give_text(last);
        Ok(!self.ready.is_empty())
    }

    /// The rest cannot be read. A file that may still be growing is not broken for that it ends too early, and one that was
    /// changed under its reader is another.
    fn break_off(&mut self, fault: &io::Error) -> Result<bool> {
        self.input = None;
        if self.options.grows && fault.kind() == io::ErrorKind::UnexpectedEof {
            return Ok(false);
        }
        if !self.options.grows {
            check_unchanged(&self.stored, &self.listed, &self.options.shown, self.offset)?;
        }
        let skipped = self.skipping.take();
        let from = skipped.as_ref().map_or(self.offset, |skipped| skipped.from);
        let rest = self.buffer.split_to(self.buffer.text().len());
        let raw = skipped.map_or(rest, |skipped| skipped.head);
        let kept = Bytes::copy_from_slice(&raw[..raw.len().min(KEPT_BYTES)]);
        let cause =
            if fault.kind() == io::ErrorKind::UnexpectedEof { "the file is cut off".into() } else { fault.to_string() };
        let message = format!(
            "`{}` cannot be decompressed beyond byte {} of its text: {cause}; the rest of the file is not read",
            self.options.shown,
            from + raw.len() as u64
        );
        if self.options.tells_unread {
            tracing::warn!("{message}");
        }
        let bad = self.bad(from, message, kept);
        self.ready.push_back(Block::gap(from, BROKEN_OFF, vec![bad], self.listed.size));
        Ok(true)
    }
}

impl Blocks for TextBlocks {
    fn next(&mut self) -> Result<Option<Block>> {
        loop {
            if let Some(block) = self.ready.pop_front() {
                return Ok(Some(block));
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }
}

/// Fills a buffer as far as possible.
fn read_full(input: &mut Input, into: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut read = 0;
    while read < into.len() {
        match input.read(&mut into[read..]) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (read, Some(error)),
        }
    }
    (read, None)
}

/// A bounded file must be what was listed: its positions mean nothing in another.
///
/// # Errors
/// `DataLoss` where it is not.
pub(crate) fn check_unchanged(stored: &Stored, listed: &Found, shown: &str, at: u64) -> Result<()> {
    let now = stored.now(&listed.name).map_err(|error| read_error(shown, at, &error))?;
    if now == *listed {
        return Ok(());
    }
    let what = format!("reading `{shown}` at byte {at}");
    let was = if now.size == listed.size {
        "its size is the same, its time or version is not".to_owned()
    } else {
        format!("expected {} bytes, found {}", listed.size, now.size)
    };
    Err(Error::data_loss(what, format!("the file changed since it was listed: {was}")).with_hint(PUT_BACK))
}

/// The header line of a file: its first record, newline included.
///
/// # Errors
/// Storage failed, the text is broken, or there is no such record within the limit.
pub(crate) fn header(stored: &Arc<Stored>, options: &TextOptions) -> Result<Option<Bytes>, OpenError> {
    let unfit = |cause: &str| OpenError::decode(format!("the header of `{}` cannot be read: {cause}", options.shown));
    let fail = |error: &io::Error| match storage_error(error) {
        Some(storage) => read_error(&options.shown, 0, storage).into(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => unfit("the file is cut off"),
        None => unfit(&error.to_string()),
    };
    let mut input = Input::open(stored, options.compression, 0).map_err(|error| fail(&error))?;
    let (mut buffer, mut within, mut scanned) = (BytesMut::new(), Within::default(), 0);
    while buffer.len() <= options.max_record_bytes {
        let length = buffer.len();
        buffer.resize(length + (4 << 10), 0);
        let (read, fault) = read_full(&mut input, &mut buffer[length..]);
        buffer.truncate(length + read);
        if let Some(end) = options.framing.record_end(&buffer[scanned..], &mut within) {
            buffer.truncate(scanned + end);
            return Ok(Some(buffer.freeze()));
        }
        scanned = buffer.len();
        match fault {
            Some(fault) if options.grows && fault.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Some(fault) => return Err(fail(&fault)),
            None if read == 0 => return Ok((!buffer.is_empty() && !options.grows).then(|| buffer.freeze())),
            None => {}
        }
    }
    Err(unfit(&format!("no line ends within {} bytes (`maxRecordBytes`)", options.max_record_bytes)))
}
