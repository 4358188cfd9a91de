//! CSV (RFC 4180) to the columns that are needed.
//!
//! Fields are found here and not by `csv-core`, for three reasons: whether a field was quoted decides whether it is null
//! or an empty text, faults name the byte of the record, and only the columns that are read are looked at further. An
//! unquoted field that equals [`CsvOptions::null`] is null; a quoted one is always text (as in PostgreSQL). A record
//! with more or fewer fields than the header is bad. Empty lines are no records, unless there is only one field.
//!
//! Which field is which is known by piece: whoever reads a file with a header takes the header off the first chunk and
//! hands it to [`CsvDecoder::set_header`] before any chunk of that piece is decoded.

mod split;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use thalweg_core::decode::{BadClass, Decoded, Decoder};
use thalweg_core::error::{Error, Result};
use thalweg_core::source::{Payload, RawChunk};

use self::split::{Marks, Unquoted, first_line, split};
use super::assembler::{Assembler, Place};
use super::cell::{Kind, Token};
use super::column::{Column, sql_name};
use super::fault::{Fault, Faults, shorten};
use super::grid::{BLOCK_ROWS, Grid};
use super::plan::Plan;
use super::time::TimestampFormat;

/// How CSV is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// Where the names of fields come from.
    pub header: Header,
    /// Between fields.
    pub delimiter: u8,
    /// Around fields; `None` where quotes mean nothing.
    pub quote: Option<u8>,
    /// What an unquoted field holds that is null.
    pub null: String,
    /// How timestamps are written.
    pub timestamps: TimestampFormat,
    /// Tells where each row lies in its chunk.
    pub row_starts: bool,
}

/// Where the names of fields come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// The first record of each piece has them.
    FirstRecord,
    /// These are the fields of every record, in order.
    Names(Vec<String>),
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            header: Header::FirstRecord,
            delimiter: b',',
            quote: Some(b'"'),
            null: String::new(),
            timestamps: TimestampFormat::default(),
            row_starts: false,
        }
    }
}

impl CsvOptions {
    fn marks(&self) -> Marks {
        Marks { delimiter: self.delimiter, quote: self.quote }
    }
}

/// Decodes CSV.
#[derive(Debug)]
pub struct CsvDecoder {
    plan: Plan,
    options: CsvOptions,
    layouts: RwLock<HashMap<Arc<str>, Arc<Layout>>>,
    fixed: Option<Arc<Layout>>,
}

/// Which columns read which field.
#[derive(Debug)]
struct Layout {
    columns: Vec<Vec<usize>>,
}

impl Layout {
    fn new(plan: &Plan, names: &[String]) -> Self {
        let read = plan.columns.iter().enumerate().filter(|(_, column)| column.metadata.is_none());
        let mut columns = vec![Vec::new(); names.len()];
        for (index, column) in read {
            if let Some(field) = names.iter().position(|name| *name == column.from) {
                columns[field].push(index);
            }
        }
        Self { columns }
    }
}

impl CsvDecoder {
    /// A decoder of these columns.
    ///
    /// # Errors
    /// *User*: a type that CSV does not have, a default that is not of its column's type, a column that
    /// [`Header::Names`] does not have.
    pub fn new(columns: Vec<Column>, options: CsvOptions) -> Result<Self> {
        if let Some(column) = columns.iter().find(|column| column.data_type.is_nested()) {
            let detail = format!("{} is not a type of CSV", sql_name(&column.data_type));
            return Err(Error::user(column.describe(), detail).with_hint("`format: json` has it"));
        }
        let plan = Plan::new(columns, options.timestamps.clone())?;
        let mut decoder = Self { plan, options, layouts: RwLock::default(), fixed: None };
        if let Header::Names(names) = &decoder.options.header {
            decoder.fixed = Some(decoder.layout(names, "the schema")?);
        }
        Ok(decoder)
    }

