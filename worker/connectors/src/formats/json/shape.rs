//! Which fields of an object are read, and the order in which the last rows had them.

use super::simd::{WIDTH, load, opaque};
use crate::formats::column::Column;

/// What to do with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Nothing reads it.
    Skip,
    /// It is the value of this column.
    Column(usize),
    /// It has the [`Target`] of this number.
    Field(usize),
}

/// What a field is read for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    /// Columns that take its value.
    pub columns: Vec<usize>,
    /// The node that describes it, where columns take fields of its object.
    pub child: Option<usize>,
}

/// Objects of which fields are read: node 0 is the record, others lie on the way to `a.b`.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Fields by name, sorted.
    fields: Vec<(Vec<u8>, Target)>,
    /// Columns that take fields of this object, or of objects within.
    pub leaves: Vec<usize>,
}

impl Node {
    /// What to do with the value of a field.
    pub fn goal(&self, name: &[u8]) -> Goal {
        let Ok(at) = self.fields.binary_search_by(|(field, _)| field.as_slice().cmp(name)) else { return Goal::Skip };
        match &self.fields[at].1 {
            Target { columns, child: None } if columns.len() == 1 => Goal::Column(columns[0]),
            _ => Goal::Field(at),
        }
    }

    /// The target of that number.
    #[inline]
    pub fn target_at(&self, index: usize) -> Option<&Target> {
        self.fields.get(index).map(|(_, target)| target)
    }

    fn target_mut(&mut self, name: &[u8]) -> &mut Target {
        let at = match self.fields.binary_search_by(|(field, _)| field.as_slice().cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.fields.insert(at, (name.to_vec(), Target::default()));
                at
            }
        };
        &mut self.fields[at].1
    }
}

/// The nodes that columns need.
pub(super) fn nodes_of(columns: &[Column]) -> Vec<Node> {
    let mut nodes = vec![Node::default()];
    for (index, column) in columns.iter().enumerate().filter(|(_, c)| c.metadata.is_none()) {
        let mut node = 0;
        let mut path = column.from.split('.').peekable();
        while let Some(name) = path.next() {
            nodes[node].leaves.push(index);
            let fresh = nodes.len();
            let target = nodes[node].target_mut(name.as_bytes());
            if path.peek().is_none() {
                target.columns.push(index);
                break;
            }
            node = *target.child.get_or_insert(fresh);
            if node == fresh {
                nodes.push(Node::default());
            }
        }
    }
    nodes
}

/// A key that is expected at a place: all bytes from the end of what precedes to the value, blanks included.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// The first two blocks of its bytes, each with the mask of those that count: few keys are longer.
    blocks: [(u128, u128); 2],
    /// Bytes beyond those.
    tail: Vec<u8>,
    /// Length of all.
    len: usize,
    /// What to do with its value.
    goal: Goal,
    /// Bytes of its value, as long as they stay the same; else [`UNKNOWN`] or [`VARIES`].
    value_bytes: u32,
}

/// No value was seen yet.
const UNKNOWN: u32 = u32::MAX;
/// Values of several lengths were seen: none is as long as this.
const VARIES: u32 = 0;

impl Expected {
    fn new(bytes: &[u8], goal: Goal) -> Self {
        let block = |from: usize| {
            let part = bytes.get(from..).unwrap_or_default();
            let length = part.len().min(WIDTH);
            let mut block = [0; WIDTH];
            block[..length].copy_from_slice(&part[..length]);
            let mask = if length == WIDTH { u128::MAX } else { (1 << (8 * length)) - 1 };
            (u128::from_le_bytes(block), mask)
        };
        let tail = bytes.get(2 * WIDTH..).unwrap_or_default().to_vec();
        Self { blocks: [block(0), block(WIDTH)], tail, len: bytes.len(), goal, value_bytes: UNKNOWN }
    }

    fn found(&self, step: usize, value_at: usize) -> Key {
        Key { step, goal: self.goal, value_at, likely_end: value_at + self.value_bytes as usize }
    }

    /// The byte of the value, if this key stands at `at`. `first` is what is there.
    #[inline]
    fn matches(&self, text: &[u8], at: usize, first: u128) -> Option<usize> {
        let differs = |(bytes, mask): (u128, u128), found: u128| (found ^ bytes) & mask != 0;
        if differs(self.blocks[0], first) {
            return None;
        }
        let end = at + self.len;
        if self.len > WIDTH {
            let second = u128::from_le_bytes(load(text, at + WIDTH));
            let is_longer = self.len > 2 * WIDTH;
            if differs(self.blocks[1], second)
                || is_longer && text.get(at + 2 * WIDTH..end) != Some(self.tail.as_slice())
            {
                return None;
            }
        }
        Some(end)
    }
}

/// A key of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Its place in the order of keys.
    pub step: usize,
    /// What to do with its value.
    pub goal: Goal,
    /// The byte of the value.
    pub value_at: usize,
    /// Where the value ends if it is as long as those before.
    pub likely_end: usize,
}

/// The order of keys learnt from the rows before: rows of one source are mostly written by one program.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    steps: Vec<Expected>,
}

/// How many keys are remembered: more than that are no regular order.
const REMEMBERED: usize = 256;
/// How many optional keys in a row may be absent before a key is looked up anew.
const LOOK_AHEAD: usize = 4;

impl Order {
    /// The key at `at`, if it is one that is expected from `step` on.
    #[inline]
    pub fn predict(&self, step: usize, text: &[u8], at: usize) -> Option<Key> {
        let block = u128::from_le_bytes(load(text, at));
        let expected = self.steps.get(step)?;
        match expected.matches(text, at, block) {
            Some(value_at) => Some(expected.found(step, value_at)),
            None => self.look_ahead(step + 1, text, at, block),
        }
    }

    #[inline(never)]
    fn look_ahead(&self, from: usize, text: &[u8], at: usize, block: u128) -> Option<Key> {
        let ahead = self.steps.iter().enumerate().skip(from).take(LOOK_AHEAD);
        ahead.filter_map(|(step, key)| Some(key.found(step, key.matches(text, at, block)?))).next()
    }

    /// The end of a value that was found to end at `end`.
    ///
    /// Finding it takes some twenty cycles, and all that follows would wait for them, field by field. Most fields are as
    /// long in every row, though: then the answer is the end that was likely before, and the processor, which foresees
    /// that branch, is some fields ahead while it checks the ends of those behind.
    #[inline(always)]
    pub fn settle(&mut self, key: Key, end: usize) -> usize {
        if end == key.likely_end {
            return opaque(key.likely_end);
        }
        if let Some(expected) = self.steps.get_mut(key.step).filter(|expected| expected.value_bytes != VARIES) {
            let is_first = expected.value_bytes == UNKNOWN;
            expected.value_bytes = if is_first { (end - key.value_at) as u32 } else { VARIES };
        }
        end
    }

    /// Remembers that these bytes came before the value of step `step`.
    pub fn learn(&mut self, step: usize, bytes: &[u8], goal: Goal) {
        if self.steps.len() < REMEMBERED && step <= self.steps.len() {
            self.steps.insert(step, Expected::new(bytes, goal));
        }
    }
}
