//! The place of a record in words: "trips.json, line 17, column 3".

use std::io::{self, Read};
use std::sync::Arc;

use super::config::Compression;
use super::input::Input;
use super::store::{Found, Store};

/// Counts the newlines before a byte of a file's text. Blocks.
///
/// # Errors
/// The file cannot be read as far as that.
pub(crate) fn find(store: &Store, found: &Found, compression: Compression, offset: u64) -> io::Result<u64> {
    if offset == 0 {
        // It may not even be text.
        return Ok(0);
    }
    let stored = Arc::new(store.open(found)?);
    let mut text = Input::open(&stored, compression, 0)?.take(offset);
    let (mut buffer, mut newlines) = (vec![0; 256 << 10], 0);
    loop {
        match text.read(&mut buffer)? {
            0 => return Ok(newlines),
            read => newlines += memchr::memchr_iter(b'\n', &buffer[..read]).count() as u64,
        }
    }
}

/// Says where a record is; by its offset where its line could not be found.
pub(crate) fn describe(
    shown: &str,
    is_text: bool,
    newlines: io::Result<u64>,
    offset: u64,
    column: Option<usize>,
) -> String {
    match newlines {
        _ if !is_text => format!("{shown}, row {}", offset.saturating_add(1)),
        Ok(newlines) => {
            let column = column.map(|column| format!(", column {}", column + 1)).unwrap_or_default();
            format!("{shown}, line {}{column}", newlines + 1)
        }
        Err(_) => format!("{shown}, byte {offset}"),
    }
}
