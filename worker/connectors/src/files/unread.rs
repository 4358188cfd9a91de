//! Text that stays in its file until somebody decodes it: then it is read by the core that needs it.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use memchr::memrchr;
use thalweg_core::error::{Error, Result};
use thalweg_core::source::{Stretch, Unread};

use super::block::Block;
use super::buffers::{Buffer, Buffers};
use super::config::Compression;
use super::store::{Found, Stored, read_error};
use super::text::{TextOptions, check_unchanged};
use crate::blocking::blocking;
use crate::formats::Framing;

/// Within so many bytes before a chunk's end a line has to end; else the chunk is read, and its records looked for.
const LOOKED_AT: usize = 16 << 10;

/// A local file of lines.
pub(crate) struct Lines {
    stored: Arc<Stored>,
    listed: Found,
    shown: Arc<str>,
    buffers: Arc<Buffers>,
    grows: bool,
}

impl Lines {
    /// `None` where records are to be found only by reading all of the text, or reading takes a request.
    pub(crate) fn of(stored: &Arc<Stored>, listed: &Found, options: &TextOptions) -> Option<Arc<Self>> {
        let is_plain = options.compression == Compression::None && matches!(**stored, Stored::Local(_));
        // No record is too long for `maxRecordBytes` in a chunk that is not.
        let fits = options.framing == Framing::Lines && options.buffers.chunk_bytes() <= options.max_record_bytes;
        let lines = || Self {
            stored: Arc::clone(stored),
            listed: listed.clone(),
            shown: Arc::clone(&options.shown),
            buffers: Arc::clone(&options.buffers),
            grows: options.grows,
        };
        (is_plain && fits).then(lines).map(Arc::new)
    }

    /// About a chunk of lines from byte `from` on, where one begins; `None` if less is left of the file, or if no line seems to
    /// end there. Blocks.
    ///
    /// # Errors
    /// Storage failed.
    pub(crate) fn chunk(self: &Arc<Self>, from: u64) -> Result<Option<Block>> {
        let bytes = self.buffers.chunk_bytes();
        let end = from + bytes as u64;
        if end > self.listed.size {
            return Ok(None);
        }
        self.stored.read_ahead(end, bytes);
        let mut last = [0; LOOKED_AT];
        let last = &mut last[..LOOKED_AT.min(bytes)];
        let start = end - last.len() as u64;
        let read = self.stored.read_at(start, last).map_err(|error| read_error(&self.shown, start, &error))?;
        let newline = memrchr(b'\n', &last[..read]);
        let length = |newline: usize| (start - from) as usize + newline + 1;
        let text = |length: usize| Stretch::new(Arc::clone(self) as Arc<dyn Unread>, from, length);
        Ok(newline.map(|newline| Block::unread(from, text(length(newline)))))
    }

    /// Waits for what of a stretch is not in the buffer yet. Blocks.
    fn complete(&self, mut buffer: Buffer, from: u64, length: usize) -> Result<Bytes> {
        let at = from + buffer.text().len() as u64;
        let read = self.stored.read_at(at, buffer.room_to(length));
        let read = read.map_err(|error| read_error(&self.shown, at, &error))?;
        buffer.add(read);
        self.checked(buffer, from, length)
    }

    /// A stretch, if the file still is the one in which it was found: lines end with it. Asks the file system.
    fn checked(&self, mut buffer: Buffer, from: u64, length: usize) -> Result<Bytes> {
        if !self.grows {
            check_unchanged(&self.stored, &self.listed, &self.shown, from)?;
        }
        let lost = |detail: String| Err(Error::data_loss(format!("reading `{}` at byte {from}", self.shown), detail));
        let (to, have) = (from + length as u64, from + buffer.text().len() as u64);
        if have < to {
            return lost(format!("the file shrank: expected at least {to} bytes, found {have}"));
        }
        let text = buffer.split_to(length);
        if text.last() != Some(&b'\n') {
            return lost(format!("the file was rewritten while it was read: a line ended at byte {to}"));
        }
        Ok(text)
    }
}

#[async_trait]
impl Unread for Lines {
    async fn read(self: Arc<Self>, from: u64, length: usize) -> Result<Bytes> {
        let mut buffer = Buffer::new(Arc::clone(&self.buffers));
        let read = self.stored.read_cached(from, buffer.room_to(length));
        buffer.add(read);
        if read == length {
            // A file system that gives what it has without waiting does not wait to say how big the file is.
            return self.checked(buffer, from, length);
        }
        blocking(move || self.complete(buffer, from, length)).await
    }
}

impl Debug for Lines {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Lines").field(&self.shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use thalweg_core::error::ErrorKind;
    use thalweg_core::source::Given;

    use super::super::store::Store;
    use super::*;

    const TEXT: &[u8] = b"one\ntwo\nthree\nfour\n";

