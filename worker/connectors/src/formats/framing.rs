//! Where the records of a text end. Pure.

use memchr::{memchr, memchr_iter, memchr2, memrchr};

/// How records are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A newline ends each (JSON lines).
    Lines,
    /// A newline outside of quotes ends each (CSV, RFC 4180): a quote opens at the start of a field only, and two of
    /// them inside are one character.
    Csv {
        /// What stands between fields.
        delimiter: u8,
        /// What encloses a field.
        quote: u8,
    },
}

/// So many lines have to follow before one is held for torn.
const TORN_LINES: usize = 2;

/// Where a scan through a record stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Within {
    /// At the start of a field.
    #[default]
    FieldStart,
    /// Inside a plain field.
    Plain,
    /// Inside quotes.
    Quoted,
    /// Just after a quote inside quotes: the field's end, or half of a doubled quote.
    QuoteSeen,
}

impl Framing {
    /// The length of the longest prefix of whole records; `bytes` starts at a record.
    pub(crate) fn complete_prefix(self, bytes: &[u8]) -> usize {
        match self {
            Self::Lines => memrchr(b'\n', bytes).map_or(0, |at| at + 1),
            Self::Csv { quote, .. } if memchr(quote, bytes).is_none() => memrchr(b'\n', bytes).map_or(0, |at| at + 1),
            Self::Csv { .. } => self.last_end(bytes),
        }
    }

    fn last_end(self, bytes: &[u8]) -> usize {
        let (mut within, mut complete) = (Within::default(), 0);
        while let Some(length) = self.record_end(&bytes[complete..], &mut within) {
            complete += length;
        }
        complete
    }

    /// The length of the first record, its newline included; `None` if it goes on behind `bytes`. `within` carries the
    /// scan on into the bytes that follow.
    pub(crate) fn record_end(self, bytes: &[u8], within: &mut Within) -> Option<usize> {
        match self {
            Self::Lines => memchr(b'\n', bytes).map(|at| at + 1),
            Self::Csv { delimiter, quote } => csv_record_end(bytes, delimiter, quote, within),
        }
    }
}

impl Framing {
    /// The length of the first line of what begins one record of more lines than all of these, if rather a quote of it is not
    /// closed: no quote follows, and of the lines that do, several, each has as many delimiters, and some.
    pub(crate) fn torn_line(self, bytes: &[u8]) -> Option<usize> {
        let Self::Csv { delimiter, quote } = self else { return None };
        let (first, rest) = bytes.split_at(memchr(b'\n', bytes)? + 1);
        let lines = &rest[..memrchr(b'\n', rest)?];
        let count = |line: &[u8]| memchr_iter(delimiter, line).count();
        let (fields, mut found) = (count(first), 0);
        let mut are_like_it = || {
            lines.split(|byte| *byte == b'\n').all(|line| {
                found += 1;
                count(line) == fields
            })
        };
        (fields > 0 && memchr(quote, rest).is_none() && are_like_it() && found >= TORN_LINES).then_some(first.len())
    }
}

fn csv_record_end(bytes: &[u8], delimiter: u8, quote: u8, within: &mut Within) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        let skip = match *within {
            Within::Plain => memchr2(delimiter, b'\n', &bytes[at..]),
            Within::Quoted => memchr(quote, &bytes[at..]),
            Within::FieldStart | Within::QuoteSeen => Some(0),
        };
        at += skip?;
        let byte = bytes[at];
        at += 1;
        *within = match *within {
            Within::Quoted => Within::QuoteSeen,
            Within::QuoteSeen if byte == quote => Within::Quoted,
            Within::FieldStart if byte == quote => Within::Quoted,
            _ if byte == delimiter => Within::FieldStart,
            _ if byte == b'\n' => {
                *within = Within::FieldStart;
                return Some(at);
            }
            _ => Within::Plain,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CSV: Framing = Framing::Csv { delimiter: b',', quote: b'"' };

    #[test]
    fn a_newline_in_quotes_ends_nothing() {
        assert_eq!(CSV.complete_prefix(b"a,\"x\ny\"\nb,\"z\n"), 8);
        assert_eq!(CSV.complete_prefix(b"a,\"x\"\"\n\"\nb"), 9);
        assert_eq!(Framing::Lines.complete_prefix(b"{\"a\":\"\n"), 7);
    }

    #[test]
    fn a_line_is_torn_where_the_next_one_is_a_record_like_it() {
        assert_eq!(CSV.torn_line(b"7,\"a\n8,b\n9,c\n0"), Some(5));
        assert_eq!(CSV.torn_line(b"7,\"a\n8,b\nc\n9,c\n"), None, "a field of several lines");
        assert_eq!(CSV.torn_line(b"7,\"a\n8,b\n9,\"c\n"), None, "it is closed");
        assert_eq!(CSV.torn_line(b"\"a\nb\nc\n"), None, "a single field");
        assert_eq!(CSV.torn_line(b"7,\"a\n8,b\n9,c"), None, "one line may be chance");
        assert_eq!(Framing::Lines.torn_line(b"7,\"a\n8,b\n"), None);
    }

    #[test]
    fn a_quote_inside_a_plain_field_is_a_character() {
        assert_eq!(CSV.complete_prefix(b"5\" pipe,1\n6\" pipe,2\n"), 20);
    }

    proptest! {
        #[test]
        fn a_scan_in_pieces_finds_the_same_end(text in "[a\",\n]{0,30}", cut in 0usize..30) {
            let (bytes, cut) = (text.as_bytes(), cut.min(text.len()));
            let whole = CSV.record_end(bytes, &mut Within::default());
            let mut within = Within::default();
            let pieces = CSV.record_end(&bytes[..cut], &mut within)
                .or_else(|| CSV.record_end(&bytes[cut..], &mut within).map(|length| cut + length));
            prop_assert_eq!(whole, pieces);
        }
    }
}
