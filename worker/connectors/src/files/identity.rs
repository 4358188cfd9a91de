//! Whether a watched file is still the one that was read: it may be longer, and must begin as it did.
//!
//! What is read next is at an offset, which means nothing in another file. So the list keeps of each file how it begins,
//! as far as it was there when somebody looked; until that is as much as was read, the file must also be the same one of
//! its file system. Objects do not grow: theirs is the version.

use std::io;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};
use thalweg_crds::names::hash;

use super::store::Stored;

/// So much of a file is looked at.
const HEAD_BYTES: usize = 4 << 10;

/// How a file began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Its number in its file system.
    inode: u64,
    /// How many bytes were there, [`HEAD_BYTES`] at the most.
    bytes: usize,
    /// Their hash.
    hash: String,
}

/// How a file begins now.
pub(crate) struct Beginning {
    inode: u64,
    text: Vec<u8>,
}

impl Beginning {
    /// Looks at a file; `None` for an object. Blocks.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn of(stored: &Stored) -> io::Result<Option<Self>> {
        let Stored::Local(file) = stored else { return Ok(None) };
        let inode = file.metadata()?.ino();
        let mut text = vec![0; HEAD_BYTES];
        let read = stored.read_at(0, &mut text)?;
        text.truncate(read);
        Ok(Some(Self { inode, text }))
    }

    /// What is kept of it.
    pub(crate) fn head(&self) -> Head {
        Head { inode: self.inode, bytes: self.text.len(), hash: hash(&self.text) }
    }
}

impl Head {
    /// Whether a file that begins like this can be the one of which `read` bytes were read.
    pub(crate) fn is_of(&self, now: &Beginning, read: u64) -> bool {
        let begins_so = now.text.get(..self.bytes).is_some_and(|text| hash(text) == self.hash);
        let says_enough = self.bytes as u64 >= read.min(HEAD_BYTES as u64);
        begins_so && (says_enough || now.inode == self.inode)
    }

    /// Whether to look again at a file that has this size now: it says more, and each look is a record of the list.
    pub(crate) fn is_worth_more(&self, size: u64) -> bool {
        let (bytes, most) = (self.bytes as u64, HEAD_BYTES as u64);
        bytes < most && size >= (2 * bytes).clamp(1, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginning(inode: u64, text: &str) -> Beginning {
        Beginning { inode, text: text.into() }
    }

    #[test]
    fn a_file_that_grew_is_the_same_and_one_that_begins_otherwise_is_not() {
        let head = beginning(1, "one\n").head();
        assert!(head.is_of(&beginning(1, "one\ntwo\n"), 4));
        assert!(head.is_of(&beginning(2, "one\n"), 4), "a copy of all that was read");
        assert!(!head.is_of(&beginning(1, "two\n"), 4));
        assert!(!head.is_of(&beginning(1, "on"), 0));
    }

    #[test]
    fn where_more_was_read_than_is_known_the_file_itself_must_be_the_same() {
        let head = beginning(1, "id\n").head();
        assert!(head.is_of(&beginning(1, "id\n7\n"), 5));
        assert!(!head.is_of(&beginning(2, "id\n8\n"), 5));
        let whole = beginning(1, &"x".repeat(HEAD_BYTES)).head();
        assert!(whole.is_of(&beginning(2, &"x".repeat(HEAD_BYTES)), 1 << 40));
    }

    #[test]
    fn a_growing_file_is_looked_at_a_few_times_only() {
        let (mut head, mut looks) = (beginning(1, "").head(), 0);
        for size in 0..100_000 {
            if head.is_worth_more(size) {
                head = beginning(1, &"x".repeat(HEAD_BYTES.min(size as usize))).head();
                looks += 1;
            }
        }
        assert_eq!((head.bytes, looks), (HEAD_BYTES, 13));
    }
}
