//! `GROUP BY window_start, window_end, keys…`: the end of one stage.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::exprs::{place_of, window_column, window_physical};
use super::flow::{Flow, Logical, MadeOf, Origin, Role, Value};
use super::folded::{Folded, raw_schema, results};
use super::layout::{Layout, Part, column, is_ordered};
use super::{Builder, Side, first_place, hidden_fields};
use crate::planner::WINDOW_COLUMNS;
use crate::problem::{Place, SqlProblem, from_planner};
use crate::stages::StageInput;
use crate::transform::{Step, Transform};
use crate::window::WindowSpec;

/// A windowed aggregation whose finishing steps are not known yet.
#[derive(Clone, Debug)]
pub(super) struct Grouped {
    pub(super) inputs: Vec<StageInput>,
    pub(super) window: WindowSpec,
    pub(super) input_schema: SchemaRef,
    pub(super) key_count: usize,
    pub(super) aggregates: Vec<Arc<AggregateFunctionExpr>>,
    pub(super) filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
}

/// What an expression of `GROUP BY` is.
#[derive(Clone, Debug)]
enum Group {
    /// A column of the window.
    Window(usize),
    /// Computed of columns of the window.
    OfWindow(Expr),
    /// A key.
    Key,
}

impl Builder<'_> {
    pub(super) fn group(&mut self, aggregate: &Aggregate) -> Result<Flow, SqlProblem> {
        let schema = aggregate.input.schema();
        let calls = self.calls(aggregate)?;
        let ordered = calls.iter().any(|call| is_ordered(call));
        let flows = self.lower(&aggregate.input, ordered, Side::Stream)?;
        let flows: Vec<Flow> =
            flows.into_iter().map(|flow| self.as_input(flow, ordered, schema)).collect::<Result<_, _>>()?;
        let groups = self.groups(aggregate, &flows)?;
        let keys: Vec<&Expr> = aggregate
            .group_expr
            .iter()
            .zip(&groups)
            .filter(|(_, group)| matches!(group, Group::Key))
            .map(|(key, _)| key)
            .collect();
        let window = self.window_of(&flows)?;
        if let WindowSpec::Session { .. } = window {
            self.check_session(&flows, &keys, schema)?;
        }
        let layout = Layout::new(keys, &calls, ordered);
        let (mut inputs, mut input_schema) = (vec![], None);
        for flow in flows.iter().cloned() {
            let input = self.input(flow, &layout, schema, aggregate, input_schema.as_ref())?;
            input_schema.get_or_insert_with(|| Arc::clone(input.transform.output()));
            inputs.push(input);
        }
        let Some(input_schema) = input_schema else {
            return Err(self.marks.statement.problem("internal error: a group without an input"));
        };
        let key_count = layout.keys.len();
        let folded = self.folded(&calls, &layout, &input_schema, aggregate)?;
        let (aggregates, filters) = folded.iter().flat_map(Folded::kernels).unzip();
        let grouped = Grouped { inputs, window, input_schema, key_count, aggregates, filters };
        self.finish_flow(grouped, folded, &groups, &flows)
    }

    /// The aggregate functions, refused where they ask for what is not supported.
    fn calls<'p>(&self, aggregate: &'p Aggregate) -> Result<Vec<&'p AggregateFunction>, SqlProblem> {
        let place = self.marks.aggregate.or(self.marks.statement);
        let call = |expr: &'p Expr| {
            let mut inner = expr;
            while let Expr::Alias(alias) = inner {
                inner = &alias.expr;
            }
            let Expr::AggregateFunction(call) = inner else {
                return Err(place_of(expr, place).problem(format!("`{expr}` is no aggregate function")));
            };
            if call.params.distinct && call.params.args.len() > 1 {
                let found = "DISTINCT over several columns is not supported";
                let help = "count one value, for example count(DISTINCT CONCAT_WS('|', a, b))";
                return Err(place_of(expr, place).refuse(found, help));
            }
            if call.params.order_by.is_empty() {
                return Ok(call);
            }
            let found = format!("ORDER BY inside of {} is not supported", call.func.name().to_uppercase());
            let help = "leave it out: first_value and last_value follow event time";
            Err(place_of(expr, place).refuse(found, help))
        };
        aggregate.aggr_expr.iter().map(call).collect()
    }

    /// Every input must say the same of each expression.
    fn groups(&self, aggregate: &Aggregate, flows: &[Flow]) -> Result<Vec<Group>, SqlProblem> {
        let schema = aggregate.input.schema();
        let place =
            first_place(&aggregate.group_expr, self.marks.group_by.or(self.marks.distinct).or(self.marks.aggregate));
        let place = place.or(self.marks.statement);
        let mut groups = vec![];
        for expr in &aggregate.group_expr {
            if matches!(expr, Expr::GroupingSet(_)) {
                let found = "GROUPING SETS, CUBE and ROLLUP are not supported";
                return Err(place.refuse(found, "write one INSERT for each grouping"));
            }
            let found = flows.iter().map(|flow| group_of(flow, expr, schema)).collect::<Option<Vec<Group>>>();
            let same = |found: &Vec<Group>| found.iter().all(|group| format!("{group:?}") == format!("{:?}", found[0]));
            match found.filter(|found| !found.is_empty() && same(found)) {
                Some(mut found) => groups.push(found.swap_remove(0)),
                None => {
                    let found = format!("`{expr}` mixes columns of a row with columns of its windows");
                    return Err(place_of(expr, place).refuse(found, "group by each on its own"));
                }
            }
        }
        let has = |which: usize| groups.iter().any(|group| matches!(group, Group::Window(found) if *found == which));
        match (has(0), has(1)) {
            (true, true) => Ok(groups),
            (false, false) => Err(place.refuse(
                "grouping without a window would keep every group for ever",
                "read FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) and GROUP BY window_start, window_end",
            )),
            (start, _) => {
                let missing = WINDOW_COLUMNS[usize::from(start)];
                Err(place.refuse(format!("GROUP BY lacks {missing}"), "group by window_start, window_end and the keys"))
            }
        }
    }

    fn window_of(&self, flows: &[Flow]) -> Result<WindowSpec, SqlProblem> {
        let spec = |flow: &Flow| flow.pending.as_ref().map_or(WindowSpec::Attached, |pending| pending.spec.clone());
        let first = flows.first().map_or(WindowSpec::Attached, spec);
        if flows.iter().all(|flow| spec(flow) == first) {
            return Ok(first);
        }
        let place = self.marks.group_by.or(self.marks.statement);
        Err(place.refuse("the inputs of UNION ALL have different windows", "use the same window function in each"))
    }

    /// A session belongs to the keys of `PARTITION BY`, so the groups must be these.
    fn check_session(&self, flows: &[Flow], keys: &[&Expr], schema: &DFSchema) -> Result<(), SqlProblem> {
        for flow in flows {
            let Some(pending) = &flow.pending else { continue };
            if pending.filtered {
                return Err(pending.place.refuse(
                    "rows are filtered between SESSION and GROUP BY, after they got their windows",
                    "filter in a view, and use SESSION(TABLE view …)",
                ));
            }
            let index = |key: &&Expr| match (*key).clone().unalias() {
                Expr::Column(column) => {
                    schema.maybe_index_of_column(&column).and_then(|at| flow.columns.get(at)?.index())
                }
                _ => None,
            };
            let grouped: Option<BTreeSet<usize>> = keys.iter().map(index).collect();
            let partition: BTreeSet<usize> = pending.partition.iter().copied().collect();
            // Equal columns may stand at several indices once they were carried along.
            let same = |grouped: BTreeSet<usize>| flow.same_columns(&grouped, &partition);
            if !grouped.is_some_and(same) {
                return Err(pending.place.refuse(
                    "the keys of GROUP BY are not those of PARTITION BY in SESSION",
                    "write SESSION(TABLE t PARTITION BY key, …) and GROUP BY window_start, window_end, key",
                ));
            }
        }
        Ok(())
    }

    /// The input of a stage: from a flow's rows to the layout that the window kernels expect.
    fn input(
        &mut self,
        mut flow: Flow,
        layout: &Layout<'_>,
        schema: &DFSchema,
        aggregate: &Aggregate,
        expected: Option<&SchemaRef>,
    ) -> Result<StageInput, SqlProblem> {
        let place =
            first_place(&aggregate.aggr_expr, self.marks.aggregate.or(self.marks.group_by)).or(self.marks.statement);
        let times = event_times(&flow);
        let (mut exprs, mut fields) = (vec![], vec![]);
        for (name, part) in layout.parts(&flow, times.len()) {
            let expr = match part {
                Part::Expr(expr) if flow.made_of(expr, schema) != MadeOf::Rows => {
                    return Err(over_windows(expr, place));
                }
                Part::Expr(expr) => flow.physical(expr, schema, place_of(expr, place))?,
                Part::Time(which) => column(&flow.physical, times[which]),
                Part::Hidden(which) => column(&flow.physical, flow.hidden[which]),
            };
            let kind = expr.data_type(&flow.physical).map_err(|error| from_planner(&error, place))?;
            fields.push(Field::new(name, kind, true));
            exprs.push(expr);
        }
        if let Some(expected) = expected {
            let same =
                fields.iter().zip(expected.fields()).all(|(found, wanted)| found.data_type() == wanted.data_type());
            if !same {
                return Err(place.refuse("the inputs of UNION ALL have different types", "CAST them to one type"));
            }
            fields = expected.fields().iter().map(|field| field.as_ref().clone()).collect();
        }
        flow.pending = None;
        flow.hidden = vec![];
        flow.project_to(exprs, fields);
        self.stage_input(flow, place)
    }

    /// What each call is folded by.
    fn folded(
        &self,
        calls: &[&AggregateFunction],
        layout: &Layout<'_>,
        input: &SchemaRef,
        aggregate: &Aggregate,
    ) -> Result<Vec<Folded>, SqlProblem> {
        let place = self.marks.aggregate.or(self.marks.statement);
        let results = aggregate.schema.fields().iter().skip(aggregate.schema.fields().len() - calls.len());
        let folded = calls.iter().zip(results).map(|(call, result)| Folded::new(call, result, layout, input));
        folded.collect::<datafusion::error::Result<_>>().map_err(|error| from_planner(&error, place))
    }

    /// The rows of closed windows: keys, results of the calls, and the window's columns.
    fn finish_flow(
        &self,
        grouped: Grouped,
        folded: Vec<Folded>,
        groups: &[Group],
        flows: &[Flow],
    ) -> Result<Flow, SqlProblem> {
        let key_count = grouped.key_count;
        let mut next_key = 0;
        let first_window = key_count + folded.len();
        let group_columns = groups.iter().map(|group| match group {
            Group::Window(which) => Logical::row(first_window + which, Role::Window(*which)),
            Group::OfWindow(expr) => Logical { value: Value::Window(expr.clone()), role: Role::Plain },
            Group::Key => {
                next_key += 1;
                Logical::row(next_key - 1, Role::Plain)
            }
        });
        let mut columns: Vec<Logical> = group_columns.collect();
        columns.extend((key_count..first_window).map(|index| Logical::row(index, Role::Plain)));
        let schema = raw_schema(&grouped, &folded);
        let mut flow = Flow {
            origin: Origin::Windowed(Box::new(grouped)),
            input: Arc::clone(&schema),
            steps: vec![],
            physical: schema,
            columns,
            pending: None,
            hidden: vec![],
        };
        if let Some((exprs, fields)) = results(&flow.physical, key_count, &folded) {
            flow.project_to(exprs, fields);
        }
        let place = self.marks.group_by.or(self.marks.statement);
        if let Some(pending) = flows.first().and_then(|flow| flow.pending.as_ref()) {
            for condition in &pending.conditions {
                flow.push(Step::filter(window_physical(condition, first_window, place)?));
            }
        }
        flow.compute_windows(first_window, place)?;
        Ok(flow)
    }

    /// Cuts a flow off closed windows, so that a further stage can read it.
    fn as_input(&mut self, mut flow: Flow, hidden: bool, plan: &DFSchema) -> Result<Flow, SqlProblem> {
        if !matches!(flow.origin, Origin::Windowed(_)) {
            return Ok(flow);
        }
        flow.narrow(plan);
        let pending = flow.pending.take();
        let columns = flow.columns.clone();
        let (from, schema) = self.inner_stage(flow)?;
        let shown = schema.fields().len();
        let fields = schema.fields().iter().map(|field| field.as_ref().clone()).chain(hidden_fields(hidden));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let names = schema.fields().iter().map(|field| field.name().clone()).collect();
        Ok(Flow {
            origin: Origin::Input(from, names),
            input: Arc::clone(&schema),
            steps: vec![],
            hidden: (shown..schema.fields().len()).collect(),
            physical: schema,
            columns,
            pending,
        })
    }

    fn stage_input(&self, flow: Flow, place: Place) -> Result<StageInput, SqlProblem> {
        let Origin::Input(from, columns) = flow.origin else {
            return Err(place.problem("internal error: a stage reads windows that are not closed"));
        };
        let steps = super::slim::slim(&flow.input, flow.steps);
        let transform = Transform::new(flow.input, flow.physical, steps);
        Ok(StageInput { from, columns, transform: Arc::new(transform) })
    }
}

