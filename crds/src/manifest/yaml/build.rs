//! Events of the parser, made into trees.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use super::{Entry, MAX_BYTES, MAX_DEPTH, MAX_NODES, Node, Parsed, Quote, Tree, YamlProblem, scalar};
use crate::manifest::place::{Position, TextPlace};

/// Reads every document of a text, up to the first error of syntax.
pub fn parse(text: &str) -> Parsed {
    let start = Position { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        let problem = YamlProblem::new(start, format!("the file has {} bytes; the limit is 4 MiB", text.len()));
        return Parsed { documents: Vec::new(), problems: vec![problem.help("split it")] };
    }
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        lines: text.lines().collect(),
        anchors: HashMap::new(),
        nodes: 0,
        problems: Vec::new(),
    };
    let mut documents = Vec::new();
    if let Err(problem) = builder.stream(&mut documents) {
        builder.problems.push(problem);
    }
    Parsed { documents, problems: builder.problems }
}

impl YamlProblem {
    fn new(at: Position, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    lines: Vec<&'a str>,
    anchors: HashMap<usize, Arc<Node>>,
    nodes: usize,
    problems: Vec<YamlProblem>,
}

type Result<T, E = YamlProblem> = std::result::Result<T, E>;

impl<'a> Builder<'a> {
    fn stream(&mut self, documents: &mut Vec<Arc<Node>>) -> Result<()> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                // An anchor is known within its document only.
                Event::DocumentEnd => self.anchors.clear(),
                other => documents.push(self.node(other, span, 0)?),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span)> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(YamlProblem::new(
                position(error.marker()),
                format!("this is no YAML: {}", error.info().trim_end_matches('.')),
            )),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Arc<Node>> {
        let at = position(&span.start);
        if depth > MAX_DEPTH {
            return Err(YamlProblem::new(at, format!("this nests deeper than {MAX_DEPTH} levels")).help("flatten it"));
        }
        let (node, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, at),
            Event::Scalar(text, style, anchor, tag) => (scalar_node(&text, style, tag.as_deref(), span)?, anchor),
            Event::SequenceStart(anchor, _) => (self.list(at, depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(at, depth)?, anchor),
            _ => return Err(YamlProblem::new(at, "this is no YAML: a value is expected")),
        };
        self.count(1, at)?;
        let node = Arc::new(node);
        if anchor > 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<Arc<Node>> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(YamlProblem::new(at, "this alias stands inside its own anchor, or in another document")
                .help("write the value out"));
        };
        self.count(node.size, at)?;
        // Problems are reported where the alias stands, not where its anchor does; texts keep their own place.
        Ok(Arc::new(Node { at, ..(*node).clone() }))
    }

    fn count(&mut self, nodes: usize, at: Position) -> Result<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        Err(YamlProblem::new(at, format!("the file holds more than {MAX_NODES} values, aliases written out"))
            .help("split it, or use fewer aliases"))
    }

    /// kubectl's parser takes no tab as indentation, this one does. Between braces tabs are fine for both.
    fn no_tab_before(&self, map: Position, key: Position) -> Result<()> {
        let line = |position: Position| self.lines.get(position.line.wrapping_sub(1)).copied().unwrap_or_default();
        if line(map).chars().nth(map.column - 1) == Some('{') {
            return Ok(());
        }
        let indentation = line(key).chars().take(key.column - 1).take_while(|c| c.is_whitespace() || *c == '-');
        match indentation.into_iter().position(|c| c == '\t') {
            Some(before) => Err(YamlProblem::new(Position { column: before + 1, ..key }, "a tab is no indentation")
                .help("indent with spaces")),
            None => Ok(()),
        }
    }

    fn list(&mut self, at: Position, depth: usize) -> Result<Node> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => break,
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
        let size = items.iter().fold(1usize, |size, item| size.saturating_add(item.size));
        Ok(Node { tree: Tree::List(items), at, text: None, written: None, size })
    }

    fn map(&mut self, at: Position, depth: usize) -> Result<Node> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged: Vec<Entry> = Vec::new();
        let mut keys: HashMap<String, Position> = HashMap::new();
        loop {
            let (event, span) = match self.next()? {
                (Event::MappingEnd, _) => break,
                next => next,
            };
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key_node = self.node(event, span, depth + 1)?;
            self.no_tab_before(at, key_node.at)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if is_merge {
                merge(&mut merged, &value)?;
                continue;
            }
            let key = key_text(&key_node)?;
            match keys.get(&key) {
                Some(first) => self.problems.push(duplicate(&key, key_node.at, *first)),
                None => {
                    keys.insert(key.clone(), key_node.at);
                    entries.push(Entry { key, key_at: key_node.at, value });
                }
            }
        }
        entries.extend(merged.into_iter().filter(|entry| !keys.contains_key(&entry.key)));
        let size = entries.iter().fold(1usize, |size, entry| size.saturating_add(entry.value.size).saturating_add(1));
        Ok(Node { tree: Tree::Map(entries), at, text: None, written: None, size })
    }
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

