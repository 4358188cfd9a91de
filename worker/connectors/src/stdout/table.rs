//! An aligned table whose rows come bit by bit. Pure.

use std::fmt::Write;

use arrow::array::Array;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// A column is never made wider than this for values that come later; longer ones stick out.
const MAX_WIDTH: usize = 60;

/// Lays rows out under one heading. Columns are as wide as the first rows need, and grow where later ones need more.
#[derive(Debug, Default)]
pub(crate) struct Table {
    columns: Option<Columns>,
}

#[derive(Debug)]
struct Columns {
    schema: SchemaRef,
    widths: Vec<usize>,
}

impl Table {
    /// The lines of some rows; the heading comes first, and again where the columns are others.
    ///
    /// # Errors
    /// A value that cannot be shown.
    pub(crate) fn lines(&mut self, rows: &RecordBatch) -> Result<String, ArrowError> {
        if rows.num_rows() == 0 {
            return Ok(String::new());
        }
        let cells = rows.columns().iter().map(|column| cells(column.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let mut lines = String::new();
        if self.columns.as_ref().is_none_or(|columns| !columns.are_those_of(rows)) {
            let widths = vec![0; cells.len()];
            let mut columns = Columns { schema: rows.schema(), widths };
            columns.widen(&cells);
            columns.heading(&mut lines);
            self.columns = Some(columns);
        }
        if let Some(columns) = &mut self.columns {
            columns.widen(&cells);
            for row in 0..rows.num_rows() {
                columns.line(&mut lines, cells.iter().map(|column| column[row].as_str()));
            }
        }
        Ok(lines)
    }
}

impl Columns {
    fn are_those_of(&self, rows: &RecordBatch) -> bool {
        let (mine, other) = (self.schema.fields().iter(), rows.schema_ref().fields().iter());
        mine.map(|field| field.name()).eq(other.map(|field| field.name()))
    }

    fn widen(&mut self, cells: &[Vec<String>]) {
        for ((field, width), cells) in self.schema.fields().iter().zip(&mut self.widths).zip(cells) {
            let most = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
            *width = most.min(MAX_WIDTH).max(field.name().chars().count()).max(*width);
        }
    }

    fn heading(&self, lines: &mut String) {
        self.line(lines, self.schema.fields().iter().map(|field| field.name().as_str()));
        let rules: Vec<String> = self.widths.iter().map(|width| "-".repeat(*width)).collect();
        self.line(lines, rules.iter().map(String::as_str));
    }

    fn line<'a>(&self, lines: &mut String, cells: impl Iterator<Item = &'a str>) {
        let start = lines.len();
        for ((field, width), cell) in self.schema.fields().iter().zip(&self.widths).zip(cells) {
            let gap = if lines.len() == start { "" } else { "  " };
            let aligned = match field.data_type().is_numeric() {
                true => write!(lines, "{gap}{cell:>width$}"),
                false => write!(lines, "{gap}{cell:<width$}"),
            };
            debug_assert!(aligned.is_ok(), "a String takes everything");
        }
        lines.truncate(start + lines[start..].trim_end().len());
        lines.push('\n');
    }
}

/// The cells of a column. Control characters are escaped: they are a stranger's, and the terminal would obey them.
fn cells(column: &dyn Array) -> Result<Vec<String>, ArrowError> {
    let options = FormatOptions::default().with_null("NULL");
    let shown = ArrayFormatter::try_new(column, &options)?;
    (0..column.len()).map(|row| Ok(escape(shown.value(row).try_to_string()?))).collect()
}

fn escape(text: String) -> String {
    if !text.chars().any(char::is_control) {
        return text;
    }
    let escaped = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn rows(values: &[(Option<&str>, i64)]) -> RecordBatch {
        let zones: ArrayRef = Arc::new(values.iter().map(|value| value.0).collect::<StringArray>());
        let counts: ArrayRef = Arc::new(values.iter().map(|value| Some(value.1)).collect::<Int64Array>());
        RecordBatch::try_from_iter([("zone", zones), ("pickups", counts)]).expect("a batch")
    }

    #[test]
    fn rows_line_up_under_one_heading() {
        let mut table = Table::default();
        let first = table.lines(&rows(&[(Some("Queens"), 7), (None, 12345)])).expect("lines");
        let second = table.lines(&rows(&[(Some("Staten Island"), 1)])).expect("lines");
        let third = table.lines(&rows(&[(Some("Bronx"), 2)])).expect("lines");
        assert_eq!(
            first + &second + &third,
            "zone    pickups\n\
             ------  -------\n\
             Queens        7\n\
             NULL      12345\n\
             Staten Island        1\n\
             Bronx                2\n"
        );
    }

    #[test]
    fn the_terminal_obeys_no_value() {
        let lines = Table::default().lines(&rows(&[(Some("\u{1b}[2J\nx"), 1)])).expect("lines");
        assert!(!lines.contains('\u{1b}') && lines.lines().count() == 3, "{lines:?}");
    }
}
