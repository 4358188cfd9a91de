//! Where in a query a problem stands that was told without a place.
//!
//! The query is taken apart and its parts are planned by themselves: the smallest that says the same is where it stands.
//! So the place follows from the text alone, whatever said it, and however deep in the planner.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Cte, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, Query, Select, SelectItem, SetExpr, Spanned,
    TableFactor, Value, Visit, Visitor, With,
};

use crate::problem::Place;

/// So many parts are planned at most: a text of 64 KiB has more than anybody would wait for.
const MAX_TRIES: usize = 200;

/// The place of the smallest part of `query` of which `says` holds, if there is one that has a place.
pub(super) fn place(query: &Query, says: &mut dyn FnMut(Query) -> bool) -> Option<Place> {
    Search { says, left: MAX_TRIES }.query(query, &[])
}

struct Search<'a> {
    says: &'a mut dyn FnMut(Query) -> bool,
    left: usize,
}

impl Search<'_> {
    /// `scope`: what `WITH` names around the query.
    fn query(&mut self, query: &Query, scope: &[Cte]) -> Option<Place> {
        let mut scope = scope.to_vec();
        for named in query.with.iter().flat_map(|with| &with.cte_tables) {
            let found = self.query(&named.query, &scope);
            if found.is_some() {
                return found;
            }
            scope.push(named.clone());
        }
        self.body(&query.body, &scope)
    }

    fn body(&mut self, body: &SetExpr, scope: &[Cte]) -> Option<Place> {
        match body {
            SetExpr::Select(select) => self.select(select, scope),
            SetExpr::Query(query) => self.query(query, scope),
            SetExpr::SetOperation { left, right, .. } => {
                let inside = self.body(left, scope).or_else(|| self.body(right, scope));
                inside.or_else(|| if self.says(body.clone(), scope) { known(right.span().into()) } else { None })
            }
            _ => None,
        }
    }

    fn says(&mut self, body: SetExpr, scope: &[Cte]) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let with = With { with_token: AttachedToken::empty(), recursive: false, cte_tables: scope.to_vec() };
        (self.says)(Query {
            with: (!scope.is_empty()).then_some(with),
            body: Box::new(body),
            order_by: None,
            limit_clause: None,
            fetch: None,
            locks: vec![],
            for_clause: None,
            settings: None,
            format_clause: None,
            pipe_operators: vec![],
        })
    }

    fn select(&mut self, select: &Select, scope: &[Cte]) -> Option<Place> {
        if !self.says(SetExpr::Select(Box::new(select.clone())), scope) {
            return None;
        }
        for query in queries(select) {
            let found = self.query(&query, scope);
            if found.is_some() {
                return found;
            }
        }
        let rows = Rows { select, scope };
        if self.selects(&rows, vec![one()]) {
            return self.join(&rows);
        }
        let items = select.projection.iter().find_map(|item| self.item(&rows, item));
        let clauses = items.or_else(|| self.clauses(&rows));
        clauses.or_else(|| self.several(&rows))
    }

    /// Whether a `SELECT` of these rows says it that has no clause but `FROM`.
    fn selects(&mut self, rows: &Rows<'_>, projection: Vec<SelectItem>) -> bool {
        self.says(rows.part(projection, |_| ()), rows.scope)
    }

    fn item(&mut self, rows: &Rows<'_>, item: &SelectItem) -> Option<Place> {
        if !self.selects(rows, vec![item.clone()]) {
            return None;
        }
        let inside = match item {
            SelectItem::UnnamedExpr(expr) => self.within(rows, expr, None),
            SelectItem::ExprWithAlias { expr, alias } => self.within(rows, expr, Some(alias)),
            _ => None,
        };
        inside.or_else(|| known(item.span().into()))
    }

    /// The smallest part of an expression, which says it by itself.
    fn within(&mut self, rows: &Rows<'_>, expr: &Expr, alias: Option<&Ident>) -> Option<Place> {
        for part in parts(expr) {
            if self.selects(rows, vec![selected(part.clone(), alias)]) {
                return self.within(rows, &part, alias).or_else(|| known(expr.span().into()));
            }
        }
        known(expr.span().into())
    }

    /// An expression of a clause: in it if it says it when it is selected, else what is wrong is that it stands there.
    fn clause(&mut self, rows: &Rows<'_>, expr: &Expr, put: impl FnOnce(&mut Select)) -> Option<Place> {
        if self.selects(rows, vec![selected(expr.clone(), None)]) {
            return self.within(rows, expr, None);
        }
        let stands = self.says(rows.part(vec![one()], put), rows.scope);
        if stands { known(expr.span().into()) } else { None }
    }

    fn clauses(&mut self, rows: &Rows<'_>) -> Option<Place> {
        let select = rows.select;
        let filter = select.selection.as_ref();
        let filter = filter.and_then(|expr| self.clause(rows, expr, |part| part.selection = Some(expr.clone())));
        let GroupByExpr::Expressions(keys, modifiers) = &select.group_by else { return filter };
        let key = |key: &Expr| GroupByExpr::Expressions(vec![key.clone()], modifiers.clone());
        let grouping =
            filter.or_else(|| keys.iter().find_map(|expr| self.clause(rows, expr, |part| part.group_by = key(expr))));
        let having = select.having.as_ref();
        grouping.or_else(|| {
            having.and_then(|expr| {
                self.clause(rows, expr, |part| {
                    (part.group_by, part.having) = (select.group_by.clone(), Some(expr.clone()));
                })
            })
        })
    }

    /// The first column with which those before it say it.
    fn several(&mut self, rows: &Rows<'_>) -> Option<Place> {
        let columns = &rows.select.projection;
        let last = (1..=columns.len()).find(|count| {
            let part = Select { projection: columns[..*count].to_vec(), ..rows.select.clone() };
            self.says(SetExpr::Select(Box::new(part)), rows.scope)
        })?;
        known(columns[last - 1].span().into())
    }

    /// A condition of a join, without which its rows do not say it.
    fn join(&mut self, rows: &Rows<'_>) -> Option<Place> {
        let mut free = rows.select.clone();
        let joins = free.from.iter_mut().flat_map(|from| &mut from.joins);
        joins.filter_map(|join| condition(&mut join.join_operator)).for_each(|on| *on = truth());
        let free = Rows { select: &free, scope: rows.scope };
        let mut joined = rows.select.clone();
        for join in joined.from.iter_mut().flat_map(|from| &mut from.joins) {
            let Some(on) = condition(&mut join.join_operator) else { continue };
            if self.selects(&free, vec![selected(on.clone(), None)]) {
                return self.within(&free, on, None);
            }
            let place = known(on.span().into());
            if place.is_some() {
                return place;
            }
        }
        None
    }
}

