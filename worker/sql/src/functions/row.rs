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
