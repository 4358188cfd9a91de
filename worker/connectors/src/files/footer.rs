//! Whether a file can be Parquet at all, in words for people.
//!
//! Source of the layout: Apache Parquet, "File format": `PAR1`, data, metadata, its length in 4 bytes, `PAR1`.

use std::io;

use thalweg_core::decode::BadClass;

use super::store::{Stored, read_error};
use super::unfit::OpenError;

const MAGIC: &[u8] = b"PAR1";
/// What the magic at the end is where the metadata is encrypted.
const ENCRYPTED: &[u8] = b"PARE";
/// The length of the metadata, and the magic.
const FOOTER_BYTES: u64 = 8;

/// An error of the reader's, or, where the file cannot be Parquet, why not. Blocks.
pub(crate) fn explained(error: OpenError, stored: &Stored, name: &str, shown: &str) -> OpenError {
    if !matches!(error, OpenError::Unfit(BadClass::Decode, _)) {
        return error;
    }
    check(stored, name, shown).err().unwrap_or(error)
}

/// Refuses a file that is no Parquet file, or a part of one. Blocks.
///
/// # Errors
/// Storage failed, or it is not.
pub(crate) fn check(stored: &Stored, name: &str, shown: &str) -> Result<(), OpenError> {
    let failed = |error: io::Error| OpenError::from(read_error(shown, 0, &error));
    let size = stored.now(name).map_err(failed)?.size;
    let mut start = [0; MAGIC.len()];
    let mut footer = [0; FOOTER_BYTES as usize];
    let (has_start, has_footer) = (
        stored.read_at(0, &mut start).map_err(failed)? == start.len(),
        stored.read_at(size.saturating_sub(FOOTER_BYTES), &mut footer).map_err(failed)? == footer.len(),
    );
    let is_one = |magic: &[u8]| magic == MAGIC || magic == ENCRYPTED;
    let unfit = |cause: String| Err(OpenError::decode(format!("`{shown}` cannot be read as Parquet: {cause}")));
    if !has_start || !is_one(&start) {
        return unfit("it does not begin with `PAR1`, as every Parquet file does".to_owned());
    }
    let [a, b, c, d, magic @ ..] = footer;
    if !has_footer || !is_one(&magic) {
        return unfit("the file is cut off: it does not end with `PAR1`".to_owned());
    }
    let metadata = u64::from(u32::from_le_bytes([a, b, c, d]));
    let least = MAGIC.len() as u64 + metadata + FOOTER_BYTES;
    if size < least {
        return unfit(format!("the file is cut off: by its footer it has {least} bytes at least, found {size}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: &[u8]) -> Option<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        std::fs::write(&path, bytes).expect("written");
        let stored = Stored::Local(std::fs::File::open(path).expect("a file"));
        match check(&stored, "a.parquet", "a.parquet") {
            Ok(()) => None,
            Err(OpenError::Unfit(_, message)) => Some(message),
            Err(OpenError::Failed(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn what_cannot_be_parquet_says_what_is_missing() {
        for (bytes, expected) in [
            (&b""[..], "it does not begin with `PAR1`"),
            (&b"{\"id\":1}"[..], "it does not begin with `PAR1`"),
            (&b"PAR1"[..], "the file is cut off: it does not end with `PAR1`"),
            (&b"PAR1 rows"[..], "the file is cut off: it does not end with `PAR1`"),
            (&b"PAR1PAR1"[..], "the file is cut off: by its footer it has 827474268 bytes at least, found 8"),
        ] {
            let said = said(bytes).expect("refused");
            assert!(said.starts_with("`a.parquet` cannot be read as Parquet: ") && said.contains(expected), "{said}");
        }
        assert_eq!(said(b"PAR1metadata\x08\0\0\0PAR1"), None);
    }
}
