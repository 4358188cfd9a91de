//! Columns of values of fixed width.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, NullBufferBuilder, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field};
use arrow::error::ArrowError;

use super::Writer;
use super::parse::{Parse, boolean};
use crate::formats::cell::{Cells, Kind, Token};
use crate::formats::column::sql_name;
use crate::formats::fault::Faults;

/// What all columns need to say about values that are none.
pub(super) struct Checks {
    /// The type's name in SQL.
    pub expected: String,
    /// Whether null may stand.
    pub nullable: bool,
}

impl Checks {
    /// Those of a field.
    pub fn of(field: &Field) -> Self {
        Self { expected: sql_name(field.data_type()), nullable: field.is_nullable() }
    }

    /// The nulls of an array. Where null may not stand, its rows are dropped or hidden by a null around them: then no
    /// trace of it may make the array invalid before.
    pub fn finish(&self, nulls: &mut NullBufferBuilder) -> Option<NullBuffer> {
        nulls.finish().filter(|_| self.nullable)
    }

    /// Judges a value that could not be read; null takes its place.
    pub fn refuse(&self, token: Token<'_>, row: usize, faults: &mut Faults) {
        let is_absent = matches!(token.kind, Kind::Missing | Kind::Null);
        if is_absent && self.nullable {
            return;
        }
        match token.kind {
            Kind::Parent => faults.mismatch(row, token, "an object around it"),
            _ => faults.mismatch(row, token, &self.expected),
        }
    }
}

/// A column of one primitive type.
pub(super) struct Primitive<T: ArrowPrimitiveType, P> {
    data_type: DataType,
    checks: Checks,
    parse: P,
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
}

impl<T: ArrowPrimitiveType, P: Parse<T>> Primitive<T, P> {
    /// A column of a field, whose type is `T` in any precision.
    pub fn new(field: &Field, parse: P) -> Self {
        let (values, nulls) = (Vec::new(), NullBufferBuilder::new(0));
        Self { data_type: field.data_type().clone(), checks: Checks::of(field), parse, values, nulls }
    }

    /// A value that has escapes, or is none of the type.
    #[inline(never)]
    fn unusual(&mut self, token: Token<'_>, row: usize, faults: &mut Faults) -> Option<T::Native> {
        let mut plain = Vec::new();
        if token.unescape(&mut plain).is_some() {
            let value = self.parse.parse(Token::of(&plain, Kind::Text));
            if value.is_some() {
                return value;
            }
        }
        self.checks.refuse(token, row, faults);
        None
    }
}

impl<T: ArrowPrimitiveType, P: Parse<T>> Writer for Primitive<T, P> {
    fn append(&mut self, cells: Cells<'_>, faults: &mut Faults) {
        self.values.reserve(cells.cells.len());
        for (i, cell) in cells.cells.iter().enumerate() {
            let token = cells.token(cell);
            let parsed = match token.kind {
                Kind::Text | Kind::Scalar => self.parse.parse(token),
                _ => None,
            };
            match parsed.or_else(|| self.unusual(token, cells.row(i), faults)) {
                Some(value) => {
                    self.values.push(value);
                    self.nulls.append_non_null();
                }
                None => {
                    self.values.push(T::Native::default());
                    self.nulls.append_null();
                }
            }
        }
    }

    fn event_time(&self, index: usize) -> Option<i64> {
        let is_valid = index < self.nulls.len() && self.nulls.is_valid(index);
        self.parse.event_time(*self.values.get(index).filter(|_| is_valid)?)
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let values = std::mem::take(&mut self.values);
        let array = PrimitiveArray::<T>::try_new(values.into(), self.checks.finish(&mut self.nulls))?;
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}

/// A column of BOOLEAN.
pub(super) struct Boolean {
    checks: Checks,
    values: BooleanBufferBuilder,
    nulls: NullBufferBuilder,
}

impl Boolean {
    /// A column of a field.
    pub fn new(field: &Field) -> Self {
        Self { checks: Checks::of(field), values: BooleanBufferBuilder::new(0), nulls: NullBufferBuilder::new(0) }
    }
}

impl Writer for Boolean {
    fn append(&mut self, cells: Cells<'_>, faults: &mut Faults) {
        for (i, cell) in cells.cells.iter().enumerate() {
            let token = cells.token(cell);
            let mut plain = Vec::new();
            let value = match token.kind {
                Kind::Text | Kind::Scalar => boolean(token),
                _ => token.unescape(&mut plain).and_then(|()| boolean(Token::of(&plain, Kind::Text))),
            };
            if value.is_none() {
                self.checks.refuse(token, cells.row(i), faults);
            }
            self.values.append(value.unwrap_or_default());
            self.nulls.append(value.is_some());
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(BooleanArray::new(self.values.finish(), self.checks.finish(&mut self.nulls))))
    }
}
