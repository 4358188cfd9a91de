//! Places in a file: of a field by its path, and of a character within a text by its line and column there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::yaml::{Node, Quote, Tree};

/// A line and a column in characters, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Where a resource begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
}

impl Origin {
    /// The folder that relative paths in the resource start from.
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }
}

/// A text within a file: where its characters stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextPlace {
    /// How it is quoted.
    pub quote: Quote,
    /// Where it begins, an opening quote included.
    pub start: Position,
    /// The index of its first character in the file.
    pub from: usize,
    /// The index after its last one.
    pub to: usize,
}

/// Where each field of one resource stands.
#[derive(Clone, Debug)]
pub struct Places {
    /// The file's text.
    source: Arc<str>,
    fields: HashMap<String, Field>,
}

#[derive(Clone, Debug)]
struct Field {
    at: Position,
    text: Option<(TextPlace, Arc<Node>)>,
}

impl Places {
    /// Notes the place of every field below `root`.
    pub fn of(source: Arc<str>, root: &Arc<Node>) -> Self {
        let mut places = Self { source, fields: HashMap::new() };
        places.add(String::new(), root);
        places
    }

    fn add(&mut self, path: String, node: &Arc<Node>) {
        match &node.tree {
            Tree::Map(entries) => entries.iter().for_each(|entry| self.add(child(&path, &entry.key), &entry.value)),
            Tree::List(items) => {
                items.iter().enumerate().for_each(|(index, item)| self.add(format!("{path}[{index}]"), item));
            }
            _ => {}
        }
        let text = node.text.map(|text| (text, Arc::clone(node)));
        self.fields.insert(path, Field { at: node.at, text });
    }

    /// Where the value of a field begins, such as `spec.schema[3].type`.
    pub fn position(&self, path: &str) -> Option<Position> {
        self.fields.get(path).map(|field| field.at)
    }

