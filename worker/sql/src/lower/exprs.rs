//! Expressions of the plan and expressions over batches.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_expr::expressions::{BinaryExpr, Column as PhysicalColumn, Literal, NegativeExpr};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use crate::planner::{EVENT_TIME, WINDOW_COLUMNS};
use crate::problem::{Place, SqlProblem, from_planner};

/// An expression over a schema as an expression over its batches.
pub(crate) fn physical(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let planned = create_physical_expr(expr, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    Ok(planned.transform_up(|node| unwrapping(node, schema))?.data)
}

/// Arithmetic that fails on what its type cannot hold, where the planner's wraps.
fn unwrapping(node: Arc<dyn PhysicalExpr>, schema: &DFSchema) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    if let Some(binary) = node.downcast_ref::<BinaryExpr>()
        && matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply)
    {
        return Ok(Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true))));
    }
    if let Some(negative) = node.downcast_ref::<NegativeExpr>() {
        let kind = negative.arg().data_type(schema.as_arrow())?;
        if kind.is_signed_integer() {
            let zero = Arc::new(Literal::new(ScalarValue::new_zero(&kind)?));
            let minus = BinaryExpr::new(zero, Operator::Minus, Arc::clone(negative.arg()));
            return Ok(Transformed::yes(Arc::new(minus.with_fail_on_overflow(true))));
        }
    }
    Ok(Transformed::no(node))
}

/// An expression of window columns over batches that have them from `first` on.
pub(super) fn window_physical(expr: &Expr, first: usize, place: Place) -> Result<Arc<dyn PhysicalExpr>, SqlProblem> {
    let fields = WINDOW_COLUMNS.map(|name| Field::new(name, EVENT_TIME, true));
    let planned = DFSchema::try_from(Schema::new(fields.to_vec())).and_then(|schema| physical(expr, &schema));
    let moved = planned.and_then(|planned| {
        planned.transform(|node| match node.downcast_ref::<PhysicalColumn>() {
            Some(column) => {
                let column = PhysicalColumn::new(column.name(), column.index() + first);
                Ok(Transformed::yes(Arc::new(column) as Arc<dyn PhysicalExpr>))
            }
            None => Ok(Transformed::no(node)),
        })
    });
    moved.map(|moved| moved.data).map_err(|error| from_planner(&error, place))
}

/// The expression that stands for a column of a window that is not assigned.
pub(super) fn window_expr(which: usize) -> Expr {
    Expr::Column(Column::new_unqualified(WINDOW_COLUMNS[which]))
}

/// Which column of a window an expression is, if it is just that.
pub(super) fn window_column(expr: &Expr) -> Option<usize> {
    let Expr::Column(column) = expr else { return None };
    WINDOW_COLUMNS.iter().position(|name| column.relation.is_none() && column.name == *name)
}

/// Where the first column of an expression stands in the text.
pub(crate) fn place_of(expr: &Expr, place: Place) -> Place {
    let mut columns: Vec<Place> = vec![];
    let _ = expr.apply(|node| {
        if let Expr::Column(column) = node {
            columns.extend(column.spans.first().map(Place::from));
        }
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    });
    columns.first().map_or(place, |first| first.or(place))
}

/// The refusal of an expression that belongs to a row and to its windows.
pub(super) fn mixed(expr: &Expr, place: Place) -> SqlProblem {
    place_of(expr, place).refuse(
        format!("`{}` mixes columns of a row with columns of its windows below GROUP BY", expr.human_display()),
        "compute it after the aggregation, or in a query without GROUP BY",
    )
}

/// Whether a projection of a projection may be one: nothing is computed twice.
pub(super) fn composes(outer: &[Arc<dyn PhysicalExpr>], inner: &[Arc<dyn PhysicalExpr>]) -> bool {
    let mut uses = vec![0_usize; inner.len()];
    for expr in outer {
        let _ = expr.apply(|node| {
            if let Some(column) = node.downcast_ref::<PhysicalColumn>()
                && let Some(uses) = uses.get_mut(column.index())
            {
                *uses += 1;
            }
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        });
    }
    inner.iter().zip(uses).all(|(expr, uses)| uses <= 1 || expr.children().is_empty())
}

/// `expr`, its columns replaced by what they are computed of.
pub(super) fn substituted(expr: Arc<dyn PhysicalExpr>, inner: &[Arc<dyn PhysicalExpr>]) -> Arc<dyn PhysicalExpr> {
    let replace = |node: Arc<dyn PhysicalExpr>| {
        // Down and stop: what is put in refers to the columns before.
        match node.downcast_ref::<PhysicalColumn>().and_then(|column| inner.get(column.index())) {
            Some(inner) => {
                Ok(Transformed::new(Arc::clone(inner), true, datafusion::common::tree_node::TreeNodeRecursion::Jump))
            }
            None => Ok(Transformed::no(node)),
        }
    };
    Arc::clone(&expr).transform_down(replace).map_or(expr, |done| done.data)
}
