//! What no pipeline can do, refused by its name and at its place before anything is planned.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Function, FunctionArguments, GroupByExpr, Interval, Join, JoinConstraint, JoinOperator, ObjectName,
    Query, Select, SetExpr, SetOperator, SetQuantifier, Spanned, TableFactor, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

use crate::functions;
use crate::problem::{Place, SqlProblem};

/// What the parser knows nothing of, found in the text itself.
pub(crate) fn of_tokens(tokens: &[TokenWithSpan]) -> Option<SqlProblem> {
    if let Some(problem) = tokens.iter().find_map(hint) {
        return Some(problem);
    }
    let is_nameless = |token: &Token| matches!(token, Token::Word(word) if word.value.is_empty());
    if let Some(nameless) = tokens.iter().find(|token| is_nameless(&token.token)) {
        return Some(Place::from(nameless.span).problem("a name has a character at least"));
    }
    let words = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    let is = |token: &TokenWithSpan, names: &[&str]| matches!(&token.token, Token::Word(word) if names.iter().any(|name| word.value.eq_ignore_ascii_case(name)));
    let mut pairs = words.clone().zip(words.skip(1));
    let unknown = |(name, next): &(&TokenWithSpan, &TokenWithSpan)| {
        is(name, &["JSON_OBJECTAGG", "JSON_ARRAYAGG"]) && next.token == Token::LParen
    };
    if let Some((name, _)) = pairs.clone().find(unknown) {
        let (found, help) = functions::refused(&name.token.to_string().to_lowercase(), false)?;
        return Some(Place::from(name.span).refuse(found, help));
    }
    let wraps = |(of, name): &(&TokenWithSpan, &TokenWithSpan)| {
        is(of, &["WITH", "WITHOUT", "ARRAY", "CONDITIONAL", "UNCONDITIONAL"]) && is(name, &["WRAPPER"])
    };
    if let Some((of, _)) = pairs.clone().find(wraps) {
        let help = "leave it out: JSON_QUERY gives an object or an array as it stands, and NULL of anything else";
        return Some(Place::from(of.span).refuse("a WRAPPER of JSON_QUERY is not supported yet", help));
    }
    let (on, event) = pairs.find(|(on, event)| is(on, &["ON"]) && is(event, &["EMPTY", "ERROR"]))?;
    let found = format!("ON {} of a JSON function is not supported yet", event.token.to_string().to_uppercase());
    let help = "where nothing is found, or the text is no JSON, it gives NULL: write COALESCE(JSON_VALUE(…), value)";
    Some(Place::from(on.span).refuse(found, help))
}

/// `/*+ NAME(…) */`, which asks for something: no comment to pass over.
fn hint(token: &TokenWithSpan) -> Option<SqlProblem> {
    let Token::Whitespace(Whitespace::MultiLineComment(comment)) = &token.token else { return None };
    let asked = comment.strip_prefix('+')?.trim();
    let name =
        asked.split(|character: char| !character.is_alphanumeric() && character != '_').next().unwrap_or_default();
    let (name, help) = match name.to_uppercase() {
        name if name == "OPTIONS" => (name, "set what it asks for on the StreamSource or StreamSink, and leave it out"),
        name => (name, "leave it out, or make it a comment: /* … */"),
    };
    Some(Place::from(token.span).refuse(format!("the hint /*+ {name} */ is not supported"), help))
}

/// Places of a statement that the plan itself does not know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    /// Where the statement starts.
    pub(crate) statement: Place,
    /// The first `GROUP BY`.
    pub(crate) group_by: Place,
    /// The first `SELECT DISTINCT`.
    pub(crate) distinct: Place,
    /// The first aggregate function.
    pub(crate) aggregate: Place,
    /// The first join.
    pub(crate) join: Place,
    /// Every table that is named.
    pub(crate) tables: Vec<(String, Place)>,
    /// What `WITH` names.
    pub(crate) with: Vec<String>,
    /// What stands in double quotes as the name of a column.
    pub(crate) quoted: Vec<String>,
    /// Every function that is called, in lower case.
    pub(crate) functions: Vec<(String, Place)>,
}

