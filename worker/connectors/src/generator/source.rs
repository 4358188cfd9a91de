//! The connector: records as lines of JSON, so that they take the way that every record takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use thalweg_core::clock::SharedClock;
use thalweg_core::error::{Error, Result};
use thalweg_core::log::SplitId;
use thalweg_core::position::Position;
use thalweg_core::source::{Payload, Piece, RawChunk, Read, Source, Split, SplitReader};

use super::{Generate, GeneratorConfig, generate};

/// Lines of one entry of a position: positions are (entry, byte of its text), as those of files are. An entry is written
/// again up to the wanted byte to resume inside of it, which takes up to 0.1 s.
const ENTRY_ROWS: u64 = 1 << 16;
/// Most lines of a chunk, about a megabyte.
const CHUNK_ROWS: u64 = 4096;
/// Longest wait for the next record under a rate, before the reader says that it has caught up.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// Shortest wait: at high rates, records come in chunks of so much time.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);

/// A generator as a source.
pub struct GeneratorSource {
    rows: Arc<dyn Generate>,
    config: GeneratorConfig,
    clock: SharedClock,
    /// When each split was first opened, and where.
    began: Mutex<BTreeMap<u32, (Duration, u64)>>,
}

impl GeneratorSource {
    /// A source that takes its pace from `clock`.
    ///
    /// # Errors
    /// `User` where a setting is out of range.
    pub fn new(config: GeneratorConfig, clock: SharedClock) -> Result<Self> {
        if config.splits == 0 {
            return Err(Error::user("generator.splits", "found 0, expected at least 1"));
        }
        if config.rows_per_second == Some(0) {
            return Err(Error::user("generator.rowsPerSecond", "found 0, expected at least 1"));
        }
        Ok(Self { rows: generate(&config.kind, config.seed)?, config, clock, began: Mutex::default() })
    }

    fn index(&self, split: &SplitId) -> Result<u32> {
        let index = split.as_str().parse().ok().filter(|&index: &u32| index < self.config.splits);
        index.ok_or_else(|| {
            Error::data_loss(format!("generator split {split}"), format!("there are {} splits", self.config.splits))
        })
    }

    fn deal(&self, split: u32) -> Deal {
        let (first, step) = (u64::from(split), u64::from(self.config.splits));
        let count = self.config.rows.map(|rows| rows.saturating_sub(first).div_ceil(step));
        Deal { rows: Arc::clone(&self.rows), first, step, count }
    }

    /// When a split was first opened, and where: it grows from then on, whoever reads it. One that comes behind what has
    /// been made meanwhile need not wait for it.
    fn began(&self, split: u32, row: u64) -> (Duration, u64) {
        let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        *began.entry(split).or_insert_with(|| (self.clock.monotonic(), row))
    }
}

#[async_trait]
impl Source for GeneratorSource {
    async fn splits(&self) -> Result<Vec<Split>> {
        let split = |index: u32| Split { id: SplitId::new(index.to_string()), size: self.deal(index).count };
        Ok((0..self.config.splits).map(split).collect())
    }

    fn grows(&self) -> bool {
        false
    }

    async fn open(&self, split: &SplitId, from: Position) -> Result<Box<dyn SplitReader>> {
        let deal = self.deal(self.index(split)?);
        let at = deal.seek(from).ok_or_else(|| {
            Error::data_loss(format!("generator split {split}"), format!("no record starts at position {from}"))
                .with_hint("were the seed, the kind or the number of splits changed?")
        })?;
        let pace = self.config.rows_per_second.map(|rate| {
            let (start, first) = self.began(self.index(split)?, at.row);
            let rows_per_second = rate as f64 / f64::from(self.config.splits);
            Ok::<_, Error>(Pace { clock: Arc::clone(&self.clock), rows_per_second, start, first })
        });
        let pace = pace.transpose()?;
        let name = Arc::from(format!("generator/{split}"));
        let piece = Piece { name, ordinal: self.index(split)?, watermark_scope: 0, is_last_scope: true };
        Ok(Box::new(GeneratorReader { deal, at, pace, piece }))
    }

    async fn describe(&self, split: &SplitId, position: Position, column: Option<usize>) -> String {
        let found = self.index(split).ok().and_then(|index| self.deal(index).seek(position));
        let place = found.map_or_else(|| format!("position {position}"), |at| format!("record {}", at.row + 1));
        let column = column.map(|byte| format!(", column {}", byte + 1)).unwrap_or_default();
        format!("generator split {split}, {place}{column}")
    }
}

