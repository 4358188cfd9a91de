//! The keys of a unit's store. A change here changes [`VERSION`].

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use thalweg_core::time::Watermark;
use thalweg_core::unit::{Epoch, RunId};

/// Version of keys and values; part of `pipeline.json`.
pub const VERSION: u32 = 4;

/// The unit's own record, [`UnitRecord`].
pub const UNIT: &[u8] = b"u";
/// Prefix of `V`: one [`thalweg_core::progress::LogProgress`] a log.
pub const PROGRESS: &[u8] = b"v/";
/// Prefix of pane entries.
pub const PANES: &[u8] = b"p/";
/// Prefix of outbox entries.
pub const OUTBOX: &[u8] = b"o/";
/// Prefix of sealed output that may not be published yet.
pub const SEALED: &[u8] = b"s/";

/// What a unit knows about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitRecord {
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The owner.
    pub run_id: RunId,
    /// The unit's own watermark, up to which windows were closed and given out.
    pub watermark: Watermark,
    /// Windows up to here are closed, or on their way out: their rows are late, and the unit's watermark does not fall
    /// below it.
    pub closing: Watermark,
    /// The last output: emitted up to here, see `WindowState::close`.
    pub cursor: Option<Vec<u8>>,
    /// Sequence number of the next outbox entry.
    pub outbox_next: u64,
    /// Sequence number of the next seal.
    pub seal_next: u64,
    /// Outbox entries below this are in sealed output.
    pub sealed_through: u64,
    /// Outbox entries below this were delivered in transactions of sinks.
    pub delivered: u64,
    /// Sequence number of the next pane entry.
    pub pane_next: u64,
    /// Rows that this unit took, sent on, and found bad or late.
    pub counts: UnitCounts,
}

/// Counters that commit with the unit, so that no kill counts a row twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitCounts {
    /// Rows emitted.
    pub rows_out: u64,
    /// Dead letters emitted.
    pub dead_letters: u64,
}

impl UnitRecord {
    /// A unit that never ran.
    pub fn new(epoch: Epoch, run_id: RunId) -> Self {
        Self {
            epoch,
            run_id,
            watermark: Watermark::UNKNOWN,
            closing: Watermark::UNKNOWN,
            cursor: None,
            outbox_next: 0,
            seal_next: 0,
            sealed_through: 0,
            delivered: 0,
            pane_next: 0,
            counts: UnitCounts::default(),
        }
    }
}

/// Key of a log's progress. The name, not a number, so that it survives a new listing.
pub fn progress_key(input: u16, log: &str) -> Bytes {
    let mut key = BytesMut::with_capacity(PROGRESS.len() + 2 + log.len());
    key.put_slice(PROGRESS);
    key.put_u16(input);
    key.put_slice(log.as_bytes());
    key.freeze()
}

/// The input and the log that [`progress_key`] was made of.
pub fn parse_progress_key(key: &[u8]) -> Option<(u16, &str)> {
    let (input, log) = key.strip_prefix(PROGRESS)?.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*input), std::str::from_utf8(log).ok()?))
}

/// Key of a pane entry: sorts by age, so that whoever follows a store reads what is new and nothing else.
pub fn pane_key(seq: u64, pane: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(PANES.len() + 8 + pane.len());
    key.put_slice(&panes_before(seq));
    key.put_slice(pane);
    key.freeze()
}

/// A key behind those of all pane entries below `seq`, and before those of all others.
pub fn panes_before(seq: u64) -> Bytes {
    numbered(PANES, seq)
}

/// The pane of a [`pane_key`].
pub fn parse_pane_key(key: &[u8]) -> Option<&[u8]> {
    Some(key.strip_prefix(PANES)?.split_first_chunk::<8>()?.1)
}

/// Key of an outbox entry.
pub fn outbox_key(seq: u64) -> Bytes {
    numbered(OUTBOX, seq)
}

/// Key of a sealed piece of output.
pub fn sealed_key(seq: u64, output: u8) -> Bytes {
    let mut key = BytesMut::from(&numbered(SEALED, seq)[..]);
    key.put_u8(output);
    key.freeze()
}

/// The number that [`outbox_key`] or [`sealed_key`] holds, and the output for the latter.
pub fn parse_numbered(prefix: &[u8], key: &[u8]) -> Option<(u64, Option<u8>)> {
    let (seq, rest) = key.strip_prefix(prefix)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*seq), rest.first().copied()))
}

fn numbered(prefix: &[u8], seq: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(prefix.len() + 8);
    key.put_slice(prefix);
    key.put_u64(seq);
    key.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_give_back_what_they_were_made_of() {
        assert_eq!(parse_progress_key(&progress_key(3, "trips/lane-0")), Some((3, "trips/lane-0")));
        assert_eq!(parse_pane_key(&pane_key(9, b"pane")), Some(&b"pane"[..]));
        assert_eq!(parse_numbered(OUTBOX, &outbox_key(7)), Some((7, None)));
        assert_eq!(parse_numbered(SEALED, &sealed_key(7, 1)), Some((7, Some(1))));
        assert_eq!(parse_numbered(OUTBOX, b"o/short"), None);
    }

    #[test]
    fn pane_entries_sort_by_age() {
        assert!(pane_key(255, b"b") < panes_before(256) && panes_before(256) < pane_key(256, b"a"));
        assert!(pane_key(255, b"b") < pane_key(256, b"a"));
    }
}
