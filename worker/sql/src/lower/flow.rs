//! A piece of plan under way: rows of one origin, the steps so far, and what its columns are.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, utils::split_conjunction};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column as PhysicalColumn;

use super::exprs::{composes, mixed, physical, substituted, window_column, window_physical};
use super::group::Grouped;
use crate::planner::{EVENT_TIME, WINDOW_COLUMNS};
use crate::problem::{Place, SqlProblem, from_planner};
use crate::stages::InputFrom;
use crate::transform::Step;
use crate::window::WindowSpec;

/// What a column of the plan means to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing.
    Plain,
    /// It is the event time of a source.
    EventTime,
    /// It is one of the three columns that a closed window has.
    Window(usize),
}

/// Where a column of the plan is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// In the batches, at this index.
    Row(usize),
    /// Nowhere yet: an expression of the columns of a window that is not assigned.
    Window(Expr),
}

/// One column of the plan.
#[derive(Clone, Debug)]
pub(super) struct Logical {
    pub(super) value: Value,
    pub(super) role: Role,
}

impl Logical {
    pub(super) const fn row(index: usize, role: Role) -> Self {
        Self { value: Value::Row(index), role }
    }

    pub(super) const fn index(&self) -> Option<usize> {
        match self.value {
            Value::Row(index) => Some(index),
            Value::Window(_) => None,
        }
    }
}

/// A window function whose windows are not assigned: grouping needs no copies of rows.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) spec: WindowSpec,
    /// The column of event time, in the batches.
    pub(super) time: usize,
    /// The columns of `PARTITION BY`, in the batches.
    pub(super) partition: Vec<usize>,
    /// Conditions on the windows themselves.
    pub(super) conditions: Vec<Expr>,
    pub(super) place: Place,
    /// Whether rows were filtered after they got windows.
    pub(super) filtered: bool,
}

/// Where rows come from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// These columns of a source or of a stage.
    Input(InputFrom, Vec<String>),
    /// Closed windows: the steps finish them.
    Windowed(Box<Grouped>),
}

/// A piece of plan under way.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) origin: Origin,
    /// Columns of the origin.
    pub(super) input: SchemaRef,
    pub(super) steps: Vec<Step>,
    /// Columns of the batches after the steps.
    pub(super) physical: SchemaRef,
    /// Columns of the plan.
    pub(super) columns: Vec<Logical>,
    pub(super) pending: Option<Pending>,
    /// The hidden columns in the batches, if they are carried along.
    pub(super) hidden: Vec<usize>,
}

impl Flow {
    /// Appends a step that leaves the columns that there are where they are.
    pub(super) fn push(&mut self, step: Step) {
        self.physical = step.schema(&self.physical);
        self.steps.push(step);
    }

    /// The indices in the batches that are still needed, whatever is selected.
    fn carried(&self) -> Vec<usize> {
        let pending =
            self.pending.iter().flat_map(|pending| std::iter::once(pending.time).chain(pending.partition.clone()));
        pending.chain(self.hidden.iter().copied()).collect()
    }

    /// Appends a projection to `exprs`, behind which what is carried along goes on.
    pub(super) fn project_to(&mut self, exprs: Vec<Arc<dyn PhysicalExpr>>, fields: Vec<Field>) {
        let (mut exprs, mut fields) = (exprs, fields);
        let carried = self.carried();
        let at = |old: usize, fields: &[Field]| {
            fields.len() - carried.len() + carried.iter().position(|c| *c == old).unwrap_or(0)
        };
        for index in &carried {
            let field = self.physical.field(*index);
            exprs.push(Arc::new(PhysicalColumn::new(field.name(), *index)));
            fields.push(field.clone());
        }
        if let Some(pending) = &mut self.pending {
            pending.time = at(pending.time, &fields);
            pending.partition.iter_mut().for_each(|key| *key = at(*key, &fields));
        }
        self.hidden.iter_mut().for_each(|hidden| *hidden = at(*hidden, &fields));
        let schema = Arc::new(Schema::new(fields));
        self.physical = Arc::clone(&schema);
        match self.steps.pop() {
            Some(Step::Project { exprs: inner, .. }) if composes(&exprs, &inner) => {
                let exprs = exprs.into_iter().map(|expr| substituted(expr, &inner)).collect();
                self.steps.push(Step::Project { exprs, schema });
            }
            last => {
                self.steps.extend(last);
                self.steps.push(Step::Project { exprs, schema });
            }
        }
    }

