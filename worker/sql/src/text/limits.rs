//! How large and how deep a text may be, counted on its tokens, before anything recurses into it.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::problem::{Place, SqlProblem};

/// Length of a text in bytes.
pub(crate) const MAX_BYTES: usize = 64 * 1024;
/// Levels of an expression: operators in a row count like parentheses inside one another.
pub(crate) const MAX_DEPTH: usize = 200;
/// Parentheses and brackets inside of one another. The parser tries alternatives at each; where all of them end at
/// [`MAX_RECURSION`], the time doubles with each level.
pub(crate) const MAX_NESTING: usize = 50;
/// Calls inside of one another that the planner writes out by naming an argument twice: each level doubles the
/// expression.
pub(crate) const MAX_DOUBLING: usize = 10;
/// Set operations and joins of one text, each of which is a level of the plan.
pub(crate) const MAX_RELATIONS: usize = 100;
/// What the parser may recurse.
pub(crate) const MAX_RECURSION: usize = 60;

/// Operators in a row at one level of parentheses, and the deepest thing among their operands.
#[derive(Default)]
struct Level {
    /// Whether the call that this is the inside of names an argument twice.
    doubles: bool,
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
    let (mut relations, mut doubles) = (0, false);
    for token in tokens {
        step(&mut levels, &token.token, doubles);
        if !matches!(token.token, Token::Whitespace(_)) {
            doubles = is_doubling(&token.token);
        }
        relations += usize::from(is_relation(&token.token));
        let depth: usize = levels.len() + levels.iter().map(Level::depth).max().unwrap_or_default();
        let place = Place::from(token.span);
        if levels.len() > MAX_NESTING + 1 {
            let found = format!("nested deeper than {MAX_NESTING} levels");
            return Err(place.refuse(found, "split it over several views"));
        }
        if levels.iter().filter(|level| level.doubles).count() > MAX_DOUBLING {
            let found = format!("COALESCE, IFNULL, GREATEST and LEAST nested deeper than {MAX_DOUBLING} levels");
            return Err(place.refuse(found, "give all values to one call, or split it over several views"));
        }
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

fn step(levels: &mut Vec<Level>, token: &Token, doubles: bool) {
    match token {
        Token::LParen | Token::LBracket | Token::LBrace => levels.push(Level { doubles, ..Level::default() }),
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

fn is_doubling(token: &Token) -> bool {
    let names = ["COALESCE", "IFNULL", "GREATEST", "LEAST", "NVL"];
    matches!(token, Token::Word(word) if names.iter().any(|name| word.value.eq_ignore_ascii_case(name)))
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
        assert!(checked(&"(".repeat(50)).is_ok());
        assert!(checked(&"(".repeat(51)).is_err());
    }

    #[test]
    fn calls_that_double_are_counted_through_others() {
        let nested = |open: &str, times: usize| checked(&format!("{}1{}", open.repeat(times), ")".repeat(times)));
        assert!(nested("COALESCE (", 10).is_ok());
        assert!(nested("ifnull(", 11).is_err());
        assert!(checked(&format!("{}1{}", "ABS(COALESCE(".repeat(11), "))".repeat(11))).is_err());
        assert!(checked(&"COALESCE(1, 2) + ".repeat(20)).is_ok());
    }

    #[test]
    fn a_long_list_is_not_deep() {
        assert!(checked(&format!("x IN ({}1)", "1,".repeat(5_000))).is_ok());
    }
}