    /// Says what the fields of a piece are called: `header` is its first record, as stored.
    ///
    /// # Errors
    /// *User*: it is no record, or lacks a column without a default, or all columns.
    pub fn set_header(&self, piece: &Arc<str>, header: &[u8]) -> Result<()> {
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        let mut cells = Vec::new();
        let (found, _) = split(header, 0, self.options.marks(), |_, cell| cells.push(cell));
        if found.is_err() {
            return Err(Error::user(format!("header of `{piece}`"), format!("a quote in {}", shorten(header))));
        }
        let name = |cell: &super::cell::Cell| {
            let (mut plain, token) = (Vec::new(), token_of(header, cell));
            let bytes = token.unescape(&mut plain).map_or(token.bytes(), |()| plain.as_slice());
            String::from_utf8_lossy(bytes).into_owned()
        };
        let names: Vec<String> = cells.iter().map(name).collect();
        let layout = self.layout(&names, &format!("the header of `{piece}`"))?;
        self.layouts.write().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(piece), layout);
        Ok(())
    }

    fn layout(&self, names: &[String], place: &str) -> Result<Arc<Layout>> {
        // Not null for a column that may be: a name that is misspelt would be null in every row.
        let is_needed = |c: &&Column| c.metadata.is_none() && c.default.is_none();
        for column in self.plan.columns.iter().filter(is_needed) {
            if !names.contains(&column.from) {
                let detail = format!("expected in {place}, found {}", shorten(names.join(", ").as_bytes()));
                let hint = "mend its `from`, or give it a `default` where older files lack it";
                return Err(Error::user(column.describe(), detail).with_hint(hint));
            }
        }
        // Older files may lack columns; one that has none is another file, or has another delimiter.
        let mut fields = self.plan.columns.iter().filter(|c| c.metadata.is_none()).peekable();
        if let Some(first) = fields.peek().map(|column| column.describe())
            && !fields.any(|column| names.contains(&column.from))
        {
            let found = shorten(names.join(", ").as_bytes());
            let detail = format!("expected it, or another column that is read, in {place}, found {found}");
            return Err(Error::user(first, detail));
        }
        Ok(Arc::new(Layout::new(&self.plan, names)))
    }

    fn layout_of(&self, piece: &str) -> Option<Arc<Layout>> {
        let layouts = || self.layouts.read().unwrap_or_else(PoisonError::into_inner);
        self.fixed.clone().or_else(|| layouts().get(piece).cloned())
    }
}

fn token_of<'a>(text: &'a [u8], cell: &super::cell::Cell) -> Token<'a> {
    Token { text, start: cell.start as usize, len: cell.len as usize, kind: cell.kind }
}

impl Decoder for CsvDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.plan.schema
    }

    fn decode(&self, chunk: &RawChunk) -> Decoded {
        let mut assembler = Assembler::new(&self.plan, chunk, self.options.row_starts);
        let layout = self.layout_of(&chunk.piece.name);
        let problem = match (&chunk.payload, layout) {
            (Payload::Text(text), Some(layout)) => {
                self.records(text, &layout, chunk.from.offset == 0, &mut assembler);
                return assembler.finish();
            }
            (Payload::Records(records), Some(layout)) => {
                self.values(&records.values, &layout, &mut assembler);
                return assembler.finish();
            }
            // A stretch without rows needs no header: an empty file, or one that could not be opened.
            (Payload::Text(text), None) if text.is_empty() => return assembler.finish(),
            (Payload::Text(_), None) => format!("the header of `{}` is not known", chunk.piece.name),
            _ => "expected CSV text".to_owned(),
        };
        let fault = Fault { class: BadClass::Decode, column: None, message: problem };
        assembler.refuse(&Place { number: 0, len: usize::MAX }, fault, None);
        assembler.finish()
    }
}

/// Records after this byte begin a new block, so that places in a block's text stay below 4 GiB.
const BLOCK_BYTES: usize = 1 << 30;