    /// An expression of the plan as one of the batches.
    pub(super) fn physical(
        &self,
        expr: &Expr,
        schema: &DFSchema,
        place: Place,
    ) -> Result<Arc<dyn PhysicalExpr>, SqlProblem> {
        let planned = physical(expr, schema).map_err(|error| from_planner(&error, place))?;
        let mapped = planned.transform(|node| {
            let Some(column) = node.downcast_ref::<PhysicalColumn>() else { return Ok(Transformed::no(node)) };
            match self.columns.get(column.index()).and_then(Logical::index) {
                Some(index) => {
                    Ok(Transformed::yes(Arc::new(PhysicalColumn::new(self.physical.field(index).name(), index))
                        as Arc<dyn PhysicalExpr>))
                }
                None => Ok(Transformed::no(node)),
            }
        });
        mapped.map(|mapped| mapped.data).map_err(|error| from_planner(&error, place))
    }

    /// Of what an expression is made.
    pub(super) fn made_of(&self, expr: &Expr, schema: &DFSchema) -> MadeOf {
        let columns = expr.column_refs();
        let values = columns.iter().filter_map(|column| self.columns.get(schema.maybe_index_of_column(column)?));
        let (mut rows, mut windows) = (false, false);
        for column in values {
            match column.value {
                Value::Row(_) => rows = true,
                Value::Window(_) => windows = true,
            }
        }
        match (rows, windows) {
            (_, false) => MadeOf::Rows,
            (false, true) => MadeOf::Windows,
            (true, true) => MadeOf::Both,
        }
    }

    /// An expression of a window's columns only.
    pub(super) fn of_windows(&self, expr: &Expr, schema: &DFSchema) -> Expr {
        let replace = |node: Expr| {
            let Expr::Column(column) = &node else { return Ok(Transformed::no(node)) };
            let found = schema.maybe_index_of_column(column).and_then(|index| self.columns.get(index));
            match found.map(|column| &column.value) {
                Some(Value::Window(window)) => Ok(Transformed::yes(window.clone())),
                _ => Ok(Transformed::no(node)),
            }
        };
        expr.clone().unalias().transform_up(replace).map_or_else(|_| expr.clone(), |done| done.data)
    }

    pub(super) fn filter(&mut self, predicate: &Expr, schema: &DFSchema, place: Place) -> Result<(), SqlProblem> {
        for condition in split_conjunction(predicate) {
            match self.made_of(condition, schema) {
                MadeOf::Rows => {
                    let condition = self.physical(condition, schema, place)?;
                    self.push_filter(condition);
                    self.pending.iter_mut().for_each(|pending| pending.filtered = true);
                }
                MadeOf::Windows => {
                    let condition = self.of_windows(condition, schema);
                    self.pending.iter_mut().for_each(|pending| pending.conditions.push(condition.clone()));
                }
                MadeOf::Both => return Err(mixed(condition, place)),
            }
        }
        Ok(())
    }

    fn push_filter(&mut self, condition: Arc<dyn PhysicalExpr>) {
        let both = match self.steps.pop() {
            Some(Step::Filter { predicate: earlier, .. }) => {
                let and = datafusion::logical_expr::Operator::And;
                Arc::new(datafusion::physical_expr::expressions::BinaryExpr::new(earlier, and, condition))
            }
            last => {
                self.steps.extend(last);
                condition
            }
        };
        self.steps.push(Step::filter(both));
    }

    /// Columns that are renamed or left out move nothing; others are computed.
    pub(super) fn project(
        &mut self,
        exprs: &[Expr],
        input: &DFSchema,
        output: &DFSchema,
        place: Place,
    ) -> Result<(), SqlProblem> {
        let plain = |expr: &Expr| match expr.clone().unalias() {
            Expr::Column(column) => {
                input.maybe_index_of_column(&column).and_then(|index| self.columns.get(index)).cloned()
            }
            _ => None,
        };
        let mut columns: Vec<Option<Logical>> = exprs.iter().map(plain).collect();
        for (column, expr) in columns.iter_mut().zip(exprs) {
            match self.made_of(expr, input) {
                MadeOf::Windows if column.is_none() => {
                    let value = Value::Window(self.of_windows(expr, input));
                    *column = Some(Logical { value, role: Role::Plain });
                }
                MadeOf::Both => return Err(mixed(expr, place)),
                _ => {}
            }
        }
        if columns.iter().any(Option::is_none) {
            self.compute(&mut columns, exprs, input, output, place)?;
        }
        self.columns = columns.into_iter().flatten().collect();
        Ok(())
    }

