//! `avg` with Flink's types: that of the argument for whole numbers, a decimal for decimals.

use arrow::datatypes::DataType;
use datafusion::common::{plan_err, utils::take_function_args};
use datafusion::error::Result;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};

/// Digits after the point that an average of decimals has at least: `LogicalTypeMerging.findAvgAggType` of Flink.
const LEAST_SCALE: i8 = 6;

/// What the planner sees of `avg`. Floats are averaged by its own kernels; for other numbers the lowering puts a sum and
/// a count in its place, so that nothing wraps.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Avg {
    signature: Signature,
}

pub(super) fn function() -> AggregateUDF {
    AggregateUDF::from(Avg { signature: Signature::user_defined(Volatility::Immutable) })
}

impl AggregateUDFImpl for Avg {
    fn name(&self) -> &str {
        "avg"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, found: &[DataType]) -> Result<Vec<DataType>> {
        let [found] = take_function_args("AVG", found)?;
        Ok(vec![match found {
            DataType::Float32 | DataType::Float64 | DataType::Null => DataType::Float64,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Decimal128(..) => {
                found.clone()
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::Int64,
            _ => return plan_err!("the argument of AVG is {}, expected a number", crate::explain::Type(found)),
        }])
    }

    fn return_type(&self, found: &[DataType]) -> Result<DataType> {
        let [found] = take_function_args("AVG", found)?;
        Ok(match found {
            DataType::Decimal128(_, scale) => DataType::Decimal128(38, (*scale).max(LEAST_SCALE)),
            other => other.clone(),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        avg_udaf().accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<arrow::datatypes::FieldRef>> {
        avg_udaf().state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        avg_udaf().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        avg_udaf().create_groups_accumulator(args)
    }
}
