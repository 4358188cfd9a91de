//! JSON objects, one a line or one a record, to the columns that are needed.
//!
//! A record is walked once; the values of columns are located, all others stepped over. Then the values of a block of
//! rows are converted column by column. What holds for every record, read or not:
//!
//! - it is one object, its strings are closed and hold no control character, its brackets match, it is at most
//!   [`MAX_DEPTH`] deep, keys and values alternate at its top level, and nothing follows it;
//! - what columns read is valid JSON and UTF-8, and fits the column's type: numbers and booleans given as text count as
//!   what they say, `1e3` is a whole number, a STRING takes any value as it is written;
//! - of equal keys the last counts; the order of keys does not matter;
//! - blank lines are no records.
//!
//! With `strict`, the grammar of everything else and its UTF-8 are checked too.

mod children;
mod scan;
mod shape;
mod simd;
mod strict;
mod unescape;
mod walk;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use thalweg_core::decode::{BadClass, Decoded, Decoder};
use thalweg_core::error::Result;
use thalweg_core::source::{Payload, RawChunk};

pub(crate) use self::children::{Entry, elements, kind_of_default, members};
pub use self::scan::MAX_DEPTH;
pub(crate) use self::simd::{WIDTH, load, string_stops};
pub(crate) use self::strict::is_valid;
pub(crate) use self::unescape::unescape;

use self::scan::{What, blanks, broken};
use self::shape::Node;
use self::walk::Walker;
use super::assembler::{Assembler, Place};
use super::column::Column;
use super::fault::{Fault, Faults, shorten};
use super::grid::{BLOCK_ROWS, Grid};
use super::plan::Plan;
use super::time::TimestampFormat;

/// How JSON is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonOptions {
    /// Judges the whole of every record, not only the columns that are read.
    pub strict: bool,
    /// How timestamps are written.
    pub timestamps: TimestampFormat,
    /// Tells where each row lies in its chunk ([`Decoded::rows`]; without it that says `All`, bad records or not).
    pub row_starts: bool,
}

/// Decodes JSON.
#[derive(Clone, Debug)]
pub struct JsonDecoder {
    plan: Plan,
    nodes: Vec<Node>,
    options: JsonOptions,
}

impl JsonDecoder {
    /// A decoder of these columns.
    ///
    /// # Errors
    /// *User*: a type that JSON does not have, a default that is not of its column's type.
    pub fn new(columns: Vec<Column>, options: JsonOptions) -> Result<Self> {
        let nodes = shape::nodes_of(&columns);
        Ok(Self { plan: Plan::new(columns, options.timestamps.clone())?, nodes, options })
    }
}

impl Decoder for JsonDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.plan.schema
    }

    fn decode(&self, chunk: &RawChunk) -> Decoded {
        let mut assembler = Assembler::new(&self.plan, chunk, self.options.row_starts);
        let mut records = Records::new(self);
        match &chunk.payload {
            Payload::Text(text) => records.lines(text, chunk.from.offset == 0, &mut assembler),
            Payload::Records(chunk) => records.values(&chunk.values, &mut assembler),
            Payload::Columns(_) => {
                let message = "expected JSON text, found none".to_owned();
                let fault = Fault { class: BadClass::Decode, column: None, message };
                assembler.refuse(&Place { number: 0, len: 0 }, fault, None);
            }
        }
        assembler.finish()
    }
}

/// UTF-8's byte order mark, which some programs put at the start of files.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Rows after this byte begin a new block, so that places in a block's text stay below 4 GiB.
const BLOCK_BYTES: usize = 1 << 30;

/// The records of one chunk, a block at a time.
struct Records<'a> {
    walker: Walker<'a>,
    /// For values that hold newlines.
    spread: Walker<'a>,
    strict: bool,
    grid: Grid,
    faults: Faults,
    places: Vec<Place>,
}

impl<'a> Records<'a> {
    fn new(decoder: &'a JsonDecoder) -> Self {
        Self {
            walker: Walker::new(&decoder.nodes, false),
            spread: Walker::new(&decoder.nodes, true),
            strict: decoder.options.strict,
            grid: Grid::new(decoder.plan.columns.len()),
            faults: Faults::default(),
            places: Vec::with_capacity(BLOCK_ROWS),
        }
    }

    /// Takes every line of a text.
    fn lines(&mut self, text: &[u8], is_start: bool, assembler: &mut Assembler<'_>) {
        let mark = if is_start && text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let mut from = mark;
        while from < text.len() {
            let block = &text[from..];
            let mut at = 0;
            while at < block.len().min(BLOCK_BYTES) && self.places.len() < BLOCK_ROWS {
                at = self.line(block, at, from);
            }
            self.flush(block, assembler);
            from += at;
        }
    }

