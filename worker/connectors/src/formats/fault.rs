//! What is wrong with single records, and the sentences that say so.

use thalweg_core::decode::BadClass;

use super::cell::{Kind, Token};

/// Why a record cannot become a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Its class.
    pub class: BadClass,
    /// The byte within the record, where there is one such place.
    pub column: Option<usize>,
    /// The sentence.
    pub message: String,
}

/// The most characters of a value that a message quotes.
const QUOTED: usize = 64;

/// Faults of the rows of one block, one a row: the first, except that broken bytes weigh more than a wrong type.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    of_rows: Vec<Option<Fault>>,
    starts: Vec<usize>,
    any: bool,
    context: String,
    /// What of the column: `.field[…]`.
    path: String,
}

impl Faults {
    /// Forgets everything; then rows of a new block follow.
    pub fn clear(&mut self) {
        self.of_rows.clear();
        self.starts.clear();
        self.any = false;
    }

    /// Adds a row that starts at this byte of the block's text.
    #[inline]
    pub fn push_row(&mut self, start: usize) {
        self.of_rows.push(None);
        self.starts.push(start);
    }

    /// Whether any row has one.
    pub fn any(&self) -> bool {
        self.any
    }

    /// Takes the fault of a row.
    pub fn take(&mut self, row: usize) -> Option<Fault> {
        self.of_rows.get_mut(row)?.take()
    }

    /// Names the column that following faults are about.
    pub fn about(&mut self, column: &str) {
        column.clone_into(&mut self.context);
    }

    /// The column that faults are about.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// Names what of the column's values following faults are about: `.field` or `[…]`. The answer ends it.
    #[inline]
    pub fn enter(&mut self, step: &str) -> usize {
        let before = self.path.len();
        self.path.push_str(step);
        before
    }

    /// Goes back to where [`Faults::enter`] was called.
    #[inline]
    pub fn leave(&mut self, before: usize) {
        self.path.truncate(before);
    }

    /// Reports a fault of a row.
    #[cold]
    pub fn report(&mut self, row: usize, fault: Fault) {
        self.any = true;
        let Some(slot) = self.of_rows.get_mut(row) else { return };
        let outweighs = |old: &Fault| old.class != BadClass::Decode && fault.class == BadClass::Decode;
        if slot.as_ref().is_none_or(outweighs) {
            *slot = Some(fault);
        }
    }

    /// Reports that a column's value is not what its type expects.
    #[cold]
    pub fn mismatch(&mut self, row: usize, token: Token<'_>, expected: &str) {
        let class = match token.kind {
            Kind::Scalar if !super::json::is_valid(token.bytes()) => BadClass::Decode,
            _ => BadClass::Schema,
        };
        self.found(row, token, class, expected);
    }

    /// Reports that bytes of a column are not UTF-8.
    #[cold]
    pub fn not_utf8(&mut self, row: usize, token: Token<'_>) {
        self.found(row, token, BadClass::Decode, "UTF-8");
    }

    /// Reports a value of a column.
    #[cold]
    pub fn found(&mut self, row: usize, token: Token<'_>, class: BadClass, expected: &str) {
        let is_placed = !matches!(token.kind, Kind::Missing) && !token.text.is_empty();
        let start = self.starts.get(row).copied().unwrap_or_default();
        let column = is_placed.then(|| token.opening().checked_sub(start)).flatten();
        let within = match self.path.trim_start_matches('.') {
            "" => String::new(),
            path => format!(", `{path}`"),
        };
        let message = format!("{}{within}: expected {expected}, found {}", self.context, found(token));
        self.report(row, Fault { class, column, message });
    }
}

/// A value as messages show it.
pub(crate) fn found(token: Token<'_>) -> String {
    match token.kind {
        Kind::Missing => "no such field".to_owned(),
        Kind::Null => "null".to_owned(),
        Kind::Text => format!("{:?}", shorten(token.bytes())),
        Kind::Escaped | Kind::Quoted | Kind::Doubled => format!("\"{}\"", shorten(token.bytes())),
        Kind::Scalar | Kind::Nested | Kind::Parent => shorten(token.bytes()),
    }
}

/// Bytes as text of bounded length.
pub(crate) fn shorten(bytes: &[u8]) -> String {
    let head = bytes.get(..4 * QUOTED).unwrap_or(bytes);
    let text = String::from_utf8_lossy(head);
    let mut short: String = text.chars().take(QUOTED).collect();
    if short.len() < text.len() || head.len() < bytes.len() {
        short.push('…');
    }
    short
}
