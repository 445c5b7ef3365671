//! YAML with places: a tree of nodes that know their line and whether a scalar was quoted.
//!
//! A serde reader stops at the first error and forgets lines; an operator wants all findings with theirs.
//! Must not: know the keys of an operation.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::finding::{Findings, Place};

/// Nodes of one file, aliases expanded. Far above any operation, far below what hurts.
const NODES_MAX: usize = 100_000;
/// Nesting of one file.
const DEPTH_MAX: usize = 64;

/// One node and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it starts.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Value {
    /// Text of a quoted or block scalar, or of a plain one that YAML reads as a string.
    String(String),
    /// A plain scalar that YAML reads as something else.
    Plain(Plain, String),
    /// A list.
    List(Vec<Node>),
    /// A map in file order; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// What YAML reads an unquoted scalar as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number that fits 64 bits.
    Integer(i64),
    /// Any other number.
    Float,
}

/// A key of a map.
#[derive(Debug, Clone)]
pub struct Key {
    /// Where it stands.
    pub place: Place,
    /// Its text.
    pub name: String,
}

impl Value {
    /// What this is, in words for a finding.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::String(text) => format!("the text `{}`", shortened(text)),
            Self::Plain(Plain::Null, _) => "nothing".to_owned(),
            Self::Plain(Plain::Boolean(_), text) => format!("the boolean {text}"),
            Self::Plain(Plain::Integer(_) | Plain::Float, text) => format!("the number {text}"),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a map".to_owned(),
        }
    }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", text[..at].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

/// Reads the one document of a file. `None` when it has syntax errors, which are then among the findings.
pub fn read(text: &str, findings: &mut Findings) -> Option<Node> {
    let mut builder = Builder { anchors: BTreeMap::new(), nodes: 0, findings };
    let mut events = Parser::new_from_str(text);
    let mut root = None;
    while let Some(event) = events.next() {
        match event {
            Err(error) => {
                let at = error.marker();
                let place = Place { line: at.line(), column: at.col() + 1 };
                builder.findings.error(
                    place,
                    "",
                    format!("not YAML: {}", error.info()),
                    "mend the syntax; nothing after this place was checked",
                );
                return None;
            }
            Ok((
                Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing,
                _,
            )) => {}
            Ok((event, span)) if root.is_none() => root = Some(builder.node(event, span, &mut events, 0)?),
            Ok((_, span)) => {
                builder.findings.error(place(span), "", "a second document", "keep one operation per file");
                return None;
            }
        }
    }
    if root.is_none() {
        findings.error(Place::START, "", "the file is empty", "write an operation with an `id` and `tasks`");
    }
    root
}

fn place(span: Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}

struct Builder<'f> {
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    findings: &'f mut Findings,
}

