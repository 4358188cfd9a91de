//! What valid objects and arrays hold.

use super::scan::{blanks, locate, string};
use crate::formats::cell::{Cell, Kind, Token};

/// A key and its value.
pub(crate) struct Entry<'a> {
    /// The key, without its quotes.
    pub key: Token<'a>,
    /// The value, in the text of the object.
    pub value: Cell,
}

/// The members of an object that was found valid.
pub(crate) fn members(object: Token<'_>) -> impl Iterator<Item = Entry<'_>> {
    let Token { text, start, .. } = object;
    let mut at = start + 1;
    std::iter::from_fn(move || {
        let opening = next_value(text, at)?;
        let (end, kind) = string(text, opening + 1).ok()?;
        let key = Token { text, start: opening + 1, len: end - opening - 1, kind };
        let colon = blanks(text, end + 1, true);
        let (value, after) = locate(text, blanks(text, colon + 1, true), 0, true).ok()?;
        at = after;
        Some(Entry { key, value })
    })
}

/// The elements of an array that was found valid.
pub(crate) fn elements(array: Token<'_>) -> impl Iterator<Item = Cell> + '_ {
    let Token { text, start, .. } = array;
    let mut at = start + 1;
    std::iter::from_fn(move || {
        let (value, after) = locate(text, next_value(text, at)?, 0, true).ok()?;
        at = after;
        Some(value)
    })
}

/// Steps over blanks and a comma; `None` at a closing bracket.
fn next_value(text: &[u8], at: usize) -> Option<usize> {
    let at = blanks(text, at, true);
    match text.get(at)? {
        b',' => Some(blanks(text, at + 1, true)),
        b']' | b'}' => None,
        _ => Some(at),
    }
}

/// What a value looks like that makes up a whole text: the defaults of nested columns.
pub(crate) fn kind_of_default(text: &str) -> Kind {
    if text.starts_with(['{', '[']) { Kind::Nested } else { Kind::Text }
}
