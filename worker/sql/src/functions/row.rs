//! How a function of our own is declared: the kinds of its arguments, its result, and a function of arrays.

use std::hash::{Hash, Hasher};

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::explain::Type;

/// What an argument must be, and what it is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `Utf8`
    Text,
    /// `Int64`
    Int,
    /// `Float64`
    Double,
    /// `Float32`
    Float,
    /// `Boolean`
    Boolean,
    /// `Utf8`, or `Int64`
    TextOrInt,
    /// `Timestamp(Millisecond)`, of a timestamp or a date
    Time,
    /// Any number, as it is
    Number,
    /// Any value, as it is
    Any,
}

impl Kind {
    fn coerce(self, found: &DataType) -> Option<DataType> {
        use DataType as T;
        let text = matches!(found, T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Null);
        let time = matches!(found, T::Timestamp(..) | T::Date32 | T::Date64 | T::Null);
        match self {
            Self::Text => text.then_some(T::Utf8),
            Self::Int => (found.is_integer() || found.is_null()).then_some(T::Int64),
            Self::Double => (found.is_numeric() || found.is_null()).then_some(T::Float64),
            Self::Float => matches!(found, T::Float32 | T::Null).then_some(T::Float32),
            Self::TextOrInt if text => Some(T::Utf8),
            Self::TextOrInt => found.is_integer().then_some(T::Int64),
            Self::Boolean => matches!(found, T::Boolean | T::Null).then_some(T::Boolean),
            Self::Time => time.then_some(T::Timestamp(TimeUnit::Millisecond, None)),
            Self::Any if found.is_null() => Some(T::Utf8),
            Self::Any => Some(found.clone()),
            Self::Number if found.is_null() => Some(T::Float64),
            Self::Number if !found.is_numeric() => None,
            Self::Number => Some(match found {
                T::Float16 | T::Float32 | T::Float64 => T::Float64,
                T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) => T::Decimal128(*p, *s),
                T::Decimal256(..) => T::Float64,
                _ => T::Int64,
            }),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int => "a whole number",
            Self::Double | Self::Float | Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::TextOrInt => "text or a whole number",
            Self::Time => "a time",
            Self::Any => "a value",
        }
    }
}

/// The type of the result.
#[derive(Clone, Copy, Debug)]
pub(super) enum Returns {
    /// Always this.
    Always(fn() -> DataType),
    /// That of the first argument.
    First,
    /// What follows from the arguments.
    Of(fn(&[DataType]) -> Result<DataType>),
}

/// A function of arrays of equal length.
pub(super) type Run = fn(&[ArrayRef]) -> Result<ArrayRef>;

/// A pure function.
#[derive(Debug)]
pub(super) struct Pure {
    name: &'static str,
    kinds: &'static [Kind],
    required: usize,
    is_variadic: bool,
    returns: Returns,
    run: Run,
    signature: Signature,
}

/// Declares a function that takes as many arguments more of its last kind as are given.
pub(super) fn variadic(name: &'static str, kinds: &'static [Kind], returns: Returns, run: Run) -> ScalarUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    ScalarUDF::from(Pure { name, kinds, required: kinds.len() - 1, is_variadic: true, returns, run, signature })
}

/// Declares a function whose arguments after the first `required` may be left out.
pub(super) fn pure(
    name: &'static str,
    kinds: &'static [Kind],
    required: usize,
    returns: Returns,
    run: Run,
) -> ScalarUDF {
    let signature = if kinds.is_empty() {
        Signature::nullary(Volatility::Immutable)
    } else {
        Signature::user_defined(Volatility::Immutable)
    };
    ScalarUDF::from(Pure { name, kinds, required, is_variadic: false, returns, run, signature })
}

#[cfg(test)]
impl Pure {
    /// What its arguments may be, how many there must be, and how many there may be.
    pub(super) const fn kinds(&self) -> (&'static [Kind], usize, usize) {
        (self.kinds, self.required, self.kinds.len() + if self.is_variadic { 2 } else { 0 })
    }

