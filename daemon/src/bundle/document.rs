//! The two documents every bundle opens with: `bundle.yaml` ([`Header`]) and `sequence.yaml` ([`Sequence`]).
//!
//! Reading refuses unknown keys; writing goes through one emitter whose strings are always quoted, so that
//! YAML 1.1 and 1.2 readers agree. `bundle.yaml` ends in a line that carries the digest of all bytes above it.
//! Must not: judge a sequence; `verify` does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::flow::{Flow, Jobs};
use super::limits::FORMAT;
use super::options::Options;
use super::{Digest, ExecutionId, Hostname, NodeName, OperationId, PodName, StepId, Tenant, VolumeName};

/// `bundle.yaml`: identity, validity and the digest of every other entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the bundle format.
    pub format: u32,
    /// Identity of the run this bundle asks for.
    pub execution: ExecutionId,
    /// Who owns it.
    pub tenant: Tenant,
    /// When it was packed; null unless the packer was told.
    pub created: Option<jiff::Timestamp>,
    /// Where it came from.
    pub operation: OperationInfo,
    /// When the board may accept it.
    pub validity: Validity,
    /// Whether it waits for a `release` after acceptance.
    pub hold: bool,
    /// Every other entry, in archive order.
    pub entries: Vec<Entry>,
}

/// What the bundle says of its operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationInfo {
    /// The operation's name.
    pub id: OperationId,
    /// Ground revision number.
    pub revision: Option<u32>,
    /// Ground folder.
    pub namespace: Option<String>,
    /// Target system, such as `cg2.fm`.
    pub system: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Free metadata.
    pub labels: BTreeMap<String, String>,
}

/// When a bundle may be accepted, in wall time; both ends optional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validity {
    /// Not before this instant.
    pub not_before: Option<jiff::Timestamp>,
    /// Not after this instant.
    pub not_after: Option<jiff::Timestamp>,
}

/// One entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Path in the archive.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of its content.
    pub sha256: Digest,
}

/// `sequence.yaml`: the ordered steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// Jobs (gangs) of the execution that may be alive at once; absent: all that the steps allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// In the order in which they run.
    pub steps: Vec<StepDocument>,
}

/// One step as written; exactly the block that `kind` names must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepDocument {
    /// Identity within the execution.
    pub id: StepId,
    /// What it does.
    pub kind: StepKind,
    /// What its failure means for the steps after it.
    pub on_failure: OnFailure,
    /// Budget of each attempt of each of its jobs, in seconds; of the step when it has no jobs.
    pub timeout_seconds: u32,
    /// How it is tied into the sequence.
    #[serde(default, skip_serializing_if = "Flow::is_plain")]
    pub flow: Flow,
    /// Parameters when `kind` is `pod_run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_run: Option<PodRunDocument>,
    /// Parameters when `kind` is `uplink`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<UplinkDocument>,
    /// Parameters when `kind` is `downlink`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downlink: Option<DownlinkDocument>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Runs a pod.
    PodRun,
    /// Places files of the bundle into a volume.
    Uplink,
    /// Collects files of a volume into the outbox.
    Downlink,
}

/// What a failed step means for the rest of the sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Nothing of the execution starts any more.
    #[default]
    Stop,
    /// The sequence goes on.
    Continue,
}

/// Where a pod_run step finds its pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodRunDocument {
    /// Path of the manifest in the bundle; steps that share one are a group.
    pub manifest: String,
    /// `metadata.name` of the step's document in it, which is the pod's hostname.
    pub pod: Hostname,
    /// The tenant's name for it.
    pub pod_name: PodName,
    /// Where it runs; `default` is the operator's choice.
    pub node: NodeName,
    /// The volume at `/data`.
    pub volume: VolumeName,
    /// Seconds from the start of its process until it is told to end.
    pub max_duration_seconds: u32,
    /// How many jobs there are; absent: one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Jobs>,
    /// What it asks for beyond the documented keys.
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    pub options: Box<Options>,
}

/// What an uplink step places where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UplinkDocument {
    /// The volume that receives them.
    pub volume: VolumeName,
    /// Folder in it; empty is its root.
    pub destination: String,
    /// Paths of entries in this bundle.
    pub files: Vec<String>,
}