impl CsvDecoder {
    /// Takes every record of a text.
    fn records(&self, text: &[u8], layout: &Layout, is_start: bool, assembler: &mut Assembler<'_>) {
        let mut grid = Grid::new(self.plan.columns.len());
        let mut faults = Faults::default();
        let mut places = Vec::with_capacity(BLOCK_ROWS);
        let mut from = if is_start && text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        // The end of a damaged record whose lines are taken one by one.
        let mut damaged = 0;
        while from < text.len() {
            let block = &text[from..];
            let mut at = 0;
            while at < block.len().min(BLOCK_BYTES) && places.len() < BLOCK_ROWS {
                let is_blank = matches!(block.get(at..), Some([b'\n', ..] | [b'\r', b'\n', ..] | [b'\r']));
                if is_blank && layout.columns.len() > 1 {
                    at += 1 + usize::from(block[at] == b'\r');
                    continue;
                }
                faults.push_row(at);
                let bound = if from + at < damaged { damaged - from } else { block.len() };
                let row = places.len();
                let (mut judged, mut end) = self.record(&block[..bound], at, layout, row, &mut grid);
                if judged.as_ref().is_err_and(|fault| fault.class == BadClass::Decode)
                    && let Some(line) = first_line(&block[at..end], self.options.marks(), layout.columns.len())
                {
                    damaged = from + end;
                    (judged, end) = self.record(&block[..at + line], at, layout, row, &mut grid);
                }
                if let Err(fault) = judged {
                    faults.report(row, fault);
                }
                places.push(Place { number: from + at, len: end - at });
                at = end + 1;
            }
            if !places.is_empty() {
                assembler.block(block, &grid, &places, &mut faults);
            }
            grid.clear(places.len());
            faults.clear();
            places.clear();
            from += at;
        }
    }

    /// Takes the values of a broker's records, one record each.
    fn values(&self, values: &[Option<Bytes>], layout: &Layout, assembler: &mut Assembler<'_>) {
        let mut grid = Grid::new(self.plan.columns.len());
        let mut faults = Faults::default();
        let mut places = Vec::with_capacity(BLOCK_ROWS);
        let mut text = Vec::new();
        for (block, values) in values.chunks(BLOCK_ROWS).enumerate() {
            text.clear();
            for (index, value) in values.iter().enumerate() {
                let at = text.len();
                text.extend_from_slice(value.as_deref().unwrap_or_default());
                faults.push_row(at);
                let judged = match value {
                    Some(_) => self.value(&text, at, layout, index, &mut grid),
                    None => {
                        let message = "expected a record of CSV, found a tombstone".to_owned();
                        Err(Fault { class: BadClass::Schema, column: None, message })
                    }
                };
                if let Err(fault) = judged {
                    faults.report(index, fault);
                }
                places.push(Place { number: block * BLOCK_ROWS + index, len: text.len() - at });
            }
            assembler.block(&text, &grid, &places, &mut faults);
            grid.clear(places.len());
            faults.clear();
            places.clear();
        }
    }

    /// Takes the value from `at` to the end of the text.
    fn value(&self, text: &[u8], at: usize, layout: &Layout, row: usize, grid: &mut Grid) -> Result<(), Fault> {
        let (judged, end) = self.record(text, at, layout, row, grid);
        judged?;
        match text.get(end..) {
            None | Some([] | [b'\n']) => Ok(()),
            Some(_) => {
                let message = "expected one record of CSV, found a second line".to_owned();
                Err(Fault { class: BadClass::Schema, column: Some(end + 1 - at), message })
            }
        }
    }

    /// Puts the fields of one record into the grid; the byte after it.
    fn record(
        &self,
        text: &[u8],
        at: usize,
        layout: &Layout,
        row: usize,
        grid: &mut Grid,
    ) -> (Result<(), Fault>, usize) {
        let null = self.options.null.as_bytes();
        let (found, end) = split(text, at, self.options.marks(), |field, mut cell| {
            let columns = layout.columns.get(field).map(Vec::as_slice).unwrap_or_default();
            if columns.is_empty() {
                return;
            }
            cell.kind = match cell.kind {
                Kind::Text if token_of(text, &cell).bytes() == null => Kind::Null,
                Kind::Quoted => Kind::Text,
                kind => kind,
            };
            columns.iter().for_each(|&column| grid.set(column, row, cell));
        });
        let fault = |class, at: Option<usize>, message| Err(Fault { class, column: at, message });
        let expected = layout.columns.len();
        let judged = match found {
            Ok(count) if count == expected => Ok(()),
            Ok(count) => fault(BadClass::Schema, None, format!("expected {expected} fields, found {count}")),
            Err(Unquoted::Open(quote)) => {
                fault(BadClass::Decode, Some(quote - at), "broken CSV: a quote is not closed".to_owned())
            }
            Err(Unquoted::Trailing(after)) => {
                let message = "broken CSV: expected the end of the field after its closing quote".to_owned();
                fault(BadClass::Decode, Some(after - at), message)
            }
        };
        (judged, end)
    }
}