    /// The place of a field, or of the nearest one around it that is written.
    pub fn nearest(&self, path: &str) -> Option<Position> {
        let mut path = path;
        loop {
            if let Some(position) = self.position(path) {
                return Some(position);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// Where a character stands in the file that has this line and column (from 1) in the text of a field, however the
    /// text is quoted, indented or folded.
    pub fn position_in_text(&self, path: &str, line: usize, column: usize) -> Option<Position> {
        let (place, node) = self.fields.get(path)?.text.as_ref()?;
        let Tree::String(text) = &node.tree else { return None };
        let (before, stands_on_space) = inked_before(text, line, column);
        let raw = self.source.chars().skip(place.from).take(place.to.saturating_sub(place.from)).collect();
        let inked = InkedChars::new(raw, place);
        Some(nth(inked, before, stands_on_space).unwrap_or(place.start))
    }
}

/// A path extended by a key.
pub fn child(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    match (path.is_empty(), plain) {
        (true, _) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (false, false) => format!("{path}[{key}]"),
    }
}

/// How many characters that are no white space stand before a place in a text, and whether it is white space itself.
fn inked_before(text: &str, line: usize, column: usize) -> (usize, bool) {
    let mut count = 0;
    for (index, content) in text.split('\n').enumerate() {
        for (at, c) in content.chars().enumerate() {
            if index + 1 > line || (index + 1 == line && at + 1 >= column) {
                return (count, index + 1 > line || c.is_whitespace());
            }
            count += usize::from(!c.is_whitespace());
        }
        if index + 1 >= line {
            break;
        }
    }
    (count, true)
}

/// The place of a character by its number among the inked ones; of white space, the place after the one before it.
fn nth(mut inked: InkedChars, before: usize, stands_on_space: bool) -> Option<Position> {
    if !stands_on_space || before == 0 {
        return inked.nth(before);
    }
    let last = inked.nth(before - 1)?;
    Some(Position { column: last.column + 1, ..last })
}

/// The characters of a text as written, without white space, each with its place.
struct InkedChars {
    raw: Vec<char>,
    at: usize,
    position: Position,
    quote: Quote,
}

impl InkedChars {
    fn new(raw: Vec<char>, place: &TextPlace) -> Self {
        let mut inked = Self { raw, at: 0, position: place.start, quote: place.quote };
        if matches!(inked.quote, Quote::Single | Quote::Double) {
            inked.advance(1);
        }
        inked
    }

    fn advance(&mut self, count: usize) {
        for _ in 0..count {
            match self.raw.get(self.at) {
                Some('\n') => self.position = Position { line: self.position.line + 1, column: 1 },
                Some(_) => self.position.column += 1,
                None => return,
            }
            self.at += 1;
        }
    }

    /// How many characters as written make the next one, and whether that is white space.
    fn next_unit(&self) -> (usize, bool) {
        let c = self.raw[self.at];
        let following = self.raw.get(self.at + 1).copied();
        match (self.quote, c, following) {
            (Quote::Single, '\'', Some('\'')) => (2, false),
            (Quote::Double, '\\', Some(escape)) => match escape {
                'x' => (4, false),
                'u' => (6, false),
                'U' => (10, false),
                'n' | 't' | 'r' | 'v' | 'f' | 'N' | '_' | 'L' | 'P' | ' ' | '\t' | '\n' | '\r' => (2, true),
                _ => (2, false),
            },
            _ => (1, c.is_whitespace()),
        }
    }
}

impl Iterator for InkedChars {
    type Item = Position;

    fn next(&mut self) -> Option<Position> {
        while self.at < self.raw.len() {
            let position = self.position;
            let (length, space) = self.next_unit();
            self.advance(length);
            if !space {
                return Some(position);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    /// The character of the file at the place of the first `needle` in the text of `a`.
    fn found(source: &str, needle: &str) -> String {
        let parsed = yaml::parse(source);
        let root = &parsed.documents[0];
        let places = Places::of(source.into(), root);
        let Tree::Map(entries) = &root.tree else { panic!("{source}") };
        let Tree::String(text) = &entries[0].value.tree else { panic!("{source}") };
        let before = &text[..text.find(needle).unwrap()];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
        let position = places.position_in_text("a", line, column).unwrap();
        let rest: String = source.lines().nth(position.line - 1).unwrap().chars().skip(position.column - 1).collect();
        rest.chars().take(needle.chars().count()).collect()
    }

    #[test]
    fn a_place_in_a_text_is_found_in_the_file_however_the_text_is_written() {
        for source in [
            "a: |\n  SELECT\n    é, here\n\n  FROM there\n",
            "a: |\n\n\n  SELECT\n    here\n  FROM there\n",
            "a: |-\n      SELECT here FROM\n      there\n",
            "a: >\n  SELECT here\n  FROM there\n\n  more\n",
            "a: SELECT here FROM there\n",
            "a: SELECT here\n  FROM there\n",
            "a: 'it''s here\n  and there'\n",
            "a: \"it\\n\\\"x\\\"\\u00e9 here\\tand \\\n  there\"\n",
            "{\"a\": \"SELECT\\n  here FROM there\"}",
        ] {
            assert_eq!(found(source, "here"), "here", "{source}");
            assert_eq!(found(source, "there"), "there", "{source}");
        }
    }

    #[test]
    fn a_place_behind_the_text_is_that_behind_its_last_character() {
        let source = "a: |\n  ab\n  cd\n";
        let parsed = yaml::parse(source);
        let places = Places::of(source.into(), &parsed.documents[0]);
        assert_eq!(places.position_in_text("a", 9, 9), Some(Position { line: 3, column: 5 }));
        assert_eq!(places.position_in_text("a", 1, 3), Some(Position { line: 2, column: 5 }));
    }

    #[test]
    fn the_place_of_an_absent_field_is_that_of_the_nearest_one_around_it() {
        let source = "a:\n  b:\n  - c: 1\n";
        let parsed = yaml::parse(source);
        let places = Places::of(source.into(), &parsed.documents[0]);
        assert_eq!(places.position("a.b[0].c"), Some(Position { line: 3, column: 8 }));
        assert_eq!(places.nearest("a.b[0].x.y"), Some(Position { line: 3, column: 5 }));
        assert_eq!(places.nearest("z"), None);
    }
}