/// The records of one split: every `step`-th one, so that event time advances alike in all splits.
#[derive(Clone)]
struct Deal {
    rows: Arc<dyn Generate>,
    first: u64,
    step: u64,
    /// `None` is without end.
    count: Option<u64>,
}

/// Where the next record of a split stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    /// Its number within the split.
    row: u64,
    /// Where its line starts in the text of its entry.
    byte: u64,
}

impl At {
    /// At the end of an entry, the start of the next one.
    fn position(self) -> Position {
        Position::within(self.row / ENTRY_ROWS, self.byte)
    }
}

impl Deal {
    fn write(&self, row: u64, out: &mut Vec<u8>) {
        self.rows.write_json(self.first + row * self.step, out);
    }

    fn has(&self, row: u64) -> bool {
        self.count.is_none_or(|count| row < count)
    }

    /// The record that starts at a position; `None` where none does.
    fn seek(&self, position: Position) -> Option<At> {
        let mut row = position.entry.checked_mul(ENTRY_ROWS)?;
        let wanted = u64::try_from(position.offset).ok()?;
        let mut byte = 0;
        let mut line = Vec::new();
        while byte < wanted {
            line.clear();
            self.write(row, &mut line);
            byte += line.len() as u64;
            row += 1;
            if row.is_multiple_of(ENTRY_ROWS) {
                return None;
            }
        }
        (byte == wanted && self.count.is_none_or(|count| row <= count)).then_some(At { row, byte })
    }

    /// Lines from `at` on, within its entry: at most `rows`, and none that starts at or after byte `until`.
    fn text(&self, at: At, rows: u64, until: Option<u64>) -> (Vec<u8>, At) {
        let entry_end = (at.row / ENTRY_ROWS + 1) * ENTRY_ROWS;
        let end = entry_end.min(at.row.saturating_add(rows));
        let mut text = Vec::new();
        let mut row = at.row;
        while row < end && self.has(row) && until.is_none_or(|until| at.byte + (text.len() as u64) < until) {
            self.write(row, &mut text);
            row += 1;
        }
        let byte = if row == entry_end { 0 } else { at.byte + text.len() as u64 };
        (text, At { row, byte })
    }
}

/// How fast records become due.
struct Pace {
    clock: SharedClock,
    rows_per_second: f64,
    /// When the split was opened first, and where.
    start: Duration,
    first: u64,
}

impl Pace {
    /// How many records are due at `row`.
    fn due(&self, row: u64) -> u64 {
        let elapsed = (self.clock.monotonic() - self.start).as_secs_f64();
        let due = self.first.saturating_add((elapsed * self.rows_per_second) as u64);
        due.saturating_sub(row)
    }

    /// Waits until a record is due, but not for long.
    async fn wait(&self, row: u64) -> u64 {
        let due = self.due(row);
        if due > 0 {
            return due;
        }
        let until_next = Duration::from_secs_f64(1.0 / self.rows_per_second).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        tokio::time::sleep(until_next).await;
        self.due(row)
    }
}

/// Reads one split.
struct GeneratorReader {
    deal: Deal,
    at: At,
    pace: Option<Pace>,
    piece: Piece,
}

#[async_trait]
impl SplitReader for GeneratorReader {
    async fn read(&mut self, until: Option<Position>) -> Result<Read> {
        if !self.deal.has(self.at.row) {
            return Ok(Read::End);
        }
        let due = match &self.pace {
            Some(pace) => pace.wait(self.at.row).await,
            None => CHUNK_ROWS,
        };
        if due == 0 {
            return Ok(Read::CaughtUp);
        }
        let from = self.at.position();
        // A boundary in a later entry is no limit to this one's chunk.
        let until = until.filter(|until| until.entry == from.entry).and_then(|until| u64::try_from(until.offset).ok());
        let (text, to) = self.deal.text(self.at, due.min(CHUNK_ROWS), until);
        self.at = to;
        Ok(Read::Chunk(RawChunk {
            from,
            to: to.position(),
            piece: self.piece.clone(),
            payload: Payload::Text(Bytes::from(text)).into(),
            bad: Vec::new(),
        }))
    }

    fn progress(&self) -> u64 {
        self.at.row
    }
}

#[cfg(test)]
mod tests;
