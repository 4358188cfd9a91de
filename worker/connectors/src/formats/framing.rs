//! Where the records of a text end. Pure.

use memchr::{memchr, memchr2, memrchr};

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