/// Collects problems and marks of one statement.
pub(crate) struct Refusals {
    pub(crate) marks: Marks,
    pub(crate) problems: Vec<SqlProblem>,
}

impl Refusals {
    pub(crate) fn new(statement: Place) -> Self {
        Self { marks: Marks { statement, ..Marks::default() }, problems: vec![] }
    }

    fn refuse(&mut self, place: impl Into<Place>, message: impl Into<String>, help: impl Into<String>) {
        let place = place.into().or(self.marks.statement);
        self.problems.push(place.refuse(message, help));
    }

    fn set_expression(&mut self, body: &SetExpr) {
        match body {
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                if *op != SetOperator::Union {
                    self.refuse(right.span(), format!("{op} is not supported yet"), "only UNION ALL combines queries");
                } else if *set_quantifier != SetQuantifier::All {
                    let found = "UNION without ALL would have to remember every row";
                    self.refuse(right.span(), found, "write UNION ALL");
                }
                self.set_expression(left);
                self.set_expression(right);
            }
            SetExpr::Values(_) => {
                self.refuse(body.span(), "VALUES is no stream", "read a source: INSERT INTO sink SELECT … FROM source");
            }
            SetExpr::Select(_) | SetExpr::Query(_) => {}
            other => self.refuse(other.span(), "this form of query is not supported", "write SELECT … FROM source"),
        }
    }

    fn clauses(&mut self, select: &Select) {
        let at = Place::from(select.select_token.0.span);
        if let Some(Distinct::On(columns)) = &select.distinct {
            let place = columns.first().map_or(at, |column| Place::from(column.span()).or(at));
            self.refuse(place, "DISTINCT ON is not supported", "use first_value(…) in a window");
        }
        let having = "filter with WHERE or HAVING";
        let refused = [
            (select.top.is_some(), "TOP", "Top-N is not supported yet"),
            (select.into.is_some(), "SELECT … INTO", "write INSERT INTO sink SELECT …"),
            (!select.lateral_views.is_empty(), "LATERAL VIEW", "it is not supported yet"),
            (!select.connect_by.is_empty(), "CONNECT BY", "it is not supported"),
            (!select.cluster_by.is_empty(), "CLUSTER BY", "rows of a stream keep their order"),
            (!select.distribute_by.is_empty(), "DISTRIBUTE BY", "rows are distributed by the keys of GROUP BY"),
            (!select.sort_by.is_empty(), "SORT BY", "rows of a stream keep their order"),
            (!select.named_window.is_empty(), "WINDOW", "OVER windows are not supported yet"),
            (select.qualify.is_some(), "QUALIFY", having),
            (select.prewhere.is_some(), "PREWHERE", having),
        ];
        for (_, name, help) in refused.into_iter().filter(|(found, ..)| *found) {
            self.refuse(at, format!("{name} is not supported"), help);
        }
        if select.from.is_empty() {
            self.refuse(at, "SELECT without FROM is no stream", "read a source: SELECT … FROM source");
        }
    }

    fn grouping(&mut self, select: &Select) {
        let at = Place::from(select.select_token.0.span);
        match &select.group_by {
            GroupByExpr::All(_) => self.refuse(at, "GROUP BY ALL is not supported", "list the columns"),
            GroupByExpr::Expressions(keys, modifiers) => {
                if let Some(first) = keys.first() {
                    self.marks.group_by = self.marks.group_by.or(Place::from(first.span()).or(at));
                }
                if !modifiers.is_empty() {
                    self.refuse(at, "ROLLUP, CUBE and TOTALS are not supported", "write one INSERT for each grouping");
                }
            }
        }
    }

    fn from(&mut self, select: &Select) {
        if let Some(second) = select.from.get(1) {
            let found = "a list of tables in FROM is not supported";
            self.refuse(second.span(), found, "write JOIN … ON");
        }
        for join in select.from.iter().flat_map(|table| &table.joins) {
            self.join(join);
        }
    }

    fn join(&mut self, join: &Join) {
        let at = Place::from(join.relation.span()).or(self.marks.statement);
        self.marks.join = self.marks.join.or(at);
        use JoinOperator as J;
        let (name, help) = match &join.join_operator {
            J::Join(on) | J::Inner(on) | J::Left(on) | J::LeftOuter(on) => match on {
                JoinConstraint::On(_) => return,
                JoinConstraint::Using(_) => ("JOIN … USING", "write JOIN … ON a.key = b.key"),
                JoinConstraint::Natural => ("NATURAL JOIN", "write JOIN … ON a.key = b.key"),
                JoinConstraint::None => ("a join without ON", "write JOIN … ON a.key = b.key"),
            },
            J::Right(_) | J::RightOuter(_) => ("RIGHT JOIN", "put the stream first and write LEFT JOIN"),
            J::FullOuter(_) => ("FULL JOIN", "only JOIN and LEFT JOIN with a lookup table are"),
            J::CrossJoin(_) => ("CROSS JOIN", "write JOIN … ON a.key = b.key"),
            J::Semi(_) | J::LeftSemi(_) | J::RightSemi(_) => ("SEMI JOIN", "write JOIN … ON a.key = b.key"),
            J::Anti(_) | J::LeftAnti(_) | J::RightAnti(_) => ("ANTI JOIN", "write LEFT JOIN … WHERE b.key IS NULL"),
            _ => ("this kind of join", "only JOIN and LEFT JOIN with a lookup table are"),
        };
        self.refuse(at, format!("{name} is not supported"), help);
    }

    fn function(&mut self, function: &Function) {
        let place = Place::from(function.name.span()).or(self.marks.statement);
        let name = function.name.to_string().trim_matches('`').to_lowercase();
        if function.over.is_some() {
            let found = format!("{name}(…) OVER is not supported yet");
            self.refuse(place, found, "aggregate in a window: GROUP BY window_start, window_end");
            return;
        }
        if functions::is_aggregate(&name) {
            self.marks.aggregate = self.marks.aggregate.or(place);
        }
        let no_arguments = match &function.args {
            FunctionArguments::None => true,
            FunctionArguments::List(list) => list.args.is_empty(),
            FunctionArguments::Subquery(_) => false,
        };
        if let Some((found, help)) = functions::refused(&name, no_arguments) {
            self.refuse(place, found, help);
        } else if !functions::is_known(&name) {
            let help = functions::nearest(&name).map(|known| format!("did you mean {}?", known.to_uppercase()));
            let problem = place.problem(format!("there is no function {}", name.to_uppercase()));
            self.problems.push(SqlProblem { help, ..problem });
        }
        self.marks.functions.push((name, place));
    }
}

