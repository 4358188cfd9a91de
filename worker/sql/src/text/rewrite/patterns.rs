//! `LIKE` and `SIMILAR TO`, whose patterns Flink reads otherwise than the planner: without `ESCAPE` nothing escapes, and
//! `SIMILAR TO` is a regular expression of SQL, over the whole text.
//!
//! Source: Flink 2.3, `SqlLikeUtils` (tried there, statement by statement).

use datafusion::sql::sqlparser::ast::{Expr, Spanned, UnaryOperator, Value, ValueWithSpan};

use super::calls::{Rewritten, call, nested, text};
use crate::problem::{Place, SqlProblem};

/// What has a meaning of its own in `SIMILAR TO`.
const SPECIAL: &str = "[]()|^-+*_%?{}";
/// Classes that are known by name, as they stand between brackets.
const CLASSES: [(&str, &str); 7] = [
    ("[:ALPHA:]", "[:alpha:]"),
    ("[:UPPER:]", "[:upper:]"),
    ("[:LOWER:]", "[:lower:]"),
    ("[:DIGIT:]", "[:digit:]"),
    ("[:SPACE:]", "\\x20"),
    ("[:WHITESPACE:]", "\\s"),
    ("[:ALNUM:]", "[:alnum:]"),
];

/// What a `LIKE` or `SIMILAR TO` is to the planner; `None` where it is none of them.
pub(super) fn rewritten(expr: &Expr) -> Rewritten {
    match expr {
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            Some(like_pattern(pattern, escape_char.as_ref()).map(|pattern| with_pattern(expr, pattern)))
        }
        Expr::SimilarTo { negated, expr, pattern, escape_char } => {
            Some(similar_pattern(pattern, escape_char.as_ref()).map(|pattern| {
                let matches = call("regexp_like", vec![*expr.clone(), text(&pattern)]);
                if !negated {
                    return matches;
                }
                nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(matches) })
            }))
        }
        _ => None,
    }
}

fn with_pattern(like: &Expr, wanted: Expr) -> Expr {
    let mut like = like.clone();
    if let Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } = &mut like {
        (*pattern, *escape_char) = (Box::new(wanted), None);
    }
    like
}

/// The pattern as the planner reads it: with a backslash that escapes.
fn like_pattern(pattern: &Expr, escape: Option<&ValueWithSpan>) -> Result<Expr, SqlProblem> {
    let place = Place::from(pattern.span());
    let escape = escape_char(escape, place)?;
    let Some(written) = literal(pattern) else {
        if escape.is_some() {
            return Err(place.refuse("LIKE with ESCAPE takes a text as its pattern", "write the pattern in quotes"));
        }
        return Ok(call("replace", vec![pattern.clone(), text("\\"), text("\\\\")]));
    };
    let mut rewritten = String::with_capacity(written.len());
    let mut letters = written.chars();
    while let Some(letter) = letters.next() {
        if Some(letter) == escape {
            let next = letters.next().filter(|next| matches!(next, '%' | '_') || Some(*next) == escape);
            let next = next.ok_or_else(|| dangling(place, written, letter, "%, _"))?;
            rewritten.extend(['\\', next]);
        } else if letter == '\\' {
            rewritten.push_str("\\\\");
        } else {
            rewritten.push(letter);
        }
    }
    Ok(text(&rewritten))
}

