//! Filters that copy only what is used after them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;

use crate::transform::Step;

/// The same steps, with less work: where a filter stands right before a projection, it copies only the columns that
/// the projection reads.
pub(super) fn slim(input: &SchemaRef, steps: Vec<Step>) -> Vec<Step> {
    let mut before = Arc::clone(input);
    let mut slimmed = Vec::with_capacity(steps.len());
    let mut steps = steps.into_iter().peekable();
    while let Some(step) = steps.next() {
        let after = step.schema(&before);
        match (step, steps.peek()) {
            (Step::Filter { predicate, .. }, Some(Step::Project { exprs, .. })) => {
                let keep = used(exprs);
                if keep.is_empty() || keep.len() == before.fields().len() {
                    slimmed.push(Step::filter(predicate));
                } else {
                    slimmed.push(Step::Filter { predicate, keep: Some(kept(&before, &keep)) });
                    if let Some(Step::Project { exprs, schema }) = steps.next() {
                        let exprs = exprs.into_iter().map(|expr| moved(expr, &keep)).collect();
                        before = Arc::clone(&schema);
                        slimmed.push(Step::Project { exprs, schema });
                    }
                    continue;
                }
            }
            (step, _) => slimmed.push(step),
        }
        before = after;
    }
    slimmed
}

fn used(exprs: &[Arc<dyn PhysicalExpr>]) -> Vec<usize> {
    let columns: BTreeSet<usize> = exprs.iter().flat_map(collect_columns).map(|column| column.index()).collect();
    columns.into_iter().collect()
}

fn kept(schema: &SchemaRef, keep: &[usize]) -> (Vec<usize>, SchemaRef) {
    let fields: Vec<_> = keep.iter().map(|index| Arc::clone(&schema.fields()[*index])).collect();
    (keep.to_vec(), Arc::new(Schema::new(fields)))
}

/// An expression over what is kept.
fn moved(expr: Arc<dyn PhysicalExpr>, keep: &[usize]) -> Arc<dyn PhysicalExpr> {
    let place = |column: &Column| keep.iter().position(|index| *index == column.index());
    let moved = Arc::clone(&expr).transform(|node| {
        match node.downcast_ref::<Column>().and_then(|column| Some((column.name().to_owned(), place(column)?))) {
            Some((name, index)) => Ok(Transformed::yes(Arc::new(Column::new(&name, index)) as Arc<dyn PhysicalExpr>)),
            None => Ok(Transformed::no(node)),
        }
    });
    moved.map_or(expr, |moved| moved.data)
}
