//! A place in a log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The next record wanted from a log: everything before it has been taken.
///
/// Positions of one log are totally ordered; those of different logs cannot be compared. `entry` counts whole pieces of
/// the log (the file in a lane, zero elsewhere), `offset` counts inside of it (a byte of the decompressed text, a row,
/// a Kafka offset). Both together have the 192 bits that a Kinesis sequence number needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Position {
    /// The piece of the log.
    pub entry: u64,
    /// The place inside the piece.
    pub offset: u128,
}

impl Position {
    /// The beginning of every log.
    pub const START: Self = Self { entry: 0, offset: 0 };
    /// Length of [`Position::to_bytes`].
    pub const BYTES: usize = 24;

    /// A position in a log of a single piece.
    pub const fn at(offset: u64) -> Self {
        Self { entry: 0, offset: offset as u128 }
    }

    /// A position inside piece `entry`.
    pub const fn within(entry: u64, offset: u64) -> Self {
        Self { entry, offset: offset as u128 }
    }

    /// The same piece, `count` further on.
    pub const fn advanced_by(self, count: u64) -> Self {
        Self { entry: self.entry, offset: self.offset + count as u128 }
    }

    /// Big-endian bytes, which sort as positions do.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.entry.to_be_bytes());
        bytes[8..].copy_from_slice(&self.offset.to_be_bytes());
        bytes
    }

    /// What [`Position::to_bytes`] wrote; `None` for any other length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (entry, offset) = bytes.split_first_chunk::<8>()?;
        let offset = <[u8; 16]>::try_from(offset).ok()?;
        Some(Self { entry: u64::from_be_bytes(*entry), offset: u128::from_be_bytes(offset) })
    }
}

/// `entry.offset`, as file names and `-o json` carry it.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.entry, self.offset)
    }
}

/// Text that is not `entry.offset`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a position as ENTRY.OFFSET, found `{0}`")]
pub struct ParsePositionError(String);

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (entry, offset) = text.split_once('.')?;
            Some(Self { entry: entry.parse().ok()?, offset: offset.parse().ok()? })
        };
        parse().ok_or_else(|| ParsePositionError(text.to_owned()))
    }
}

impl TryFrom<String> for Position {
    type Error = ParsePositionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Position> for String {
    fn from(position: Position) -> Self {
        position.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn positions() -> impl Strategy<Value = Position> {
        (any::<u64>(), any::<u128>()).prop_map(|(entry, offset)| Position { entry, offset })
    }

    proptest! {
        #[test]
        fn bytes_and_text_give_the_position_back(position in positions()) {
            prop_assert_eq!(Position::from_bytes(&position.to_bytes()), Some(position));
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn bytes_sort_as_positions_do(a in positions(), b in positions()) {
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        }
    }

    #[test]
    fn other_text_is_refused_with_what_was_found() {
        let error = "12".parse::<Position>().expect_err("no dot");
        assert_eq!(error.to_string(), "expected a position as ENTRY.OFFSET, found `12`");
    }
}
