//! How large and how deep a text may be, counted on its tokens, before anything recurses into it.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::problem::{Place, SqlProblem};

/// Length of a text in bytes.
pub(crate) const MAX_BYTES: usize = 64 * 1024;
/// Levels of an expression: operators in a row count like parentheses inside one another.
pub(crate) const MAX_DEPTH: usize = 200;
/// Set operations and joins of one text, each of which is a level of the plan.
pub(crate) const MAX_RELATIONS: usize = 100;
/// What the parser may recurse.
pub(crate) const MAX_RECURSION: usize = 60;

/// Operators in a row at one level of parentheses, and the deepest thing among their operands.
#[derive(Default)]
struct Level {
    operators: usize,
    deepest_operand: usize,
    deepest: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.deepest.max(self.operators + self.deepest_operand)
    }

    /// What follows is no operand of what came before.
    fn restart(&mut self) {
        self.deepest = self.depth();
        self.operators = 0;
        self.deepest_operand = 0;
    }
}

/// Refuses a text whose tree would be too deep.
pub(crate) fn check(tokens: &[TokenWithSpan]) -> Result<(), SqlProblem> {
    let mut levels = vec![Level::default()];
    let mut relations = 0;
    for token in tokens {
        step(&mut levels, &token.token);
        relations += usize::from(is_relation(&token.token));
        let depth: usize = levels.len() + levels.iter().map(Level::depth).max().unwrap_or_default();
        let place = Place::from(token.span);
        if depth > MAX_DEPTH {
            return Err(place.refuse(
                format!("the expression is deeper than {MAX_DEPTH} levels"),
                "split it over several views, or use IN (…) for a long chain of OR",
            ));
        }
        if relations > MAX_RELATIONS {
            return Err(place.refuse(
                format!("more than {MAX_RELATIONS} joins and unions in one text"),
                "split it over several pipelines",
            ));
        }
    }
    Ok(())
}

fn step(levels: &mut Vec<Level>, token: &Token) {
    match token {
        Token::LParen | Token::LBracket | Token::LBrace => levels.push(Level::default()),
        Token::RParen | Token::RBracket | Token::RBrace if levels.len() > 1 => {
            let inner = levels.pop().map_or(0, |level| level.depth()) + 1;
            if let Some(outer) = levels.last_mut() {
                outer.deepest_operand = outer.deepest_operand.max(inner);
            }
        }
        _ => {
            let Some(level) = levels.last_mut() else { return };
            if restarts(token) {
                level.restart();
            } else if is_operator(token) {
                level.operators += 1;
            }
        }
    }
}

fn is_relation(token: &Token) -> bool {
    use Keyword as K;
    matches!(token, Token::Word(word) if matches!(word.keyword, K::UNION | K::EXCEPT | K::INTERSECT | K::JOIN))
}

fn restarts(token: &Token) -> bool {
    use Keyword as K;
    match token {
        Token::Comma | Token::SemiColon => true,
        Token::Word(word) => matches!(
            word.keyword,
            K::SELECT | K::FROM | K::WHERE | K::GROUP | K::HAVING | K::ON | K::UNION | K::INSERT | K::CREATE
        ),
        _ => false,
    }
}

fn is_operator(token: &Token) -> bool {
    use Keyword as K;
    match token {
        Token::Word(word) if word.quote_style.is_none() => matches!(
            word.keyword,
            K::AND
                | K::OR
                | K::NOT
                | K::IS
                | K::IN
                | K::BETWEEN
                | K::LIKE
                | K::ILIKE
                | K::SIMILAR
                | K::CASE
                | K::WHEN
                | K::ELSE
                | K::AT
                | K::COLLATE
                | K::OVERLAPS
                | K::DIV
                | K::XOR
        ),
        Token::Word(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Whitespace(_)
        | Token::EOF
        | Token::RParen
        | Token::RBracket
        | Token::RBrace => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;
    use crate::text::dialect::FlinkDialect;

    fn checked(sql: &str) -> Result<(), SqlProblem> {
        check(&Tokenizer::new(&FlinkDialect, sql).tokenize_with_location().expect("tokens"))
    }

    #[test]
    fn chains_and_parentheses_add_up_where_they_nest() {
        let chain = |operand: &str, times: usize| format!("({}{operand})", format!("{operand}+").repeat(times));
        assert!(checked(&chain("1", 150)).is_ok());
        assert!(checked(&chain("1", 250)).is_err());
        assert!(checked(&chain(&chain("1", 90), 90)).is_ok());
        assert!(checked(&chain(&chain("1", 120), 120)).is_err());
        assert!(checked(&"(".repeat(201)).is_err());
    }

    #[test]
    fn a_long_list_is_not_deep() {
        assert!(checked(&format!("x IN ({}1)", "1,".repeat(5_000))).is_ok());
    }
}
