//! Reads a lane: file after file, block after block.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use thalweg_core::error::{Error, Result};
use thalweg_core::position::Position;
use thalweg_core::source::{Payload, Piece, RawChunk, Read, SplitReader};

use super::block::{Block, Prefetch};
use super::config::Order;
use super::identity::{Beginning, Head};
use super::source::Files;
use super::store::{Found, read_error};
use super::text::BROKEN_OFF;
use crate::blocking::blocking;

/// So many blocks are read ahead at the most, over all splits of a source, and one of each at the least: enough for threads to go on
/// with while one of them waits for a core to read on.
const MOST_AHEAD: usize = 4;

/// What to do about a watched file that was replaced.
const RENEWED: &str = "a watched file may only grow: give what is new a name of its own; start anew with `--fresh` to read what is \
                       there now, or put the file back";

/// What to do about a watched file that is gone too early.
const GONE: &str = "put it back, or start all of it anew: --fresh, in a cluster another restart.nonce";

/// How the files of a source are dealt to a split: from the `first` of the list on, every `step`-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dealt {
    pub(crate) first: u32,
    pub(crate) step: u32,
}

impl Dealt {
    /// The number in the list of a split's file.
    fn number_of(self, entry: u64) -> u32 {
        let entry = u32::try_from(entry).unwrap_or(u32::MAX);
        entry.saturating_mul(self.step).saturating_add(self.first)
    }
}

/// The reader of one lane, or of one watched file.
pub(crate) struct FilesReader {
    files: Arc<Files>,
    entries: Vec<Found>,
    dealt: Dealt,
    at: Position,
    open: Option<Prefetch>,
    held: Option<Block>,
    /// Stored bytes of the entries before this one.
    before: u64,
    stored: u64,
    /// A watched file as it was when its end was reached.
    seen: Option<Found>,
    /// The same before it was read.
    opened: Option<Found>,
    /// How it began.
    head: Option<Head>,
    /// Whether it was read since it was quiet.
    is_busy: bool,
}

impl FilesReader {
    /// Reads `entries`, dealt like this, from a position on.
    pub(crate) fn new(files: Arc<Files>, entries: Vec<Found>, dealt: Dealt, from: Position) -> Self {
        let index = usize::try_from(from.entry).unwrap_or(usize::MAX).min(entries.len());
        let before = entries[..index].iter().map(|file| file.size).sum();
        let head = files.lister.with(|listing| listing.heads.get(&dealt.first).cloned());
        let (open, held, seen, opened) = (None, None, None, None);
        Self { files, entries, dealt, at: from, open, held, before, stored: 0, seen, opened, head, is_busy: false }
    }

    fn entry(&self) -> Option<Found> {
        usize::try_from(self.at.entry).ok().and_then(|entry| self.entries.get(entry)).cloned()
    }

    fn offset(&self) -> u64 {
        u64::try_from(self.at.offset).unwrap_or(BROKEN_OFF)
    }

    fn is_watched(&self) -> bool {
        self.files.config.watch.is_some()
    }

    fn start(&mut self, found: Found) {
        let (files, entry, from) = (Arc::clone(&self.files), self.at.entry, self.offset());
        let ahead = MOST_AHEAD / files.readers();
        self.open = Some(Prefetch::start(ahead, move || files.blocks(&found, entry, from)));
    }

    /// The next block of the file at hand, which is kept in `held`; whether there was one.
    async fn fetch(&mut self) -> Result<bool> {
        let Some(open) = &mut self.open else { return Ok(false) };
        let read = open.next().await;
        if !matches!(read, Ok(Some(_))) {
            self.open = None;
        }
        self.held = read?;
        Ok(self.held.is_some())
    }

    fn next_file(&mut self, found: &Found) {
        self.before += found.size;
        self.stored = 0;
        self.at = Position::within(self.at.entry + 1, 0);
    }

    /// Whether a watched file may have something new.
    async fn has_grown(&mut self, listed: &Found) -> Result<bool> {
        let shown = self.files.shown(listed);
        let now = self.files.store.stat(&listed.name, &shown).await?;
        let plain = self.files.is_plain(listed);
        let what = format!("reading `{shown}` at byte {}", self.offset());
        let Some(now) = now else {
            self.check_read(listed, &shown).await?;
            return Ok(false);
        };
        let least = self.seen.as_ref().map_or(0, |seen| seen.size).max(if plain { self.offset() } else { 0 });
        if now.size < least {
            let detail = format!("the file shrank: expected at least {least} bytes, found {}", now.size);
            return Err(Error::data_loss(what, detail));
        }
        let grown = self.seen.as_ref() != Some(&now);
        if grown {
            self.check_same(listed, &now).await?;
        }
        self.opened = Some(now);
        Ok(grown)
    }

