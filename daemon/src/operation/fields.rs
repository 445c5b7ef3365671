//! Reads the keys of one map, collecting findings: unknown keys, missing keys, values of another type.
//!
//! Must not: know what the keys mean.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::finding::{Findings, Place, did_you_mean};
use super::tree::{Key, Node, Plain, Value};
use crate::bundle::names::BadName;

/// Keys of other systems that are not offered, and what to do instead.
const NOT_OFFERED: [(&str, &str); 2] = [
    ("restart", "a pod that Podman restarts never ends; use `retries`, which the daemon counts"),
    ("rm", "remove it: every container is removed after its output was kept"),
];

/// The keys of one map, and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    path: &'a str,
    place: Place,
    pairs: &'a [(Key, Node)],
}

impl<'a> Fields<'a> {
    /// Opens a node that must be a map.
    pub fn open(node: &'a Node, path: &'a str, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Map(pairs) => Some(Self { path, place: node.place, pairs }),
            other @ (Value::String(_) | Value::Plain(..) | Value::List(_)) => {
                findings.error(
                    node.place,
                    path,
                    format!("found {}, expected a map", other.describe()),
                    "write `key: value` lines",
                );
                None
            }
        }
    }

    /// Where the map starts.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Where the value of each of its keys stands, and of those below: `after[0].step`.
    #[must_use]
    pub fn places(&self) -> BTreeMap<String, Place> {
        let mut places = BTreeMap::new();
        self.pairs.iter().for_each(|(key, node)| below(node, key.name.clone(), &mut places));
        places
    }

    /// The full name of one of its fields.
    #[must_use]
    pub fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports every key that is not among `known`.
    pub fn only(&self, known: &[&str], findings: &mut Findings) {
        for (key, _) in self.pairs.iter().filter(|(key, _)| !known.contains(&key.name.as_str())) {
            let field = self.name(&key.name);
            if let Some((_, instead)) = NOT_OFFERED.iter().find(|(name, _)| *name == key.name) {
                findings.error(key.place, field, format!("`{}` is not offered", key.name), *instead);
                continue;
            }
            let hint = match did_you_mean(&key.name, known.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("expected one of: {}", known.join(", ")),
            };
            findings.error(key.place, field, format!("unknown key `{}`", key.name), hint);
        }
    }

    /// The node of a key, absent when it is missing or null.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        let (_, node) = self.pairs.iter().find(|(found, _)| found.name == key)?;
        (!matches!(node.value, Value::Plain(Plain::Null, _))).then_some(node)
    }

    /// The node of a key that must be there.
    pub fn required(&self, key: &str, hint: &str, findings: &mut Findings) -> Option<&'a Node> {
        let node = self.get(key);
        if node.is_none() {
            findings.error(self.place, self.name(key), "missing", hint);
        }
        node
    }

    /// Where a key's value stands, or the map when it is missing.
    #[must_use]
    pub fn place_of(&self, key: &str) -> Place {
        self.get(key).map_or(self.place, |node| node.place)
    }

    /// Optional text.
    pub fn text(&self, key: &str, findings: &mut Findings) -> Option<String> {
        self.get(key).and_then(|node| text(node, &self.name(key), findings))
    }

    /// Text that must be there.
    pub fn required_text(&self, key: &str, hint: &str, findings: &mut Findings) -> Option<String> {
        self.required(key, hint, findings).and_then(|node| text(node, &self.name(key), findings))
    }

    /// A name that must be there and follow its grammar.
    pub fn required_name<T: FromStr<Err = BadName>>(
        &self,
        key: &str,
        hint: &str,
        findings: &mut Findings,
    ) -> Option<T> {
        let given = self.required_text(key, hint, findings)?;
        named(&given, self.place_of(key), &self.name(key), findings)
    }

    /// Optional `true` or `false`.
    pub fn boolean(&self, key: &str, findings: &mut Findings) -> Option<bool> {
        let node = self.get(key)?;
        if let Value::Plain(Plain::Boolean(value), _) = node.value {
            return Some(value);
        }
        findings.error(
            node.place,
            self.name(key),
            format!("found {}, expected true or false", node.value.describe()),
            "write true or false, unquoted",
        );
        None
    }

    /// Optional whole number within bounds.
    pub fn integer(&self, key: &str, bounds: (i64, i64), unit: &str, findings: &mut Findings) -> Option<i64> {
        integer(self.get(key)?, &self.name(key), bounds, unit, findings)
    }

    /// Optional word out of a few.
    pub fn word<T: Copy>(&self, key: &str, words: &[(&str, T)], findings: &mut Findings) -> Option<T> {
        let given = self.text(key, findings)?;
        let found = words.iter().find(|(word, _)| *word == given);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("found the text `{}`, expected {}", given.escape_debug(), names.join(", "));
            findings.error(self.place_of(key), self.name(key), message, "write one of these words");
        }
        found.map(|(_, value)| *value)
    }

    /// Optional list of nodes.
    pub fn list(&self, key: &str, findings: &mut Findings) -> Option<&'a [Node]> {
        let node = self.get(key)?;
        if let Value::List(items) = &node.value {
            return Some(items);
        }
        findings.error(
            node.place,
            self.name(key),
            format!("found {}, expected a list", node.value.describe()),
            "write `[a, b]` or one `- item` per line",
        );
        None
    }

    /// Optional list of texts, with their places.
    pub fn texts(&self, key: &str, findings: &mut Findings) -> Option<Vec<(String, Place)>> {
        let items = self.list(key, findings)?.iter().enumerate();
        let name = self.name(key);
        Some(items.filter_map(|(i, node)| Some((text(node, &format!("{name}[{i}]"), findings)?, node.place))).collect())
    }

    /// Optional map of texts.
    pub fn labels(&self, key: &str, findings: &mut Findings) -> Vec<(String, String)> {
        let name = self.name(key);
        let Some(fields) = self.get(key).and_then(|node| Fields::open(node, &name, findings)) else {
            return Vec::new();
        };
        let values = fields.pairs.iter();
        values
            .filter_map(|(key, node)| Some((key.name.clone(), text(node, &fields.name(&key.name), findings)?)))
            .collect()
    }
}

