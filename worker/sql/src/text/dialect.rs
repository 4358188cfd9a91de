//! Flink's syntax, as far as it differs from the parser's generic one.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, Ident, JsonNullClause, ObjectName, UnaryOperator,
};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::rewrite::{call, text};

/// What `IS JSON` may ask for.
const KINDS_OF_JSON: [&str; 4] = ["VALUE", "SCALAR", "ARRAY", "OBJECT"];

/// The dialect of pipelines.
#[derive(Debug)]
pub(crate) struct FlinkDialect;

impl Dialect for FlinkDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`' || ch == '"'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_match_recognize(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn supports_try_convert(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    /// `text IS [NOT] JSON [VALUE | SCALAR | ARRAY | OBJECT]`: a call of `is_json`.
    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, _: u8) -> Option<Result<Expr, ParserError>> {
        let is_negated = is_word(parser, 1, "NOT");
        let length = 2 + usize::from(is_negated);
        if !is_word(parser, 0, "IS") || !is_word(parser, length - 1, "JSON") {
            return None;
        }
        let kind = KINDS_OF_JSON.into_iter().find(|kind| is_word(parser, length, kind));
        (0..length + usize::from(kind.is_some())).for_each(|_| parser.advance_token());
        let is_json = call("is_json", std::iter::once(expr.clone()).chain(kind.map(text)).collect());
        let negated = |expr| Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) };
        Some(Ok(if is_negated { Expr::Nested(Box::new(negated(is_json))) } else { is_json }))
    }

    /// `JSON_OBJECT(…)`, whose arguments have names that are texts; `MAP[key, value, …]`: a call of `map`.
    ///
    /// `TABLE name [PARTITION BY key | PARTITION BY (key, …)]` as an argument of a window function: the name, or a
    /// tuple of the name and the keys.
    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        if is_word(parser, 0, "JSON_OBJECT") && parser.peek_nth_token_ref(1).token == Token::LParen {
            parser.advance_token();
            return Some(parse_json_object(parser));
        }
        if parser.peek_nth_token_ref(1).token == Token::LBracket && parser.parse_keyword(Keyword::MAP) {
            return Some(parse_map(parser));
        }
        let named = matches!(parser.peek_nth_token_ref(1).token, Token::Word(_));
        if !named || !parser.parse_keyword(Keyword::TABLE) {
            return None;
        }
        Some(parse_table_argument(parser))
    }
}

/// Whether a token ahead is a word, in whatever case.
pub(super) fn is_word(parser: &Parser, at: usize, expected: &str) -> bool {
    matches!(&parser.peek_nth_token_ref(at).token, Token::Word(word) if word.value.eq_ignore_ascii_case(expected))
}

/// `([KEY] 'key' VALUE value, … [NULL | ABSENT ON NULL])` behind `JSON_OBJECT`.
fn parse_json_object(parser: &mut Parser) -> Result<Expr, ParserError> {
    let name = Ident::with_span(parser.get_current_token().span, "json_object");
    parser.expect_token(&Token::LParen)?;
    let (mut args, mut clauses) = (vec![], vec![]);
    while !parser.consume_token(&Token::RParen) {
        if let Some(clause) =
            [(Keyword::NULL, JsonNullClause::NullOnNull), (Keyword::ABSENT, JsonNullClause::AbsentOnNull)]
                .into_iter()
                .find_map(|(word, clause)| parser.parse_keywords(&[word, Keyword::ON, Keyword::NULL]).then_some(clause))
        {
            clauses.push(FunctionArgumentClause::JsonNullClause(clause));
            parser.expect_token(&Token::RParen)?;
            break;
        }
        if !args.is_empty() {
            parser.expect_token(&Token::Comma)?;
        }
        if matches!(parser.peek_nth_token_ref(1).token, Token::SingleQuotedString(_)) {
            let _ = parser.parse_keyword(Keyword::KEY);
        }
        if !matches!(parser.peek_token_ref().token, Token::SingleQuotedString(_)) {
            return parser.expected_ref("a key in quotes: 'key' VALUE value", parser.peek_token_ref());
        }
        let name = Expr::Value(parser.parse_value()?);
        parser.expect_keyword(Keyword::VALUE)?;
        let (arg, operator) = (FunctionArgExpr::Expr(parser.parse_expr()?), FunctionArgOperator::Value);
        args.push(FunctionArg::ExprNamed { name, arg, operator });
    }
    let mut found = call("json_object", vec![]);
    if let Expr::Function(function) = &mut found {
        function.name = ObjectName::from(vec![name]);
        function.args = FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses });
    }
    Ok(found)
}

/// `[key, value, …]` behind `MAP`.
fn parse_map(parser: &mut Parser) -> Result<Expr, ParserError> {
    let start = parser.peek_token_ref().span.start;
    parser.expect_token(&Token::LBracket)?;
    let entries = parser.parse_comma_separated(Parser::parse_expr)?;
    parser.expect_token(&Token::RBracket)?;
    if entries.len() % 2 != 0 {
        let found = format!("MAP[…] takes keys and values in turn, found {} of both{start}", entries.len());
        return Err(ParserError::ParserError(found));
    }
    let of = |first: usize| call("make_array", entries.iter().skip(first).step_by(2).cloned().collect());
    Ok(call("map", vec![of(0), of(1)]))
}

fn parse_table_argument(parser: &mut Parser) -> Result<Expr, ParserError> {
    let name = parser.parse_object_name(false)?;
    let parts: Vec<Ident> = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
    let table = match <[Ident; 1]>::try_from(parts) {
        Ok([only]) => Expr::Identifier(only),
        Err(parts) => Expr::CompoundIdentifier(parts),
    };
    if !parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
        return Ok(table);
    }
    let keys = if parser.consume_token(&Token::LParen) {
        let keys = parser.parse_comma_separated(Parser::parse_expr)?;
        parser.expect_token(&Token::RParen)?;
        keys
    } else {
        vec![parser.parse_expr()?]
    };
    Ok(Expr::Tuple(std::iter::once(table).chain(keys).collect()))
}
