//! A text cut into statements, each known by what it does.

use datafusion::sql::sqlparser::ast::{
    CreateView, Ident, Insert, ObjectName, Query, SetExpr, Statement as Parsed, TableObject,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::dialect::{FlinkDialect, is_word};
use super::{limits, refuse};
use crate::problem::{Place, SqlProblem};

/// One statement.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// Where it starts.
    pub(crate) place: Place,
    /// View or sink.
    pub(crate) name: Ident,
    /// Names for its columns, if it gives some.
    pub(crate) columns: Vec<Ident>,
    /// The query.
    pub(crate) query: Box<Query>,
    /// What is done with the query.
    pub(crate) kind: StatementKind,
}

/// What is done with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatementKind {
    /// `CREATE [TEMPORARY] VIEW`
    View,
    /// `INSERT INTO`
    Insert,
}

/// Parses a text, and says for each statement that is none of a pipeline why.
pub(crate) fn parse(sql: &str) -> (Vec<Statement>, Vec<SqlProblem>) {
    if sql.len() > limits::MAX_BYTES {
        let found = format!("the SQL has {} bytes, the limit is {}", sql.len(), limits::MAX_BYTES);
        return (vec![], vec![Place::default().refuse(found, "split it over several pipelines")]);
    }
    let tokens = match Tokenizer::new(&FlinkDialect, sql).tokenize_with_location() {
        Ok(tokens) => tokens,
        Err(error) => return (vec![], vec![Place::from(error.location).problem(error.message)]),
    };
    if let Err(problem) = limits::check(&tokens) {
        return (vec![], vec![problem]);
    }
    if let Some(problem) = refuse::of_tokens(&tokens) {
        return (vec![], vec![problem]);
    }
    let end = tokens.last().map(|last| Place::from(last.span.end)).unwrap_or_default();
    let parser =
        Parser::new(&FlinkDialect).with_recursion_limit(limits::MAX_RECURSION).with_tokens_with_locations(tokens);
    Script { parser, in_set: false, end }.parse()
}

struct Script<'a> {
    parser: Parser<'a>,
    in_set: bool,
    /// Where the text ends.
    end: Place,
}

impl Script<'_> {
    fn parse(mut self) -> (Vec<Statement>, Vec<SqlProblem>) {
        let (mut statements, mut problems) = (vec![], vec![]);
        loop {
            while self.parser.consume_token(&Token::SemiColon) || self.set_boundary() {}
            if self.parser.peek_token_ref().token == Token::EOF {
                break;
            }
            match self.statement() {
                Ok(statement) => statements.push(statement),
                Err(problem) => {
                    problems.push(problem);
                    self.skip();
                }
            }
        }
        if statements.is_empty() && problems.is_empty() {
            problems.push(
                Place::default().refuse("the SQL has no statement", "write INSERT INTO sink SELECT … FROM source"),
            );
        }
        (statements, problems)
    }

    /// `EXECUTE STATEMENT SET BEGIN`, `BEGIN STATEMENT SET`, and the `END` of both.
    fn set_boundary(&mut self) -> bool {
        let opens = self.words(&["EXECUTE", "STATEMENT", "SET", "BEGIN"]) || self.words(&["BEGIN", "STATEMENT", "SET"]);
        let closes = !opens && self.in_set && self.parser.parse_keyword(Keyword::END);
        self.in_set = opens || (self.in_set && !closes);
        opens || closes
    }

    fn words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(at, expected)| is_word(&self.parser, at, expected));
        if found {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        found
    }

    fn skip(&mut self) {
        while !matches!(self.parser.peek_token_ref().token, Token::SemiColon | Token::EOF) {
            self.parser.advance_token();
        }
    }

    fn statement(&mut self) -> Result<Statement, SqlProblem> {
        let place = Place::from(self.parser.peek_token_ref().span);
        let word = |token: &Token| match token {
            Token::Word(word) => word.value.to_uppercase(),
            other => other.to_string(),
        };
        let mut first: Vec<String> = (0..3).map(|at| word(&self.parser.peek_nth_token_ref(at).token)).collect();
        if first[0] == "EXECUTE" && matches!(first[1].as_str(), "INSERT") {
            self.parser.advance_token();
            first.remove(0);
        }
        refuse_by_name(&first, place)?;
        let parsed = self.parser.parse_statement().map_err(|error| from_parser(&error, place, self.end))?;
        let after = self.parser.peek_token_ref();
        if !matches!(after.token, Token::SemiColon | Token::EOF) {
            let found = format!("expected `;` or the end of the SQL, found `{}`", after.token);
            return Err(Place::from(after.span).problem(found));
        }
        match parsed {
            Parsed::Insert(insert) => from_insert(insert, place),
            Parsed::CreateView(view) => from_view(view, place),
            Parsed::Query(query) if matches!(*query.body, SetExpr::Insert(_)) => {
                let help = "write INSERT INTO sink WITH name AS (SELECT …) SELECT …";
                Err(place.refuse("WITH stands before INSERT INTO", help))
            }
            Parsed::Query(_) => {
                Err(place
                    .refuse("a query without a sink: its rows would go nowhere", "write INSERT INTO sink SELECT …"))
            }
            other => Err(place.refuse(
                format!("`{}` is no statement of a pipeline", first_words(&other.to_string())),
                "write INSERT INTO sink SELECT …, or CREATE TEMPORARY VIEW name AS SELECT …",
            )),
        }
    }
}