    fn options(chunk_bytes: usize) -> TextOptions {
        TextOptions {
            shown: "a.json".into(),
            entry: 0,
            compression: Compression::None,
            framing: Framing::Lines,
            grows: false,
            buffers: Arc::new(Buffers::new(chunk_bytes)),
            max_record_bytes: 100,
            tells_unread: true,
        }
    }

    fn open(folder: &tempfile::TempDir, options: &TextOptions) -> Option<Arc<Lines>> {
        let path = folder.path().join("a.json");
        if !path.exists() {
            fs::write(&path, TEXT).expect("a file");
        }
        let listed = Found { name: "a.json".into(), size: TEXT.len() as u64, version: String::new() };
        let stored = Store::Local(folder.path().to_owned()).open(&listed).expect("it is there");
        let listed = stored.now("a.json").expect("it is there");
        Lines::of(&Arc::new(stored), &listed, options)
    }

    fn stretch(lines: &Arc<Lines>, from: u64) -> Option<(u64, Stretch)> {
        let block = lines.chunk(from).expect("it is read")?;
        let Given::Unread(text) = block.payload else { panic!("it was read") };
        Some((block.to, text))
    }

    async fn read(lines: &Arc<Lines>, from: u64, length: usize) -> Result<Bytes> {
        Arc::clone(lines).read(from, length).await
    }

    #[tokio::test]
    async fn a_chunk_ends_with_the_last_line_that_ends_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let lines = open(&folder, &options(9)).expect("lines");
        let (to, text) = stretch(&lines, 0).expect("a chunk");
        assert_eq!((to, text.length()), (8, 8));
        assert_eq!(read(&lines, 0, 8).await.expect("text"), "one\ntwo\n");
        let (to, mut text) = stretch(&lines, 8).expect("a chunk");
        assert_eq!((to, text.length()), (14, 6));
        let rest = text.split_off(2);
        assert_eq!((text.length(), rest.length()), (2, 4));
        assert!(stretch(&lines, 14).is_none(), "less than a chunk is left");
        let lines = open(&folder, &options(3)).expect("lines");
        assert!(stretch(&lines, 0).is_none(), "no line ends there");
    }

    #[tokio::test]
    async fn what_is_not_in_memory_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let lines = open(&folder, &options(9)).expect("lines");
        for have in 0..=6 {
            let mut buffer = Buffer::new(Arc::clone(&lines.buffers));
            buffer.room()[..have].copy_from_slice(&TEXT[8..8 + have]);
            buffer.add(have);
            let whole = lines.complete(buffer, 8, 6).expect("text");
            assert_eq!(whole, "three\n", "{have} bytes were there");
        }
    }

    #[tokio::test]
    async fn a_buffer_is_kept_whatever_part_had_to_be_waited_for() {
        const LENGTH: usize = 1 << 20;
        let folder = tempfile::tempdir().expect("a folder");
        let text = [vec![b'x'; LENGTH - 1], b"\n".to_vec()].concat();
        fs::write(folder.path().join("a.json"), &text).expect("a file");
        let lines = open(&folder, &TextOptions { max_record_bytes: LENGTH, ..options(LENGTH) }).expect("lines");
        let mut buffer = Buffer::new(Arc::clone(&lines.buffers));
        buffer.room_to(LENGTH).fill(b'x');
        buffer.add(LENGTH / 2);
        let place = buffer.text().as_ptr();
        assert_eq!(lines.complete(buffer, 0, LENGTH).expect("text"), text);
        let mut again = Buffer::new(Arc::clone(&lines.buffers));
        assert_eq!(again.room().as_ptr(), place, "it did not grow, and is used again");
    }

    #[tokio::test]
    async fn a_file_that_shrinks_or_changes_before_it_is_read_is_data_loss() {
        for (grows, left, expected) in [
            (false, &TEXT[..10], "the file changed"),
            (false, b"new\ntwo\nthree\nfour\nfive\n", "the file changed"),
            (true, &TEXT[..10], "expected at least 14 bytes, found 10"),
            (true, b"another one\nsix\nseven\n", "a line ended at byte 14"),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let lines = open(&folder, &TextOptions { grows, ..options(9) }).expect("lines");
            fs::write(folder.path().join("a.json"), left).expect("a file");
            let error = read(&lines, 8, 6).await.expect_err("it changed");
            assert!(error.kind == ErrorKind::DataLoss && error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn where_records_end_only_a_reader_knows() {
        let folder = tempfile::tempdir().expect("a folder");
        let csv = Framing::Csv { delimiter: b',', quote: b'"' };
        assert!(open(&folder, &TextOptions { framing: csv, ..options(9) }).is_none());
        assert!(open(&folder, &TextOptions { compression: Compression::Zstd, ..options(9) }).is_none());
        assert!(
            open(&folder, &TextOptions { max_record_bytes: 8, ..options(9) }).is_none(),
            "a record may be too long"
        );
    }
}
