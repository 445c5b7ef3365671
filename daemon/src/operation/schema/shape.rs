//! The few forms that values have, as JSON Schema.
//!
//! Must not: know keys.

use serde_json::{Map, Value, json};

use crate::bundle::path;

/// A map with these keys and no others. A key that nothing is said of is left out, which a test notices.
pub(super) fn map<'k>(
    keys: impl IntoIterator<Item = &'k str>,
    required: &[&str],
    shape: impl Fn(&str) -> Option<Value>,
) -> Value {
    let keys = keys.into_iter();
    let properties: Map<String, Value> = keys.filter_map(|key| Some((key.to_owned(), shape(key)?))).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// A shape with words for whoever writes it.
pub(super) fn said(mut shape: Value, what: &str) -> Value {
    shape["description"] = json!(what);
    shape
}

/// A shape with one more rule.
pub(super) fn with(mut shape: Value, keyword: &str, rule: Value) -> Value {
    shape[keyword] = rule;
    shape
}

pub(super) fn text() -> Value {
    json!({"type": "string"})
}

pub(super) fn pattern(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

/// A path inside a volume or folder.
pub(super) fn path() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": path::MAX})
}

pub(super) fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

/// A list of at least one.
pub(super) fn some(items: Value) -> Value {
    json!({"type": "array", "items": items, "minItems": 1})
}

pub(super) fn whole(from: u32, to: u32) -> Value {
    json!({"type": "integer", "minimum": from, "maximum": to})
}

pub(super) fn flag() -> Value {
    json!({"type": "boolean"})
}

pub(super) fn words<'w>(words: impl IntoIterator<Item = &'w str>) -> Value {
    json!({"type": "string", "enum": words.into_iter().collect::<Vec<_>>()})
}

/// Words in any case; an editor offers them as they are.
pub(super) fn words_in_any_case<'w>(words: impl IntoIterator<Item = &'w str>) -> Value {
    let words: Vec<&str> = words.into_iter().collect();
    let either = |c: char| match c.is_ascii_alphabetic() {
        true => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
        false => c.to_string(),
    };
    let patterns: Vec<String> = words.iter().map(|word| word.chars().map(either).collect()).collect();
    json!({"type": "string", "anyOf": [{"enum": words}, {"pattern": format!("^({})$", patterns.join("|"))}]})
}

/// Exactly one of these keys.
pub(super) fn one_of(keys: &[&str]) -> Value {
    keys.iter().map(|key| json!({"required": [key]})).collect()
}

/// Letters, digits, `_`, `-`: steps and volumes.
pub(super) fn name() -> Value {
    pattern("^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$")
}

/// A name of an operation.
pub(super) fn operation_name() -> Value {
    pattern("^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9_])?$")
}

/// A name of a pod.
pub(super) fn pod_name() -> Value {
    pattern("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
}

/// A node, in any case.
pub(super) fn node() -> Value {
    let shape = pattern("^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$");
    let shape = with(shape, "examples", json!(["default", "Mpu", "Gpu", "Fpga"]));
    said(shape, "Where, in any case; the default is the board's choice.")
}

/// `{name, tag}` of an image.
pub(super) fn image() -> Value {
    let image = map(crate::operation::pod_run::IMAGE, &["name", "tag"], |key| match key {
        "name" => Some(said(pattern("^[a-z0-9]([a-z0-9._/:-]{0,253}[a-z0-9])?$"), "In lower case, without the tag.")),
        "tag" => Some(said(pattern("^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"), "Quote it: \"3.10\". No tag is assumed.")),
        _ => None,
    });
    said(image, "A container image; it must be aboard, nothing is pulled.")
}