    fn compute(
        &mut self,
        columns: &mut [Option<Logical>],
        exprs: &[Expr],
        input: &DFSchema,
        output: &DFSchema,
        place: Place,
    ) -> Result<(), SqlProblem> {
        let (mut physical, mut fields) = (vec![], vec![]);
        for ((column, expr), field) in columns.iter_mut().zip(exprs).zip(output.fields()) {
            let role = match column {
                Some(Logical { value: Value::Window(_), .. }) => continue,
                Some(found) => found.role,
                None => Role::Plain,
            };
            let computed = self.physical(expr, input, place)?;
            let kind = computed.data_type(&self.physical).map_err(|error| from_planner(&error, place))?;
            *column = Some(Logical::row(physical.len(), role));
            fields.push(Field::new(field.name(), kind, true));
            physical.push(computed);
        }
        self.project_to(physical, fields);
        Ok(())
    }

    /// Assigns windows that nothing grouped by: each row is copied into each of its windows.
    pub(super) fn materialize(&mut self) -> Result<(), SqlProblem> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        if matches!(pending.spec, WindowSpec::Session { .. }) {
            return Err(pending.place.refuse(
                "SESSION without GROUP BY is not supported yet",
                "group by window_start, window_end and the keys of PARTITION BY",
            ));
        }
        let first = self.physical.fields().len();
        let added = WINDOW_COLUMNS.map(|name| Arc::new(Field::new(name, EVENT_TIME, true)));
        let fields: Vec<_> = self.physical.fields().iter().cloned().chain(added).collect();
        self.push(Step::assign(pending.time, pending.spec, Arc::new(Schema::new(fields))));
        for condition in &pending.conditions {
            let condition = window_physical(condition, first, pending.place)?;
            self.push_filter(condition);
        }
        self.compute_windows(first, pending.place)
    }

    /// Computes the columns that are made of window columns, which are in the batches from `first` on.
    pub(super) fn compute_windows(&mut self, first: usize, place: Place) -> Result<(), SqlProblem> {
        let mut columns = self.columns.clone();
        let (mut exprs, mut fields) = (vec![], vec![]);
        for (index, field) in self.physical.fields().iter().enumerate() {
            exprs.push(Arc::new(PhysicalColumn::new(field.name(), index)) as Arc<dyn PhysicalExpr>);
            fields.push(field.as_ref().clone());
        }
        let before = exprs.len();
        for column in &mut columns {
            let Value::Window(expr) = &column.value else { continue };
            if let Some(which) = window_column(expr) {
                *column = Logical::row(first + which, Role::Window(which));
                continue;
            }
            let computed = window_physical(expr, first, place)?;
            let kind = computed.data_type(&self.physical).map_err(|error| from_planner(&error, place))?;
            *column = Logical::row(exprs.len(), Role::Plain);
            fields.push(Field::new(format!("window_{}", exprs.len()), kind, true));
            exprs.push(computed);
        }
        if exprs.len() > before {
            self.project_to(exprs, fields);
        }
        self.columns = columns;
        Ok(())
    }

    /// Leaves in the batches only what is needed, under the names of the plan: its columns and what is carried along.
    pub(super) fn narrow(&mut self, schema: &DFSchema) {
        let used: BTreeSet<usize> = self.columns.iter().filter_map(Logical::index).collect();
        let name = |index: usize| {
            let column = self.columns.iter().position(|column| column.index() == Some(index));
            column.and_then(|at| schema.fields().get(at)).map_or_else(String::new, |field| field.name().clone())
        };
        let (mut exprs, mut fields) = (vec![], vec![]);
        for index in &used {
            let field = self.physical.field(*index);
            exprs.push(Arc::new(PhysicalColumn::new(field.name(), *index)) as Arc<dyn PhysicalExpr>);
            fields.push(field.clone().with_name(name(*index)));
        }
        let place = |old: usize| used.iter().position(|index| *index == old).unwrap_or(0);
        for column in &mut self.columns {
            if let Value::Row(index) = &mut column.value {
                *index = place(*index);
            }
        }
        self.project_to(exprs, fields);
    }
}

/// Of what an expression is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MadeOf {
    /// Of columns of the rows, or of none.
    Rows,
    /// Of columns of their windows.
    Windows,
    Both,
}
