//! One call of an aggregate function: the kernels that fold it, and what makes its result of theirs.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::error::Result;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::AggregateUDF;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};

use super::exact::{self, Exact, What};
use super::group::Grouped;
use super::layout::{Layout, column, is_ordered};
use crate::planner::{EVENT_TIME, WINDOW_COLUMNS};

/// One call as it is folded.
pub(super) struct Folded {
    kernels: Vec<Arc<AggregateFunctionExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// `None`: the result is that of the only kernel.
    exact: Option<What>,
    result: Field,
}

impl Folded {
    /// The kernels of a call whose result is to be `result`.
    pub(super) fn new(
        call: &AggregateFunction,
        result: &Field,
        layout: &Layout<'_>,
        input: &SchemaRef,
    ) -> Result<Self> {
        let args: Vec<_> = call.params.args.iter().map(|arg| layout.argument(arg, input)).collect();
        let kinds = args.iter().map(|argument| argument.data_type(input)).collect::<Result<Vec<_>>>()?;
        let name = result.name().replace("count(Int64(1))", "count(*)");
        let exact = kinds.first().and_then(|kind| exact::of(call.func.name(), kind));
        let widened = || args.iter().zip(&kinds).map(|(arg, kind)| exact::widened(Arc::clone(arg), kind)).collect();
        let kernel = |function, args, name| kernel(call, function, args, name, layout, input);
        let kernels = match exact {
            None => vec![kernel(&call.func, args.clone(), name.clone())?],
            Some(What::Sum) => vec![kernel(&sum_udaf(), widened(), name.clone())?],
            Some(What::Average) => vec![
                kernel(&sum_udaf(), widened(), format!("{name}: sum"))?,
                kernel(&count_udaf(), args.clone(), format!("{name}: count"))?,
            ],
        };
        let result = result.clone().with_name(name).with_nullable(true);
        Ok(Self { kernels, filter: layout.filter_column(call, input), exact, result })
    }

    /// Each kernel with its `FILTER`.
    pub(super) fn kernels(&self) -> impl Iterator<Item = (Arc<AggregateFunctionExpr>, Option<Arc<dyn PhysicalExpr>>)> {
        self.kernels.iter().map(|kernel| (Arc::clone(kernel), self.filter.clone()))
    }

    /// The result, of kernels whose columns start at `first`.
    fn result(&self, raw: &SchemaRef, first: usize) -> Arc<dyn PhysicalExpr> {
        let Some(what) = self.exact else { return column(raw, first) };
        let parts = (first..first + self.kernels.len()).map(|index| column(raw, index)).collect();
        let (name, kind) = (self.result.name().clone(), self.result.data_type().clone());
        Arc::new(Exact::new(name, what, parts, kind))
    }
}

fn kernel(
    call: &AggregateFunction,
    function: &Arc<AggregateUDF>,
    args: Vec<Arc<dyn PhysicalExpr>>,
    name: String,
    layout: &Layout<'_>,
    input: &SchemaRef,
) -> Result<Arc<AggregateFunctionExpr>> {
    let ordered = is_ordered(call);
    let ignore_nulls = ordered && call.params.null_treatment != Some(NullTreatment::RespectNulls);
    AggregateExprBuilder::new(Arc::clone(function), args)
        .schema(Arc::clone(input))
        .alias(name)
        .with_distinct(call.params.distinct)
        .with_ignore_nulls(ignore_nulls)
        .order_by(if ordered { layout.order(input) } else { vec![] })
        .build()
        .map(Arc::new)
}

/// What kernels give: keys, their results, and the window's columns.
pub(super) fn raw_schema(grouped: &Grouped, folded: &[Folded]) -> SchemaRef {
    let keys = grouped.input_schema.fields().iter().take(grouped.key_count).cloned();
    let kernels = folded.iter().flat_map(|call| &call.kernels);
    let results =
        kernels.map(|kernel| Arc::new(kernel.field().as_ref().clone().with_name(kernel.name()).with_nullable(true)));
    let windows = WINDOW_COLUMNS.map(|name| Arc::new(Field::new(name, EVENT_TIME, true)));
    Arc::new(Schema::new(keys.chain(results).chain(windows).collect::<Vec<_>>()))
}

/// Expressions, one a column.
type Columns = Vec<Arc<dyn PhysicalExpr>>;

/// Keys, the result of each call and the window's columns, of what kernels give; `None` where they give just that.
pub(super) fn results(raw: &SchemaRef, keys: usize, folded: &[Folded]) -> Option<(Columns, Vec<Field>)> {
    if folded.iter().all(|call| call.exact.is_none()) {
        return None;
    }
    let pass = |index: usize| (column(raw, index), raw.field(index).clone());
    let mut columns: Vec<_> = (0..keys).map(pass).collect();
    let mut next = keys;
    for call in folded {
        columns.push((call.result(raw, next), call.result.clone()));
        next += call.kernels.len();
    }
    columns.extend((next..raw.fields().len()).map(pass));
    Some(columns.into_iter().unzip())
}
