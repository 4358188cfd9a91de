//! From text to stages.

mod casts;
mod constants;
mod context;
mod fields;
mod rules;
mod search;
mod window_node;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use datafusion::common::DFSchema;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::planner::{ContextProvider, SqlToRel};
use datafusion::sql::sqlparser::ast::{Ident, Query, Statement as Parsed};

use crate::catalog::{Catalog, SinkTable};
use crate::explain::Type;
use crate::functions;
use crate::lower::Builder;
use crate::problem::{Place, SqlProblem, from_planner, suggestion};
use crate::stages::{PlannedPipeline, Stage, StageOutput};
use crate::text::{self, Marks, Statement, StatementKind};
pub(crate) use casts::NAMED as NAMED_CAST;
pub(crate) use constants::why;
pub(crate) use context::Context;
pub(crate) use window_node::{EVENT_TIME, WINDOW_COLUMNS, WindowNode};

/// Stack of the thread that plans. Trees are as deep as [`text`]'s limits allow, and planning recurses into them.
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// Planning that takes longer is given up. Its thread is left behind: it cannot be stopped, and whoever refuses a text
/// ends soon.
const MOST_TIME: Duration = Duration::from_secs(10);
/// Nodes of one statement's plan, views included as often as they are named.
const MAX_NODES: usize = 2_000;

/// Plans the SQL of a pipeline over the tables that it may name.
///
/// # Errors
/// Every problem that was found: those of each statement, as far as one does not hide another. Where it is not known what some
/// names are there is no plan: these are the problems that do not depend on them, and may be none.
pub fn plan(sql: &str, catalog: &Catalog) -> Result<PlannedPipeline, Vec<SqlProblem>> {
    let (sql, catalog) = (sql.to_owned(), catalog.clone());
    let (sender, planned) = mpsc::sync_channel(1);
    let plan = move || {
        // Nobody listens any more once the time is over.
        let _ = sender.send(plan_here(&sql, &catalog));
    };
    let thread = std::thread::Builder::new().name("sql".to_owned()).stack_size(STACK_BYTES);
    let problem = match thread.spawn(plan).map(|_| planned.recv_timeout(MOST_TIME)) {
        Ok(Ok(planned)) => return planned,
        Ok(Err(RecvTimeoutError::Timeout)) => Place::default().refuse(
            format!("planning took longer than {} s", MOST_TIME.as_secs()),
            "nest calls less deeply, or split the text over several pipelines",
        ),
        Ok(Err(RecvTimeoutError::Disconnected)) => {
            Place::default().problem("internal error: the SQL planner gave up on this text")
        }
        Err(error) => Place::default().problem(format!("internal error: no thread to plan on: {error}")),
    };
    Err(vec![problem])
}

fn plan_here(sql: &str, catalog: &Catalog) -> Result<PlannedPipeline, Vec<SqlProblem>> {
    let (statements, mut problems) = text::parse(sql);
    let mut script = Script {
        catalog,
        context: Context::new(catalog),
        builder: Builder::new(catalog),
        inserts: vec![],
        failed: catalog.unknown.names.clone(),
    };
    for statement in statements {
        problems.extend(script.statement(statement).err().unwrap_or_default());
    }
    if problems.is_empty() && script.inserts.is_empty() {
        problems.push(Place::default().refuse("the SQL writes nowhere", "write INSERT INTO sink SELECT … FROM source"));
    }
    if problems.is_empty() && catalog.is_whole() {
        let planned = script.builder.finish();
        match mixed_sink(&planned, &script.inserts) {
            None => return Ok(planned),
            Some(problem) => problems.push(problem),
        }
    }
    problems.sort();
    problems.dedup();
    Err(problems)
}

