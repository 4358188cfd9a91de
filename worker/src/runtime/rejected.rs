//! Rows that a sink would not take, as dead letters.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use thalweg_core::decode::{BadClass, BadRecord};
use thalweg_core::position::Position;
use thalweg_core::sink::Rejected;
use thalweg_core::unit::UnitId;

use super::dead_letter;
use super::error::{Result, RunError};

/// Characters of a record that are kept where its whole letter is not taken.
const SHORT: usize = 256;

/// Rows of a unit that a sink would not take: `source` is the sink, `split` the unit, `raw` the row; there is no position.
pub fn letters(sink: &str, unit: UnitId, refused: &[Rejected]) -> Result<RecordBatch> {
    let record = |row: &Rejected| BadRecord {
        position: Position::START,
        class: BadClass::Rejected,
        message: row.message.clone(),
        column: None,
        raw: row.raw.clone(),
        record_time: None,
    };
    let records: Vec<_> = refused.iter().map(record).collect();
    let split = format!("unit {unit}");
    dead_letter::to_batch(sink, &split, &records.iter().collect::<Vec<_>>(), |_| String::new()).map_err(internal)
}

/// Those dead letters that were refused, with less of their records.
pub fn shortened(letters: &RecordBatch, refused: &[Rejected]) -> Result<RecordBatch> {
    let rows = UInt32Array::from_iter_values(refused.iter().filter_map(|row| u32::try_from(row.row).ok()));
    let letters = take_record_batch(letters, &rows).map_err(internal)?;
    let raw = letters.schema().index_of(dead_letter::RAW).map_err(internal)?;
    let cut = |text: &str| text.char_indices().nth(SHORT).map_or(text.len(), |(end, _)| end);
    let texts = letters.column(raw).as_string::<i32>();
    let short = StringArray::from_iter_values((0..texts.len()).map(|row| {
        let text = texts.value(row);
        text[..cut(text)].to_owned()
    }));
    let mut columns = letters.columns().to_vec();
    columns[raw] = Arc::new(short);
    RecordBatch::try_new(letters.schema(), columns).map_err(internal)
}

fn internal(error: ArrowError) -> RunError {
    RunError::Internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use thalweg_core::unit::StageId;

    use super::*;

    fn refused(row: usize, raw: &str) -> Rejected {
        Rejected { row, raw: Bytes::from(raw.to_owned()), message: "too long".to_owned() }
    }

    #[test]
    fn a_row_that_was_refused_is_a_letter_with_its_sink_and_unit() {
        let unit = UnitId { stage: StageId(2), index: 7 };
        let letters = letters("out", unit, &[refused(3, "{}")]).expect("a batch");
        let text = |column: &str| letters.column_by_name(column).expect("there").as_string::<i32>().value(0).to_owned();
        assert_eq!(["raw", "source", "class", "message"].map(text), ["{}", "out", "Rejected", "too long"]);
        assert_eq!(text("split"), format!("unit {unit}"));
    }

    #[test]
    fn only_refused_letters_are_shortened_and_between_characters() {
        let unit = UnitId { stage: StageId(0), index: 0 };
        let long = "ä".repeat(1_000);
        let letters = letters("out", unit, &[refused(0, "short"), refused(1, &long)]).expect("a batch");
        let short = shortened(&letters, &[refused(1, "")]).expect("a batch");
        let raw = short.column_by_name("raw").expect("there").as_string::<i32>();
        assert_eq!((short.num_rows(), raw.value(0)), (1, "ä".repeat(256).as_str()));
    }
}
