//! Which rows are late: a property of the log, whatever the batches.
//!
//! The watermark of a split just before a row is (greatest event time before the row) − delay. A row is late if its pane
//! ends at or before that; with `SESSION`, if its time is before it. A stage whose windows are attached knows no late
//! rows: those were decided where the windows were made.

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Int64Type, TimestampMillisecondType};

use super::WindowSpec;
use super::spec::Grid;

/// The event times of a column, `None` for a type that no planner gives.
pub(crate) fn times(array: &dyn Array) -> Option<&[i64]> {
    if let Some(array) = array.as_primitive_opt::<TimestampMillisecondType>() {
        return Some(array.values());
    }
    array.as_primitive_opt::<Int64Type>().map(|array| &array.values()[..])
}

/// See [`super::WindowedAggregate::late`].
pub(crate) fn late(
    spec: &WindowSpec,
    event_times: &dyn Array,
    max_before: Option<i64>,
    delay_ms: i64,
) -> (Option<BooleanArray>, Option<i64>) {
    let Some(times) = times(event_times) else { return (None, max_before) };
    if event_times.null_count() > 0 {
        return late_row_by_row(spec, times, event_times, max_before, delay_ms);
    }
    let Some((min, max)) = bounds(times) else { return (None, max_before) };
    let max_after = max_before.map_or(max, |before| before.max(max));
    let limit = Limit::new(spec);
    // The watermark is nowhere in the batch above the one after it: if not even that makes the earliest row late, none is.
    if limit.is_none_or(|limit| min >= limit.at(max_after.saturating_sub(delay_ms))) {
        return (None, Some(max_after));
    }
    late_row_by_row(spec, times, event_times, max_before, delay_ms)
}

/// Least and greatest value; the loop is one that compilers vectorise.
pub(crate) fn bounds(times: &[i64]) -> Option<(i64, i64)> {
    let first = *times.first()?;
    Some(times.iter().fold((first, first), |(min, max), &t| (min.min(t), max.max(t))))
}

/// Rows whose pane a unit has closed at `watermark`, by their times (attached windows: by the ends of these).
pub(crate) fn closed(spec: &WindowSpec, times: &[i64], watermark: i64) -> Option<BooleanArray> {
    let below = match Limit::new(spec) {
        Some(limit) => limit.at(watermark),
        // An attached window is closed once the watermark is at its end.
        None => watermark.saturating_add(1),
    };
    let is_unknown = watermark == i64::MIN;
    if is_unknown || times.iter().all(|t| *t >= below) {
        return None;
    }
    Some(BooleanArray::new(BooleanBuffer::collect_bool(times.len(), |row| times[row] < below), None))
}

/// The time below which rows are late, as a function of the watermark.
///
/// A pane's end is the first point of the grid after the row, so it is at or before the watermark exactly if the row is
/// before the last point of the grid that the watermark has reached: one comparison a row, and no division.
#[derive(Clone, Copy)]
enum Limit {
    Pane(Grid),
    Itself,
}

impl Limit {
    fn new(spec: &WindowSpec) -> Option<Self> {
        match spec {
            WindowSpec::Attached => None,
            WindowSpec::Session { .. } => Some(Self::Itself),
            _ => spec.panes().map(Self::Pane),
        }
    }

    fn at(self, watermark: i64) -> i64 {
        match self {
            Self::Pane(grid) => grid.floor(watermark),
            Self::Itself => watermark,
        }
    }
}

fn late_row_by_row(
    spec: &WindowSpec,
    times: &[i64],
    event_times: &dyn Array,
    max_before: Option<i64>,
    delay_ms: i64,
) -> (Option<BooleanArray>, Option<i64>) {
    let limit = Limit::new(spec);
    let mut max = max_before;
    let below = |max: Option<i64>| Some(limit?.at(max?.saturating_sub(delay_ms)));
    let mut late_below = below(max);
    let mut any = false;
    let late = BooleanBuffer::collect_bool(times.len(), |row| {
        if event_times.is_null(row) {
            return false;
        }
        let t = times[row];
        let late = late_below.is_some_and(|below| t < below);
        any |= late;
        if max.is_none_or(|max| t > max) {
            max = Some(t);
            late_below = below(max);
        }
        late
    });
    (any.then(|| BooleanArray::new(late, None)), max)
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMillisecondArray;
    use proptest::prelude::*;

    use super::*;

    fn specs() -> Vec<WindowSpec> {
        vec![
            WindowSpec::Tumble { size: 10, offset: 3 },
            WindowSpec::Hop { size: 10, slide: 4, offset: 0 },
            WindowSpec::Cumulate { size: 20, step: 5, offset: -7 },
            WindowSpec::Session { gap: 6 },
            WindowSpec::Attached,
        ]
    }

    /// `late` over batches cut at `cuts`, as one answer a row.
    fn in_batches(spec: &WindowSpec, times: &[Option<i64>], delay: i64, size: usize) -> (Vec<bool>, Option<i64>) {
        let (mut all, mut max) = (Vec::new(), None);
        for batch in times.chunks(size) {
            let array = TimestampMillisecondArray::from(batch.to_vec());
            let (late, after) = late(spec, &array, max, delay);
            max = after;
            all.extend((0..batch.len()).map(|row| late.as_ref().is_some_and(|late| late.value(row))));
        }
        (all, max)
    }

    fn by_definition(spec: &WindowSpec, times: &[Option<i64>], delay: i64) -> Vec<bool> {
        let mut max: Option<i64> = None;
        let mut late = Vec::new();
        for &t in times {
            late.push(t.zip(max).is_some_and(|(t, max)| match (spec, spec.panes()) {
                (WindowSpec::Session { .. }, _) => t < max - delay,
                (_, Some(panes)) => panes.after(t) <= max - delay,
                _ => false,
            }));
            max = max.max(t);
        }
        late
    }

    proptest! {
        #[test]
        fn lateness_is_the_definition_whatever_the_batches(
            times in prop::collection::vec(prop::option::weighted(0.95, -60..120i64), 0..200),
            delay in 0..30i64,
            size in 1..200usize,
        ) {
            for spec in specs() {
                let (late, max) = in_batches(&spec, &times, delay, size);
                prop_assert_eq!(&late, &by_definition(&spec, &times, delay));
                prop_assert_eq!(max, times.iter().copied().max().flatten());
            }
        }

        #[test]
        fn times_at_the_edge_do_not_overflow(times in prop::collection::vec(any::<i64>(), 0..20), delay: i64) {
            for spec in specs() {
                let times: Vec<_> = times.iter().copied().map(Some).collect();
                let _ = in_batches(&spec, &times, delay, 7);
            }
        }
    }

    #[test]
    fn in_order_rows_cost_no_mask() {
        let array = TimestampMillisecondArray::from_iter_values(0..1000);
        let (late, max) = late(&WindowSpec::Tumble { size: 10, offset: 0 }, &array, None, 1000);
        assert!(late.is_none());
        assert_eq!(max, Some(999));
    }
}