/// What a downlink step collects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownlinkDocument {
    /// The volume they lie in.
    pub volume: VolumeName,
    /// Paths or shell wildcards in it.
    pub sources: Vec<String>,
    /// Folder of the namespace on the ground.
    pub destination: String,
}

/// A document that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not UTF-8.
    #[error("{name} is not UTF-8 text")]
    Text {
        /// The entry.
        name: String,
    },
    /// YAML or a field of it.
    #[error("{name}{}: {message}", .line.map(|l| format!(":{l}")).unwrap_or_default())]
    Yaml {
        /// The entry.
        name: String,
        /// Line, where known.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// The digest line of `bundle.yaml` is missing or not that of the bytes above it.
    #[error(
        "bundle.yaml: its last line must be `digest: \"<sha256 of the bytes above>\"`, and is not; the file is damaged"
    )]
    Digest,
    /// A format version from another time.
    #[error(
        "bundle.yaml: format {found} is not known; this program reads format {FORMAT}; \
         pack the bundle again with a matching perigee"
    )]
    Format {
        /// The version the bundle names.
        found: u64,
    },
}

const DIGEST_KEY: &str = "digest: ";

impl Header {
    /// Name of the first entry.
    pub const PATH: &'static str = "bundle.yaml";

    /// The bytes of `bundle.yaml`, digest line included.
    ///
    /// # Errors
    /// When the values cannot be written as YAML.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DocumentError> {
        let mut text = write(Self::PATH, self)?;
        let digest = Digest::of(text.as_bytes());
        let _ = writeln!(text, "{DIGEST_KEY}\"{digest}\"");
        Ok(text.into_bytes())
    }

    /// Reads `bundle.yaml`: digest line first, then the format version, then the rest.
    ///
    /// # Errors
    /// A damaged or foreign document.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DocumentError> {
        let text = text(Self::PATH, bytes)?;
        let body = checked_body(text).ok_or(DocumentError::Digest)?;
        let value: serde_yaml::Value = serde_yaml::from_str(body).map_err(|e| yaml_error(Self::PATH, &e))?;
        match value.get("format").and_then(serde_yaml::Value::as_u64) {
            Some(found) if found != u64::from(FORMAT) => Err(DocumentError::Format { found }),
            Some(_) | None => serde_yaml::from_str(body).map_err(|e| yaml_error(Self::PATH, &e)),
        }
    }
}

impl Sequence {
    /// Name of the entry after the header.
    pub const PATH: &'static str = "sequence.yaml";
}

fn checked_body(text: &str) -> Option<&str> {
    let (body_end, last) = match text.strip_suffix('\n')?.rfind('\n') {
        Some(at) => (at + 1, &text[at + 1..]),
        None => return None,
    };
    let body = &text[..body_end];
    (last == format!("{DIGEST_KEY}\"{}\"\n", Digest::of(body.as_bytes()))).then_some(body)
}

fn text<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, DocumentError> {
    std::str::from_utf8(bytes).map_err(|_| DocumentError::Text { name: name.to_owned() })
}

fn yaml_error(name: &str, error: &serde_yaml::Error) -> DocumentError {
    DocumentError::Yaml { name: name.to_owned(), line: error.location().map(|l| l.line()), message: error.to_string() }
}

/// Reads one document. Duplicate keys are refused in maps too, which serde alone would let pass.
///
/// # Errors
/// When it is not UTF-8, not YAML, or not of this type.
pub fn read<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, DocumentError> {
    let text = text(name, bytes)?;
    let _: serde_yaml::Value = serde_yaml::from_str(text).map_err(|e| yaml_error(name, &e))?;
    serde_yaml::from_str(text).map_err(|e| yaml_error(name, &e))
}

/// Reads a stream of documents separated by `---`; stops at the first error.
///
/// # Errors
/// As [`read`].
pub fn read_all<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<Vec<T>, DocumentError> {
    let text = text(name, bytes)?;
    let documents = || serde_yaml::Deserializer::from_str(text);
    documents()
        .try_for_each(|document| serde_yaml::Value::deserialize(document).map(drop))
        .and_then(|()| documents().map(T::deserialize).collect())
        .map_err(|e| yaml_error(name, &e))
}

