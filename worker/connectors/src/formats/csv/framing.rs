//! Where CSV records end: at newlines outside of quotes.

use super::CsvOptions;
use super::split::Marks;
use crate::formats::framing::Framing;

/// Follows quotes: whether a newline ends a record. Also in records that are damaged, so that readers and decoders agree
/// on where those end.
#[derive(Clone, Copy, Debug)]
struct Quotes {
    marks: Marks,
    is_open: bool,
    /// The byte after the last closing quote: another quote there is a doubled one.
    closed: Option<usize>,
}

impl Quotes {
    fn new(marks: Marks) -> Self {
        Self { marks, is_open: false, closed: None }
    }

    /// Takes a quote or newline at `at` of bytes that start with a record; whether a record ends there.
    fn take(&mut self, bytes: &[u8], at: usize) -> bool {
        if bytes[at] == b'\n' {
            return !self.is_open;
        }
        if self.is_open {
            self.closed = Some(at + 1);
        }
        self.is_open = !self.is_open && self.opens(bytes, at);
        false
    }

    /// Whether a quote opens a field, or doubles the one before.
    fn opens(&self, bytes: &[u8], at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        before.is_none_or(|&b| b == self.marks.delimiter || b == b'\n') || self.closed == Some(at)
    }
}

/// The newline that ends the record at `from`, damaged as it may be, or the end of the text.
pub(super) fn end_of_record(text: &[u8], from: usize, marks: Marks) -> usize {
    let record = &text[from..];
    let mut quotes = Quotes::new(marks);
    let mut stops = memchr::memchr2_iter(marks.quote.unwrap_or(b'\n'), b'\n', record);
    from + stops.find(|&at| quotes.take(record, at)).unwrap_or(record.len())
}

/// Finds the ends of CSV records.
#[derive(Clone, Debug)]
pub struct CsvFraming {
    quotes: Quotes,
    /// Bytes of an unfinished record that were looked at.
    seen: usize,
}

impl CsvFraming {
    /// For files of these options.
    pub fn new(options: &CsvOptions) -> Self {
        Self { quotes: Quotes::new(options.marks()), seen: 0 }
    }
}

impl Framing for CsvFraming {
    fn complete_prefix(&mut self, bytes: &[u8]) -> usize {
        let Some(quote) = self.quotes.marks.quote else {
            return memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1);
        };
        let from = self.seen.min(bytes.len());
        let stops = memchr::memchr2_iter(quote, b'\n', &bytes[from..]).map(|at| from + at);
        let whole = stops.filter(|&at| self.quotes.take(bytes, at)).last().map_or(0, |at| at + 1);
        self.seen = bytes.len() - whole;
        self.quotes.closed = self.quotes.closed.and_then(|at| at.checked_sub(whole));
        whole
    }

    fn reset(&mut self) {
        *self = Self { quotes: Quotes::new(self.quotes.marks), seen: 0 };
    }
}
