//! The cells of a block of rows, by column.

use super::cell::Cell;

/// Rows located before they are converted: few enough that their text and cells stay in the first cache.
pub(crate) const BLOCK_ROWS: usize = 128;

/// The cells of up to [`BLOCK_ROWS`] rows.
#[derive(Debug)]
pub(crate) struct Grid {
    cells: Vec<Cell>,
}

impl Grid {
    /// All cells missing.
    pub fn new(columns: usize) -> Self {
        Self { cells: vec![Cell::default(); columns * BLOCK_ROWS] }
    }

    /// Sets one cell.
    #[inline]
    pub fn set(&mut self, column: usize, row: usize, cell: Cell) {
        if let Some(slot) = self.cells.get_mut(column * BLOCK_ROWS + row) {
            *slot = cell;
        }
    }

    /// The first `rows` cells of a column.
    pub fn column(&self, column: usize, rows: usize) -> &[Cell] {
        let from = column * BLOCK_ROWS;
        self.cells.get(from..from + rows).unwrap_or_default()
    }

    /// Makes the cells of the first `rows` rows missing: those that were used.
    pub fn clear(&mut self, rows: usize) {
        for column in self.cells.chunks_mut(BLOCK_ROWS) {
            column.iter_mut().take(rows).for_each(|cell| *cell = Cell::default());
        }
    }
}
