//! A window function as a node of the planner's tree.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Column, DFSchema, DFSchemaRef, TableReference, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Spanned, TableFactor};

use crate::problem::{Carried, Place, suggestion};
use crate::text::{WINDOW_PREFIX, WindowCall, WindowData};
use crate::window::WindowSpec;

/// The columns that a window function appends.
pub(crate) const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// The type of event time and of window columns.
pub(crate) const EVENT_TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// Rows, each with its windows.
#[derive(Clone, Debug)]
pub(crate) struct WindowNode {
    input: Arc<LogicalPlan>,
    schema: DFSchemaRef,
    /// The windows.
    pub(crate) spec: WindowSpec,
    /// The column in `DESCRIPTOR`, then those of `PARTITION BY`.
    pub(crate) columns: Vec<Expr>,
    /// Where it stands.
    pub(crate) place: Place,
    /// Where its `DESCRIPTOR` stands.
    pub(crate) time_place: Place,
}

impl WindowNode {
    fn schema_of(input: &LogicalPlan) -> Result<DFSchemaRef> {
        let added = WINDOW_COLUMNS.map(|name| (None, Arc::new(Field::new(name, EVENT_TIME, true))));
        let fields = input.schema().iter().map(|(table, field)| (table.cloned(), Arc::clone(field)));
        let fields: Vec<(Option<TableReference>, FieldRef)> = fields.chain(added).collect();
        Ok(Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?))
    }

    /// What gets windows.
    pub(crate) fn input(&self) -> &LogicalPlan {
        &self.input
    }
}

impl PartialEq for WindowNode {
    fn eq(&self, other: &Self) -> bool {
        self.input == other.input
            && self.spec == other.spec
            && self.columns == other.columns
            && self.place == other.place
    }
}

impl Eq for WindowNode {}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, _other: &Self) -> Option<Ordering> {
        None
    }
}

impl Hash for WindowNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.columns.hash(state);
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        "Window"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.columns.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Window: {:?}", self.spec)
    }

    fn with_exprs_and_inputs(&self, columns: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let [input] = <[LogicalPlan; 1]>::try_from(inputs).or_else(|_| internal_err!("a window has one input"))?;
        Ok(Self { schema: Self::schema_of(&input)?, input: Arc::new(input), columns, ..self.clone() })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let inputs = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|column| *column < inputs).collect()])
    }
}

/// Turns the window calls that were taken out of a statement into nodes.
#[derive(Debug)]
pub(crate) struct WindowPlanner {
    calls: Vec<WindowCall>,
}

impl WindowPlanner {
    pub(crate) const fn new(calls: Vec<WindowCall>) -> Self {
        Self { calls }
    }

    fn call(&self, factor: &TableFactor) -> Option<&WindowCall> {
        let TableFactor::Table { name, .. } = factor else { return None };
        let name = name.to_string();
        self.calls.get(name.strip_prefix(WINDOW_PREFIX)?.parse::<usize>().ok()?)
    }
}

impl RelationPlanner for WindowPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(call) = self.call(&relation) else { return Ok(RelationPlanning::Original(Box::new(relation))) };
        let input = context.plan(data(&call.data))?;
        let columns = std::iter::once(time_column(call, &input))
            .chain(call.partition.iter().map(|key| partition_column(call, key, &input, context)))
            .collect::<Result<Vec<_>>>()?;
        refuse_window_columns(call, &input)?;
        let node = WindowNode {
            schema: WindowNode::schema_of(&input)?,
            input: Arc::new(input),
            spec: call.spec.clone(),
            columns,
            place: call.place,
            time_place: Place::from(call.time.span).or(call.place),
        };
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        let TableFactor::Table { alias, .. } = relation else { return internal_err!("a window is a table") };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

fn data(data: &WindowData) -> TableFactor {
    match data {
        WindowData::Table(name) => crate::text::table(ObjectName::from(vec![name.clone()])),
        WindowData::Query(query) => {
            TableFactor::Derived { lateral: false, subquery: query.clone(), alias: None, sample: None }
        }
    }
}

fn time_column(call: &WindowCall, input: &LogicalPlan) -> Result<Expr> {
    let Ident { value, span, .. } = &call.time;
    match input.schema().qualified_field_with_unqualified_name(value) {
        Ok((table, _)) => Ok(Expr::Column(Column::new(table.cloned(), value.clone()))),
        Err(_) => {
            let known = input.schema().fields().iter().map(|field| field.name().as_str());
            let help = suggestion(value, known);
            let place = Place::from(*span).or(call.place);
            Err(Carried(place.refuse(format!("there is no column `{value}`"), help)).into())
        }
    }
}

fn partition_column(
    call: &WindowCall,
    key: &datafusion::sql::sqlparser::ast::Expr,
    input: &LogicalPlan,
    context: &mut dyn RelationPlannerContext,
) -> Result<Expr> {
    let planned = context.sql_to_expr(key.clone(), input.schema())?;
    if matches!(planned, Expr::Column(_)) {
        return Ok(planned);
    }
    let place = Place::from(key.span()).or(call.place);
    let help = "compute it in a view and name its column";
    Err(Carried(place.refuse(format!("PARTITION BY takes columns, found `{key}`"), help)).into())
}

/// The window's own columns would be ambiguous.
fn refuse_window_columns(call: &WindowCall, input: &LogicalPlan) -> Result<()> {
    let taken = WINDOW_COLUMNS.iter().find(|name| !input.schema().fields_with_unqualified_name(name).is_empty());
    match taken {
        Some(name) => {
            let found = format!("the window's input has a column `{name}` already");
            let help = format!("rename it below, for example {name} AS inner_{name}, or leave it out");
            Err(Carried(call.place.refuse(found, help)).into())
        }
        None => Ok(()),
    }
}