/// Statements that are refused whatever follows, so that their own syntax need not be known.
fn refuse_by_name(words: &[String], place: Place) -> Result<(), SqlProblem> {
    let is = |at: usize, word: &str| words.get(at).is_some_and(|found| found == word);
    let help = match words[0].as_str() {
        "SET" | "RESET" => "settings are fields of the StreamPipeline resource",
        "CREATE" if is(1, "VIEW") || is(2, "VIEW") || is(1, "OR") => return Ok(()),
        "CREATE" if is(1, "TABLE") || is(2, "TABLE") => {
            "declare a StreamSource or StreamSink and name it under `sources` or `sinks`"
        }
        "CREATE" if is(1, "FUNCTION") || is(2, "FUNCTION") => "user-defined functions are not supported yet",
        "COPY" | "UNLOAD" => "write INSERT INTO a sink with the `files` connector",
        "DELETE" | "UPDATE" | "MERGE" | "TRUNCATE" => "a pipeline only adds rows: write INSERT INTO sink SELECT …",
        "EXPLAIN" => "use `thalweg explain`",
        "CREATE" | "DROP" | "ALTER" | "USE" | "SHOW" | "DESCRIBE" | "DESC" | "ANALYZE" | "LOAD" | "UNLOAD_MODULE"
        | "ADD" | "REMOVE" | "CALL" | "PREPARE" | "EXECUTE" | "BEGIN" | "COMMIT" | "ROLLBACK" | "GRANT" | "REVOKE"
        | "ATTACH" | "COMPILE" => "write INSERT INTO sink SELECT …, or CREATE TEMPORARY VIEW name AS SELECT …",
        _ => return Ok(()),
    };
    let known = ["TABLE", "FUNCTION", "CATALOG", "DATABASE", "MODULE", "STATEMENT", "EXTERNAL", "INTO"];
    let two = words.get(1).filter(|word| known.contains(&word.as_str()));
    let name = two.map_or(words[0].clone(), |second| format!("{} {second}", words[0]));
    Err(place.refuse(format!("{name} is no statement of a pipeline"), help))
}

fn first_words(text: &str) -> String {
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn from_insert(insert: Insert, place: Place) -> Result<Statement, SqlProblem> {
    if insert.overwrite {
        return Err(place.refuse("INSERT OVERWRITE is not supported", "write INSERT INTO: a sink only gets new rows"));
    }
    if insert.partitioned.is_some() || !insert.after_columns.is_empty() {
        return Err(place.refuse("INSERT … PARTITION is not supported", "set `partitionBy` of the sink"));
    }
    let plain = insert.on.is_none() && insert.returning.is_none() && insert.assignments.is_empty();
    let (TableObject::TableName(table), Some(query), true) = (insert.table, insert.source, plain) else {
        return Err(place.refuse("this form of INSERT is not supported", "write INSERT INTO sink SELECT …"));
    };
    let columns = insert.columns.iter().map(|name| single(name, place)).collect::<Result<_, _>>()?;
    Ok(Statement { place, name: single(&table, place)?, columns, query, kind: StatementKind::Insert })
}

fn from_view(view: CreateView, place: Place) -> Result<Statement, SqlProblem> {
    if view.materialized {
        return Err(place.refuse("materialized views are not supported", "write CREATE TEMPORARY VIEW"));
    }
    let columns = view.columns.into_iter().map(|column| column.name).collect();
    Ok(Statement { place, name: single(&view.name, place)?, columns, query: view.query, kind: StatementKind::View })
}

/// The one identifier of a name: pipelines have neither catalogs nor databases.
pub(crate) fn single(name: &ObjectName, place: Place) -> Result<Ident, SqlProblem> {
    match name.0.as_slice() {
        [part] if part.as_ident().is_some() => Ok(part.as_ident().cloned().unwrap_or_else(|| Ident::new(""))),
        parts => {
            let at = parts.first().and_then(|part| part.as_ident()).map_or(place, |ident| ident.span.into());
            let last = parts.last().map(ToString::to_string).unwrap_or_default();
            Err(at.refuse(format!("`{name}`: a pipeline has no catalogs or databases"), format!("write {last}")))
        }
    }
}

/// The parser's error, with the place that it only has in its text.
fn from_parser(error: &ParserError, statement: Place, end: Place) -> SqlProblem {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => {
            let found = format!("nested deeper than {} levels", limits::MAX_RECURSION);
            return statement.refuse(found, "split it over several views");
        }
    };
    let Some((message, at)) = text.rsplit_once(" at Line: ") else {
        return if text.ends_with("EOF") { end } else { statement }.problem(in_words(text));
    };
    let mut numbers = at.split(", Column: ").map(|part| part.trim().parse::<u64>());
    match (numbers.next(), numbers.next()) {
        (Some(Ok(line)), Some(Ok(column))) => {
            Place::from(datafusion::sql::sqlparser::tokenizer::Location { line, column }).problem(in_words(message))
        }
        _ => statement.problem(text),
    }
}

/// "expected …, found the end of the SQL"
fn in_words(text: &str) -> String {
    let text = text.replace("found: EOF", "found the end of the SQL").replace("Expected: ", "expected ");
    text.replace("found: ", "found ")
}