    /// That a watched file that is gone was read to its end, as far as anybody saw it.
    async fn check_read(&mut self, listed: &Found, shown: &str) -> Result<()> {
        let is_plain = self.files.is_plain(listed);
        if self.seen.is_some() && !is_plain {
            return Ok(());
        }
        let (offset, what) = (self.offset(), format!("reading `{shown}` at byte {}", self.offset()));
        if !is_plain {
            let detail = "the file is gone, and whether it was read to its end is not known: its positions do not tell";
            return Err(Error::data_loss(what, detail).with_hint(GONE));
        }
        let size = self.files.last_size(self.dealt.first).await?;
        if offset < size {
            let detail = format!("the file is gone, and was not read to its end: it had {size} bytes");
            return Err(Error::data_loss(what, detail).with_hint(GONE));
        }
        if offset > size && self.seen.is_none() {
            tracing::warn!(
                "`{shown}` is gone: it was read to byte {offset}, and had {size} bytes when its size was last noted; what \
                 came after that byte, if anything, is not known"
            );
        }
        self.seen = Some(Found { size, ..listed.clone() });
        Ok(())
    }

    /// That a watched file is the one that was read so far.
    async fn check_same(&mut self, listed: &Found, now: &Found) -> Result<()> {
        let (files, found) = (Arc::clone(&self.files), now.clone());
        let looked = blocking(move || files.store.open(&found).and_then(|stored| Beginning::of(&stored))).await;
        let shown = self.files.shown(listed);
        let looked = looked.map_err(|error| read_error(&shown, self.offset(), &error))?;
        let is_same = match (&looked, &self.head) {
            _ if self.offset() == 0 => true,
            (Some(_), None) => true,
            (Some(looked), Some(head)) => head.is_of(looked, self.least_read(listed)),
            (None, _) => self.seen.as_ref().unwrap_or(listed).version == now.version,
        };
        if !is_same {
            let what = format!("reading `{shown}` at byte {}", self.offset());
            return Err(
                Error::data_loss(what, "the file is another than the one that was read so far").with_hint(RENEWED)
            );
        }
        self.head = looked.map(|looked| looked.head());
        Ok(())
    }

    /// How many stored bytes of the file were read at least.
    fn least_read(&self, listed: &Found) -> u64 {
        if self.files.is_plain(listed) {
            return self.offset();
        }
        self.seen.as_ref().map_or(u64::MAX, |seen| seen.size)
    }

    /// The held block up to `until`.
    fn give(&mut self, block: Block, until: Option<Position>) -> Read {
        let from = Position::within(self.at.entry, block.from);
        let until = until.filter(|until| until.entry == from.entry && *until > from);
        let end = until.map_or(u64::MAX, |until| u64::try_from(until.offset).unwrap_or(u64::MAX));
        let (block, rest) = block.split_at(end);
        self.held = rest;
        self.at = Position::within(self.at.entry, block.to);
        self.stored = block.stored;
        Read::Chunk(RawChunk { from, to: self.at, piece: self.piece(), payload: block.payload, bad: block.bad })
    }

    /// An empty file is a piece too: its chunk keeps the numbers of pieces without a gap.
    fn give_empty(&mut self, found: &Found) -> Read {
        let (at, piece) = (self.at, self.piece());
        self.next_file(found);
        Read::Chunk(RawChunk { from: at, to: at, piece, payload: Payload::Text(Bytes::new()).into(), bad: Vec::new() })
    }

    fn piece(&self) -> Piece {
        let name = self.entry().map_or_else(|| "".into(), |found| self.files.shown(&found));
        let own_scope = self.files.config.order == Order::Any && !self.is_watched();
        let is_last = self.at.entry + 1 >= self.entries.len() as u64;
        Piece {
            name,
            ordinal: self.dealt.number_of(self.at.entry),
            watermark_scope: if own_scope { self.at.entry } else { 0 },
            is_last_scope: !own_scope || is_last,
        }
    }
}

#[async_trait]
impl SplitReader for FilesReader {
    async fn read(&mut self, until: Option<Position>) -> Result<Read> {
        loop {
            if let Some(block) = self.held.take() {
                return Ok(self.give(block, until));
            }
            let Some(found) = self.entry() else { return Ok(Read::End) };
            if self.open.is_none() {
                if self.is_watched() {
                    if self.offset() == BROKEN_OFF || !self.has_grown(&found).await? {
                        if std::mem::take(&mut self.is_busy) {
                            self.files.rest();
                        }
                        return Ok(Read::CaughtUp);
                    }
                    self.is_busy = true;
                } else if self.offset() == BROKEN_OFF {
                    self.next_file(&found);
                    continue;
                }
                self.start(self.opened.clone().unwrap_or_else(|| found.clone()));
            }
            if !self.fetch().await? {
                if self.is_watched() {
                    self.seen = self.opened.take();
                    return Ok(Read::CaughtUp);
                }
                if self.at.offset == 0 {
                    return Ok(self.give_empty(&found));
                }
                self.next_file(&found);
            }
        }
    }

    fn progress(&self) -> u64 {
        self.before + self.stored
    }
}