impl Builder<'_> {
    fn node<'i, I: saphyr_parser::Input>(
        &mut self,
        event: Event<'i>,
        span: Span,
        events: &mut Parser<'i, I>,
        depth: usize,
    ) -> Option<Node> {
        let place = place(span);
        self.count(1, place, depth)?;
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tagged = tag.is_some_and(|tag| tag.suffix == "str");
                (anchor, scalar(text.into_owned(), style == ScalarStyle::Plain && !tagged))
            }
            Event::SequenceStart(anchor, _) => (anchor, self.list(events, depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.map(events, depth)?),
            Event::Alias(anchor) => return self.alias(anchor, place, depth),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => {
                self.findings.error(place, "", "a value is missing", "write it, or remove its key");
                return None;
            }
        };
        let node = Node { place, value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Some(node)
    }

    fn list<'i, I: saphyr_parser::Input>(&mut self, events: &mut Parser<'i, I>, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        loop {
            match self.next(events)? {
                (Event::SequenceEnd, _) => return Some(Value::List(items)),
                (event, span) => items.push(self.node(event, span, events, depth + 1)?),
            }
        }
    }

    fn map<'i, I: saphyr_parser::Input>(&mut self, events: &mut Parser<'i, I>, depth: usize) -> Option<Value> {
        let mut pairs: Vec<(Key, Node)> = Vec::new();
        loop {
            let (name, at) = match self.next(events)? {
                (Event::MappingEnd, _) => return Some(Value::Map(pairs)),
                (Event::Scalar(name, ..), span) => (name.into_owned(), place(span)),
                (_, span) => {
                    self.findings.error(place(span), "", "a key that is not text", "use plain words as keys");
                    return None;
                }
            };
            let (event, span) = self.next(events)?;
            let node = self.node(event, span, events, depth + 1)?;
            match pairs.iter().find(|(key, _)| key.name == name) {
                Some((first, _)) => {
                    let message = format!("the key is there twice, first in line {}", first.place.line);
                    self.findings.error(at, name, message, "keep one of them");
                }
                None => pairs.push((Key { place: at, name }, node)),
            }
        }
    }

    fn next<'i, I: saphyr_parser::Input>(&mut self, events: &mut Parser<'i, I>) -> Option<(Event<'i>, Span)> {
        match events.next()? {
            Ok(pair) => Some(pair),
            Err(error) => {
                let at = error.marker();
                let place = Place { line: at.line(), column: at.col() + 1 };
                self.findings.error(
                    place,
                    "",
                    format!("not YAML: {}", error.info()),
                    "mend the syntax; nothing after this place was checked",
                );
                None
            }
        }
    }

    fn alias(&mut self, anchor: usize, place: Place, depth: usize) -> Option<Node> {
        let Some(target) = self.anchors.get(&anchor).cloned() else {
            self.findings.error(place, "", "an alias to itself or to nothing", "write the value out");
            return None;
        };
        self.count(size(&target), place, depth)?;
        Some(Node { place, value: target.value })
    }

    fn count(&mut self, more: usize, place: Place, depth: usize) -> Option<()> {
        self.nodes += more;
        if self.nodes > NODES_MAX {
            self.findings.error(place, "", format!("more than {NODES_MAX} values"), "write fewer, or fewer aliases");
            return None;
        }
        if depth > DEPTH_MAX {
            self.findings.error(place, "", format!("nested deeper than {DEPTH_MAX} levels"), "an operation needs five");
            return None;
        }
        Some(())
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::String(_) | Value::Plain(..) => 0,
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(pairs) => pairs.iter().map(|(_, node)| size(node)).sum(),
    }
}

/// The YAML 1.2 core schema for plain scalars.
fn scalar(text: String, plain: bool) -> Value {
    if !plain {
        return Value::String(text);
    }
    let kind = match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Plain::Null,
        "true" | "True" | "TRUE" => Plain::Boolean(true),
        "false" | "False" | "FALSE" => Plain::Boolean(false),
        number => match numeric(number) {
            Some(kind) => kind,
            None => return Value::String(text),
        },
    };
    Value::Plain(kind, text)
}

fn numeric(text: &str) -> Option<Plain> {
    let radix = |digits: &str, radix| i64::from_str_radix(digits, radix).ok().map(Plain::Integer);
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return None;
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Plain::Float);
    }
    if unsigned.is_empty() || !unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
    {
        return None;
    }
    match text.parse::<i64>() {
        Ok(number) => Some(Plain::Integer(number)),
        Err(_) => text.parse::<f64>().ok().map(|_| Plain::Float),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<Value> {
        let mut findings = Findings::default();
        read(text, &mut findings).map(|node| node.value)
    }

    #[test]
    fn unquoted_number_is_told_from_a_string() {
        assert!(matches!(value("3.10"), Some(Value::Plain(Plain::Float, text)) if text == "3.10"));
        assert!(matches!(value("'3.10'"), Some(Value::String(_))));
        assert!(matches!(value("3.10-slim"), Some(Value::String(_))));
        assert!(matches!(value("-5"), Some(Value::Plain(Plain::Integer(-5), _))));
        assert!(matches!(value("99999999999999999999"), Some(Value::Plain(Plain::Float, _))));
        for text in ["yes", "on", "2026-01-01", "1_000", "+", "1.2.3", "e"] {
            assert!(matches!(value(text), Some(Value::String(_))), "{text}");
        }
    }

    #[test]
    fn duplicate_keys_and_second_documents_are_findings() {
        for text in ["a: 1\na: 2\n", "a: 1\n---\nb: 2\n", "a: [1\n", "", "a: &x [*x]\n"] {
            let mut findings = Findings::default();
            let _ = read(text, &mut findings);
            assert!(findings.fatal(), "{text:?} was taken");
        }
    }

    #[test]
    fn a_billion_laughs_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let before = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", ")));
        }
        let mut findings = Findings::default();
        assert!(read(&text, &mut findings).is_none());
        assert!(findings.fatal());
    }

    #[test]
    fn depth_is_bounded() {
        let mut findings = Findings::default();
        assert!(read(&"[".repeat(10_000), &mut findings).is_none());
    }
}
