//! ROW, ARRAY and MAP: values that hold values. Each finds the cells of what it holds and hands them to their writer.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, MapArray, NullBufferBuilder, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;
use thalweg_core::decode::BadClass;

use super::primitive::Checks;
use super::{Writer, writer_of};
use crate::formats::cell::{Cell, Cells, Kind, NO_DEFAULT, Token};
use crate::formats::fault::Faults;
use crate::formats::json::{Entry, elements, is_valid, members};
use crate::formats::time::TimestampFormat;

/// Steps into a value if it is an object or array (by `opening`) of valid JSON; whether it is.
fn enter(token: Token<'_>, opening: u8, checks: &Checks, row: usize, faults: &mut Faults) -> bool {
    if token.kind != Kind::Nested || token.bytes().first() != Some(&opening) {
        checks.refuse(token, row, faults);
        return false;
    }
    let valid = is_valid(token.bytes());
    if !valid {
        faults.found(row, token, BadClass::Decode, "JSON");
    }
    valid
}

/// The cells of child values, with the row that each belongs to. They lie in one text, a default in another: so each
/// text is handed on at once.
#[derive(Default)]
struct Children {
    cells: Vec<Cell>,
    rows: Vec<u32>,
}

impl Children {
    fn push(&mut self, cell: Cell, row: usize) {
        self.cells.push(cell);
        self.rows.push(row as u32);
    }

    /// `step`: how faults name them within what holds them.
    fn flush(&mut self, text: &[u8], writer: &mut dyn Writer, step: &str, faults: &mut Faults) {
        let cells = Cells { text, cells: &self.cells, default: NO_DEFAULT, rows: Some(&self.rows) };
        if !self.cells.is_empty() {
            let before = faults.enter(step);
            writer.append(cells, faults);
            faults.leave(before);
        }
        self.cells.clear();
        self.rows.clear();
    }
}

/// How faults name elements, keys and values: which of them it is says the byte.
const ELEMENT: &str = "[…]";

/// A column of ROW, from an object: fields by name, those that are missing null.
pub(super) struct Row {
    checks: Checks,
    fields: Fields,
    /// Of each field its writer, and how faults name it.
    writers: Vec<(Box<dyn Writer>, String)>,
    nulls: NullBufferBuilder,
}

impl Row {
    /// A column of a field.
    pub fn new(field: &Field, fields: &Fields, times: &TimestampFormat) -> Option<Self> {
        let writer = |field: &FieldRef| Some((writer_of(field, times)?, format!(".{}", field.name())));
        let writers = fields.iter().map(writer).collect::<Option<_>>()?;
        Some(Self { checks: Checks::of(field), fields: fields.clone(), writers, nulls: NullBufferBuilder::new(0) })
    }

    /// The cell of each field of an object; the last of equal keys counts.
    fn locate(&self, token: Token<'_>) -> Vec<Cell> {
        let mut cells = vec![Cell::default(); self.fields.len()];
        for Entry { key, value } in members(token) {
            let mut name = Vec::new();
            let bytes = key.unescape(&mut name).map_or(key.bytes(), |()| name.as_slice());
            if let Some(at) = self.fields.iter().position(|field| field.name().as_bytes() == bytes) {
                cells[at] = value;
            }
        }
        cells
    }
}

