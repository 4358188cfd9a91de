//! One record after the other: which of its values are those of columns.

use super::scan::{Step, What, blanks, broken, locate, string};
use super::shape::{Goal, Key, Node, Order};
use super::unescape::unescape;
use crate::formats::cell::{Cell, Kind};
use crate::formats::grid::Grid;

/// Walks over records, and learns the order of their keys.
pub(super) struct Walker<'a> {
    nodes: &'a [Node],
    orders: Vec<Order>,
    newlines: bool,
}

impl<'a> Walker<'a> {
    /// Looks for the fields of these nodes. `newlines`: whether a record may hold them as blanks.
    pub fn new(nodes: &'a [Node], newlines: bool) -> Self {
        Self { nodes, orders: vec![Order::default(); nodes.len()], newlines }
    }

    /// Walks over the object whose opening bracket is at `at` and puts the cells of a row into the grid. The answer is
    /// the byte after the object and the blanks that follow.
    #[inline]
    pub fn record(&mut self, text: &[u8], at: usize, row: usize, grid: &mut Grid) -> Step {
        let end = self.object(0, text, at + 1, 0, row, grid)?;
        Ok(blanks(text, end, self.newlines))
    }

    /// Walks over an object from the byte after its bracket.
    fn object(&mut self, node: usize, text: &[u8], from: usize, depth: usize, row: usize, grid: &mut Grid) -> Step {
        let first = blanks(text, from, self.newlines);
        if text.get(first) == Some(&b'}') {
            return Ok(first + 1);
        }
        let mut at = from;
        let mut step = 0;
        loop {
            let key = match self.orders[node].predict(step, text, at) {
                Some(key) => key,
                None => self.key(node, text, at, step)?,
            };
            step = key.step + 1;
            let end = match key.goal {
                Goal::Column(column) => {
                    let (cell, end) = locate(text, key.value_at, depth + 1, self.newlines)?;
                    grid.set(column, row, cell);
                    end
                }
                Goal::Skip => locate(text, key.value_at, depth + 1, self.newlines)?.1,
                Goal::Field(field) => self.field(node, field, text, key.value_at, depth, row, grid)?,
            };
            at = self.orders[node].settle(key, end);
            if !matches!(text.get(at), Some(b',' | b'}')) {
                at = blanks(text, at, self.newlines);
            }
            match text.get(at) {
                Some(b',') => at += 1,
                Some(b'}') => return Ok(at + 1),
                _ => return broken(at, What::Expected("`,` or `}`")),
            }
        }
    }

    /// Reads a key that was not expected, up to its value, and remembers it.
    #[inline(never)]
    fn key(&mut self, node: usize, text: &[u8], from: usize, step: usize) -> Step<Key> {
        let opening = blanks(text, from, self.newlines);
        if text.get(opening) != Some(&b'"') {
            return broken(opening, What::Expected("a key in quotes"));
        }
        let (end, kind) = string(text, opening + 1)?;
        let colon = blanks(text, end + 1, self.newlines);
        if text.get(colon) != Some(&b':') {
            return broken(colon, What::Expected("`:`"));
        }
        let value_at = blanks(text, colon + 1, self.newlines);
        let name = &text[opening + 1..end];
        if kind == Kind::Escaped {
            let mut plain = Vec::new();
            return match unescape(name, &mut plain) {
                Some(()) => Ok(Key { step, goal: self.nodes[node].goal(&plain), value_at, likely_end: value_at }),
                None => broken(opening, What::Expected("known escapes in a key")),
            };
        }
        let goal = self.nodes[node].goal(name);
        self.orders[node].learn(step, &text[from..value_at], goal);
        Ok(Key { step, goal, value_at, likely_end: value_at })
    }

    /// Takes a value that several columns read, or fields of which are read.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "where it stands and where it writes, as its caller")]
    fn field(
        &mut self,
        node: usize,
        field: usize,
        text: &[u8],
        at: usize,
        depth: usize,
        row: usize,
        grid: &mut Grid,
    ) -> Step {
        let nodes = self.nodes;
        let Some(target) = nodes[node].target_at(field) else { return broken(at, What::Expected("a field")) };
        let (cell, end) = locate(text, at, depth + 1, self.newlines)?;
        for &column in &target.columns {
            grid.set(column, row, cell);
        }
        let Some(child) = target.child else { return Ok(end) };
        let is_object = cell.kind == Kind::Nested && text.get(cell.start as usize) == Some(&b'{');
        let below = match cell.kind {
            _ if is_object => Cell::default(),
            Kind::Null => cell,
            _ => Cell { kind: Kind::Parent, ..cell },
        };
        // The last of equal keys counts, with all that it holds.
        for &column in &nodes[child].leaves {
            grid.set(column, row, below);
        }
        if is_object {
            self.object(child, text, cell.start as usize + 1, depth + 1, row, grid)?;
        }
        Ok(end)
    }
}
