//! Values located in text and not converted yet: what finding them (by format) hands to converting them (by type).

use super::json::unescape;

/// What a value looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The record has no such field.
    #[default]
    Missing,
    /// It says that there is no value.
    Null,
    /// Text without escapes: a JSON string between its quotes, a CSV field.
    Text,
    /// A JSON string between its quotes, with escapes.
    Escaped,
    /// A CSV field between its quotes, without quotes in it.
    Quoted,
    /// A CSV field between its quotes, each quote in it doubled.
    Doubled,
    /// A bare JSON word: a number, `true`, `false`, or nothing that JSON knows.
    Scalar,
    /// A JSON object or array with its brackets.
    Nested,
    /// Stands where an object should be that would hold the field.
    Parent,
}

/// A value in a text that others hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Its first byte.
    pub start: u32,
    /// Its length in bytes.
    pub len: u32,
    /// What it looks like.
    pub kind: Kind,
}

/// A cell with the text that it lies in, which may be longer than the cell: reading eight bytes at a time past its end
/// is then cheap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    /// The whole text.
    pub text: &'a [u8],
    /// First byte of the value.
    pub start: usize,
    /// Its length.
    pub len: usize,
    /// What it looks like.
    pub kind: Kind,
}

impl<'a> Token<'a> {
    /// A token that is all of a text.
    pub fn of(text: &'a [u8], kind: Kind) -> Self {
        Self { text, start: 0, len: text.len(), kind }
    }

    /// The value's bytes.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.text.get(self.start..self.start + self.len).unwrap_or_default()
    }

    /// Where the value starts for people: at its opening quote, if it has one.
    pub fn opening(&self) -> usize {
        match self.start.checked_sub(1).and_then(|before| self.text.get(before)) {
            Some(b'"') if matches!(self.kind, Kind::Text | Kind::Escaped | Kind::Doubled) => self.start - 1,
            _ => self.start,
        }
    }

    /// Appends what a text with escapes says; `None` if it has none, or one that is unknown.
    pub fn unescape(&self, out: &mut Vec<u8>) -> Option<()> {
        match self.kind {
            Kind::Escaped => unescape(self.bytes(), out),
            Kind::Doubled => {
                let quote = self.start.checked_sub(1).and_then(|before| self.text.get(before)).copied();
                let mut bytes = self.bytes().iter();
                while let Some(&byte) = bytes.next() {
                    out.push(byte);
                    if Some(byte) == quote {
                        bytes.next();
                    }
                }
                Some(())
            }
            _ => None,
        }
    }

    /// Eight bytes from `offset` within the value, read past its end if the text goes on.
    #[inline]
    pub fn load8(&self, offset: usize) -> Option<u64> {
        let from = self.start + offset;
        self.text.get(from..from + 8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }
}

/// Cells of one column, of consecutive rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells<'a> {
    /// What the cells point into.
    pub text: &'a [u8],
    /// One a row.
    pub cells: &'a [Cell],
    /// What a missing field counts as.
    pub default: Token<'a>,
    /// The row of each cell where there is not one cell a row (elements of arrays).
    pub rows: Option<&'a [u32]>,
}

impl<'a> Cells<'a> {
    /// The value of cell `i`, with the default in place of a missing one.
    #[inline]
    pub fn token(&self, cell: &Cell) -> Token<'a> {
        if cell.kind == Kind::Missing {
            return self.default;
        }
        Token { text: self.text, start: cell.start as usize, len: cell.len as usize, kind: cell.kind }
    }

    /// The row that cell `i` belongs to.
    pub fn row(&self, i: usize) -> usize {
        self.rows.map_or(i, |rows| rows.get(i).map_or(0, |&row| row as usize))
    }
}

/// The default of a column without one: still missing.
pub(crate) const NO_DEFAULT: Token<'static> = Token { text: &[], start: 0, len: 0, kind: Kind::Missing };