/// The rows that a `SELECT` reads.
struct Rows<'a> {
    select: &'a Select,
    scope: &'a [Cte],
}

impl Rows<'_> {
    /// A `SELECT` of them with `put` for its clauses.
    fn part(&self, projection: Vec<SelectItem>, put: impl FnOnce(&mut Select)) -> SetExpr {
        let mut part = Select {
            projection,
            distinct: None,
            selection: None,
            group_by: GroupByExpr::Expressions(vec![], vec![]),
            having: None,
            ..self.select.clone()
        };
        put(&mut part);
        SetExpr::Select(Box::new(part))
    }
}

fn known(place: Place) -> Option<Place> {
    (place != Place::default()).then_some(place)
}

fn selected(expr: Expr, alias: Option<&Ident>) -> SelectItem {
    match alias {
        Some(alias) => SelectItem::ExprWithAlias { expr, alias: alias.clone() },
        None => SelectItem::UnnamedExpr(expr),
    }
}

/// A column that has nothing wrong.
fn one() -> SelectItem {
    selected(Expr::Value(Value::Number("1".to_owned(), false).into()), None)
}

fn truth() -> Expr {
    Expr::Value(Value::Boolean(true).into())
}

fn condition(join: &mut JoinOperator) -> Option<&mut Expr> {
    match join {
        JoinOperator::Join(JoinConstraint::On(on))
        | JoinOperator::Inner(JoinConstraint::On(on))
        | JoinOperator::Left(JoinConstraint::On(on))
        | JoinOperator::LeftOuter(JoinConstraint::On(on)) => Some(on),
        _ => None,
    }
}

/// The expressions that an expression is made of.
fn parts(expr: &Expr) -> Vec<Expr> {
    let mut parts = Parts { depth: 0, found: vec![] };
    let _ = expr.visit(&mut parts);
    parts.found
}

struct Parts {
    depth: usize,
    found: Vec<Expr>,
}

impl Visitor for Parts {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.depth == 1 {
            self.found.push(expr.clone());
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// The queries in the `FROM` of a `SELECT`.
fn queries(select: &Select) -> Vec<Query> {
    let mut queries = Queries { depth: 0, found: vec![] };
    for from in &select.from {
        let joined = from.joins.iter().map(|join| &join.relation);
        std::iter::once(&from.relation).chain(joined).for_each(|factor: &TableFactor| {
            let _ = factor.visit(&mut queries);
        });
    }
    queries.found
}

struct Queries {
    depth: usize,
    found: Vec<Query>,
}

impl Visitor for Queries {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.depth == 0 {
            self.found.push(query.clone());
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}
