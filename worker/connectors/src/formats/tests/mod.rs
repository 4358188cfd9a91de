//! Laws and golden tables of the formats.

mod avro;
mod bad_input;
mod csv_files;
mod json_oracle;
mod round_trip;

use std::sync::Arc;

use bytes::Bytes;
use thalweg_core::decode::{Decoded, Decoder};
use thalweg_core::position::Position;
use thalweg_core::source::{Payload, Piece, RawChunk};

/// Text at a position of the file `trips.json`.
pub(super) fn chunk_at(offset: u64, text: &[u8]) -> RawChunk {
    RawChunk {
        from: Position::at(offset),
        to: Position::at(offset + text.len() as u64),
        piece: Piece { name: Arc::from("trips.json"), ordinal: 0, watermark_scope: 0, is_last_scope: true },
        payload: Payload::Text(Bytes::copy_from_slice(text)),
        bad: Vec::new(),
    }
}

/// Decodes a text from the middle of a file.
pub(super) fn decode(decoder: &dyn Decoder, text: &[u8]) -> Decoded {
    decoder.decode(&chunk_at(1_000, text))
}

/// What a decoder makes of a text, whole and in any two parts cut where records end: always the same.
pub(super) fn assert_cuts_do_not_matter(decoder: &dyn Decoder, text: &[u8], cuts: &[usize]) {
    let whole = decode(decoder, text);
    for &cut in cuts {
        let parts = [chunk_at(1_000, &text[..cut]), chunk_at(1_000 + cut as u64, &text[cut..])];
        let [first, second] = parts.map(|chunk| decoder.decode(&chunk));
        let batch = arrow::compute::concat_batches(decoder.schema(), [&first.batch, &second.batch]).unwrap();
        assert_eq!(batch, whole.batch, "cut at {cut}");
        let bad: Vec<_> = first.bad.into_iter().chain(second.bad).collect();
        assert_eq!(bad, whole.bad, "cut at {cut}");
    }
}