fn duplicate(key: &str, at: Position, first: Position) -> YamlProblem {
    YamlProblem::new(at, format!("`{key}` is given twice; the first one is at {}:{}", first.line, first.column))
        .help("remove one of them")
}

/// Takes over the entries of one map or of a list of maps; what is there already stays.
fn merge(into: &mut Vec<Entry>, value: &Arc<Node>) -> Result<()> {
    let entries = match &value.tree {
        Tree::Map(entries) => entries,
        Tree::List(items) => return items.iter().try_for_each(|item| merge(into, item)),
        _ => return Err(YamlProblem::new(value.at, "`<<` merges a map, or a list of maps")),
    };
    let known: std::collections::HashSet<String> = into.iter().map(|entry| entry.key.clone()).collect();
    into.extend(entries.iter().filter(|entry| !known.contains(&entry.key)).cloned());
    Ok(())
}

/// A key as JSON would have it.
fn key_text(node: &Node) -> Result<String> {
    match &node.tree {
        Tree::String(text) => Ok(text.clone()),
        Tree::Bool(value) => Ok(value.to_string()),
        Tree::Number(number) => Ok(number.to_string()),
        Tree::Null | Tree::List(_) | Tree::Map(_) => {
            Err(YamlProblem::new(node.at, format!("a key must be a text, found {}", node.type_name())))
        }
    }
}

fn scalar_node(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Node> {
    let at = position(&span.start);
    let tree = match (style, tag) {
        (_, Some(tag)) if tag.is_yaml_core_schema() => tagged(text, &tag.suffix, at)?,
        (ScalarStyle::Plain, None) => scalar::resolve(text).ok_or_else(|| no_json(text, at))?,
        _ => Tree::String(text.to_owned()),
    };
    let quote = match style {
        ScalarStyle::Plain => Quote::Plain,
        ScalarStyle::SingleQuoted => Quote::Single,
        ScalarStyle::DoubleQuoted => Quote::Double,
        ScalarStyle::Literal | ScalarStyle::Folded => Quote::Block,
    };
    let place = TextPlace { quote, start: at, from: span.start.index(), to: span.end.index() };
    let is_text = matches!(tree, Tree::String(_));
    let written = (!is_text).then(|| text.to_owned());
    Ok(Node { tree, at, text: is_text.then_some(place), written, size: 1 })
}

/// A scalar whose tag says what it is.
fn tagged(text: &str, suffix: &str, at: Position) -> Result<Tree> {
    if matches!(suffix, "str" | "binary") {
        return Ok(Tree::String(text.to_owned()));
    }
    let tree = scalar::resolve(text).ok_or_else(|| no_json(text, at))?;
    let fits = match (&tree, suffix) {
        (Tree::Bool(_), "bool") | (Tree::Null, "null") | (Tree::Number(_), "float") => true,
        (Tree::Number(number), "int") => !number.is_f64(),
        (_, "bool" | "null" | "int" | "float") => false,
        _ => return Ok(Tree::String(text.to_owned())),
    };
    if fits { Ok(tree) } else { Err(YamlProblem::new(at, format!("`{text}` is no !!{suffix}"))) }
}

fn no_json(text: &str, at: Position) -> YamlProblem {
    YamlProblem::new(at, format!("`{text}` has no form in JSON")).help("quote it, if a text is meant")
}
