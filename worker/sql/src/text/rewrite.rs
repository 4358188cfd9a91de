//! Flink's spellings turned into what the planner knows; windows taken out of the text.

mod calls;
mod json;
mod patterns;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, TableFactor, TableVersion, Visit,
    VisitMut, VisitorMut,
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
        let _ = VisitMut::visit(&mut statement.query, &mut Rewrite { problems: &mut problems });
        for query in inner_queries(&mut windows[first..]) {
            let _ = VisitMut::visit(query, &mut Rewrite { problems: &mut problems });
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
        self.catalog.sources.iter().any(|source| source.lookup && Some(source.name.as_str()) == name)
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
    problems: &'a mut Vec<SqlProblem>,
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