impl Marks {
    /// Where a table is named first.
    pub(crate) fn table(&self, name: &str) -> Place {
        let found = self.tables.iter().find(|(table, _)| table == name);
        found.map_or(self.statement, |(_, place)| place.or(self.statement))
    }
}

impl Visitor for Refusals {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = query.with.as_ref().filter(|with| with.recursive) {
            self.refuse(with.with_token.0.span, "WITH RECURSIVE is not supported", "write WITH");
        }
        let named = query.with.iter().flat_map(|with| &with.cte_tables);
        self.marks.with.extend(named.map(|named| named.alias.name.value.clone()));
        if let Some(order) = &query.order_by {
            let help = "leave it out: a stream has no end to sort at";
            self.refuse(order.span(), "ORDER BY is not supported", help);
        }
        if let Some(limit) = &query.limit_clause {
            let help = "leave it out: a stream goes on; Top-N is not supported yet";
            self.refuse(limit.span(), "LIMIT and OFFSET are not supported", help);
        }
        if let Some(fetch) = &query.fetch {
            let place = fetch.quantity.as_ref().map(Spanned::span).map_or(Place::default(), Place::from);
            self.refuse(place, "FETCH is not supported", "leave it out: a stream goes on");
        }
        self.set_expression(&query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if select.distinct.is_some() {
            self.marks.distinct = self.marks.distinct.or(select.select_token.0.span.into());
        }
        self.clauses(select);
        self.grouping(select);
        self.from(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let name = relation.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.clone());
        self.marks.tables.push((name.unwrap_or_default(), relation.span().into()));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let (name, place): (&str, Place) = match factor {
            TableFactor::Table { args: Some(_), name, .. } => {
                let found = format!("there is no table function {name}");
                let help = "the window functions are TUMBLE, HOP, CUMULATE and SESSION";
                self.refuse(name.span(), found, help);
                return ControlFlow::Continue(());
            }
            TableFactor::Table { version: Some(_), name, .. } => {
                let found = format!("FOR SYSTEM_TIME AS OF: `{name}` is no lookup table");
                self.refuse(name.span(), found, "set `lookup: {}` on its StreamSource, or leave the clause out");
                return ControlFlow::Continue(());
            }
            TableFactor::Table { sample: Some(_), name, .. } => ("TABLESAMPLE", name.span().into()),
            TableFactor::Table { .. } | TableFactor::NestedJoin { .. } => return ControlFlow::Continue(()),
            TableFactor::Derived { lateral: false, .. } => return ControlFlow::Continue(()),
            TableFactor::Derived { subquery, .. } => ("LATERAL", subquery.span().into()),
            TableFactor::UNNEST { .. } => ("UNNEST", factor.span().into()),
            TableFactor::MatchRecognize { table, .. } => ("MATCH_RECOGNIZE", table.span().into()),
            TableFactor::Pivot { table, .. } => ("PIVOT", table.span().into()),
            TableFactor::Unpivot { table, .. } => ("UNPIVOT", table.span().into()),
            TableFactor::TableFunction { expr, .. } => ("this table function", expr.span().into()),
            TableFactor::Function { name, .. } => ("LATERAL TABLE", name.span().into()),
            _ => ("this kind of table", factor.span().into()),
        };
        let help = "FROM takes a source, a view, a query in parentheses, or TABLE(TUMBLE(…)), HOP, CUMULATE, SESSION";
        self.refuse(place, format!("{name} is not supported yet"), help);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let subquery = "write a join with a lookup table instead";
        match expr {
            Expr::Identifier(name) if name.quote_style == Some('"') => self.marks.quoted.push(name.value.clone()),
            Expr::Function(function) => self.function(function),
            Expr::Subquery(query) => self.refuse(query.span(), "subqueries in expressions are not supported", subquery),
            Expr::InSubquery { subquery: query, .. } => {
                self.refuse(query.span(), "IN (SELECT …) is not supported", subquery);
            }
            Expr::Exists { subquery: query, .. } => {
                self.refuse(query.span(), "EXISTS (SELECT …) is not supported", subquery);
            }
            Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => {
                let help = "write one INSERT for each grouping";
                self.refuse(expr.span(), "GROUPING SETS, CUBE and ROLLUP are not supported", help);
            }
            Expr::AtTimeZone { .. } => {
                self.refuse(expr.span(), "AT TIME ZONE is not supported", "times are UTC; add an INTERVAL");
            }
            Expr::Interval(Interval { last_field: Some(_), .. }) => {
                let help = "add one of each: INTERVAL '1' DAY + INTERVAL '2' HOUR";
                self.refuse(expr.span(), "an INTERVAL of several units is not supported yet", help);
            }
            Expr::RLike { expr, .. } => {
                self.refuse(expr.span(), "RLIKE is not supported", "write REGEXP(text, pattern)");
            }
            Expr::Lambda(_) => self.refuse(expr.span(), "lambda functions are not supported", "use CASE"),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