/// The pattern as a regular expression of the `regex` crate.
fn similar_pattern(pattern: &Expr, escape: Option<&ValueWithSpan>) -> Result<String, SqlProblem> {
    let place = Place::from(pattern.span());
    let escape = escape_char(escape, place)?;
    let Some(written) = literal(pattern) else {
        return Err(
            place.refuse("SIMILAR TO takes a text as its pattern", "write the pattern in quotes, or use REGEXP")
        );
    };
    let mut regex = String::from("^(?s:");
    let mut rest = written;
    while let Some(letter) = rest.chars().next() {
        let behind = &rest[letter.len_utf8()..];
        rest = match letter {
            _ if Some(letter) == escape => escaped(&mut regex, behind, written, letter, place)?,
            '[' => brackets(&mut regex, rest, written, escape, place)?,
            _ => {
                match letter {
                    '_' => regex.push('.'),
                    '%' => regex.push_str(".*"),
                    '\\' | '$' => regex.extend(['\\', letter]),
                    _ => regex.push(letter),
                }
                behind
            }
        }
    }
    regex.push_str(")$");
    match regex::Regex::new(&regex) {
        Ok(_) => Ok(regex),
        Err(error) => {
            Err(place.problem(format!("SIMILAR TO: `{written}` is no pattern: {}", crate::planner::why(&error))))
        }
    }
}

/// Takes what stands between brackets, from the first of them on; what is left behind them.
fn brackets<'a>(
    regex: &mut String,
    mut at: &'a str,
    written: &str,
    escape: Option<char>,
    place: Place,
) -> Result<&'a str, SqlProblem> {
    let unfit = |found: &str| place.problem(format!("SIMILAR TO: `{written}` is no pattern: {found}"));
    regex.push('[');
    at = &at[1..];
    while let Some(letter) = at.chars().next() {
        let behind = &at[letter.len_utf8()..];
        at = match letter {
            ']' => {
                regex.push(']');
                return Ok(behind);
            }
            _ if Some(letter) == escape => escaped(regex, behind, written, letter, place)?,
            '^' if regex.ends_with('[') => {
                regex.push('^');
                behind
            }
            '-' if !behind.starts_with([']', '-']) && !regex.ends_with(['[', '^', '-']) => {
                regex.push('-');
                behind
            }
            '[' => {
                let (length, class) = class(at).ok_or_else(|| unfit("`[` between brackets"))?;
                regex.push_str(class);
                &at[length..]
            }
            '-' | '^' => {
                regex.extend(['\\', letter]);
                behind
            }
            _ if SPECIAL.contains(letter) => return Err(unfit(&format!("`{letter}` between brackets"))),
            _ => {
                if letter.is_ascii_punctuation() {
                    regex.push('\\');
                }
                regex.push(letter);
                behind
            }
        };
    }
    Err(unfit("`[` without `]`"))
}

/// The class whose name stands here: the length of its name, and what it is in a regular expression.
fn class(at: &str) -> Option<(usize, &'static str)> {
    let is_named = |name: &str| at.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    CLASSES.iter().find(|(name, _)| is_named(name)).map(|(name, class)| (name.len(), *class))
}

/// Takes the letter behind an escape; what is left behind it.
fn escaped<'a>(
    regex: &mut String,
    rest: &'a str,
    written: &str,
    escape: char,
    place: Place,
) -> Result<&'a str, SqlProblem> {
    let next = rest.chars().next().filter(|next| SPECIAL.contains(*next) || *next == escape);
    let next = next.ok_or_else(|| dangling(place, written, escape, SPECIAL))?;
    if next.is_ascii_punctuation() {
        regex.push('\\');
    }
    regex.push(next);
    Ok(&rest[next.len_utf8()..])
}

fn dangling(place: Place, written: &str, escape: char, expected: &str) -> SqlProblem {
    place.problem(format!("`{written}`: expected one of {expected} or `{escape}` behind the escape `{escape}`"))
}

fn escape_char(escape: Option<&ValueWithSpan>, place: Place) -> Result<Option<char>, SqlProblem> {
    let Some(escape) = escape else { return Ok(None) };
    let written = match &escape.value {
        Value::SingleQuotedString(written) => written.as_str(),
        _ => "",
    };
    let mut letters = written.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) => Ok(Some(letter)),
        _ => Err(place.problem(format!("ESCAPE takes one character, found {escape}"))),
    }
}

fn literal(pattern: &Expr) -> Option<&str> {
    match pattern {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(written), .. }) => Some(written),
        Expr::Nested(inner) => literal(inner),
        _ => None,
    }
}
