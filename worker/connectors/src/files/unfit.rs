//! Files that are not what they should be: one bad record stands for each, and `onError` decides.

use bytes::Bytes;
use thalweg_core::decode::{BadClass, BadRecord};
use thalweg_core::error::{Error, Result};
use thalweg_core::position::Position;

use super::block::{Block, Blocks};
use super::text::BROKEN_OFF;

/// Why a file could not be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Storage failed, or rows were lost: that ends the reading.
    Failed(Error),
    /// The file is not what it should be: that is for `onError`.
    Unfit(BadClass, String),
}

impl OpenError {
    /// The file holds something else than was declared.
    pub(crate) fn schema(message: impl std::fmt::Display) -> Self {
        Self::Unfit(BadClass::Schema, message.to_string())
    }

    /// The file cannot be read.
    pub(crate) fn decode(message: impl std::fmt::Display) -> Self {
        Self::Unfit(BadClass::Decode, message.to_string())
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The blocks of such a file: none but the one that says so.
pub(crate) struct UnfitBlocks(Option<Block>);

impl UnfitBlocks {
    /// Stands for everything from `at` on; `size` is that of the file.
    pub(crate) fn new(at: Position, class: BadClass, message: &str, size: u64) -> Self {
        let message = format!("{message}; the file is not read");
        let bad = BadRecord { position: at, class, message, column: None, raw: Bytes::new(), record_time: None };
        let from = u64::try_from(at.offset).unwrap_or(BROKEN_OFF);
        Self(Some(Block::gap(from, BROKEN_OFF, vec![bad], size)))
    }
}

impl Blocks for UnfitBlocks {
    fn next(&mut self) -> Result<Option<Block>> {
        Ok(self.0.take())
    }
}