    /// Takes the line at `at` of a block that starts at byte `base` of the text; the answer is the next line.
    #[inline]
    fn line(&mut self, text: &[u8], at: usize, base: usize) -> usize {
        let first = blanks(text, at, false);
        match text.get(first) {
            Some(b'{') => {}
            Some(b'\n') => return first + 1,
            None => return first,
            Some(_) => {
                let end = end_of_line(text, at);
                let fault = not_an_object(&text[..end], first, at);
                self.push(Place { number: base + at, len: end - at }, at, Err(fault));
                return end + 1;
            }
        }
        let row = self.places.len();
        let walked = self.walker.record(text, first, row, &mut self.grid);
        let walked = walked.and_then(|end| match text.get(end) {
            Some(b'\n') | None => Ok(end),
            Some(_) => broken(end, What::Trailing),
        });
        let end = walked.as_ref().map_or_else(|_| end_of_line(text, at), |&end| end);
        let walked = if self.strict { walked.and_then(|_| strict::document(&text[..end], first)) } else { walked };
        let judged = walked.map(drop).map_err(|broken| broken.into_fault(&text[..end], at));
        self.push(Place { number: base + at, len: end - at }, at, judged);
        end + 1
    }

    /// Takes the values of a broker's records, copied one behind the other: so they are walked over and converted a block
    /// at a time, as lines are.
    fn values(&mut self, values: &[Option<Bytes>], assembler: &mut Assembler<'_>) {
        let mut text = Vec::new();
        for (block, values) in values.chunks(BLOCK_ROWS).enumerate() {
            text.clear();
            for value in values {
                text.extend_from_slice(value.as_deref().unwrap_or_default());
                text.push(b'\n');
            }
            let mut at = 0;
            for (index, value) in values.iter().enumerate() {
                let end = at + value.as_ref().map_or(0, Bytes::len);
                let judged = if value.is_some() { self.value(&text, at, end) } else { Err(tombstone()) };
                self.push(Place { number: block * BLOCK_ROWS + index, len: end - at }, at, judged);
                at = end + 1;
            }
            self.flush(&text, assembler);
        }
    }

    /// Takes the value from `at` to the newline at `end`.
    #[inline]
    fn value(&mut self, text: &[u8], at: usize, end: usize) -> Result<(), Fault> {
        // Without a newline of its own a value is a line, and what follows does no harm: long loads are cheap.
        let is_spread = memchr::memchr(b'\n', &text[at..end]).is_some();
        let (text, walker) = if is_spread { (&text[..end], &mut self.spread) } else { (text, &mut self.walker) };
        let first = blanks(text, at, is_spread);
        if text.get(first) != Some(&b'{') {
            return Err(not_an_object(&text[..end], first, at));
        }
        let walked = walker.record(text, first, self.places.len(), &mut self.grid);
        let walked = walked.and_then(|found| if found < end { broken(found, What::Trailing) } else { Ok(found) });
        let walked = if self.strict { walked.and_then(|_| strict::document(&text[..end], first)) } else { walked };
        walked.map(drop).map_err(|broken| broken.into_fault(&text[..end], at))
    }

    fn push(&mut self, place: Place, start: usize, judged: Result<(), Fault>) {
        self.faults.push_row(start);
        if let Err(fault) = judged {
            self.faults.report(self.places.len(), fault);
        }
        self.places.push(place);
    }

    /// Converts what was located.
    fn flush(&mut self, text: &[u8], assembler: &mut Assembler<'_>) {
        if !self.places.is_empty() {
            assembler.block(text, &self.grid, &self.places, &mut self.faults);
        }
        self.grid.clear(self.places.len());
        self.faults.clear();
        self.places.clear();
    }
}

fn end_of_line(text: &[u8], from: usize) -> usize {
    memchr::memchr(b'\n', &text[from..]).map_or(text.len(), |at| from + at)
}

/// The fault of a record without a value.
#[cold]
pub(super) fn tombstone() -> Fault {
    Fault { class: BadClass::Schema, column: None, message: "expected an object, found a tombstone".to_owned() }
}

/// The fault of a record that starts with something else than an object.
#[cold]
fn not_an_object(text: &[u8], first: usize, start: usize) -> Fault {
    let value = text.get(first..).unwrap_or_default().trim_ascii_end();
    let class = if is_valid(value) { BadClass::Schema } else { BadClass::Decode };
    let found = if value.is_empty() { "nothing".to_owned() } else { shorten(value) };
    Fault { class, column: Some(first - start), message: format!("expected an object, found {found}") }
}
