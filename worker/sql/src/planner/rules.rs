//! Types made to fit, and the few rewrites after which a plan is still a tree of rows and groups.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerContext};

use crate::functions;

/// Makes types fit.
pub(crate) fn analyze(plan: LogicalPlan, options: &ConfigOptions) -> Result<LogicalPlan> {
    let analyzer = Analyzer::with_rules(vec![Arc::new(TypeCoercion::new())]);
    let plan = analyzer.execute_and_check(plan, options, |_, _| {})?;
    Ok(plan.transform_up(flink_casts)?.data)
}

/// Simplifies expressions and leaves out columns that nobody needs. No rule moves a filter: it stays where it was
/// written, since below a session it would change the windows.
pub(crate) fn optimize(plan: LogicalPlan) -> Result<LogicalPlan> {
    let optimizer = Optimizer::with_rules(vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(OptimizeProjections::new()),
    ]);
    let context = OptimizerContext::new().without_query_execution_start_time().with_skip_failing_rules(false);
    optimizer.optimize(plan, &context, |_, _| {})
}

/// Casts of times to text write them as Flink does.
fn flink_casts(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = DFSchema::empty();
    node.inputs().into_iter().for_each(|input| schema.merge(input.schema()));
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let cast = expr.transform_up(|expr| flink_cast(expr, &schema))?;
        Ok(cast.update_data(|expr| name.restore(expr)))
    })
}

fn flink_cast(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::Cast(Cast { expr: inner, field }) = &expr else { return Ok(Transformed::no(expr)) };
    let to_text = matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    let of_time = matches!(inner.get_type(schema)?, DataType::Timestamp(..));
    match functions::scalar("timestamp_text") {
        Some(function) if to_text && of_time => {
            let millis = super::window_node::EVENT_TIME;
            let time = if inner.get_type(schema)? == millis {
                *inner.clone()
            } else {
                Expr::Cast(Cast::new(inner.clone(), millis))
            };
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![time]))))
        }
        _ => Ok(Transformed::no(expr)),
    }
}