/// The refusal of a sink that two statements give different columns.
fn mixed_sink(planned: &PlannedPipeline, inserts: &[Place]) -> Option<SqlProblem> {
    let mut given: BTreeMap<&str, &Stage> = BTreeMap::new();
    for stage in &planned.stages {
        let StageOutput::Sink(sink) = &stage.output else { continue };
        let first = *given.entry(sink).or_insert(stage);
        let shown = |stage: &Stage| {
            let columns = stage.schema.fields().iter();
            columns.map(|field| format!("{} {}", field.name(), Type(field.data_type()))).collect::<Vec<_>>().join(", ")
        };
        if shown(first) != shown(stage) {
            let found = format!("INSERT {} gives the sink `{sink}` ({})", stage.statement + 1, shown(stage));
            let help = format!("give it what INSERT {} does: ({})", first.statement + 1, shown(first));
            let place = inserts.get(stage.statement).copied().unwrap_or_default();
            return Some(place.refuse(found, help));
        }
    }
    None
}

struct Script<'a> {
    catalog: &'a Catalog,
    context: Context,
    builder: Builder<'a>,
    /// Where the sink of each `INSERT` is named.
    inserts: Vec<Place>,
    /// Tables of which nothing is known: views with problems of their own, and what the catalog does not know.
    failed: BTreeSet<String>,
}