impl Writer for Row {
    fn append(&mut self, cells: Cells<'_>, faults: &mut Faults) {
        for (i, cell) in cells.cells.iter().enumerate() {
            let (token, row) = (cells.token(cell), cells.row(i));
            let is_value = enter(token, b'{', &self.checks, row, faults);
            let null = Cell { kind: Kind::Null, ..Cell::default() };
            let found = if is_value { self.locate(token) } else { vec![null; self.fields.len()] };
            // Fields of a row that is null are null even where a present row needs them: their faults say nothing.
            let mut ignored = Faults::default();
            let faults = if is_value { &mut *faults } else { &mut ignored };
            for ((writer, step), cell) in self.writers.iter_mut().zip(&found) {
                let mut child = Children::default();
                child.push(*cell, row);
                child.flush(token.text, writer.as_mut(), step, faults);
            }
            self.nulls.append(is_value);
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let arrays = self.writers.iter_mut().map(|(writer, _)| writer.finish()).collect::<Result<Vec<_>, _>>()?;
        let nulls = self.checks.finish(&mut self.nulls);
        let length = arrays.first().map_or(0, |array| array.len());
        Ok(Arc::new(StructArray::try_new_with_length(self.fields.clone(), arrays, nulls, length)?))
    }
}

/// A column of ARRAY.
pub(super) struct List {
    checks: Checks,
    item: FieldRef,
    writer: Box<dyn Writer>,
    lengths: Vec<usize>,
    nulls: NullBufferBuilder,
}

impl List {
    /// A column of a field.
    pub fn new(field: &Field, item: &FieldRef, times: &TimestampFormat) -> Option<Self> {
        let writer = writer_of(item, times)?;
        let (lengths, nulls) = (Vec::new(), NullBufferBuilder::new(0));
        Some(Self { checks: Checks::of(field), item: Arc::clone(item), writer, lengths, nulls })
    }
}

impl Writer for List {
    fn append(&mut self, cells: Cells<'_>, faults: &mut Faults) {
        for (i, cell) in cells.cells.iter().enumerate() {
            let (token, row) = (cells.token(cell), cells.row(i));
            let is_value = enter(token, b'[', &self.checks, row, faults);
            let mut children = Children::default();
            if is_value {
                elements(token).for_each(|element| children.push(element, row));
            }
            self.lengths.push(children.cells.len());
            children.flush(token.text, self.writer.as_mut(), ELEMENT, faults);
            self.nulls.append(is_value);
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let offsets = OffsetBuffer::from_lengths(self.lengths.drain(..));
        Ok(Arc::new(ListArray::try_new(
            Arc::clone(&self.item),
            offsets,
            self.writer.finish()?,
            self.checks.finish(&mut self.nulls),
        )?))
    }
}

/// A column of MAP, from an object; of equal keys the last counts.
pub(super) struct Map {
    checks: Checks,
    entries: FieldRef,
    fields: Fields,
    keys: Box<dyn Writer>,
    values: Box<dyn Writer>,
    lengths: Vec<usize>,
    nulls: NullBufferBuilder,
}

impl Map {
    /// A column of a field whose entries are a struct of key and value.
    pub fn new(field: &Field, entries: &FieldRef, times: &TimestampFormat) -> Option<Self> {
        let DataType::Struct(fields) = entries.data_type() else { return None };
        let [key, value] = &**fields else { return None };
        Some(Self {
            checks: Checks::of(field),
            entries: Arc::clone(entries),
            fields: fields.clone(),
            keys: writer_of(key, times)?,
            values: writer_of(value, times)?,
            lengths: Vec::new(),
            nulls: NullBufferBuilder::new(0),
        })
    }
}

impl Writer for Map {
    fn append(&mut self, cells: Cells<'_>, faults: &mut Faults) {
        for (i, cell) in cells.cells.iter().enumerate() {
            let (token, row) = (cells.token(cell), cells.row(i));
            let is_value = enter(token, b'{', &self.checks, row, faults);
            let (mut keys, mut values) = (Children::default(), Children::default());
            if is_value {
                for Entry { key, value } in members(token) {
                    keys.push(Cell { start: key.start as u32, len: key.len as u32, kind: key.kind }, row);
                    values.push(value, row);
                }
            }
            self.lengths.push(keys.cells.len());
            keys.flush(token.text, self.keys.as_mut(), ELEMENT, faults);
            values.flush(token.text, self.values.as_mut(), ELEMENT, faults);
            self.nulls.append(is_value);
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let offsets = OffsetBuffer::from_lengths(self.lengths.drain(..));
        let arrays = vec![self.keys.finish()?, self.values.finish()?];
        let entries = StructArray::try_new(self.fields.clone(), arrays, None)?;
        Ok(Arc::new(MapArray::try_new(
            Arc::clone(&self.entries),
            offsets,
            entries,
            self.checks.finish(&mut self.nulls),
            false,
        )?))
    }
}
