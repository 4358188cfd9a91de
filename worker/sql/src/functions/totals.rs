//! `sum` and `avg` with Flink's types: of decimals a decimal of 38 digits, an average of whole numbers one of their type.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, FieldRef};
use datafusion::common::{plan_err, utils::take_function_args};
use datafusion::error::Result;
use datafusion::functions_aggregate::{average::avg_udaf, sum::sum_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};

/// Digits after the point that an average of decimals has at least: `LogicalTypeMerging.findAvgAggType` of Flink.
const LEAST_SCALE: i8 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Of {
    Sum,
    Avg,
}

/// What the planner sees of a call. Floats are added by its own kernels; for other numbers the lowering puts a sum and a
/// count in its place, so that nothing wraps.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Total {
    of: Of,
    signature: Signature,
}

pub(super) fn sum() -> AggregateUDF {
    AggregateUDF::from(Total { of: Of::Sum, signature: Signature::user_defined(Volatility::Immutable) })
}

pub(super) fn avg() -> AggregateUDF {
    AggregateUDF::from(Total { of: Of::Avg, signature: Signature::user_defined(Volatility::Immutable) })
}

impl Total {
    fn planner(&self) -> std::sync::Arc<AggregateUDF> {
        match self.of {
            Of::Sum => sum_udaf(),
            Of::Avg => avg_udaf(),
        }
    }
}

impl AggregateUDFImpl for Total {
    fn name(&self) -> &str {
        match self.of {
            Of::Sum => "sum",
            Of::Avg => "avg",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, found: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name().to_uppercase();
        let [found] = take_function_args(&name, found)?;
        Ok(vec![match found {
            DataType::Float32 | DataType::Float64 | DataType::Null => DataType::Float64,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Decimal128(..) => {
                found.clone()
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::Int64,
            _ => return plan_err!("the argument of {name} is {}, expected a number", crate::explain::Type(found)),
        }])
    }

    fn return_type(&self, found: &[DataType]) -> Result<DataType> {
        let [found] = take_function_args(self.name(), found)?;
        Ok(match (self.of, found) {
            (Of::Sum, DataType::Decimal128(_, scale)) => DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale),
            (Of::Avg, DataType::Decimal128(_, scale)) => {
                DataType::Decimal128(DECIMAL128_MAX_PRECISION, (*scale).max(LEAST_SCALE))
            }
            (Of::Sum, whole) if whole.is_integer() => DataType::Int64,
            (_, other) => other.clone(),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.planner().accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.planner().state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.planner().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        self.planner().create_groups_accumulator(args)
    }
}
