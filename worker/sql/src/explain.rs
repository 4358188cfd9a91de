//! A plan as text for people.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{CastExpr, Literal};
use datafusion::physical_expr_common::physical_expr::fmt_sql;

use crate::stages::{InputFrom, PlannedPipeline, Stage, StageInput, StageKind, StageOutput};
use crate::transform::Transform;
use crate::window::{WindowSpec, WindowedAggregate};

/// The stages of a pipeline: what each reads, does and emits.
pub fn explain(plan: &PlannedPipeline) -> String {
    let mut out = String::new();
    for stage in &plan.stages {
        explain_stage(&mut out, stage);
    }
    if !plan.lookups.is_empty() {
        let _ = writeln!(out, "lookup tables: {}", plan.lookups.join(", "));
    }
    out
}

/// What shapes the state of a stage, in words, by name.
pub fn about(stage: &Stage) -> BTreeMap<String, String> {
    let inputs: Vec<String> = stage.inputs.iter().map(|input| in_one_line(|out| explain_input(out, input))).collect();
    let mut words = BTreeMap::from([("its input".to_owned(), inputs.join(" and "))]);
    if let StageKind::Windowed(aggregate) = &stage.kind {
        let keys = key_names(aggregate);
        words.insert("its window".to_owned(), Window(&aggregate.window).to_string());
        words.insert("its keys".to_owned(), if keys.is_empty() { "none".to_owned() } else { keys.join(", ") });
        words.insert("its aggregates".to_owned(), calls(aggregate).join(", "));
        words.insert("what follows them".to_owned(), in_one_line(|out| explain_steps(out, &aggregate.finish)));
    }
    words.insert("its output".to_owned(), in_one_line(|out| explain_output(out, stage)));
    words
}

fn in_one_line(write: impl FnOnce(&mut String)) -> String {
    let mut lines = String::new();
    write(&mut lines);
    let words: Vec<_> = lines.split_whitespace().collect();
    if words.is_empty() { "nothing".to_owned() } else { format!("`{}`", words.join(" ")) }
}

fn explain_stage(out: &mut String, stage: &Stage) {
    let kind = match &stage.kind {
        StageKind::Stateless => "stateless, one unit a split",
        StageKind::Windowed(_) => "windowed, one unit a key group",
    };
    let _ = writeln!(out, "stage {} (INSERT {}): {kind}", stage.id, stage.statement + 1);
    for input in &stage.inputs {
        explain_input(out, input);
    }
    if let StageKind::Windowed(aggregate) = &stage.kind {
        explain_windows(out, aggregate);
    }
    explain_output(out, stage);
}

fn explain_output(out: &mut String, stage: &Stage) {
    let columns: Vec<String> =
        stage.schema.fields().iter().map(|field| format!("{} {}", field.name(), Type(field.data_type()))).collect();
    let _ = match &stage.output {
        StageOutput::Sink(sink) => writeln!(out, "  write  sink {sink} ({})", columns.join(", ")),
        StageOutput::Stage(next) => writeln!(out, "  feed   stage {next} ({})", columns.join(", ")),
    };
}

fn explain_input(out: &mut String, input: &StageInput) {
    let columns = input.columns.join(", ");
    let _ = match &input.from {
        InputFrom::Source(name) => writeln!(out, "  read   {name} ({columns})"),
        InputFrom::Stage(id) => writeln!(out, "  read   stage {id} ({columns})"),
    };
    explain_steps(out, &input.transform);
}

fn explain_steps(out: &mut String, transform: &Transform) {
    for step in transform.steps() {
        let _ = writeln!(out, "         {step}");
    }
}

fn explain_windows(out: &mut String, aggregate: &WindowedAggregate) {
    let _ = writeln!(out, "  window {}", Window(&aggregate.window));
    let keys = key_names(aggregate);
    let _ = writeln!(out, "  keys   {}", if keys.is_empty() { "none".to_owned() } else { keys.join(", ") });
    let calls = calls(aggregate);
    let _ = writeln!(out, "  fold   {}", if calls.is_empty() { "nothing".to_owned() } else { calls.join(", ") });
    if !aggregate.finish.is_identity() {
        let _ = writeln!(out, "  finish");
        explain_steps(out, &aggregate.finish);
    }
}

fn key_names(aggregate: &WindowedAggregate) -> Vec<&str> {
    aggregate.input_schema.fields().iter().take(aggregate.key_count).map(|key| key.name().as_str()).collect()
}

fn calls(aggregate: &WindowedAggregate) -> Vec<String> {
    let calls = aggregate.aggregates.iter().zip(&aggregate.filters);
    let shown = calls.map(|(call, filter)| match filter {
        Some(filter) => format!("{} FILTER {}", Call(call), Sql(filter)),
        None => Call(call).to_string(),
    });
    shown.collect()
}