fn below(node: &Node, path: String, places: &mut BTreeMap<String, Place>) {
    match &node.value {
        Value::String(_) | Value::Plain(..) => {}
        Value::List(items) => {
            items.iter().enumerate().for_each(|(i, item)| below(item, format!("{path}[{i}]"), places));
        }
        Value::Map(pairs) => {
            pairs.iter().for_each(|(key, node)| below(node, format!("{path}.{}", key.name), places));
        }
    }
    places.insert(path, node.place);
}

/// Reads a node that must be text. Numbers and booleans are refused, because `3.10` would fly as `3.1`.
pub fn text(node: &Node, field: &str, findings: &mut Findings) -> Option<String> {
    let hint = match &node.value {
        Value::String(text) if text.contains('\0') => {
            findings.error(
                node.place,
                field,
                "found a text with a NUL character, which no program can be given",
                "remove it",
            );
            return None;
        }
        Value::String(text) => return Some(text.clone()),
        Value::Plain(Plain::Null, _) => "write a text".to_owned(),
        Value::Plain(_, raw) => format!("quote it: \"{raw}\""),
        Value::List(_) | Value::Map(_) => "write one text here; check the indentation".to_owned(),
    };
    findings.error(node.place, field, format!("found {}, expected a text", node.value.describe()), hint);
    None
}

/// Reads a node that must be a whole number within bounds.
pub fn integer(node: &Node, field: &str, bounds: (i64, i64), unit: &str, findings: &mut Findings) -> Option<i64> {
    match node.value {
        Value::Plain(Plain::Integer(value), _) if (bounds.0..=bounds.1).contains(&value) => return Some(value),
        Value::Plain(..) | Value::String(_) | Value::List(_) | Value::Map(_) => {}
    }
    let expected =
        format!("found {}, expected a whole number{unit} from {} to {}", node.value.describe(), bounds.0, bounds.1);
    findings.error(node.place, field, expected, "write a number within these bounds, unquoted");
    None
}

/// Reads text that must follow the grammar of a name.
pub fn named<T: FromStr<Err = BadName>>(given: &str, place: Place, field: &str, findings: &mut Findings) -> Option<T> {
    match given.parse::<T>() {
        Ok(name) => Some(name),
        Err(bad) => {
            findings.error(place, field, bad.to_string(), "rename it");
            None
        }
    }
}