    /// Its result for arrays of these kinds.
    pub(super) fn of(&self, args: &[ArrayRef]) -> Result<ArrayRef> {
        (self.run)(args)
    }
}

impl PartialEq for Pure {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Pure {}

impl Hash for Pure {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Pure {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, found: &[DataType]) -> Result<Vec<DataType>> {
        let name = super::written_name(self.name).to_uppercase();
        if found.len() < self.required || (found.len() > self.kinds.len() && !self.is_variadic) {
            let most = self.kinds.len();
            let expected =
                if self.required == most { most.to_string() } else { format!("{} to {most}", self.required) };
            return plan_err!("{name} takes {expected} arguments, found {}", found.len());
        }
        let last = self.kinds.last().filter(|_| self.is_variadic);
        let pairs = found.iter().zip(self.kinds.iter().chain(last.into_iter().cycle())).enumerate();
        pairs
            .map(|(at, (found, kind))| match kind.coerce(found) {
                Some(wanted) => Ok(wanted),
                None => plan_err!("argument {} of {name} is {}, expected {}", at + 1, Type(found), kind.name()),
            })
            .collect()
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(match (self.returns, args.first()) {
            (Returns::Always(kind), _) => kind(),
            (Returns::Of(kind), _) => kind(args)?,
            (Returns::First, Some(first)) => first.clone(),
            (Returns::First, None) => DataType::Null,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.into_iter().map(|arg| arg.into_array(rows)).collect::<Result<Vec<_>>>()?;
        let result = (self.run)(&arrays)?;
        if constant {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// The result of the last argument that was asked for: patterns and formats are mostly constants.
pub(super) struct Last<V> {
    key: Option<String>,
    value: Option<V>,
}

impl<V> Last<V> {
    pub(super) const fn new() -> Self {
        Self { key: None, value: None }
    }

    pub(super) fn get(&mut self, key: &str, make: impl FnOnce(&str) -> Result<V>) -> Result<&V> {
        if self.key.as_deref() != Some(key) || self.value.is_none() {
            self.value = Some(make(key)?);
            self.key = Some(key.to_owned());
        }
        match &self.value {
            Some(value) => Ok(value),
            None => datafusion::common::internal_err!("a value was just made"),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{Field, Int64Type, Schema};
    use arrow::record_batch::RecordBatch;
    use datafusion::common::DFSchema;
    use datafusion::prelude::SessionContext;
    use std::sync::Arc;

    use super::*;
    use crate::transform::{Step, Transform};

    #[test]
    fn a_panic_costs_the_rows_that_it_happens_on_and_is_told_with_its_expression() {
        let brittle = pure("brittle", &[Kind::Int], 1, Returns::Always(|| DataType::Int64), |args| {
            let numbers = args[0].as_primitive::<Int64Type>();
            assert!(!numbers.values().contains(&3), "no threes");
            Ok(Arc::clone(&args[0]))
        });
        let context = SessionContext::new();
        context.register_udf(brittle);
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let logical = DFSchema::try_from(Arc::clone(&schema)).expect("a schema");
        let call = context.parse_sql_expr("brittle(n)", &logical).expect("SQL");
        let call = context.create_physical_expr(call, &logical).expect("an expression");
        let step = Step::Project { exprs: vec![call], schema: Arc::clone(&schema) };
        let transform = Transform::new(Arc::clone(&schema), Arc::clone(&schema), vec![step]);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 3, 2, 3, 4, 5]));
        let rows = RecordBatch::try_new(schema, vec![numbers]).expect("a batch");
        let done = transform.apply(&rows);
        assert_eq!(done.batch.column(0).as_primitive::<Int64Type>().values(), &[1, 2, 4, 5]);
        let message = "internal error: no threes, in `brittle(n)`".to_owned();
        assert_eq!(done.failed, [(1, message.clone()), (3, message.clone())]);
        let told = transform.failures(&rows, &done.failed);
        assert_eq!(told.iter().map(|row| &row.message).collect::<Vec<_>>(), [&message, &message]);
        assert_eq!(told[0].row, r#"{"n":3}"#);
    }
}