impl Flow {
    /// Whether two sets of indices mean the same columns.
    fn same_columns(&self, left: &BTreeSet<usize>, right: &BTreeSet<usize>) -> bool {
        let Some(Step::Project { exprs, .. }) =
            self.steps.iter().rev().find(|step| matches!(step, Step::Project { .. }))
        else {
            return left == right;
        };
        let of = |set: &BTreeSet<usize>| {
            set.iter().filter_map(|index| exprs.get(*index)).map(|expr| format!("{expr:?}")).collect::<BTreeSet<_>>()
        };
        of(left) == of(right)
    }
}

fn group_of(flow: &Flow, expr: &Expr, schema: &DFSchema) -> Option<Group> {
    let inner = expr.clone().unalias();
    match flow.made_of(&inner, schema) {
        MadeOf::Both => None,
        MadeOf::Windows => {
            let of_window = flow.of_windows(&inner, schema);
            Some(window_column(&of_window).map_or(Group::OfWindow(of_window), Group::Window))
        }
        MadeOf::Rows => {
            let role = match &inner {
                Expr::Column(column) => flow.columns.get(schema.maybe_index_of_column(column)?)?.role,
                _ => Role::Plain,
            };
            Some(match role {
                // Windows that are assigned now take precedence over those of an earlier stage.
                Role::Window(which) if flow.pending.is_none() => Group::Window(which),
                _ => Group::Key,
            })
        }
    }
}

/// Where event time is in the batches: one column, or start and end of attached windows.
fn event_times(flow: &Flow) -> Vec<usize> {
    if let Some(pending) = &flow.pending {
        return vec![pending.time];
    }
    let window =
        |which: usize| flow.columns.iter().find(|column| column.role == Role::Window(which)).and_then(Logical::index);
    [window(0), window(1)].into_iter().flatten().collect()
}

fn over_windows(expr: &Expr, place: Place) -> SqlProblem {
    place_of(expr, place).refuse(
        format!("`{expr}` uses a window's columns inside of an aggregate"),
        "aggregate columns of the rows, and compute with window_start and window_end afterwards",
    )
}
