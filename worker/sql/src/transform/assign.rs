//! Window columns for rows that are not grouped: `SELECT … FROM TABLE(TUMBLE(…))`.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, TimestampMillisecondArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;
use datafusion::common::exec_err;
use datafusion::error::Result;

use super::step::Rows;
use crate::window::WindowSpec;

/// Event times further from 1970 than this are refused, so that no window's end overflows.
const MAX_TIME: u64 = i64::MAX as u64 / 4;

/// Appends `window_start`, `window_end`, `window_time`, with a row for each window.
#[derive(Clone, Debug)]
pub(crate) struct Assign {
    /// The column of event time.
    pub(super) time: usize,
    /// The windows.
    pub(super) window: WindowSpec,
    /// All columns, the new ones last.
    pub(super) schema: SchemaRef,
}

impl Assign {
    pub(super) fn run(&self, rows: Rows) -> Result<Rows> {
        let times = rows.batch.column(self.time).as_primitive::<TimestampMillisecondType>();
        let (mut from, mut starts, mut ends) = (Vec::with_capacity(times.len()), vec![], vec![]);
        for (row, time) in times.iter().enumerate() {
            let Some(time) = time else { continue };
            if time.unsigned_abs() > MAX_TIME {
                return exec_err!("{time} ms is no time of the calendar");
            }
            windows_of(&self.window, time, |start, end| {
                from.push(row as u32);
                starts.push(start);
                ends.push(end);
            });
        }
        let from = UInt32Array::from(from);
        let mut columns = rows
            .batch
            .columns()
            .iter()
            .map(|column| take(column, &from, None))
            .collect::<Result<Vec<ArrayRef>, _>>()?;
        let last = ends.iter().map(|end| end - 1).collect::<Vec<i64>>();
        columns.extend([starts, ends, last].map(|times| Arc::new(TimestampMillisecondArray::from(times)) as ArrayRef));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(Rows { batch, origin: Some(rows.traced(from)) })
    }
}

/// Calls `take(start, end)` for each window of an event time, earliest first.
fn windows_of(window: &WindowSpec, time: i64, mut take: impl FnMut(i64, i64)) {
    let aligned = |length: i64, offset: i64| time - (time - offset).rem_euclid(length);
    match *window {
        WindowSpec::Tumble { size, offset } => {
            let start = aligned(size, offset);
            take(start, start + size);
        }
        WindowSpec::Hop { size, slide, offset } => {
            let last = aligned(slide, offset);
            (0..size / slide).rev().for_each(|back| take(last - back * slide, last - back * slide + size));
        }
        WindowSpec::Cumulate { size, step, offset } => {
            let start = aligned(size, offset);
            ((time - start) / step + 1..=size / step).for_each(|steps| take(start, start + steps * step));
        }
        // The planner gives sessions to groups only, and attached windows are columns already.
        WindowSpec::Session { .. } | WindowSpec::Attached => {}
    }
}

impl fmt::Display for Assign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.schema.field(self.time).name();
        write!(f, "window {} of {time}", crate::explain::Window(&self.window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(window: &WindowSpec, time: i64) -> Vec<(i64, i64)> {
        let mut found = vec![];
        windows_of(window, time, |start, end| found.push((start, end)));
        found
    }

    #[test]
    fn a_time_is_in_every_window_that_holds_it_and_in_no_other() {
        assert_eq!(windows(&WindowSpec::Tumble { size: 10, offset: 3 }, 2), [(-7, 3)]);
        assert_eq!(windows(&WindowSpec::Hop { size: 10, slide: 5, offset: 0 }, 10), [(5, 15), (10, 20)]);
        assert_eq!(windows(&WindowSpec::Hop { size: 10, slide: 5, offset: 0 }, -1), [(-10, 0), (-5, 5)]);
        assert_eq!(windows(&WindowSpec::Cumulate { size: 15, step: 5, offset: 0 }, 5), [(0, 10), (0, 15)]);
        assert_eq!(windows(&WindowSpec::Cumulate { size: 15, step: 5, offset: 0 }, 14), [(0, 15)]);
    }
}
