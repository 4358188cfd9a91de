//! Fields of rows, by name.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess};

use crate::explain::Type;
use crate::lower::place_of;
use crate::problem::{Carried, Place, suggestion};

/// Refuses fields that are not there, and leaves the others to the planner, which would not say which there are.
#[derive(Debug)]
pub(super) struct Fields;

impl ExprPlanner for Fields {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let name = match &access.field_access {
            GetFieldAccess::NamedStructField { name } => name.try_as_str().flatten(),
            _ => None,
        };
        if let (Some(name), Ok(kind)) = (name, access.expr.get_type(schema)) {
            check(name, &kind, &access.expr)?;
        }
        Ok(PlannerResult::Original(access))
    }
}

fn check(name: &str, kind: &DataType, of: &Expr) -> Result<()> {
    let path = path(of).map(|path| format!(" `{path}`")).unwrap_or_default();
    let place = place_of(of, Place::default());
    let problem = match kind {
        DataType::Struct(fields) if fields.iter().any(|field| field.name() == name) => return Ok(()),
        DataType::Struct(fields) => {
            let help = suggestion(name, fields.iter().map(|field| field.name().as_str()));
            place.refuse(format!("there is no field `{name}` in the row{path}"), help)
        }
        DataType::Map(..) | DataType::Null => return Ok(()),
        DataType::List(_) => {
            let help = "name one of its elements, counted from 1";
            place.refuse(format!("{}{path} is no row: it has no field `{name}`", Type(kind)), help)
        }
        _ => place.problem(format!("{}{path} is no row: it has no field `{name}`", Type(kind))),
    };
    Err(Carried(problem).into())
}

/// `r.a.b`, as it was written.
fn path(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Column(column) => Some(column.name.clone()),
        Expr::ScalarFunction(call) if call.name() == "get_field" => {
            let (row, name) = (path(call.args.first()?)?, call.args.get(1)?);
            let Expr::Literal(name, _) = name else { return None };
            Some(format!("{row}.{}", name.try_as_str().flatten()?))
        }
        _ => None,
    }
}
