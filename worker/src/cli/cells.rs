//! Cells of tables for people, as `thalweg status` and `thalweg top` write them.

use std::fmt::Display;

use indicatif::HumanCount;

/// Between two columns.
const GAP: &str = "  ";

/// Rows as lines, each column as wide as its widest cell. All rows have as many cells.
pub fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// What is not known is no zero.
pub fn known(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A count, such as `1,204`.
pub fn count(count: u64) -> String {
    HumanCount(count).to_string()
}

/// Records a second, to the nearest one.
pub fn rate(rate: f64) -> String {
    count(rate.max(0.0).round() as u64)
}

/// A share, such as `41%`.
pub fn percent(share: f64) -> String {
    format!("{:.0}%", 100.0 * share)
}

/// A time, such as `2.1s`.
pub fn seconds(seconds: f64) -> String {
    format!("{seconds:.1}s")
}
