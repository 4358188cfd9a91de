//! Casts, which the planner's names of expressions leave out: to it `avg(x)` and `avg(CAST(x AS DOUBLE))` are one name, and
//! two columns of one name are refused. While names are given a cast is a call of [`NAMED`], with the type as text.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The name of the call: no SQL can call it, since the word begins a cast.
pub(crate) const NAMED: &str = "cast";

static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    Arc::new(ScalarUDF::new_from_impl(NamedCast { signature: Signature::any(2, Volatility::Immutable) }))
});

/// The function that the call is of.
pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::clone(&FUNCTION)
}

/// What it is a name for.
pub(super) fn unnamed(expr: Expr, _schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::ScalarFunction(mut call) if call.name() == NAMED && call.args.len() == 2 => {
            Ok(Transformed::yes(call.args.swap_remove(0)))
        }
        _ => Ok(Transformed::no(expr)),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NamedCast {
    signature: Signature,
}

impl ScalarUDFImpl for NamedCast {
    fn name(&self) -> &str {
        NAMED
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        match args {
            [cast, _] => Ok(cast.clone()),
            _ => internal_err!("a cast has a value and a type"),
        }
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("a name of a cast is never computed")
    }
}
