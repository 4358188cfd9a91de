//! Flink's spellings turned into what the planner knows; windows taken out of the text.

mod calls;
mod json;
mod patterns;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, TableFactor, TableVersion, Value,
    Visit, VisitMut, VisitorMut,
};

pub(super) use calls::{call, text};

use super::refuse::{Marks, Refusals};
use super::script::Statement;
use super::window_call::{self, WINDOW_PREFIX, WindowCall, WindowData};
use crate::catalog::Catalog;
use crate::problem::SqlProblem;

/// Checks a statement and rewrites it. Windows are numbered on from those in `windows`, and added to them.
pub(crate) fn rewrite(
    statement: &mut Statement,
    catalog: &Catalog,
    windows: &mut Vec<WindowCall>,
) -> (Marks, Vec<SqlProblem>) {
    let first = windows.len();
    let mut extract = Extract { catalog, windows, problems: vec![] };
    let _ = VisitMut::visit(&mut statement.query, &mut extract);
    let mut problems = extract.problems;
    let mut refusals = Refusals::new(statement.place);
    let _ = Visit::visit(&statement.query, &mut refusals);
    for query in inner_queries(&mut windows[first..]) {
        let _ = Visit::visit(query, &mut refusals);
    }
    problems.append(&mut refusals.problems);
    if problems.is_empty() {
        let _ = VisitMut::visit(&mut statement.query, &mut Rewrite::new(&mut problems));
        for query in inner_queries(&mut windows[first..]) {
            let _ = VisitMut::visit(query, &mut Rewrite::new(&mut problems));
        }
    }
    (refusals.marks, problems)
}

/// Queries that stand inside of windows.
fn inner_queries(windows: &mut [WindowCall]) -> impl Iterator<Item = &mut Box<Query>> {
    windows.iter_mut().filter_map(|window| match &mut window.data {
        WindowData::Query(query) => Some(query),
        WindowData::Table(_) => None,
    })
}

/// Takes windows and `FOR SYSTEM_TIME AS OF` of lookup tables out of `FROM`.
struct Extract<'a> {
    catalog: &'a Catalog,
    windows: &'a mut Vec<WindowCall>,
    problems: Vec<SqlProblem>,
}

impl Extract<'_> {
    fn is_lookup(&self, name: &ObjectName) -> bool {
        let name = name.0.last().and_then(ObjectNamePart::as_ident).map(|ident| ident.value.as_str());
        let is_known = self.catalog.sources.iter().any(|source| source.lookup && Some(source.name.as_str()) == name);
        is_known || name.is_some_and(|name| self.catalog.is_unknown(name))
    }
}

impl VisitorMut for Extract<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, version, .. } = factor
            && matches!(version, Some(TableVersion::ForSystemTimeAsOf(_)))
            && self.is_lookup(name)
        {
            *version = None;
        }
        let Some(call) = window_call::parse(factor) else { return ControlFlow::Continue(()) };
        let alias = match factor {
            TableFactor::Table { alias, .. } | TableFactor::TableFunction { alias, .. } => alias.take(),
            _ => None,
        };
        let number = self.windows.len();
        match call {
            Ok(mut call) => {
                if let WindowData::Query(query) = &mut call.data {
                    // Windows inside come first, so that a window's number is greater than those it reads.
                    let _ = VisitMut::visit(query, self);
                }
                self.windows.push(call);
            }
            Err(problem) => self.problems.push(problem),
        }
        let number = if self.windows.len() > number { self.windows.len() - 1 } else { number };
        *factor = table_named(ObjectName::from(vec![Ident::new(format!("{WINDOW_PREFIX}{number}"))]), alias);
        ControlFlow::Continue(())
    }
}

fn table_named(name: ObjectName, alias: Option<datafusion::sql::sqlparser::ast::TableAlias>) -> TableFactor {
    TableFactor::Table {
        name,
        alias,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    }
}

/// Rewrites expressions, and names those that have no name as Flink does.
struct Rewrite<'a> {
    /// What names the tables of each `SELECT` that is being visited, the innermost last.
    tables: Vec<Vec<String>>,
    problems: &'a mut Vec<SqlProblem>,
}

