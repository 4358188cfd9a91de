//! The columns that a stage's kernels take.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

use super::flow::Flow;
use crate::stages::{LOG_COLUMN, POSITION_COLUMN};

/// The columns that a stage's kernels take: keys, event time, arguments, hidden columns.
pub(super) struct Layout<'e> {
    pub(super) keys: Vec<&'e Expr>,
    /// Arguments and filters, each once.
    arguments: Vec<&'e Expr>,
    hidden: bool,
}

/// Of what a column is made.
pub(super) enum Part<'e> {
    Expr(&'e Expr),
    Time(usize),
    Hidden(usize),
}

impl<'e> Layout<'e> {
    pub(super) fn new(keys: Vec<&'e Expr>, calls: &[&'e AggregateFunction], hidden: bool) -> Self {
        let mut arguments: Vec<&Expr> = vec![];
        for call in calls {
            let filter = call.params.filter.as_deref();
            for argument in call.params.args.iter().filter(|arg| !matches!(arg, Expr::Literal(..))).chain(filter) {
                if !arguments.contains(&argument) {
                    arguments.push(argument);
                }
            }
        }
        Self { keys, arguments, hidden }
    }

    /// Each part with a name that no other has.
    pub(super) fn parts(&self, flow: &Flow, times: usize) -> Vec<(String, Part<'e>)> {
        let mut taken = BTreeSet::new();
        let mut name = |wanted: String| {
            let free = (1..).map(|n| if n == 1 { wanted.clone() } else { format!("{wanted}_{n}") });
            let name = free.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
            taken.insert(name.clone());
            name
        };
        let of_expr = |expr: &Expr, other: &str| match expr.clone().unalias() {
            Expr::Column(column) => column.name,
            _ => other.to_owned(),
        };
        let mut parts: Vec<(String, Part)> =
            self.keys.iter().map(|key| (name(of_expr(key, "key")), Part::Expr(key))).collect();
        let time_names = if flow.pending.is_some() { ["event_time", ""] } else { ["window_start", "window_end"] };
        parts.extend((0..times).map(|which| (name(time_names[which.min(1)].to_owned()), Part::Time(which))));
        parts.extend(self.arguments.iter().map(|argument| (name(of_expr(argument, "argument")), Part::Expr(argument))));
        if self.hidden {
            parts.extend(
                [LOG_COLUMN, POSITION_COLUMN]
                    .into_iter()
                    .enumerate()
                    .map(|(at, hidden)| (name(hidden.to_owned()), Part::Hidden(at))),
            );
        }
        parts
    }

    fn first_argument(&self, input: &SchemaRef) -> usize {
        input.fields().len() - self.arguments.len() - if self.hidden { 2 } else { 0 }
    }

    pub(super) fn argument(&self, expr: &Expr, input: &SchemaRef) -> Arc<dyn PhysicalExpr> {
        match (expr, self.arguments.iter().position(|argument| *argument == expr)) {
            (_, Some(at)) => column(input, self.first_argument(input) + at),
            (Expr::Literal(value, _), None) => Arc::new(Literal::new(value.clone())),
            (_, None) => Arc::new(Literal::new(ScalarValue::Null)),
        }
    }

    pub(super) fn filter_column(&self, call: &AggregateFunction, input: &SchemaRef) -> Option<Arc<dyn PhysicalExpr>> {
        call.params.filter.as_deref().map(|filter| self.argument(filter, input))
    }

    /// Event time, then log, then position.
    pub(super) fn order(&self, input: &SchemaRef) -> Vec<PhysicalSortExpr> {
        let end = input.fields().len();
        let times = self.keys.len()..self.first_argument(input);
        let options = SortOptions { descending: false, nulls_first: false };
        times.chain(end - 2..end).map(|index| PhysicalSortExpr { expr: column(input, index), options }).collect()
    }
}

/// The column at an index.
pub(super) fn column(schema: &SchemaRef, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(schema.field(index).name(), index))
}

/// Whether an aggregate depends on the order of rows.
pub(super) fn is_ordered(call: &AggregateFunction) -> bool {
    matches!(call.func.name(), "first_value" | "last_value")
}
