//! What names in a statement mean: sources, views, windows, functions, types.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{TableReference, plan_err};
use datafusion::error::Result;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::sqlparser::ast::{DataType as SqlType, ExactNumberInfo, Spanned, TimezoneInfo};

use super::casts;
use super::fields::Fields;
use super::window_node::WindowPlanner;
use crate::catalog::Catalog;
use crate::functions;
use crate::problem::{Carried, Place, SqlProblem, nearest, suggestion};
use crate::text::WindowCall;

/// Names of one text; views are added as they are declared.
pub(crate) struct Context {
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    options: ConfigOptions,
    expressions: Vec<Arc<dyn ExprPlanner>>,
    relations: Vec<Arc<dyn RelationPlanner>>,
}

impl Context {
    /// The names that a catalog gives.
    pub(crate) fn new(catalog: &Catalog) -> Self {
        let tables = catalog.sources.iter().map(|source| {
            let table: Arc<dyn TableSource> = Arc::new(Base(Arc::clone(&source.schema)));
            (source.name.clone(), table)
        });
        let mut options = ConfigOptions::default();
        options.sql_parser.enable_ident_normalization = false;
        options.sql_parser.collect_spans = true;
        options.sql_parser.map_string_types_to_utf8view = false;
        options.sql_parser.parse_float_as_decimal = true;
        let mut expressions: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(Fields)];
        expressions.extend(SessionStateDefaults::default_expr_planners());
        Self { tables: tables.collect(), options, expressions, relations: vec![] }
    }

    /// Makes the windows of a statement known.
    pub(crate) fn set_windows(&mut self, windows: Vec<WindowCall>) {
        self.relations = vec![Arc::new(WindowPlanner::new(windows))];
    }

    /// Makes a view known; `false` if there is something of that name.
    pub(crate) fn add_view(&mut self, name: &str, plan: LogicalPlan) -> bool {
        let view = View { schema: Arc::clone(plan.schema().inner()), plan };
        let free = !self.tables.contains_key(name);
        if free {
            self.tables.insert(name.to_owned(), Arc::new(view));
        }
        free
    }

    /// The help where there is no table of a name.
    pub(super) fn absent(&self, table: &str) -> Option<String> {
        let known = || suggestion(table, self.tables.keys().map(String::as_str));
        (!self.tables.contains_key(table)).then(known)
    }
}

/// A source.
struct Base(SchemaRef);

impl TableSource for Base {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }
}

/// A view: wherever it is named, its plan stands.
struct View {
    schema: SchemaRef,
    plan: LogicalPlan,
}

impl TableSource for View {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

impl ContextProvider for Context {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let table = name.table();
        if name.schema().is_some() {
            return plan_err!("`{name}`: a pipeline has no catalogs or databases; write `{table}`");
        }
        match (self.tables.get(table), self.absent(table)) {
            (Some(found), _) => Ok(Arc::clone(found)),
            (None, help) => plan_err!("there is no source or view `{table}`; {}", help.unwrap_or_default()),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expressions
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relations
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(FlinkTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if name == casts::NAMED { Some(casts::function()) } else { functions::scalar(name) }
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        functions::aggregate(name)
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        functions::scalar_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        vec![]
    }

    fn udaf_names(&self) -> Vec<String> {
        functions::aggregate_names()
    }

    fn udwf_names(&self) -> Vec<String> {
        vec![]
    }
}

/// Types that a text may cast to.
const TYPES: &[&str] = &[
    "BIGINT",
    "BOOLEAN",
    "CHAR",
    "DATE",
    "DECIMAL",
    "DOUBLE",
    "FLOAT",
    "INT",
    "INTEGER",
    "SMALLINT",
    "STRING",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "TINYINT",
    "VARCHAR",
];

/// Flink's type names where the planner means another type by them, or none.
#[derive(Debug)]
struct FlinkTypes;

impl TypePlanner for FlinkTypes {
    fn plan_type_field(&self, sql: &SqlType) -> Result<Option<FieldRef>> {
        let planned = match sql {
            SqlType::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => timestamp(*precision),
            SqlType::Custom(name, arguments) if name.to_string().eq_ignore_ascii_case("TIMESTAMP_LTZ") => {
                timestamp(arguments.first().and_then(|precision| precision.parse().ok()))
            }
            SqlType::Decimal(info) | SqlType::Dec(info) | SqlType::Numeric(info) => {
                let (precision, scale) = match *info {
                    ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
                    ExactNumberInfo::Precision(precision) => (precision, 0),
                    ExactNumberInfo::None => return Ok(None),
                };
                if !(1..=38).contains(&precision) || !u64::try_from(scale).is_ok_and(|scale| scale <= precision) {
                    return plan_err!("`{sql}`: a DECIMAL has 1 to 38 digits, of which 0 to all are behind the point");
                }
                return Ok(None);
            }
            SqlType::Custom(name, _) => {
                let known = nearest(&name.to_string(), TYPES.iter().copied());
                let problem = Place::from(name.span()).problem(format!("there is no type `{name}`"));
                let help = known.map(|known| format!("did you mean {known}?"));
                return Err(Carried(SqlProblem { help, ..problem }).into());
            }
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", planned, true))))
    }
}

/// Times are UTC, and as fine as their precision says: 6 digits by default, as in Flink.
fn timestamp(precision: Option<u64>) -> DataType {
    let unit = match precision.unwrap_or(6) {
        0..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    };
    DataType::Timestamp(unit, None)
}
