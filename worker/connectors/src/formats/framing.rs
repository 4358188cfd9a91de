//! Where records end: what a reader needs to cut a file into chunks of whole records.

/// Finds the boundaries of records in a text that arrives piece by piece.
pub trait Framing: Send {
    /// How many of these bytes are whole records (each with the newline that ends it). The caller gives the bytes after
    /// those first next time, followed by more; zero means that no record ended yet.
    fn complete_prefix(&mut self, bytes: &[u8]) -> usize;

    /// Forgets what was seen: the next bytes start a record.
    fn reset(&mut self);
}

/// Every newline ends a record: JSON lines, where a newline in a string is written as an escape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines;

impl Framing for Lines {
    fn complete_prefix(&mut self, bytes: &[u8]) -> usize {
        memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1)
    }

    fn reset(&mut self) {}
}
