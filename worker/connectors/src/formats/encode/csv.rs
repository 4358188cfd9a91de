//! CSV with a header (RFC 4180). Null is an empty field; an empty text is a pair of quotes.

use arrow::array::{Array, ArrayRef};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use thalweg_core::error::{Error, Result};

use super::Encoder;
use super::json::Value;
use crate::formats::column::sql_name;

/// How CSV is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvStyle {
    /// Whether the first record has the names of columns.
    pub header: bool,
    /// Between fields.
    pub delimiter: u8,
    /// Around fields that need it.
    pub quote: u8,
    /// What a null is written as, without quotes.
    pub null: String,
}

impl Default for CsvStyle {
    fn default() -> Self {
        Self { header: true, delimiter: b',', quote: b'"', null: String::new() }
    }
}

/// Writes CSV.
#[derive(Clone, Debug)]
pub struct CsvEncoder {
    schema: SchemaRef,
    style: CsvStyle,
    is_started: bool,
    scratch: Vec<u8>,
}

impl CsvEncoder {
    /// A file of this schema.
    ///
    /// # Errors
    /// *User*: a type that CSV does not have.
    pub fn new(schema: SchemaRef, style: CsvStyle) -> Result<Self> {
        if let Some(field) = schema.fields().iter().find(|field| field.data_type().is_nested()) {
            let detail = format!("{} cannot be written as CSV", sql_name(field.data_type()));
            return Err(Error::user(format!("column `{}`", field.name()), detail).with_hint("`format: json` has it"));
        }
        Ok(Self { schema, style, is_started: false, scratch: Vec::new() })
    }

    /// Writes the header, once.
    fn start(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.is_started, true) && self.style.header {
            for (i, field) in self.schema.fields().iter().enumerate() {
                self.style.separate(i, out);
                self.style.field(field.name().as_bytes(), out);
            }
            out.push(b'\n');
        }
    }
}

impl CsvStyle {
    fn separate(&self, index: usize, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(self.delimiter);
        }
    }

    /// Appends a field, in quotes where it would be read as something else without.
    fn field(&self, text: &[u8], out: &mut Vec<u8>) {
        let is_mark = |b: &u8| *b == self.delimiter || *b == self.quote || matches!(b, b'\n' | b'\r');
        if text != self.null.as_bytes() && !text.iter().any(is_mark) {
            return out.extend_from_slice(text);
        }
        out.push(self.quote);
        for part in text.split_inclusive(|b| *b == self.quote) {
            out.extend_from_slice(part);
            if part.last() == Some(&self.quote) {
                out.push(self.quote);
            }
        }
        out.push(self.quote);
    }
}

impl Encoder for CsvEncoder {
    fn write(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let texts = batch.columns().iter().map(text_of).collect::<Result<Vec<_>>>()?;
        let columns = texts.iter().map(Field::new).collect::<Result<Vec<_>>>()?;
        self.start(out);
        for row in 0..batch.num_rows() {
            for (i, column) in columns.iter().enumerate() {
                self.style.separate(i, out);
                match column.text(row, &mut self.scratch) {
                    Some(text) => self.style.field(text, out),
                    None => out.extend_from_slice(self.style.null.as_bytes()),
                }
            }
            out.push(b'\n');
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.start(out);
        Ok(())
    }

    fn suffix(&self) -> &'static str {
        ".csv"
    }
}

/// Texts of every kind as STRING, other arrays as they are.
fn text_of(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::LargeUtf8 | DataType::Utf8View => {
            cast(array, &DataType::Utf8).map_err(|error| Error::user("format csv", error))
        }
        _ => Ok(ArrayRef::clone(array)),
    }
}

/// One column.
enum Field<'a> {
    Text(&'a arrow::array::StringArray),
    Other(&'a ArrayRef, Value<'a>),
}

impl<'a> Field<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self> {
        use arrow::array::cast::AsArray;
        Ok(match array.as_string_opt::<i32>() {
            Some(texts) => Self::Text(texts),
            None => Self::Other(array, Value::new(array.as_ref())?),
        })
    }

    /// The text of a value; `None` for null. What JSON quotes apart from texts (times, base64) has no escapes.
    fn text<'b>(&'b self, row: usize, scratch: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        match self {
            Self::Text(texts) => texts.is_valid(row).then(|| texts.value(row).as_bytes()),
            Self::Other(array, _) if array.is_null(row) || *array.data_type() == DataType::Null => None,
            Self::Other(_, value) => {
                scratch.clear();
                value.write(row, scratch);
                let inner = scratch.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
                Some(inner.unwrap_or(scratch))
            }
        }
    }
}