impl<'a> Rewrite<'a> {
    fn new(problems: &'a mut Vec<SqlProblem>) -> Self {
        Self { tables: vec![], problems }
    }

    /// A path of names: a column, or a table and its column, and fields of rows. The planner would look for the last but one
    /// among the tables, and pass over what stands before it.
    fn path(&self, parts: &[Ident]) -> (Expr, Vec<AccessExpr>) {
        let is_table = |name: &Ident| self.tables.last().is_some_and(|tables| tables.contains(&name.value));
        let column = usize::from(parts.len() > 1 && is_table(&parts[0]));
        let (root, fields) = parts.split_at((column + 1).min(parts.len()));
        let root = match root {
            [only] => Expr::Identifier(only.clone()),
            parts => Expr::CompoundIdentifier(parts.to_vec()),
        };
        (root, fields.iter().map(|field| AccessExpr::Dot(field_named(field))).collect())
    }
}

/// A name of a field, as the planner takes it.
fn field_named(field: &Ident) -> Expr {
    Expr::Value(Value::SingleQuotedString(field.value.clone()).with_span(field.span))
}

impl VisitorMut for Rewrite<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let tables = tables(select);
        for (position, item) in select.projection.iter_mut().enumerate() {
            let SelectItem::UnnamedExpr(expr) = item else { continue };
            let Some(alias) = name_of(expr, position, &tables) else { continue };
            let expr = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
        self.tables.push(tables);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &mut Select) -> ControlFlow<()> {
        self.tables.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::CompoundIdentifier(parts) => {
                let (root, access_chain) = self.path(parts);
                if !access_chain.is_empty() {
                    *expr = Expr::CompoundFieldAccess { root: Box::new(root), access_chain };
                }
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                // The names before the first index, of which the first may be a table's.
                let name = |access: &AccessExpr| match access {
                    AccessExpr::Dot(Expr::Identifier(name)) => Some(name.clone()),
                    _ => None,
                };
                let behind: Vec<Ident> = access_chain.iter().map_while(name).collect();
                let parts = match root.as_ref() {
                    Expr::Identifier(name) => Some(vec![name.clone()]),
                    Expr::CompoundIdentifier(parts) => Some(parts.clone()),
                    _ => None,
                };
                if let Some(mut parts) = parts {
                    let count = behind.len();
                    parts.extend(behind);
                    let (column, fields) = self.path(&parts);
                    **root = column;
                    access_chain.splice(..count, fields);
                }
                for access in access_chain {
                    if let Some(name) = name(access) {
                        *access = AccessExpr::Dot(field_named(&name));
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match calls::rewritten(expr).or_else(|| patterns::rewritten(expr)) {
            Some(Ok(rewritten)) => *expr = rewritten,
            Some(Err(problem)) => self.problems.push(problem),
            None => {}
        }
        ControlFlow::Continue(())
    }
}

/// What names the tables of a `SELECT` within it.
fn tables(select: &Select) -> Vec<String> {
    let joined = select.from.iter().flat_map(|from| from.joins.iter().map(|join| &join.relation));
    let factors = select.from.iter().map(|from| &from.relation).chain(joined);
    let named = factors.filter_map(|factor| match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.value.clone())
        }
        TableFactor::Table { name, .. } => name.0.last()?.as_ident().map(|name| name.value.clone()),
        _ => None,
    });
    named.collect()
}

/// The name of a column that has none: that of the field that it takes out of a row, else its position.
fn name_of(expr: &Expr, position: usize, tables: &[String]) -> Option<Ident> {
    let is_table = |name: &Ident| tables.contains(&name.value);
    let field = match expr {
        Expr::Identifier(_) => return None,
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, _] if is_table(table) => return None,
            parts => parts.last(),
        },
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(AccessExpr::Dot(Expr::Identifier(field))) => Some(field),
            _ => None,
        },
        _ => None,
    };
    Some(field.cloned().unwrap_or_else(|| Ident::new(format!("EXPR${position}"))))
}

/// `FROM name`
pub(crate) fn table(name: ObjectName) -> TableFactor {
    table_named(name, None)
}