/// Writes one document as block YAML, keys in byte order.
///
/// # Errors
/// When a value has no JSON form.
pub fn write<T: Serialize>(name: &str, document: &T) -> Result<String, DocumentError> {
    let value = serde_json::to_value(document).map_err(|error| DocumentError::Yaml {
        name: name.to_owned(),
        line: None,
        message: error.to_string(),
    })?;
    let mut out = String::new();
    block(&value, 0, &mut out);
    Ok(out)
}

fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let _ = write!(out, "{:indent$}{}:", "", quoted_key(key));
                nested(value, indent, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                let start = out.len();
                block(item, indent + 2, out);
                // The first line of the item takes the dash in place of two of its spaces.
                out.replace_range(start + indent..start + indent + 2, "- ");
            }
        }
        Value::String(text) => {
            let _ = writeln!(out, "{:indent$}{}", "", quoted(text));
        }
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_)) => {
            let _ = writeln!(out, "{:indent$}{scalar}", "");
        }
    }
}

fn nested(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if map.is_empty() => out.push_str(" {}\n"),
        Value::Array(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Object(_) | Value::Array(_) => {
            out.push('\n');
            block(value, indent + 2, out);
        }
        Value::String(text) => {
            let _ = writeln!(out, " {}", quoted(text));
        }
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_)) => {
            let _ = writeln!(out, " {scalar}");
        }
    }
}

/// A JSON string, with what YAML forbids or folds escaped besides: DEL, C1 controls, line and paragraph separators, the
/// byte-order mark and the two last code points of the plane.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string().chars().fold(String::new(), |mut out, c| {
        if matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
        out
    })
}

fn quoted_key(key: &str) -> String {
    const YAML_1_1_WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "_"];
    let plain = key.chars().all(|c| c.is_ascii_alphabetic() || c == '_')
        && !key.is_empty()
        && !YAML_1_1_WORDS.contains(&key.to_lowercase().as_str());
    if plain { key.to_owned() } else { quoted(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_yaml_1_1_would_misread_come_back_as_strings() {
        let words = [
            "yes",
            "on",
            "3.10",
            "1_000",
            "12:30:45",
            "2026-01-01",
            "<<",
            "multi\nline",
            "tab\t",
            "é",
            "null",
            "\u{7f}\u{85}\u{9f}\u{2028}\u{feff}\u{ffff}",
            "\u{1f600}",
        ];
        let map: BTreeMap<&str, &str> = words.iter().map(|w| (*w, *w)).collect();
        let text = write("x", &map).expect("writes");
        let back: BTreeMap<String, String> = read("x", text.as_bytes()).expect("reads");
        assert!(back.iter().all(|(key, value)| key == value) && back.len() == words.len(), "{text}");
        assert!(text.contains("\"yes\": \"yes\""), "{text}");
    }

    #[test]
    fn nested_lists_and_maps_come_back() {
        let list = serde_json::json!([{"b": 1, "c": []}, {"d": {"e": [1, 2]}}]);
        let value = serde_json::json!({"a": list, "f": {}, "g": [["x"], ["y", "z"]], "h": null});
        let text = write("x", &value).expect("writes");
        assert_eq!(read::<Value>("x", text.as_bytes()).expect(&text), value);
    }

    #[test]
    fn duplicate_keys_are_refused_in_maps() {
        assert!(read::<BTreeMap<String, u32>>("x", b"a: 1\na: 2\n").is_err());
    }

    #[test]
    fn any_flipped_byte_of_the_header_is_noticed() {
        let header = Header {
            format: FORMAT,
            execution: "0198c0de-0000-7000-8000-000000000001".parse().expect("uuid"),
            tenant: "client1".parse().expect("name"),
            created: None,
            operation: OperationInfo {
                id: "tcp-demo".parse().expect("name"),
                revision: Some(3),
                namespace: None,
                system: None,
                description: None,
                labels: BTreeMap::new(),
            },
            validity: Validity::default(),
            hold: false,
            entries: vec![],
        };
        let bytes = header.to_bytes().expect("writes");
        assert_eq!(Header::from_bytes(&bytes).as_ref(), Ok(&header));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(Header::from_bytes(&bad).is_err(), "byte {at}");
        }
    }
}
