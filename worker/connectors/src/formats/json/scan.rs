//! Steps over JSON text: strings, bare words, nested values. What is stepped over is checked for structure only.

use thalweg_core::decode::BadClass;

use super::super::cell::{Cell, Kind};
use super::super::fault::Fault;
use super::simd::{self, WIDTH, bracket_stops, scalar_stops, string_stops};

/// How deep objects and arrays may lie in each other.
pub const MAX_DEPTH: usize = 64;

/// Text whose structure is broken, at a byte of it. Boxed, so that answers fit into registers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The byte of the text.
    pub at: usize,
    /// What is wrong.
    pub what: What,
}

/// What is wrong with the structure of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Something else was expected here.
    Expected(&'static str),
    /// The line ends within a string.
    OpenString,
    /// A string holds a control character as it is.
    Control,
    /// Deeper than [`MAX_DEPTH`].
    TooDeep,
    /// More follows after the value.
    Trailing,
}

/// The answer of a step: the byte after what was stepped over.
pub(crate) type Step<T = usize> = Result<T, Box<Broken>>;

/// Says what is broken.
#[cold]
#[inline(never)]
pub(crate) fn broken<T>(at: usize, what: What) -> Step<T> {
    Err(Box::new(Broken { at, what }))
}

impl Broken {
    /// The fault of a record that starts at byte `start` of the text.
    pub fn into_fault(self, text: &[u8], start: usize) -> Fault {
        let rest = text.get(self.at..).unwrap_or_default();
        let rest = rest.split(|&b| b == b'\n').next().unwrap_or_default();
        let next = String::from_utf8_lossy(rest.get(..4).unwrap_or(rest)).chars().next();
        let next = next.map_or_else(|| "the end".to_owned(), |c| format!("{c:?}").replace('\'', "`"));
        let message = match self.what {
            What::Expected(what) => format!("broken JSON: expected {what}, found {next}"),
            What::OpenString => "broken JSON: a string is not closed".to_owned(),
            What::Control => format!("broken JSON: control character {next} in a string, expected an escape"),
            What::TooDeep => format!("broken JSON: nested deeper than {MAX_DEPTH} levels"),
            What::Trailing => format!("broken JSON: expected the end of the record, found {next}"),
        };
        Fault { class: BadClass::Decode, column: Some(self.at - start), message }
    }
}

/// Steps over blanks. A newline is one only where a record is not a line.
#[inline]
pub(crate) fn blanks(text: &[u8], mut at: usize, newlines: bool) -> usize {
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' => at += 1,
            b'\n' if newlines => at += 1,
            _ => break,
        }
    }
    at
}

/// Steps over a string from the byte after its opening quote; the answer is its closing quote.
#[inline(always)]
pub(crate) fn string(text: &[u8], from: usize) -> Step<(usize, Kind)> {
    let mut at = from;
    loop {
        let stops = string_stops(&simd::load(text, at));
        if stops == 0 {
            at += WIDTH;
            if at >= text.len() {
                return broken(from - 1, What::OpenString);
            }
            continue;
        }
        at += stops.trailing_zeros() as usize;
        return match text.get(at) {
            Some(b'"') => Ok((at, Kind::Text)),
            _ => escaped_string(text, from, at),
        };
    }
}

/// Goes on with a string from its first byte that is not plain.
#[inline(never)]
fn escaped_string(text: &[u8], from: usize, mut at: usize) -> Step<(usize, Kind)> {
    while at < text.len() {
        match text[at] {
            b'"' => return Ok((at, Kind::Escaped)),
            // What is escaped is judged where it is read; here it only must not be taken for the end.
            b'\\' if text.get(at + 1).is_some_and(|&b| b >= 0x20) => at += 2,
            b'\\' | b'\n' => return broken(from - 1, What::OpenString),
            0..0x20 => return broken(at, What::Control),
            _ => {
                let stops = string_stops(&simd::load(text, at));
                at += if stops == 0 { WIDTH } else { stops.trailing_zeros() as usize };
            }
        }
    }
    broken(from - 1, What::OpenString)
}

/// Steps over a bare word: whatever it is, it ends where JSON's structure goes on.
#[inline(always)]
pub(crate) fn scalar(text: &[u8], from: usize) -> Step {
    let mut at = from;
    loop {
        let stops = scalar_stops(&simd::load(text, at));
        if stops != 0 {
            at += stops.trailing_zeros() as usize;
            break;
        }
        at += WIDTH;
    }
    let at = at.min(text.len());
    if at == from { broken(from, What::Expected("a value")) } else { Ok(at) }
}

/// Steps over an object or array whose brackets match and whose strings are closed. `depth` counts those around it.
#[inline(never)]
pub(crate) fn nested(text: &[u8], from: usize, depth: usize, newlines: bool) -> Step {
    let mut open = Brackets { kinds: 0, depth };
    let mut at = from;
    while at < text.len() {
        let stops = bracket_stops(&simd::load(text, at));
        if stops == 0 {
            at += WIDTH;
            continue;
        }
        at += stops.trailing_zeros() as usize;
        match text.get(at) {
            Some(b'"') => at = string(text, at + 1)?.0,
            Some(&bracket @ (b'{' | b'[')) => open.push(bracket, at)?,
            Some(&bracket @ (b'}' | b']')) => {
                open.pop(bracket, at)?;
                if open.depth == depth {
                    return Ok(at + 1);
                }
            }
            Some(b'\n') if newlines => {}
            _ => break,
        }
        at += 1;
    }
    broken(at.min(text.len()), What::Expected("a closing bracket"))
}

/// The brackets that are open: one bit each, set for objects.
struct Brackets {
    kinds: u128,
    depth: usize,
}

impl Brackets {
    fn push(&mut self, bracket: u8, at: usize) -> Step<()> {
        if self.depth >= MAX_DEPTH {
            return broken(at, What::TooDeep);
        }
        self.kinds = self.kinds << 1 | u128::from(bracket == b'{');
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self, bracket: u8, at: usize) -> Step<()> {
        let is_object = self.kinds & 1 == 1;
        if is_object != (bracket == b'}') {
            return broken(at, What::Expected(if is_object { "`}`" } else { "`]`" }));
        }
        self.kinds >>= 1;
        self.depth -= 1;
        Ok(())
    }
}

/// Finds the value that starts at `at`, or after blanks there, and steps over it.
#[inline(always)]
pub(crate) fn locate(text: &[u8], at: usize, depth: usize, newlines: bool) -> Step<(Cell, usize)> {
    let cell = |start: usize, end: usize, kind| Cell { start: start as u32, len: (end - start) as u32, kind };
    match text.get(at) {
        Some(b'"') => {
            let (end, kind) = string(text, at + 1)?;
            Ok((cell(at + 1, end, kind), end + 1))
        }
        Some(b'{' | b'[') => {
            let end = nested(text, at, depth, newlines)?;
            Ok((cell(at, end, Kind::Nested), end))
        }
        Some(b' ' | b'\t' | b'\r' | b'\n') => locate_after_blanks(text, at, depth, newlines),
        _ => {
            let end = scalar(text, at)?;
            let kind = if text.get(at..end) == Some(b"null") { Kind::Null } else { Kind::Scalar };
            Ok((cell(at, end, kind), end))
        }
    }
}

#[inline(never)]
fn locate_after_blanks(text: &[u8], at: usize, depth: usize, newlines: bool) -> Step<(Cell, usize)> {
    let after = blanks(text, at, newlines);
    if after == at { broken(at, What::Expected("a value")) } else { locate(text, after, depth, newlines) }
}
