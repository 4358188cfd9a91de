//! Folding a range of rows into one row a pane and key.
//!
//! Keys are interned once a row by a table over the keys alone; panes are not part of it, since most ranges, and nearly
//! all batches, lie in one pane. While there is one pane, the groups are the keys. Afterwards a batch in one pane finds
//! its groups by one lookup in an array indexed by key id, and one that spans panes interns (pane id, key id) pairs,
//! packed into one integer.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt64Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::WindowSpec;
use super::accumulators::Accumulators;
use super::key_ids::KeyIds;
use super::late::bounds;
use super::layout::{Layout, times_of};
use super::session::SessionFold;
use super::spec::Grid;

/// What a [`super::Folder`] holds.
pub(crate) enum Fold {
    /// Windows of panes.
    Panes(Box<PaneFold>),
    /// Sessions.
    Sessions(Box<SessionFold>),
}

impl Fold {
    pub(crate) fn new(layout: &Arc<Layout>) -> Result<Self> {
        match layout.spec() {
            WindowSpec::Session { .. } => Ok(Self::Sessions(Box::new(SessionFold::new(layout)?))),
            _ => Ok(Self::Panes(Box::new(PaneFold::new(layout)?))),
        }
    }

    pub(crate) fn push(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        match self {
            Self::Panes(fold) => fold.push(rows),
            Self::Sessions(fold) => fold.push(rows),
        }
    }

    pub(crate) fn finish(self) -> Result<RecordBatch> {
        match self {
            Self::Panes(fold) => fold.finish(),
            Self::Sessions(fold) => fold.finish(),
        }
    }
}

/// The fold of windows that consist of panes.
pub(crate) struct PaneFold {
    layout: Arc<Layout>,
    ids: GroupIds,
    accumulators: Accumulators,
    groups: Vec<usize>,
}

impl PaneFold {
    fn new(layout: &Arc<Layout>) -> Result<Self> {
        let ids = GroupIds::new(layout)?;
        let accumulators = Accumulators::new(&layout.aggregate)?;
        Ok(Self { layout: Arc::clone(layout), ids, accumulators, groups: Vec::new() })
    }

    fn push(&mut self, rows: &RecordBatch) -> Result<()> {
        let key_count = self.layout.aggregate.key_count;
        let mut keys = rows.columns()[..key_count].to_vec();
        // Attached windows are named by their end; that their start is the same for all is not known: it is a key.
        let times = match self.layout.spec().panes() {
            Some(_) => times_of(rows, key_count)?,
            None => {
                keys.insert(0, Arc::new(times_of(rows, key_count)?));
                times_of(rows, key_count + 1)?
            }
        };
        self.ids.assign(&times, &keys, &mut self.groups)?;
        let total = self.ids.len();
        self.accumulators.update(&self.layout.aggregate, rows, &self.groups, total)
    }

    fn finish(self) -> Result<RecordBatch> {
        if self.ids.len() == 0 {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.layout.partial)));
        }
        let mut columns = self.ids.into_columns()?;
        columns.extend(self.accumulators.into_states()?);
        self.layout.batch(columns)
    }
}

/// The panes of a range so far.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Nothing,
    /// One pane: groups are numbered as keys are.
    One(i64),
    /// Several: groups are numbered as pairs are.
    Several,
}

/// From (pane, key) to dense group numbers.
struct GroupIds {
    panes: Option<Grid>,
    seen: Seen,
    keys: KeyIds,
    pane_ids: Box<dyn GroupValues>,
    pairs: Box<dyn GroupValues>,
    /// For the pane of the last batch that lay in one: 1 + group by key id, 0 where the pair is not known.
    pane: Option<i64>,
    group_of_key: Vec<u32>,
    panes_scratch: Vec<usize>,
}

impl GroupIds {
    fn new(layout: &Arc<Layout>) -> Result<Self> {
        let group = layout.group_schema();
        // All but the pane end.
        let keys = Schema::new(group.fields()[1..].to_vec());
        Ok(Self {
            panes: layout.spec().panes(),
            seen: Seen::Nothing,
            keys: KeyIds::new(Arc::new(keys))?,
            pane_ids: interner(DataType::Int64)?,
            pairs: interner(DataType::UInt64)?,
            pane: None,
            group_of_key: Vec::new(),
            panes_scratch: Vec::new(),
        })
    }

    fn len(&self) -> usize {
        match self.seen {
            Seen::Nothing => 0,
            Seen::One(_) => self.keys.len(),
            Seen::Several => self.pairs.len(),
        }
    }

    fn end_of(&self, time: i64) -> i64 {
        self.panes.map_or(time, |grid| grid.after(time))
    }

