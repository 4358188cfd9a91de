//! Sums and averages of whole numbers and decimals, which never wrap: kernels add in a type that holds the sum of any log,
//! and what they give is brought into the type that the query sees. Where that is too small, the group fails as it does on
//! any other expression.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, DecimalType, Field, FieldRef, Int8Type, Int16Type, Int32Type, Int64Type,
    Schema, i256,
};
use arrow::record_batch::RecordBatch;
use datafusion::common::{exec_err, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::CastExpr;

use crate::explain::Type;

/// The greatest precision whose sums fit 128 bits with room for 10¹⁰ values of the greatest size.
const MOST_128: u8 = 28;

/// What a call computes from a sum, or from a sum and a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    Sum,
    Average,
}

/// What a call is to be computed as, if not by the planner's kernel of its name.
pub(super) fn of(function: &str, argument: &DataType) -> Option<What> {
    let exact = matches!(
        argument,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Decimal128(..)
    );
    match function {
        "sum" if exact => Some(What::Sum),
        "avg" if exact => Some(What::Average),
        _ => None,
    }
}

/// An argument in a type whose sum cannot wrap.
pub(super) fn widened(argument: Arc<dyn PhysicalExpr>, kind: &DataType) -> Arc<dyn PhysicalExpr> {
    let wide = match *kind {
        // 19 digits are those of a BIGINT; 2⁶³ of the greatest are within 128 bits.
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => DataType::Decimal128(19, 0),
        DataType::Decimal128(precision, scale) if precision > MOST_128 => DataType::Decimal256(precision, scale),
        _ => return argument,
    };
    Arc::new(CastExpr::new(argument, wide, None))
}

/// The result of a call in the type of the query, from the columns that its kernels give.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exact {
    /// The call as people know it.
    name: String,
    what: What,
    /// The sum, and for an average the count.
    parts: Vec<Arc<dyn PhysicalExpr>>,
    kind: DataType,
}

impl Exact {
    pub(super) fn new(name: String, what: What, parts: Vec<Arc<dyn PhysicalExpr>>, kind: DataType) -> Self {
        Self { name, what, parts, kind }
    }

    /// A sum with so many digits after the point in units of the result: for an average, divided by the count.
    fn value(&self, sum: i256, scale: i8, count: Option<i64>) -> Option<i256> {
        let (What::Average, Some(count)) = (self.what, count) else { return Some(sum) };
        let count = i256::from(count);
        match self.kind {
            // Rounded half up, away from zero, as Flink divides decimals.
            DataType::Decimal128(_, wanted) => {
                let shift = u32::try_from(wanted - scale).ok()?;
                let scaled = sum.checked_mul(i256::from(10_i64).checked_pow(shift)?)?;
                let (whole, rest) = (scaled.checked_div(count)?, scaled.checked_rem(count)?.wrapping_abs());
                let up = rest.checked_mul(i256::from(2_i64))? >= count;
                let one = if sum < i256::ZERO { i256::MINUS_ONE } else { i256::ONE };
                if up { whole.checked_add(one) } else { Some(whole) }
            }
            _ => sum.checked_div(count),
        }
    }

    fn values(&self, sums: &ArrayRef, counts: Option<&ArrayRef>) -> Result<Vec<Option<i256>>> {
        let scale = match sums.data_type() {
            DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale,
            other => return internal_err!("{} is added as {other}", self.name),
        };
        let counts = counts.map(|counts| counts.as_primitive::<Int64Type>());
        let value = |(row, sum): (usize, Option<i256>)| {
            let Some(sum) = sum else { return Ok(None) };
            let value = self.value(sum, scale, counts.map(|counts| counts.value(row)));
            value.filter(|value| self.fits(*value)).map(Some).map_or_else(|| self.too_large(sum, scale), Ok)
        };
        match sums.as_primitive_opt::<Decimal128Type>() {
            Some(narrow) => narrow.iter().map(|sum| sum.map(i256::from_i128)).enumerate().map(value).collect(),
            None => sums.as_primitive::<Decimal256Type>().iter().enumerate().map(value).collect(),
        }
    }

    fn fits(&self, value: i256) -> bool {
        let Some(value) = value.to_i128() else { return false };
        match self.kind {
            DataType::Int8 => i8::try_from(value).is_ok(),
            DataType::Int16 => i16::try_from(value).is_ok(),
            DataType::Int32 => i32::try_from(value).is_ok(),
            DataType::Int64 => i64::try_from(value).is_ok(),
            DataType::Decimal128(precision, _) => Decimal128Type::is_valid_decimal_precision(value, precision),
            _ => false,
        }
    }

    fn too_large<V>(&self, sum: i256, scale: i8) -> Result<V> {
        let found = Decimal256Type::format_decimal(sum, 76, scale);
        exec_err!("{found} is beyond {}", Type(&self.kind))
    }

    fn narrowed(&self, values: Vec<Option<i256>>) -> Result<ArrayRef> {
        macro_rules! whole {
            ($kind:ty) => {
                Arc::new(PrimitiveArray::<$kind>::from_iter(
                    values.into_iter().map(|value| value.map(|value| value.as_i128() as _)),
                ))
            };
        }
        Ok(match self.kind {
            DataType::Int8 => whole!(Int8Type),
            DataType::Int16 => whole!(Int16Type),
            DataType::Int32 => whole!(Int32Type),
            DataType::Int64 => whole!(Int64Type),
            DataType::Decimal128(precision, scale) => {
                let narrow = values.into_iter().map(|value| value.map(i256::as_i128));
                Arc::new(narrow.collect::<Decimal128Array>().with_precision_and_scale(precision, scale)?)
            }
            ref other => return internal_err!("{} is no {other}", self.name),
        })
    }
}

impl PhysicalExpr for Exact {
    fn return_field(&self, _input: &Schema) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(&self.name, self.kind.clone(), true)))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let parts = self.parts.iter().map(|part| part.evaluate(batch)?.into_array(rows)).collect::<Result<Vec<_>>>()?;
        let Some(sums) = parts.first() else { return internal_err!("{} has no sum", self.name) };
        self.narrowed(self.values(sums, parts.get(1))?).map(ColumnarValue::Array)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.parts.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, parts: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self::new(self.name.clone(), self.what, parts, self.kind.clone())))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Hash for Exact {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.parts.hash(state);
    }
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} AS {}", self.name, Type(&self.kind))
    }
}
