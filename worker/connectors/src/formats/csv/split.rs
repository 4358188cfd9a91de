//! One CSV record to the places of its fields (RFC 4180).

use crate::formats::cell::{Cell, Kind};
use crate::formats::framing::{Framing, Within};

/// Which bytes mean what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// Between fields.
    pub delimiter: u8,
    /// Around fields that hold delimiters, newlines or quotes, each of which is doubled.
    pub quote: Option<u8>,
}

/// Why a record has no fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unquoted {
    /// The quote at this byte is not closed.
    Open(usize),
    /// Text follows the quote that closes at this byte.
    Trailing(usize),
}

/// Finds the fields of the record at `from`. `each` gets the number of a field and its place; the answer is how many
/// there are and the byte after the record. Where a quote is not closed, the record counts as one line: all that follows
/// would be lost otherwise; see also [`first_line`].
pub(super) fn split(
    text: &[u8],
    from: usize,
    marks: Marks,
    mut each: impl FnMut(usize, Cell),
) -> (Result<usize, Unquoted>, usize) {
    let mut at = from;
    let mut count = 0;
    loop {
        let (field, end) = match marks.quote {
            Some(quote) if text.get(at) == Some(&quote) => match quoted(text, at, quote) {
                Ok(found) => found,
                Err(fault) => return (Err(fault), end_of_line(text, from)),
            },
            _ => bare(text, at, marks.delimiter),
        };
        each(count, field);
        count += 1;
        match text.get(end) {
            Some(&byte) if byte == marks.delimiter => at = end + 1,
            None | Some(b'\n') => return (Ok(count), end),
            Some(b'\r') if matches!(text.get(end + 1), None | Some(b'\n')) => return (Ok(count), end + 1),
            Some(_) => return (Err(Unquoted::Trailing(end)), end_of_record(text, from, marks)),
        }
    }
}

/// The newline that ends the record at `from`, damaged as it may be, where readers take it to end; or the text's end.
fn end_of_record(text: &[u8], from: usize, marks: Marks) -> usize {
    let delimiter = marks.delimiter;
    let framing = marks.quote.map_or(Framing::Lines, |quote| Framing::Csv { delimiter, quote });
    framing.record_end(&text[from..], &mut Within::default()).map_or(text.len(), |length| from + length - 1)
}

/// Where the first line of a damaged record ends, if what follows are records of so many fields: one quote too many makes one
/// record of all lines up to the next quote, and all of them would be lost. What follows is known by its first line; of one field
/// nothing can be known.
pub(super) fn first_line(record: &[u8], marks: Marks, fields: usize) -> Option<usize> {
    let end = memchr::memchr(b'\n', record)?;
    let next = &record[end + 1..];
    let next = &next[..end_of_line(next, 0)];
    (fields > 1 && split(next, 0, marks, |_, _| ()) == (Ok(fields), next.len())).then_some(end)
}

/// The first newline from a byte on, or the end.
fn end_of_line(text: &[u8], from: usize) -> usize {
    memchr::memchr(b'\n', &text[from..]).map_or(text.len(), |at| from + at)
}

/// A field without quotes, and the byte after it.
fn bare(text: &[u8], from: usize, delimiter: u8) -> (Cell, usize) {
    let mut end = memchr::memchr2(delimiter, b'\n', &text[from..]).map_or(text.len(), |at| from + at);
    let is_last = text.get(end) != Some(&delimiter);
    if is_last && end > from && text[end - 1] == b'\r' {
        end -= 1;
    }
    (Cell { start: from as u32, len: (end - from) as u32, kind: Kind::Text }, end)
}

/// A field in quotes, and the byte after the closing one.
fn quoted(text: &[u8], opening: usize, quote: u8) -> Result<(Cell, usize), Unquoted> {
    let start = opening + 1;
    let mut kind = Kind::Quoted;
    let mut at = start;
    loop {
        at += memchr::memchr(quote, text.get(at..).unwrap_or_default()).ok_or(Unquoted::Open(opening))?;
        if text.get(at + 1) != Some(&quote) {
            return Ok((Cell { start: start as u32, len: (at - start) as u32, kind }, at + 1));
        }
        kind = Kind::Doubled;
        at += 2;
    }
}