    fn assign(&mut self, times: &Int64Array, keys: &[ArrayRef], groups: &mut Vec<usize>) -> Result<()> {
        let keys_before = self.keys.len();
        self.keys.intern(keys, times.len())?;
        let Some((min, max)) = bounds(times.values()) else { return Ok(()) };
        let (first, last) = (self.end_of(min), self.end_of(max));
        if first == last && (self.seen == Seen::Nothing || self.seen == Seen::One(first)) {
            self.seen = Seen::One(first);
            groups.clear();
            groups.extend_from_slice(self.keys.last());
            return Ok(());
        }
        if let Seen::One(pane) = self.seen {
            self.number_pairs(pane, keys_before, groups)?;
        }
        self.seen = Seen::Several;
        if first == last { self.assign_in_pane(first, groups) } else { self.assign_across(times, groups) }
    }

    /// Numbers the pairs of the only pane so far as its groups are: as the keys that there were.
    fn number_pairs(&mut self, pane: i64, keys: usize, scratch: &mut Vec<usize>) -> Result<()> {
        let pane_id = self.pane_id(pane)?;
        self.intern_pairs(UInt64Array::from_iter_values((0..keys).map(|key| pair(pane_id, key))), scratch)
    }

    fn pane_id(&mut self, pane: i64) -> Result<u64> {
        let one: ArrayRef = Arc::new(Int64Array::from(vec![pane]));
        self.pane_ids.intern(&[one], &mut self.panes_scratch)?;
        Ok(self.panes_scratch[0] as u64)
    }

    fn assign_in_pane(&mut self, pane: i64, groups: &mut Vec<usize>) -> Result<()> {
        if self.pane != Some(pane) {
            self.pane = Some(pane);
            self.group_of_key.clear();
        }
        self.group_of_key.resize(self.keys.len(), 0);
        groups.clear();
        let known = &self.group_of_key;
        let mut least = u32::MAX;
        groups.extend(self.keys.last().iter().map(|&key| {
            let group = known[key];
            least = least.min(group);
            (group as usize).wrapping_sub(1)
        }));
        if least > 0 {
            return Ok(());
        }
        // A key that is new in this pane: number all pairs of the batch, and remember them.
        let pane_id = self.pane_id(pane)?;
        let pairs = UInt64Array::from_iter_values(self.keys.last().iter().map(|&key| pair(pane_id, key)));
        self.intern_pairs(pairs, groups)?;
        for (&key, &group) in self.keys.last().iter().zip(groups.iter()) {
            self.group_of_key[key] = group as u32 + 1;
        }
        Ok(())
    }

    fn assign_across(&mut self, times: &Int64Array, groups: &mut Vec<usize>) -> Result<()> {
        let ends: ArrayRef = match self.panes {
            None => Arc::new(times.clone()),
            Some(grid) => Arc::new(pane_ends(grid, times.values())),
        };
        self.pane_ids.intern(&[ends], &mut self.panes_scratch)?;
        let rows = self.panes_scratch.iter().zip(self.keys.last());
        let pairs = UInt64Array::from_iter_values(rows.map(|(&pane, &key)| pair(pane as u64, key)));
        self.intern_pairs(pairs, groups)
    }

    fn intern_pairs(&mut self, pairs: UInt64Array, groups: &mut Vec<usize>) -> Result<()> {
        self.pairs.intern(&[Arc::new(pairs)], groups)?;
        if self.pairs.len().max(self.keys.len()).max(self.pane_ids.len()) >= u32::MAX as usize {
            return exec_err!("more than four thousand million groups in one range");
        }
        Ok(())
    }

    /// The group columns of a partial.
    fn into_columns(mut self) -> Result<Vec<ArrayRef>> {
        if let Seen::One(pane) = self.seen {
            let ends: ArrayRef = Arc::new(Int64Array::from_value(pane, self.keys.len()));
            return Ok(std::iter::once(ends).chain(self.keys.into_columns()?).collect());
        }
        let pairs = self.pairs.emit(EmitTo::All)?;
        let pairs = pairs[0].as_primitive::<UInt64Type>().values();
        let panes = self.pane_ids.emit(EmitTo::All)?;
        let panes = panes[0].as_primitive::<Int64Type>().values();
        let ends = Int64Array::from_iter_values(pairs.iter().map(|pair| panes[(pair >> 32) as usize]));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(ends)];
        let rows = UInt32Array::from_iter_values(pairs.iter().map(|&pair| pair as u32));
        for column in self.keys.into_columns()? {
            columns.push(take(&column, &rows, None)?);
        }
        Ok(columns)
    }
}

fn pair(pane: u64, key: usize) -> u64 {
    (pane << 32) | key as u64
}

/// The pane end of each row. Neighbours are mostly in one pane: two comparisons then, in place of a division.
fn pane_ends(grid: Grid, times: &[i64]) -> Int64Array {
    let (mut start, mut end) = (1, 0);
    Int64Array::from_iter_values(times.iter().map(|&t| {
        if t < start || t >= end {
            start = grid.floor(t);
            end = grid.after(t);
        }
        end
    }))
}

/// A table that numbers the values of one column of integers.
fn interner(kind: DataType) -> Result<Box<dyn GroupValues>> {
    let schema = Schema::new(vec![Field::new("id", kind, false)]);
    new_group_values(Arc::new(schema), &GroupOrdering::None)
}
