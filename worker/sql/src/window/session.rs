//! Sessions of a range: rows of a key that follow each other within the gap.
//!
//! A row at `t` stands for `[t, t + gap)`, and as in Flink (`TimeWindow.intersects`: `start <= other.end && end >=
//! other.start`) windows that touch are merged too: rows exactly a gap apart are of one session. Flink fires a session as
//! soon as the watermark reaches its end, so there a row that touches it belongs to it or not by the order of arrival.
//! Here a session closes only when the watermark is *past* its end: until then a row at its very end may come, and is of
//! it whatever the order.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt32Array};
use arrow::compute::take;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};

use super::WindowSpec;
use super::accumulators::Accumulators;
use super::key_ids::KeyIds;
use super::layout::{Layout, times_of};

/// The gap of the layout's windows.
pub(crate) fn gap(layout: &Layout) -> Result<i64> {
    match layout.spec() {
        WindowSpec::Session { gap } => Ok(*gap),
        other => internal_err!("{other:?} is no SESSION"),
    }
}

/// Start and last time of sessions, in three columns as long as there are sessions.
#[derive(Default)]
struct Bounds {
    starts: Vec<i64>,
    lasts: Vec<i64>,
    /// A row, or a key id, that says what the session's key is.
    keys: Vec<u32>,
}

impl Bounds {
    fn len(&self) -> usize {
        self.starts.len()
    }

    fn open(&mut self, start: i64, last: i64, key: u32) -> usize {
        self.starts.push(start);
        self.lasts.push(last);
        self.keys.push(key);
        self.len() - 1
    }

    /// Whether `[start, last]` is of this session.
    fn meets(&self, session: usize, start: i64, last: i64, gap: i64) -> bool {
        self.starts[session] <= last.saturating_add(gap) && start <= self.lasts[session].saturating_add(gap)
    }

    fn extend(&mut self, session: usize, start: i64, last: i64) {
        self.starts[session] = self.starts[session].min(start);
        self.lasts[session] = self.lasts[session].max(last);
    }

    fn into_columns(self, keys: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let rows = UInt32Array::from(self.keys);
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(self.lasts)), Arc::new(Int64Array::from(self.starts))];
        for key in keys {
            columns.push(take(key, &rows, None)?);
        }
        Ok(columns)
    }
}

/// The fold of a range.
///
/// Each key has one session at hand; a row that is not of it opens another. Pieces of one session may thus come apart
/// when rows are out of order, and [`coalesce`] joins them at the end: nothing is sorted row by row.
pub(crate) struct SessionFold {
    layout: Arc<Layout>,
    gap: i64,
    keys: KeyIds,
    /// The session at hand of each key.
    at_hand: Vec<usize>,
    sessions: Bounds,
    accumulators: Accumulators,
    groups: Vec<usize>,
}

impl SessionFold {
    pub(crate) fn new(layout: &Arc<Layout>) -> Result<Self> {
        Ok(Self {
            gap: gap(layout)?,
            keys: KeyIds::new(layout.key_schema())?,
            at_hand: Vec::new(),
            sessions: Bounds::default(),
            accumulators: Accumulators::new(&layout.aggregate)?,
            groups: Vec::new(),
            layout: Arc::clone(layout),
        })
    }

    pub(crate) fn push(&mut self, rows: &RecordBatch) -> Result<()> {
        let key_count = self.layout.aggregate.key_count;
        let times = times_of(rows, key_count)?;
        let keys = self.keys.intern(&rows.columns()[..key_count], rows.num_rows())?;
        self.groups.clear();
        for (&time, &key) in times.values().iter().zip(keys) {
            let known = self.at_hand.get(key).copied();
            let session = match known.filter(|session| self.sessions.meets(*session, time, time, self.gap)) {
                Some(session) => {
                    self.sessions.extend(session, time, time);
                    session
                }
                None => self.sessions.open(time, time, key as u32),
            };
            // Key ids are dense and grow by one.
            if key == self.at_hand.len() {
                self.at_hand.push(session)
            } else {
                self.at_hand[key] = session
            }
            self.groups.push(session);
        }
        self.accumulators.update(&self.layout.aggregate, rows, &self.groups, self.sessions.len())
    }

    pub(crate) fn finish(self) -> Result<RecordBatch> {
        if self.sessions.len() == 0 {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.layout.partial)));
        }
        let is_apart = self.sessions.len() > self.at_hand.len();
        let keys = self.keys.into_columns()?;
        let mut columns = self.sessions.into_columns(&keys)?;
        columns.extend(self.accumulators.into_states()?);
        let batch = self.layout.batch(columns)?;
        if is_apart { coalesce(&self.layout, &batch) } else { Ok(batch) }
    }
}

/// Joins the pieces of sessions: afterwards no two of a key meet.
pub(crate) fn coalesce(layout: &Arc<Layout>, pieces: &RecordBatch) -> Result<RecordBatch> {
    if pieces.num_rows() < 2 {
        return Ok(pieces.clone());
    }
    let gap = gap(layout)?;
    let mut interner = KeyIds::new(layout.key_schema())?;
    let keys = interner.intern(&pieces.columns()[layout.keys()], pieces.num_rows())?;
    let (starts, lasts) = (layout.starts(pieces)?.values(), layout.ends(pieces)?.values());
    let mut order: Vec<u32> = (0..pieces.num_rows() as u32).collect();
    order.sort_unstable_by_key(|&row| (keys[row as usize], starts[row as usize]));
    let mut sessions = Bounds::default();
    let mut groups = vec![0; order.len()];
    let mut before: Option<usize> = None;
    for &row in &order {
        let at = row as usize;
        let current = before.filter(|&previous| keys[previous] == keys[at]).map(|previous| groups[previous]);
        groups[at] = match current.filter(|session| sessions.meets(*session, starts[at], lasts[at], gap)) {
            Some(session) => {
                sessions.extend(session, starts[at], lasts[at]);
                session
            }
            None => sessions.open(starts[at], lasts[at], row),
        };
        before = Some(at);
    }
    let mut accumulators = Accumulators::new(&layout.aggregate)?;
    accumulators.merge(layout, pieces, &groups, sessions.len())?;
    let mut columns = sessions.into_columns(&pieces.columns()[layout.keys()])?;
    columns.extend(accumulators.into_states()?);
    layout.batch(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds_of(times: &[i64], gap: i64) -> Vec<(i64, i64)> {
        let mut bounds = Bounds::default();
        for &time in times {
            let last = bounds.len().checked_sub(1);
            match last.filter(|session| bounds.meets(*session, time, time, gap)) {
                Some(session) => bounds.extend(session, time, time),
                None => {
                    bounds.open(time, time, 0);
                }
            }
        }
        bounds.starts.into_iter().zip(bounds.lasts).collect()
    }

    #[test]
    fn rows_a_gap_apart_are_of_one_session_and_further_ones_are_not() {
        assert_eq!(bounds_of(&[0, 10, 20], 10), [(0, 20)]);
        assert_eq!(bounds_of(&[0, 10, 21], 10), [(0, 10), (21, 21)]);
        assert_eq!(bounds_of(&[10, 0], 10), [(0, 10)]);
    }
}
