//! Joins with lookup tables.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Join, JoinType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};

use super::exprs::physical;
use super::flow::{Flow, Logical, MadeOf, Origin, Role};
use super::slim::slim;
use super::{Builder, Side};
use crate::problem::{Place, SqlProblem, from_planner};
use crate::stages::InputFrom;
use crate::transform::{LookupJoin, Step, Transform};

impl Builder<'_> {
    pub(super) fn join(&mut self, join: &Join, hidden: bool, side: Side) -> Result<Vec<Flow>, SqlProblem> {
        let place = self.marks.join.or(self.marks.statement);
        let outer = match join.join_type {
            JoinType::Inner => false,
            JoinType::Left => true,
            other => {
                let found = format!("{other} JOIN is not supported");
                return Err(place.refuse(found, "only JOIN and LEFT JOIN with a lookup table are"));
            }
        };
        if side == Side::Lookup {
            return Err(place.refuse("a join of lookup tables is not supported", "join them one after the other"));
        }
        if join.on.is_empty() {
            return Err(place.refuse(
                "a join without an equality of the rows and the lookup table",
                "write JOIN … ON stream.key = lookup.key",
            ));
        }
        let mut flows = self.lower(&join.left, hidden, Side::Stream)?;
        let table = self.lookup(join, place)?;
        if let Origin::Input(InputFrom::Source(name), _) = &table.origin {
            self.lookups.insert(name.clone());
        }
        for flow in &mut flows {
            append(flow, &table, join, outer, place)?;
        }
        Ok(flows)
    }

    fn lookup(&mut self, join: &Join, place: Place) -> Result<Flow, SqlProblem> {
        let found = self.lower(&join.right, false, Side::Lookup)?;
        let [mut table] = <[Flow; 1]>::try_from(found)
            .map_err(|_| place.refuse("a join with a UNION is not supported", "join with each lookup table"))?;
        if table.pending.is_some() {
            return Err(place.refuse("a lookup table has no windows", "name the table itself in JOIN"));
        }
        let indices = table.columns.iter().filter_map(Logical::index);
        let (exprs, fields) = indices
            .map(|index| {
                let field = table.physical.field(index);
                let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), index));
                (column, field.as_ref().clone().with_nullable(true))
            })
            .unzip();
        table.project_to(exprs, fields);
        table.columns = (0..table.physical.fields().len()).map(|index| Logical::row(index, Role::Plain)).collect();
        Ok(table)
    }
}

/// Appends the join to a flow.
fn append(flow: &mut Flow, table: &Flow, join: &Join, outer: bool, place: Place) -> Result<(), SqlProblem> {
    let Origin::Input(InputFrom::Source(name), columns) = &table.origin else {
        return Err(place.refuse("a join of two streams is not supported yet", "join with a lookup table"));
    };
    let (mut left_keys, mut right_keys) = (vec![], vec![]);
    for (left, right) in &join.on {
        if flow.made_of(left, join.left.schema()) != MadeOf::Rows {
            return Err(place.refuse("a join on a window's columns is not supported", "join before the window"));
        }
        let left = flow.physical(left, join.left.schema(), place)?;
        let right = physical(right, join.right.schema()).map_err(|error| from_planner(&error, place))?;
        let (left_type, right_type) = (left.data_type(&flow.physical), right.data_type(&table.physical));
        let same = matches!((&left_type, &right_type), (Ok(left), Ok(right)) if left == right);
        let wanted = left_type.map_err(|error| from_planner(&error, place))?;
        right_keys.push(if same {
            right
        } else {
            Arc::new(CastExpr::new(right, wanted, None)) as Arc<dyn PhysicalExpr>
        });
        left_keys.push(left);
    }
    let rows = flow.physical.fields().len();
    let added = table.physical.fields().iter().cloned();
    let fields: Vec<Arc<Field>> = flow.physical.fields().iter().cloned().chain(added).collect();
    let schema = Arc::new(Schema::new(fields));
    flow.physical = Arc::clone(&schema);
    flow.columns.extend((0..table.columns.len()).map(|index| Logical::row(rows + index, Role::Plain)));
    let filter = condition(flow, join, place)?;
    if let Some(pending) = &mut flow.pending {
        pending.filtered |= !outer;
    }
    let right =
        Transform::new(Arc::clone(&table.input), Arc::clone(&table.physical), slim(&table.input, table.steps.clone()));
    flow.push(Step::Join(Box::new(LookupJoin {
        table: name.clone(),
        columns: columns.clone(),
        right: Arc::new(right),
        left_keys,
        right_keys,
        filter,
        outer,
        schema,
        bound: None,
    })));
    Ok(())
}

/// The conditions that are no equalities, over the columns of both sides.
fn condition(flow: &Flow, join: &Join, place: Place) -> Result<Option<Arc<dyn PhysicalExpr>>, SqlProblem> {
    let Some(filter) = &join.filter else { return Ok(None) };
    let both: DFSchema = join.left.schema().join(join.right.schema()).map_err(|error| from_planner(&error, place))?;
    if flow.made_of(filter, &both) != MadeOf::Rows {
        return Err(place.refuse("a join on a window's columns is not supported", "join before the window"));
    }
    flow.physical(filter, &both, place).map(Some)
}