impl Script<'_> {
    fn statement(&mut self, mut statement: Statement) -> Result<(), Vec<SqlProblem>> {
        let (written, mut windows) = (statement.clone(), vec![]);
        let (marks, mut problems) = text::rewrite(&mut statement, self.catalog, &mut windows);
        let sink = match statement.kind {
            StatementKind::Insert => {
                self.inserts.push(Place::from(statement.name.span).or(statement.place));
                self.sink(&statement.name).map_err(|problem| problems.push(problem)).ok()
            }
            StatementKind::View => None,
        };
        if !problems.is_empty() {
            problems.extend(self.absent_tables(&marks, &problems));
            if statement.kind == StatementKind::View {
                // Statements that use the view shall not complain that there is none.
                self.failed.insert(statement.name.value);
            }
            return Err(problems);
        }
        self.context.set_windows(windows);
        let (plan, names) = match self.named(&statement, &marks) {
            Ok(named) => named,
            Err(problem) => {
                let problem = meant_text(self.located(&written, problem, &marks), &marks);
                return Err(self.unless_hidden(&statement, problem));
            }
        };
        let Some(sink) = sink else {
            return self.view(&statement, plan, &names).map_err(|problem| vec![problem]);
        };
        let problems = missing_columns(&sink, &names, Place::from(statement.name.span).or(statement.place));
        if !problems.is_empty() {
            return Err(problems);
        }
        let built = insert(&mut self.builder, plan, &sink.name, &names, &marks);
        built.map_err(|problem| vec![self.located(&written, problem, &marks)])
    }

    /// The tables that a statement with other problems names and that are not there: it is not planned, which would tell.
    fn absent_tables(&self, marks: &Marks, told: &[SqlProblem]) -> Vec<SqlProblem> {
        let is_told = |place: Place| told.iter().any(|problem| problem.is_at(place));
        let is_named = |name: &String| {
            let is_failed = self.failed.contains(name) || self.catalog.is_unknown(name);
            marks.with.contains(name) || is_failed || name.starts_with(text::WINDOW_PREFIX)
        };
        let named = marks.tables.iter().filter(|(name, place)| !is_named(name) && !is_told(*place));
        let absent = named.filter_map(|(name, place)| Some((name, place, self.context.absent(name)?)));
        let problem = |(name, place, help): (&String, &Place, String)| {
            place.or(marks.statement).refuse(format!("there is no source or view `{name}`"), help)
        };
        absent.map(problem).collect()
    }

    fn sink(&self, name: &Ident) -> Result<SinkTable, SqlProblem> {
        let sinks = &self.catalog.sinks;
        let unknown = || SinkTable { name: name.value.clone(), required_columns: vec![] };
        let found = sinks.iter().find(|sink| sink.name == name.value).cloned();
        found.or_else(|| self.catalog.is_unknown(&name.value).then(unknown)).ok_or_else(|| {
            let help = suggestion(&name.value, sinks.iter().map(|sink| sink.name.as_str()));
            Place::from(name.span).refuse(format!("there is no sink `{}`", name.value), help)
        })
    }

    /// The statement's query as a plan, and the names of its columns.
    fn named(&self, statement: &Statement, marks: &Marks) -> Result<(LogicalPlan, Vec<String>), SqlProblem> {
        let plan = self.logical(statement)?;
        match output_names(statement, plan.schema()) {
            Ok(names) => Ok((plan, names)),
            // What cannot run whatever its columns are called is told first.
            Err(problem) if statement.kind == StatementKind::Insert => {
                let names: Vec<String> = (0..plan.schema().fields().len()).map(|at| format!("column {at}")).collect();
                insert(&mut Builder::new(self.catalog), plan, &statement.name.value, &names, marks)?;
                Err(problem)
            }
            Err(problem) => Err(problem),
        }
    }

    /// The statement's query with every name resolved and every type known.
    fn logical(&self, statement: &Statement) -> Result<LogicalPlan, SqlProblem> {
        let planned = SqlToRel::new(&self.context)
            .sql_statement_to_plan(Parsed::Query(statement.query.clone()))
            .map_err(|error| from_planner(&error, Place::default()))?;
        let nodes = count(&planned);
        if nodes > MAX_NODES {
            let found = format!("the plan has {nodes} nodes, the limit is {MAX_NODES}");
            return Err(statement.place.refuse(found, "use views less often inside of one another"));
        }
        rules::analyze(planned, self.context.options()).map_err(|error| from_planner(&error, Place::default()))
    }

    /// A problem with a statement, unless it only says that a table is missing of which nothing is known.
    fn unless_hidden(&mut self, statement: &Statement, problem: SqlProblem) -> Vec<SqlProblem> {
        let is_failed = |named: &str| self.failed.iter().any(|table| named.starts_with(&format!("{table}`")));
        let missing = problem.message.strip_prefix("there is no source or view `");
        let is_hidden = missing.is_some_and(|named| self.catalog.unknown.others || is_failed(named));
        // Only now: a view that reads itself has no other problem to tell.
        if statement.kind == StatementKind::View {
            self.failed.insert(statement.name.value.clone());
        }
        if is_hidden { vec![] } else { vec![problem] }
    }

    /// Gives a problem without a place that of what it is about: the smallest part of the statement that has it too, else
    /// the function that it names.
    fn located(&mut self, written: &Statement, problem: SqlProblem, marks: &Marks) -> SqlProblem {
        if !problem.is_at(Place::default()) && !problem.is_at(marks.statement) {
            return problem;
        }
        let mut has_it = |query: Query| {
            let part = Statement { query: Box::new(query), columns: vec![], ..written.clone() };
            self.problem_of(part).is_some_and(|found| found.message == problem.message)
        };
        let place = search::place(&written.query, &mut has_it);
        let (message, named) = as_called(&problem.message, marks);
        let place = place.or(named).unwrap_or(marks.statement);
        SqlProblem { help: problem.help, ..place.problem(message) }
    }

    /// What is wrong with a statement of which nothing is kept.
    fn problem_of(&mut self, mut statement: Statement) -> Option<SqlProblem> {
        let mut windows = vec![];
        let (marks, problems) = text::rewrite(&mut statement, self.catalog, &mut windows);
        if !problems.is_empty() {
            return None;
        }
        self.context.set_windows(windows);
        let built = self.named(&statement, &marks).and_then(|(plan, names)| {
            insert(&mut Builder::new(self.catalog), plan, &statement.name.value, &names, &marks)
        });
        built.err()
    }

    fn view(&mut self, statement: &Statement, plan: LogicalPlan, names: &[String]) -> Result<(), SqlProblem> {
        let place = Place::from(statement.name.span).or(statement.place);
        let columns = plan.schema().columns().into_iter().zip(names);
        let renamed = columns.map(|(column, name)| datafusion::logical_expr::Expr::Column(column).alias(name));
        let plan = LogicalPlanBuilder::from(plan)
            .project(renamed.collect::<Vec<_>>())
            .and_then(LogicalPlanBuilder::build)
            .map_err(|error| from_planner(&error, statement.place))?;
        if self.context.add_view(&statement.name.value, plan) {
            return Ok(());
        }
        Err(place.refuse(
            format!("there is a source or view `{}` already", statement.name.value),
            "give the view another name",
        ))
    }
}

