//! What a user probably meant.

use super::super::place::child;
use super::super::yaml::{Entry, Quote, Tree};
use super::Finding;

/// An entry that is the rest of a value which a comma cut in two: `{type: DECIMAL(10, 2)}` is `type: DECIMAL(10` and a
/// key `2)`.
pub(super) fn cut_by_comma(path: &str, entry: &Entry, siblings: &[Entry]) -> Option<Finding> {
    if entry.value.tree != Tree::Null {
        return None;
    }
    let index = siblings.iter().position(|sibling| sibling.key_at == entry.key_at)?;
    // A value with several commas leaves several keys behind; the first one tells of all.
    let start = siblings[..index].iter().rposition(|sibling| sibling.value.tree != Tree::Null)?;
    let cut = &siblings[start];
    let text = cut.value.as_str().filter(|text| open_brackets(text) > 0)?;
    if cut.value.text.is_none_or(|place| place.quote != Quote::Plain) {
        return None;
    }
    let rest: Vec<&str> =
        siblings[start + 1..].iter().map(|sibling| sibling.key.as_str()).take_while(closes()).collect();
    let whole = format!("{text}, {}", rest.join(", "));
    let message = format!("`{text}` was cut in two by its comma: `{}` became a key of its own", rest.join(", "));
    let finding = Finding::new(child(path, &cut.key), cut.value.at, message);
    Some(finding.help(format!("quote it: {}: \"{whole}\"", cut.key)))
}

/// Takes keys up to and including the one that closes the brackets.
fn closes() -> impl FnMut(&&str) -> bool {
    let mut depth = 1;
    move |key| {
        let open = depth > 0;
        depth += open_brackets(key);
        open
    }
}

fn open_brackets(text: &str) -> i32 {
    text.chars().fold(0, |depth, c| match c {
        '(' | '<' => depth + 1,
        ')' | '>' => depth - 1,
        _ => depth,
    })
}

/// The nearest of the names that are known, or all of them where they are few.
pub(super) fn nearest_field(found: &str, known: &[&str]) -> String {
    if let Some(nearest) = nearest(found, known) {
        return format!("did you mean {nearest}?");
    }
    match known {
        [] => "this object has no fields: write {}".to_owned(),
        known if known.len() <= 16 => format!("known fields: {}", known.join(", ")),
        _ => "remove it, or move it to where it belongs".to_owned(),
    }
}

/// The nearest of some names, if it is near enough to be meant.
pub(in super::super) fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(&found.to_lowercase(), &name.to_lowercase());
    let limit = (found.chars().count() / 3).max(1);
    let best = known.iter().copied().min_by_key(distance)?;
    (distance(&best) <= limit).then_some(best)
}

/// Names in a sentence: `a, b or c`.
pub(in super::super) fn any_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
