//! The ends of stages: a sink, or the stage that reads on.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use thalweg_core::unit::StageId;

use super::Builder;
use super::flow::{Flow, Logical, Origin};
use super::group::Grouped;
use super::slim::slim;
use crate::fingerprint;
use crate::problem::{SqlProblem, from_planner};
use crate::stages::{InputFrom, Stage, StageInput, StageKind, StageOutput};
use crate::transform::Transform;
use crate::window::WindowedAggregate;

impl Builder<'_> {
    /// Ends flows in a sink: all that only pass rows on in one stage, each that closes windows in one of its own.
    pub(super) fn end_in_sink(&mut self, flows: Vec<Flow>, sink: &str, names: &[String]) -> Result<(), SqlProblem> {
        let (mut inputs, mut stateless) = (vec![], None);
        for mut flow in flows {
            flow.materialize()?;
            self.select(&mut flow, names)?;
            let schema = Arc::clone(&flow.physical);
            let steps = slim(&flow.input, flow.steps);
            let transform = Arc::new(Transform::new(flow.input, flow.physical, steps));
            match flow.origin {
                Origin::Input(from, columns) => {
                    stateless = stateless.or(Some(schema));
                    inputs.push(StageInput { from, columns, transform });
                }
                Origin::Windowed(grouped) => {
                    self.windowed(*grouped, transform, StageOutput::Sink(sink.to_owned()))?;
                }
            }
        }
        if let Some(schema) = stateless {
            self.push(inputs, StageKind::Stateless, schema, StageOutput::Sink(sink.to_owned()));
        }
        Ok(())
    }

    /// Makes a stage of closed windows that another stage reads.
    pub(super) fn inner_stage(&mut self, flow: Flow) -> Result<(InputFrom, SchemaRef), SqlProblem> {
        let Origin::Windowed(grouped) = flow.origin else {
            return Err(self.marks.statement.problem("internal error: only windows feed a further stage"));
        };
        let (physical, schema) = unique_names(flow.physical);
        let steps = slim(&flow.input, flow.steps);
        let transform = Arc::new(Transform::new(flow.input, physical, steps));
        // Who reads it is known once that stage has a number.
        let own = self.windowed(*grouped, transform, StageOutput::Stage(StageId(u32::MAX)))?;
        Ok((InputFrom::Stage(own), schema))
    }

    fn windowed(
        &mut self,
        grouped: Grouped,
        finish: Arc<Transform>,
        output: StageOutput,
    ) -> Result<StageId, SqlProblem> {
        let schema = Arc::clone(finish.output());
        let Grouped { inputs, window, input_schema, key_count, aggregates, filters } = grouped;
        let aggregate = Arc::new(WindowedAggregate { window, input_schema, key_count, finish, aggregates, filters });
        let place = self.marks.aggregate.or(self.marks.group_by).or(self.marks.statement);
        aggregate.check().map_err(|error| from_planner(&error, place))?;
        Ok(self.push(inputs, StageKind::Windowed(aggregate), schema, output))
    }

    fn push(&mut self, inputs: Vec<StageInput>, kind: StageKind, schema: SchemaRef, output: StageOutput) -> StageId {
        let id = StageId(u32::try_from(self.stages.len()).unwrap_or(u32::MAX));
        for input in &inputs {
            if let InputFrom::Stage(from) = input.from
                && let Some(from) = self.stages.get_mut(from.0 as usize)
            {
                from.output = StageOutput::Stage(id);
            }
        }
        let mut stage =
            Stage { id, statement: self.statement, inputs, kind, schema, output, fingerprint: String::new() };
        stage.fingerprint = fingerprint::of(&stage, &self.stages);
        self.stages.push(stage);
        id
    }

    /// Brings a flow's columns into order, under their names in the sink, with types that sinks know.
    fn select(&mut self, flow: &mut Flow, names: &[String]) -> Result<(), SqlProblem> {
        let (mut exprs, mut fields) = (vec![], vec![]);
        for (column, name) in flow.columns.iter().zip(names) {
            let Some(index) = column.index() else {
                return Err(self.marks.statement.problem(format!("internal error: `{name}` is nowhere")));
            };
            let field = flow.physical.field(index);
            let plain: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), index));
            let kind = self.output_type(field.data_type(), name)?;
            let expr =
                if kind == *field.data_type() { plain } else { Arc::new(CastExpr::new(plain, kind.clone(), None)) };
            exprs.push(expr);
            fields.push(Field::new(name, kind, true));
        }
        let in_place = fields.len() == flow.physical.fields().len()
            && flow.columns.iter().enumerate().all(|(at, column)| column.index() == Some(at))
            && fields
                .iter()
                .zip(flow.physical.fields())
                .all(|(new, old)| new.name() == old.name() && new.data_type() == old.data_type());
        if !in_place {
            flow.columns = (0..fields.len()).map(|index| Logical::row(index, super::flow::Role::Plain)).collect();
            flow.hidden.clear();
            flow.project_to(exprs, fields);
        }
        Ok(())
    }

    fn output_type(&self, found: &DataType, name: &str) -> Result<DataType, SqlProblem> {
        match found {
            DataType::Utf8View | DataType::LargeUtf8 => Ok(DataType::Utf8),
            DataType::BinaryView | DataType::LargeBinary => Ok(DataType::Binary),
            DataType::Null => Err(self.marks.statement.refuse(
                format!("the column `{name}` is NULL in every row, and so has no type"),
                "write CAST(NULL AS STRING)",
            )),
            DataType::Interval(_) | DataType::Duration(_) => Err(self.marks.statement.refuse(
                format!("the column `{name}` is an interval, which no sink can write"),
                "use TIMESTAMPDIFF(SECOND, from, to)",
            )),
            other => Ok(other.clone()),
        }
    }
}

/// A schema under names of which none is there twice.
fn unique_names(schema: SchemaRef) -> (SchemaRef, SchemaRef) {
    let mut taken = std::collections::BTreeSet::new();
    let fields = schema.fields().iter().map(|field| {
        let mut name = field.name().clone();
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        field.as_ref().clone().with_name(name)
    });
    let unique: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    (Arc::clone(&unique), unique)
}
