//! A logical plan cut at each `GROUP BY` into stages.

mod exact;
mod exprs;
mod flow;
mod folded;
mod group;
mod join;
mod layout;
mod output;
mod slim;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::{Aggregate, Extension, LogicalPlan, TableScan};

use crate::catalog::{Catalog, SourceTable};
use crate::planner::WindowNode;
use crate::problem::{Place, SqlProblem};
use crate::stages::{InputFrom, LOG_COLUMN, POSITION_COLUMN, PlannedPipeline, Stage};
use crate::text::Marks;
use exprs::window_expr;
pub(crate) use exprs::{physical, place_of};
use flow::{Flow, Logical, Origin, Pending, Role, Value};

/// Collects the stages of a text, statement by statement.
pub(crate) struct Builder<'a> {
    catalog: &'a Catalog,
    stages: Vec<Stage>,
    lookups: BTreeSet<String>,
    statement: usize,
    marks: Marks,
}

/// The side of a join that a plan is on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Stream,
    Lookup,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, stages: vec![], lookups: BTreeSet::new(), statement: 0, marks: Marks::default() }
    }

    /// Adds the stages of one `INSERT INTO sink`.
    pub(crate) fn insert(
        &mut self,
        plan: &LogicalPlan,
        sink: &str,
        names: &[String],
        marks: Marks,
    ) -> Result<(), SqlProblem> {
        self.marks = marks;
        let flows = self.lower(plan, false, Side::Stream)?;
        self.end_in_sink(flows, sink, names)?;
        self.statement += 1;
        Ok(())
    }

    /// The stages of all statements.
    pub(crate) fn finish(self) -> PlannedPipeline {
        PlannedPipeline { stages: self.stages, lookups: self.lookups.into_iter().collect() }
    }

    /// The flows of a plan, which all have its columns. `hidden`: they carry the hidden columns along.
    fn lower(&mut self, plan: &LogicalPlan, hidden: bool, side: Side) -> Result<Vec<Flow>, SqlProblem> {
        let place = self.marks.statement;
        match plan {
            LogicalPlan::TableScan(scan) => Ok(vec![self.scan(scan, hidden, side)?]),
            LogicalPlan::SubqueryAlias(alias) => self.lower(&alias.input, hidden, side),
            LogicalPlan::Projection(project) => {
                let mut flows = self.lower(&project.input, hidden, side)?;
                for flow in &mut flows {
                    flow.project(&project.expr, project.input.schema(), &project.schema, place)?;
                }
                Ok(flows)
            }
            LogicalPlan::Filter(filter) => {
                let mut flows = self.lower(&filter.input, hidden, side)?;
                for flow in &mut flows {
                    flow.filter(&filter.predicate, filter.input.schema(), place)?;
                }
                Ok(flows)
            }
            LogicalPlan::Union(union) => {
                let inputs = union.inputs.iter().map(|input| self.lower(input, hidden, side));
                Ok(inputs.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
            }
            LogicalPlan::Join(join) => self.join(join, hidden, side),
            LogicalPlan::Aggregate(aggregate) => Ok(vec![self.grouping(aggregate, side)?]),
            LogicalPlan::Extension(Extension { node }) => match node.as_any().downcast_ref::<WindowNode>() {
                Some(window) => self.window(window, hidden, side),
                None => Err(self.unknown(plan)),
            },
            _ => Err(self.unknown(plan)),
        }
    }

    fn unknown(&self, plan: &LogicalPlan) -> SqlProblem {
        let node = plan.display().to_string();
        let name = node.split([':', ' ']).next().unwrap_or_default();
        self.marks.statement.refuse(
            format!("this query needs the operator {name}, which is not supported"),
            "use SELECT, WHERE, UNION ALL, window functions with GROUP BY, and joins with lookup tables",
        )
    }

    fn grouping(&mut self, aggregate: &Aggregate, side: Side) -> Result<Flow, SqlProblem> {
        if side == Side::Lookup {
            let place = self.marks.join.or(self.marks.statement);
            return Err(place.refuse("a join with grouped rows is not supported yet", "join with a lookup table"));
        }
        self.group(aggregate)
    }

    fn scan(&mut self, scan: &TableScan, hidden: bool, side: Side) -> Result<Flow, SqlProblem> {
        let name = scan.table_name.table();
        let Some(source) = self.catalog.sources.iter().find(|source| source.name == name) else {
            return Err(self.marks.statement.problem(format!("there is no source `{name}`")));
        };
        self.check_side(source, side)?;
        let mut indices = scan.projection.clone().unwrap_or_else(|| (0..source.schema.fields().len()).collect());
        let columns: Vec<Logical> =
            indices.iter().enumerate().map(|(at, index)| Logical::row(at, role(source, *index))).collect();
        if indices.is_empty() {
            // Rows must be counted by something.
            let event_time = source.watermark.as_ref().and_then(|mark| source.schema.index_of(&mark.column).ok());
            indices.push(event_time.unwrap_or(0));
        }
        let mut fields: Vec<Field> = indices.iter().map(|index| source.schema.field(*index).clone()).collect();
        let shown = fields.len();
        fields.extend(hidden_fields(hidden));
        let names = fields.iter().map(|field| field.name().clone()).collect();
        let schema = Arc::new(Schema::new(fields));
        Ok(Flow {
            origin: Origin::Input(InputFrom::Source(source.name.clone()), names),
            input: Arc::clone(&schema),
            steps: vec![],
            hidden: (shown..schema.fields().len()).collect(),
            physical: schema,
            columns,
            pending: None,
        })
    }

    fn check_side(&self, source: &SourceTable, side: Side) -> Result<(), SqlProblem> {
        let name = &source.name;
        let place = self.marks.join.or(self.marks.statement);
        match (source.lookup, side) {
            (true, Side::Stream) => Err(self.marks.table(name).refuse(
                format!("`{name}` is a lookup table, which is joined and not read as a stream"),
                format!("write FROM stream JOIN {name} ON …, or remove `lookup` from its StreamSource"),
            )),
            (false, Side::Lookup) => Err(place.refuse(
                format!("a join of two streams is not supported yet: `{name}` is no lookup table"),
                "set `lookup: {}` on its StreamSource if it is small and does not change",
            )),
            _ => Ok(()),
        }
    }

    fn window(&mut self, window: &WindowNode, hidden: bool, side: Side) -> Result<Vec<Flow>, SqlProblem> {
        let schema = window.input().schema();
        let index = |column: &datafusion::logical_expr::Expr| match column {
            datafusion::logical_expr::Expr::Column(column) => schema.maybe_index_of_column(column),
            _ => None,
        };
        let indices: Option<Vec<usize>> = window.columns.iter().map(index).collect();
        let mut flows = self.lower(window.input(), hidden, side)?;
        for flow in &mut flows {
            if flow.pending.is_some() {
                let help = "group by window_start and window_end first, and use its window_time in DESCRIPTOR";
                return Err(window.place.refuse("a window of rows that have windows already", help));
            }
            let columns: Option<Vec<&Logical>> =
                indices.as_ref().and_then(|indices| indices.iter().map(|index| flow.columns.get(*index)).collect());
            let Some([time, partition @ ..]) = columns.as_deref() else {
                return Err(window.place.problem("internal error: a window's columns are not those of its input"));
            };
            let (Some(at), Role::EventTime | Role::Window(2)) = (time.index(), time.role) else {
                return Err(self.no_event_time(window));
            };
            flow.pending = Some(Pending {
                spec: window.spec.clone(),
                time: at,
                partition: partition.iter().filter_map(|key| key.index()).collect(),
                conditions: vec![],
                place: window.place,
                filtered: false,
            });
            let added = (0..3).map(|which| Logical { value: Value::Window(window_expr(which)), role: Role::Plain });
            flow.columns.extend(added);
        }
        Ok(flows)
    }

    fn no_event_time(&self, window: &WindowNode) -> SqlProblem {
        let column = window.columns.first().map(|column| match column {
            datafusion::logical_expr::Expr::Column(column) => column.name.clone(),
            other => other.to_string(),
        });
        let marks: Vec<String> = self
            .catalog
            .sources
            .iter()
            .filter_map(|source| {
                source.watermark.as_ref().map(|mark| format!("`{}` of `{}`", mark.column, source.name))
            })
            .collect();
        let known = if marks.is_empty() {
            "declare `watermark: {column, delay}` on the StreamSource".to_owned()
        } else {
            format!("use the watermark's column ({}), or window_time of a windowed query", marks.join(", "))
        };
        let found = format!("DESCRIPTOR(`{}`) is no event time", column.unwrap_or_default());
        window.time_place.refuse(found, known)
    }
}

/// The hidden columns, if they are wanted.
fn hidden_fields(wanted: bool) -> Vec<Field> {
    let hidden = [(LOG_COLUMN, DataType::UInt32), (POSITION_COLUMN, DataType::UInt64)];
    let fields = hidden.map(|(name, kind)| Field::new(name, kind, false));
    fields.into_iter().filter(|_| wanted).collect()
}

fn role(source: &SourceTable, index: usize) -> Role {
    let name = source.schema.field(index).name();
    match &source.watermark {
        Some(mark) if mark.column == *name => Role::EventTime,
        _ => Role::Plain,
    }
}

/// The first place that is known of some expressions.
fn first_place<'e>(exprs: impl IntoIterator<Item = &'e datafusion::logical_expr::Expr>, or: Place) -> Place {
    exprs
        .into_iter()
        .map(|expr| place_of(expr, Place::default()))
        .find(|place| *place != Place::default())
        .unwrap_or(or)
}
