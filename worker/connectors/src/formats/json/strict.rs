//! The whole grammar of JSON (RFC 8259), for what has to be judged completely.

use super::scan::{MAX_DEPTH, Step, What, blanks, broken, string};
use crate::formats::cell::Kind;

/// Whether a text is one JSON value.
pub(crate) fn is_valid(text: &[u8]) -> bool {
    document(text, 0).is_ok_and(|end| end == text.len())
}

/// Checks the value that starts at `from`, blanks around it included; the answer is the byte after them.
pub(crate) fn document(text: &[u8], from: usize) -> Step {
    let end = value(text, blanks(text, from, true), 0)?;
    Ok(blanks(text, end, true))
}

/// Checks one value.
fn value(text: &[u8], at: usize, depth: usize) -> Step {
    match text.get(at) {
        Some(b'{') => object(text, at, depth),
        Some(b'[') => array(text, at, depth),
        Some(b'"') => checked_string(text, at),
        Some(b't') => word(text, at, b"true"),
        Some(b'f') => word(text, at, b"false"),
        Some(b'n') => word(text, at, b"null"),
        Some(b'-' | b'0'..=b'9') => number(text, at),
        _ => broken(at, What::Expected("a value")),
    }
}

fn word(text: &[u8], at: usize, word: &'static [u8]) -> Step {
    if text[at..].starts_with(word) { Ok(at + word.len()) } else { broken(at, What::Expected("a value")) }
}

/// Checks a string, its escapes and that it is UTF-8.
fn checked_string(text: &[u8], at: usize) -> Step {
    let (end, kind) = string(text, at + 1)?;
    let body = &text[at + 1..end];
    if simdutf8::basic::from_utf8(body).is_err() {
        return broken(at, What::Expected("UTF-8"));
    }
    let is_plain = kind == Kind::Text || super::unescape::unescape(body, &mut Vec::new()).is_some();
    if is_plain { Ok(end + 1) } else { broken(at, What::Expected("known escapes in a string")) }
}

fn digits(text: &[u8], mut at: usize) -> Step {
    let from = at;
    while text.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    if at == from { broken(at, What::Expected("a digit")) } else { Ok(at) }
}

fn number(text: &[u8], at: usize) -> Step {
    let at = at + usize::from(text[at] == b'-');
    let mut end = if text.get(at) == Some(&b'0') { at + 1 } else { digits(text, at)? };
    if text.get(end) == Some(&b'.') {
        end = digits(text, end + 1)?;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let signed = matches!(text.get(end + 1), Some(b'+' | b'-'));
        end = digits(text, end + 1 + usize::from(signed))?;
    }
    Ok(end)
}

fn array(text: &[u8], at: usize, depth: usize) -> Step {
    let mut at = enter(text, at, depth)?;
    if text.get(at) == Some(&b']') {
        return Ok(at + 1);
    }
    loop {
        at = blanks(text, value(text, at, depth + 1)?, true);
        match text.get(at) {
            Some(b',') => at = blanks(text, at + 1, true),
            Some(b']') => return Ok(at + 1),
            _ => return broken(at, What::Expected("`,` or `]`")),
        }
    }
}

fn object(text: &[u8], at: usize, depth: usize) -> Step {
    let mut at = enter(text, at, depth)?;
    if text.get(at) == Some(&b'}') {
        return Ok(at + 1);
    }
    loop {
        at = blanks(text, key(text, at)?, true);
        at = blanks(text, value(text, at, depth + 1)?, true);
        match text.get(at) {
            Some(b',') => at = blanks(text, at + 1, true),
            Some(b'}') => return Ok(at + 1),
            _ => return broken(at, What::Expected("`,` or `}`")),
        }
    }
}

/// Checks a key and its colon.
fn key(text: &[u8], at: usize) -> Step {
    if text.get(at) != Some(&b'"') {
        return broken(at, What::Expected("a key in quotes"));
    }
    let at = blanks(text, checked_string(text, at)?, true);
    if text.get(at) == Some(&b':') { Ok(at + 1) } else { broken(at, What::Expected("`:`")) }
}

/// Steps over an opening bracket.
fn enter(text: &[u8], at: usize, depth: usize) -> Step {
    if depth >= MAX_DEPTH { broken(at, What::TooDeep) } else { Ok(blanks(text, at + 1, true)) }
}
