//! STRING and BYTES.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, NullBufferBuilder, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Field;
use arrow::error::ArrowError;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use thalweg_core::decode::BadClass;

use super::Writer;
use super::primitive::Checks;
use crate::formats::cell::{Cells, Kind, Token};
use crate::formats::fault::Faults;
use crate::formats::json::is_valid;

/// Values of any length, one after the other.
struct Values {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Values {
    fn new() -> Self {
        Self { bytes: Vec::new(), offsets: vec![0], nulls: NullBufferBuilder::new(0) }
    }

    /// Ends the value that was appended to `bytes`.
    #[inline]
    fn end(&mut self, is_value: bool) {
        // What does not fit was taken back by `fits`.
        self.offsets.push(self.bytes.len() as i32);
        self.nulls.append(is_value);
    }

    /// Takes the last value back if the column would be longer than an array can be.
    #[inline]
    fn fits(&mut self, from: usize) -> bool {
        let fits = self.bytes.len() <= i32::MAX as usize;
        if !fits {
            self.bytes.truncate(from);
        }
        fits
    }

    fn finish(&mut self, checks: &Checks) -> (OffsetBuffer<i32>, Vec<u8>, Option<NullBuffer>) {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let bytes = std::mem::take(&mut self.bytes);
        (OffsetBuffer::new(ScalarBuffer::from(offsets)), bytes, checks.finish(&mut self.nulls))
    }
}

/// A column of STRING: texts as they are, other JSON values as they are written, as in Flink.
pub(super) struct Text {
    checks: Checks,
    values: Values,
}

impl Text {
    /// A column of a field.
    pub fn new(field: &Field) -> Self {
        Self { checks: Checks::of(field), values: Values::new() }
    }

    /// Appends what is not plain text; whether it is a value.
    #[inline(never)]
    fn unusual(&mut self, token: Token<'_>, row: usize, faults: &mut Faults) -> bool {
        let from = self.values.bytes.len();
        match token.kind {
            Kind::Escaped | Kind::Doubled if token.unescape(&mut self.values.bytes).is_some() => return true,
            Kind::Escaped => {
                self.values.bytes.truncate(from);
                faults.found(row, token, BadClass::Decode, "known escapes");
            }
            Kind::Scalar | Kind::Nested if is_valid(token.bytes()) => {
                self.values.bytes.extend_from_slice(token.bytes());
                return true;
            }
            Kind::Scalar | Kind::Nested => faults.found(row, token, BadClass::Decode, "JSON"),
            _ => self.checks.refuse(token, row, faults),
        }
        false
    }

    /// Replaces values that are not UTF-8, from value `from` on.
    #[cold]
    fn check_each(&mut self, from: usize, cells: Cells<'_>, faults: &mut Faults) {
        for (i, cell) in cells.cells.iter().enumerate() {
            let range = self.values.offsets[from + i] as usize..self.values.offsets[from + i + 1] as usize;
            if simdutf8::basic::from_utf8(&self.values.bytes[range.clone()]).is_err() {
                self.values.bytes[range].fill(b'?');
                faults.not_utf8(cells.row(i), cells.token(cell));
            }
        }
    }
}

impl Writer for Text {
    fn append(&mut self, cells: Cells<'_>, faults: &mut Faults) {
        let first = self.values.offsets.len() - 1;
        let before = self.values.bytes.len();
        for (i, cell) in cells.cells.iter().enumerate() {
            let token = cells.token(cell);
            let from = self.values.bytes.len();
            let is_value = match token.kind {
                Kind::Text => {
                    self.values.bytes.extend_from_slice(token.bytes());
                    true
                }
                _ => self.unusual(token, cells.row(i), faults),
            };
            let fits = self.values.fits(from);
            if !fits {
                faults.found(cells.row(i), token, BadClass::Decode, "2 GiB of text at most in one chunk");
            }
            self.values.end(is_value && fits);
        }
        if !self.values.bytes[before..].is_ascii() {
            self.check_each(first, cells, faults);
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let (offsets, bytes, nulls) = self.values.finish(&self.checks);
        Ok(Arc::new(StringArray::try_new(offsets, bytes.into(), nulls)?))
    }
}

/// A column of BYTES: base64 in text, as in Flink.
pub(super) struct Bytes {
    checks: Checks,
    values: Values,
    plain: Vec<u8>,
}

impl Bytes {
    /// A column of a field.
    pub fn new(field: &Field) -> Self {
        Self { checks: Checks::of(field), values: Values::new(), plain: Vec::new() }
    }

    /// Appends the bytes that a text says; whether it says any.
    fn decode(&mut self, token: Token<'_>) -> bool {
        self.plain.clear();
        let text = match token.kind {
            Kind::Text => token.bytes(),
            _ if token.unescape(&mut self.plain).is_some() => &self.plain,
            _ => return false,
        };
        BASE64_STANDARD.decode_vec(text, &mut self.values.bytes).is_ok()
    }
}

impl Writer for Bytes {
    fn append(&mut self, cells: Cells<'_>, faults: &mut Faults) {
        for (i, cell) in cells.cells.iter().enumerate() {
            let token = cells.token(cell);
            let from = self.values.bytes.len();
            let is_value = self.decode(token) && self.values.fits(from);
            if !is_value {
                self.values.bytes.truncate(from);
                self.checks.refuse(token, cells.row(i), faults);
            }
            self.values.end(is_value);
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let (offsets, bytes, nulls) = self.values.finish(&self.checks);
        Ok(Arc::new(BinaryArray::try_new(offsets, bytes.into(), nulls)?))
    }
}