/// A column that is not there, and stands in the quotes of other languages' texts.
fn meant_text(problem: SqlProblem, marks: &Marks) -> SqlProblem {
    let is_it = |name: &&String| problem.message == format!("column `{name}` not found");
    match marks.quoted.iter().find(is_it) {
        Some(name) => SqlProblem { help: Some(format!("a text stands in single quotes: '{name}'")), ..problem },
        None => problem,
    }
}

/// Adds the stages of an `INSERT`.
fn insert(
    builder: &mut Builder<'_>,
    plan: LogicalPlan,
    sink: &str,
    names: &[String],
    marks: &Marks,
) -> Result<(), SqlProblem> {
    let optimized = rules::optimize(plan).map_err(|error| from_planner(&error, marks.statement))?;
    builder.insert(&optimized, sink, names, marks.clone())
}

/// A message with the names by which the text calls functions, and where the first of them stands.
fn as_called(message: &str, marks: &Marks) -> (String, Option<Place>) {
    let lower = message.to_lowercase();
    let says = |name: &str| lower.split(|ch: char| !ch.is_alphanumeric() && ch != '_').any(|word| word == name);
    let named = marks.functions.iter().find(|(name, _)| says(name) || says(functions::planner_name(name)));
    let Some((name, place)) = named else {
        // What has a syntax of its own is no call: TRIM(BOTH …), SUBSTRING(x FROM 2).
        let name = message.split('\'').nth(1).unwrap_or_default();
        return (message.replace(&format!("'{name}'"), &format!("'{}'", functions::written_name(name))), None);
    };
    (message.replace(&format!("'{}'", functions::planner_name(name)), &format!("'{name}'")), Some(*place))
}

fn count(plan: &LogicalPlan) -> usize {
    let mut nodes = 0;
    let mut open = vec![plan];
    while let Some(node) = open.pop() {
        nodes += 1;
        if nodes > MAX_NODES {
            break;
        }
        open.extend(node.inputs());
    }
    nodes
}

/// The names of a statement's columns: those that it lists, else those of its query.
fn output_names(statement: &Statement, schema: &DFSchema) -> Result<Vec<String>, SqlProblem> {
    let found = schema.fields().len();
    let listed = statement.columns.len();
    if listed != 0 && listed != found {
        let place = Place::from(statement.columns[0].span).or(statement.place);
        return Err(place.problem(format!("{listed} columns are listed, the query gives {found}")));
    }
    let names: Vec<String> = if listed == 0 {
        schema.fields().iter().map(|field| field.name().clone()).collect()
    } else {
        statement.columns.iter().map(|column| column.value.clone()).collect()
    };
    let mut seen = BTreeSet::new();
    match names.iter().position(|name| !seen.insert(name.as_str())) {
        Some(twice) => {
            let place = statement.columns.get(twice).map_or(Place::default(), |column| column.span.into());
            let found = format!("two columns are called `{}`", names[twice]);
            Err(place.or(statement.place).refuse(found, "rename one"))
        }
        None => Ok(names),
    }
}

fn missing_columns(sink: &SinkTable, names: &[String], place: Place) -> Vec<SqlProblem> {
    let missing = sink.required_columns.iter().filter(|column| !names.contains(column));
    missing
        .map(|column| {
            let found = format!("the sink `{}` needs a column `{column}`, which the query does not give", sink.name);
            place.refuse(found, suggestion(column, names.iter().map(String::as_str)))
        })
        .collect()
}
