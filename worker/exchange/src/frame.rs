//! Messages as bytes: the length of a header, the header in JSON, then the rows and the dead letters as Arrow streams
//! (`https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format`). Rows are not copied on the way in.

use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::unit::{Epoch, RunId, UnitId};

use crate::message::{Attempt, Message, Range, Refusal, Rows, Stamp, Subscription};

/// A message that cannot be written, or bytes that are none.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The header.
    #[error("a message's header: {0}")]
    Header(#[from] serde_json::Error),
    /// Rows or dead letters.
    #[error("a message's rows: {0}")]
    Rows(#[from] ArrowError),
    /// The parts do not add up.
    #[error("a message that is cut off, or has {0} bytes that nothing accounts for")]
    Length(usize),
}

/// What of a message is not rows.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
enum Header {
    Hello { protocol: u32, run: RunId },
    Alive,
    Subscribe { subscription: Subscription, attempt: Attempt, stamp: Stamp, accepted: LogProgress, credit: u32 },
    Grant { subscription: Subscription, attempt: Attempt, ranges: u32 },
    Committed { subscription: Subscription, attempt: Attempt, next: Position },
    Unsubscribe { subscription: Subscription, attempt: Attempt },
    Range(RangeHeader),
    Refused { subscription: Subscription, attempt: Attempt, reason: Refusal },
    Release { unit: UnitId, epoch: Epoch, assignment: String },
    Released { unit: UnitId, epoch: Epoch },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RangeHeader {
    subscription: Subscription,
    attempt: Attempt,
    stamp: Stamp,
    from: Position,
    after: LogProgress,
    rows: Option<RowsHeader>,
    dead_letters_bytes: usize,
    awaited: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RowsHeader {
    shape: Shape,
    bytes: usize,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Shape {
    Plain,
    Folded,
}

/// A message as the bytes of one frame.
///
/// # Errors
/// Rows that Arrow cannot write.
pub fn encode(message: &Message) -> Result<Bytes, FrameError> {
    let (mut rows, mut dead_letters) = (Vec::new(), Vec::new());
    if let Message::Range(range) = message {
        if let Some(Rows::Plain(batch) | Rows::Folded(batch)) = &range.rows {
            rows = write(batch)?;
        }
        dead_letters = range.dead_letters.as_ref().map(write).transpose()?.unwrap_or_default();
    }
    let header = serde_json::to_vec(&header(message, rows.len(), dead_letters.len()))?;
    let length = u32::try_from(header.len()).map_err(|_| FrameError::Length(header.len()))?;
    Ok(Bytes::from([&length.to_be_bytes()[..], &header, &rows, &dead_letters].concat()))
}

/// The message of a frame.
///
/// # Errors
/// Whatever [`encode`] did not write.
pub fn decode(mut frame: Bytes) -> Result<Message, FrameError> {
    let length = frame.try_get_u32().map_err(|_| FrameError::Length(frame.len()))?;
    let header = serde_json::from_slice(&take(&mut frame, length as usize)?)?;
    let message = match header {
        Header::Hello { protocol, run } => Message::Hello { protocol, run },
        Header::Alive => Message::Alive,
        Header::Subscribe { subscription, attempt, stamp, accepted, credit } => {
            Message::Subscribe { subscription, attempt, stamp, accepted, credit }
        }
        Header::Grant { subscription, attempt, ranges } => Message::Grant { subscription, attempt, ranges },
        Header::Committed { subscription, attempt, next } => Message::Committed { subscription, attempt, next },
        Header::Unsubscribe { subscription, attempt } => Message::Unsubscribe { subscription, attempt },
        Header::Range(header) => Message::Range(range(header, &mut frame)?),
        Header::Refused { subscription, attempt, reason } => Message::Refused { subscription, attempt, reason },
        Header::Release { unit, epoch, assignment } => Message::Release { unit, epoch, assignment },
        Header::Released { unit, epoch } => Message::Released { unit, epoch },
    };
    if frame.is_empty() { Ok(message) } else { Err(FrameError::Length(frame.len())) }
}

fn header(message: &Message, rows_bytes: usize, dead_letters_bytes: usize) -> Header {
    match message.clone() {
        Message::Hello { protocol, run } => Header::Hello { protocol, run },
        Message::Alive => Header::Alive,
        Message::Subscribe { subscription, attempt, stamp, accepted, credit } => {
            Header::Subscribe { subscription, attempt, stamp, accepted, credit }
        }
        Message::Grant { subscription, attempt, ranges } => Header::Grant { subscription, attempt, ranges },
        Message::Committed { subscription, attempt, next } => Header::Committed { subscription, attempt, next },
        Message::Unsubscribe { subscription, attempt } => Header::Unsubscribe { subscription, attempt },
        Message::Range(Range { subscription, attempt, stamp, from, after, rows, awaited, .. }) => {
            let shape = rows.map(|rows| match rows {
                Rows::Plain(_) => Shape::Plain,
                Rows::Folded(_) => Shape::Folded,
            });
            let rows = shape.map(|shape| RowsHeader { shape, bytes: rows_bytes });
            let header = RangeHeader { subscription, attempt, stamp, from, after, rows, dead_letters_bytes, awaited };
            Header::Range(header)
        }
        Message::Refused { subscription, attempt, reason } => Header::Refused { subscription, attempt, reason },
        Message::Release { unit, epoch, assignment } => Header::Release { unit, epoch, assignment },
        Message::Released { unit, epoch } => Header::Released { unit, epoch },
    }
}

fn range(header: RangeHeader, frame: &mut Bytes) -> Result<Range, FrameError> {
    let RangeHeader { subscription, attempt, stamp, from, after, rows, dead_letters_bytes, awaited } = header;
    let rows = match rows {
        Some(RowsHeader { shape, bytes }) => {
            let batch = read(take(frame, bytes)?)?;
            Some(match shape {
                Shape::Plain => Rows::Plain(batch),
                Shape::Folded => Rows::Folded(batch),
            })
        }
        None => None,
    };
    let dead_letters = match dead_letters_bytes {
        0 => None,
        bytes => Some(read(take(frame, bytes)?)?),
    };
    Ok(Range { subscription, attempt, stamp, from, after, rows, dead_letters, awaited })
}

fn take(frame: &mut Bytes, bytes: usize) -> Result<Bytes, FrameError> {
    if bytes > frame.len() { Err(FrameError::Length(frame.len())) } else { Ok(frame.split_to(bytes)) }
}

fn write(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}

/// Arrow's decoder trusts the lengths in a stream and panics where they lead beyond its end; a peer with a fault must
/// cost a connection, not a worker.
fn read(bytes: Bytes) -> Result<RecordBatch, ArrowError> {
    let read = std::panic::catch_unwind(|| StreamDecoder::new().decode(&mut Buffer::from(bytes)));
    let batch = read.unwrap_or_else(|_| Err(ArrowError::IpcError("lengths that do not add up".to_owned())))?;
    batch.ok_or_else(|| ArrowError::IpcError("a stream without a batch".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use proptest::prelude::*;
    use thalweg_core::log::{LogId, SplitId};
    use thalweg_core::unit::{Incarnation, StageId};

    use thalweg_core::time::Watermark;

    use super::*;

    const ATTEMPT: Attempt = Attempt { epoch: Epoch(2), count: 1 };

    fn subscription() -> Subscription {
        let log = LogId::Split { source: "trips".into(), split: SplitId::new("7") };
        Subscription { unit: UnitId { stage: StageId(1), index: 2 }, input: 0, log }
    }

    fn stamp() -> Stamp {
        Stamp { plan: "4f1c".into(), layout: 3, incarnation: Incarnation(1), closed: Watermark::UNKNOWN }
    }

    fn batch(numbers: Vec<i64>) -> RecordBatch {
        let texts: StringArray = numbers.iter().map(|number| (number % 2 == 0).then(|| number.to_string())).collect();
        let columns = [("n", Arc::new(Int64Array::from(numbers)) as _), ("t", Arc::new(texts) as _)];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("valid")
    }

    fn ranges() -> impl Strategy<Value = Message> {
        let numbers = || prop::collection::vec(any::<i64>(), 0..20);
        let rows = prop::option::of((any::<bool>(), numbers()));
        (any::<u64>(), rows, prop::option::of(numbers()), any::<bool>()).prop_map(|(from, rows, dead, is_awaited)| {
            let rows = rows.map(
                |(is_folded, numbers)| {
                    if is_folded { Rows::Folded(batch(numbers)) } else { Rows::Plain(batch(numbers)) }
                },
            );
            let after = LogProgress { next: Position::at(from).advanced_by(5), ..LogProgress::START };
            let (from, dead_letters) = (Position::at(from), dead.map(batch));
            Message::Range(Range {
                subscription: subscription(),
                attempt: ATTEMPT,
                stamp: stamp(),
                from,
                after,
                rows,
                dead_letters,
                awaited: is_awaited,
            })
        })
    }

    proptest! {
        #[test]
        fn a_range_comes_back_as_it_was_sent(message in ranges()) {
            let frame = encode(&message).expect("encodes");
            prop_assert_eq!(decode(frame).expect("decodes"), message);
        }

        #[test]
        fn bytes_that_are_no_message_are_an_error_and_no_panic(
            message in ranges(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let mut frame = encode(&message).expect("encodes").to_vec();
            let at = at.index(frame.len());
            frame[at] = byte;
            // Bytes of values may change unseen; what matters is that nothing panics.
            let _ = decode(Bytes::from(frame.clone()));
            frame.truncate(cut.index(frame.len()));
            prop_assert!(decode(Bytes::from(frame)).is_err(), "it is cut off");
        }
    }

    #[test]
    fn every_other_message_comes_back_as_it_was_sent() {
        let unit = subscription().unit;
        let messages = [
            Message::Hello { protocol: 1, run: RunId("run".to_owned()) },
            Message::Alive,
            Message::Subscribe {
                subscription: subscription(),
                attempt: ATTEMPT,
                stamp: stamp(),
                accepted: LogProgress { max_event_time: Some(-4), idle: true, ..LogProgress::START },
                credit: 3,
            },
            Message::Grant { subscription: subscription(), attempt: ATTEMPT, ranges: 1 },
            Message::Committed { subscription: subscription(), attempt: ATTEMPT, next: Position::at(7) },
            Message::Unsubscribe { subscription: subscription(), attempt: ATTEMPT },
            Message::Refused {
                subscription: subscription(),
                attempt: ATTEMPT,
                reason: Refusal::DataLoss { detail: "it starts at 0.9".to_owned() },
            },
            Message::Refused { subscription: subscription(), attempt: ATTEMPT, reason: Refusal::NotReader },
            Message::Release { unit, epoch: Epoch(4), assignment: "uid".to_owned() },
            Message::Released { unit, epoch: Epoch(4) },
        ];
        for message in messages {
            assert_eq!(decode(encode(&message).expect("encodes")).expect("decodes"), message);
        }
    }
}