/// The aggregates whose last digits depend on the order in which values are added: those that add floats.
pub fn inexact(stage: &Stage) -> Vec<String> {
    const ADDING: [&str; 3] = ["sum", "avg", "mean"];
    let StageKind::Windowed(aggregate) = &stage.kind else { return vec![] };
    let adds_floats = |call: &&Arc<AggregateFunctionExpr>| {
        let name = call.fun().name();
        let adds = ADDING.contains(&name) || ["stddev", "var", "corr", "covar"].iter().any(|of| name.starts_with(of));
        let float = |arg: &Arc<dyn PhysicalExpr>| {
            let of = arg.data_type(&aggregate.input_schema);
            of.is_ok_and(|of| matches!(of, DataType::Float32 | DataType::Float64))
        };
        adds && call.expressions().iter().any(float)
    };
    aggregate.aggregates.iter().filter(adds_floats).map(|call| Call(call).to_string()).collect()
}

/// An expression as SQL, its text and times in quotes.
pub(crate) struct Sql<'a>(pub(crate) &'a Arc<dyn PhysicalExpr>);

impl fmt::Display for Sql<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = |node: Arc<dyn PhysicalExpr>| match node
            .downcast_ref::<Literal>()
            .and_then(|found| quoted(found.value()))
        {
            Some(text) => {
                let literal: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(ScalarValue::Utf8(Some(text))));
                Ok(Transformed::yes(literal))
            }
            None => Ok(Transformed::no(node)),
        };
        match Arc::clone(self.0).transform(quote) {
            Ok(quoted) => fmt_sql(quoted.data.as_ref()).fmt(f),
            Err(_) => fmt_sql(self.0.as_ref()).fmt(f),
        }
    }
}

fn quoted(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            Some(format!("'{}'", text.replace('\'', "''")))
        }
        ScalarValue::TimestampMillisecond(Some(millis), None) => {
            let time = chrono::DateTime::from_timestamp_millis(*millis)?.naive_utc();
            Some(format!("TIMESTAMP '{time}'"))
        }
        _ => None,
    }
}

struct Call<'a>(&'a AggregateFunctionExpr);

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args: Vec<String> = self
            .0
            .expressions()
            .iter()
            .map(|arg| match arg.downcast_ref::<Literal>() {
                Some(_) if self.0.fun().name() == "count" => "*".to_owned(),
                // Of the query's own casts columns are made before: this one only keeps sums from wrapping.
                _ => Sql(arg.downcast_ref::<CastExpr>().map_or(arg, CastExpr::expr)).to_string(),
            })
            .collect();
        let distinct = if self.0.is_distinct() { "DISTINCT " } else { "" };
        write!(f, "{}({distinct}{})", self.0.fun().name(), args.join(", "))
    }
}

/// A window as its SQL.
pub(crate) struct Window<'a>(pub(crate) &'a WindowSpec);

impl fmt::Display for Window<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = match *self.0 {
            WindowSpec::Tumble { size, offset } => {
                write!(f, "TUMBLE({}", Millis(size))?;
                offset
            }
            WindowSpec::Hop { size, slide, offset } => {
                write!(f, "HOP({}, {}", Millis(slide), Millis(size))?;
                offset
            }
            WindowSpec::Cumulate { size, step, offset } => {
                write!(f, "CUMULATE({}, {}", Millis(step), Millis(size))?;
                offset
            }
            WindowSpec::Session { gap } => return write!(f, "SESSION({})", Millis(gap)),
            WindowSpec::Attached => return f.write_str("of the stage before"),
        };
        if offset == 0 { f.write_str(")") } else { write!(f, ", offset {})", Millis(offset)) }
    }
}

struct Millis(i64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
        match units.into_iter().find(|(length, _)| self.0 != 0 && self.0 % length == 0) {
            Some((length, unit)) => write!(f, "{} {unit}", self.0 / length),
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// A type under Flink's name.
pub(crate) struct Type<'a>(pub(crate) &'a DataType);

impl fmt::Display for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            DataType::Boolean => "BOOLEAN",
            DataType::Int8 => "TINYINT",
            DataType::Int16 => "SMALLINT",
            DataType::Int32 => "INT",
            DataType::Int64 => "BIGINT",
            DataType::Float32 => "FLOAT",
            DataType::Float64 => "DOUBLE",
            DataType::Utf8 => "STRING",
            DataType::Binary => "BYTES",
            DataType::Date32 => "DATE",
            DataType::Decimal128(precision, scale) => return write!(f, "DECIMAL({precision}, {scale})"),
            DataType::Timestamp(unit, None) => {
                let precision = match unit {
                    TimeUnit::Second => 0,
                    TimeUnit::Millisecond => 3,
                    TimeUnit::Microsecond => 6,
                    TimeUnit::Nanosecond => 9,
                };
                return write!(f, "TIMESTAMP({precision})");
            }
            DataType::List(item) => return write!(f, "ARRAY<{}>", Type(item.data_type())),
            DataType::Map(entries, _) if matches!(entries.data_type(), DataType::Struct(fields) if fields.len() == 2) =>
            {
                let DataType::Struct(fields) = entries.data_type() else { return Ok(()) };
                return write!(f, "MAP<{}, {}>", Type(fields[0].data_type()), Type(fields[1].data_type()));
            }
            DataType::Struct(fields) => {
                f.write_str("ROW<")?;
                for (at, field) in fields.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{} {}", field.name(), Type(field.data_type()))?;
                }
                return f.write_str(">");
            }
            other => return write!(f, "{other}"),
        };
        f.write_str(name)
    }
}
