//! What a decoder was asked for, checked once.

use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use thalweg_core::error::{Error, Result};

use super::cell::{Cell, Cells, NO_DEFAULT, Token};
use super::column::{Column, schema_of, sql_name};
use super::fault::Faults;
use super::json::{MAX_DEPTH, kind_of_default};
use super::time::TimestampFormat;
use super::writer::{Writer, writer_of};

/// Columns that can be decoded.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The columns, in the order of the batch.
    pub columns: Vec<Column>,
    /// Their schema.
    pub schema: SchemaRef,
    /// How messages call each.
    pub descriptions: Vec<String>,
    /// The event time, if it is among them.
    pub watermark: Option<usize>,
    times: TimestampFormat,
}

impl Plan {
    /// Checks types and defaults.
    ///
    /// # Errors
    /// *User*: a type that text does not have, a default that is not of its column's type.
    pub fn new(columns: Vec<Column>, times: TimestampFormat) -> Result<Self> {
        let schema = Arc::new(schema_of(&columns));
        let descriptions = columns.iter().map(Column::describe).collect();
        let watermark = columns.iter().position(|column| column.is_watermark);
        let plan = Self { columns, schema, descriptions, watermark, times };
        (0..plan.columns.len()).try_for_each(|index| plan.check(index))?;
        Ok(plan)
    }

    fn check(&self, index: usize) -> Result<()> {
        let (column, description) = (&self.columns[index], &self.descriptions[index]);
        let fail = |detail: String| Err(Error::user(description.clone(), detail));
        let found = sql_name(&column.data_type);
        if let Some(metadata) = column.metadata {
            let types = metadata.types();
            if types.contains(&column.data_type) {
                return Ok(());
            }
            let expected: Vec<_> = types.iter().map(sql_name).collect();
            return fail(format!("this metadata is {}, found {found}", expected.join(" or ")));
        }
        if column.from.split('.').count() > MAX_DEPTH {
            return fail(format!("expected a path of at most {MAX_DEPTH} fields"));
        }
        let Some(mut writer) = self.writer(index) else {
            return fail(format!("{found} is not a type of text formats"));
        };
        let mut faults = Faults::default();
        faults.push_row(0);
        faults.about("default");
        if column.default.is_some() {
            let cells = Cells { text: &[], cells: &[Cell::default()], default: self.default(index), rows: None };
            writer.append(cells, &mut faults);
        }
        faults.take(0).map_or(Ok(()), |fault| fail(fault.message))
    }

    /// A new writer of a column; none for metadata.
    pub fn writer(&self, index: usize) -> Option<Box<dyn Writer>> {
        let column = self.columns.get(index).filter(|column| column.metadata.is_none())?;
        let field = Field::new(&column.name, column.data_type.clone(), column.may_be_null());
        writer_of(&field, &self.times)
    }

    /// What a missing field of a column counts as.
    pub fn default(&self, index: usize) -> Token<'_> {
        let default = self.columns.get(index).and_then(|column| column.default.as_deref());
        default.map_or(NO_DEFAULT, |text| Token::of(text.as_bytes(), kind_of_default(text)))
    }
}
