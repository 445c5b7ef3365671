//! The output document of an errand: what it found out, as the ground reads it.
//!
//! Must not: let the engine hear of an end before its document is on the medium.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Trip;
use crate::disk;
use crate::reason::{Name, Reason};
use crate::sequence::image::Image;
use crate::sequence::state::Output;

/// Bytes of one output document.
const OUTPUT_BYTES: usize = 16 << 20;

/// How an errand went.
pub(crate) struct Done {
    result: Result<(), Reason>,
    document: Option<Map<String, Value>>,
    truncated: bool,
    /// The image that it made, if it made one.
    pub(super) made: Option<Image>,
}

impl Done {
    /// Done, with nothing to tell.
    pub(super) fn good() -> Self {
        Self { result: Ok(()), document: None, truncated: false, made: None }
    }

    /// Not done.
    pub(super) fn failed(reason: Reason) -> Self {
        Self { result: Err(reason), document: None, truncated: false, made: None }
    }

    /// With a document of these fields.
    pub(super) fn with(self, fields: impl Serialize) -> Self {
        let document = match serde_json::to_value(fields) {
            Ok(Value::Object(fields)) => Some(fields),
            Ok(_) | Err(_) => None,
        };
        Self { document, ..self }
    }

    /// With an image that it made, known by this name.
    pub(super) fn making(self, name: &str, id: &str) -> Self {
        Self { made: Some(Image { name: name.to_owned(), id: id.to_owned() }), ..self }
    }

    /// Whether its document is cut short at a limit.
    pub(super) fn cut(self, truncated: bool) -> Self {
        Self { truncated, ..self }
    }
}

impl Trip<'_> {
    /// Puts the document of an errand beside the ledger and says what the engine is to hear.
    pub(super) async fn keep(&self, done: Done) -> Result<Option<Output>, Reason> {
        let Done { result, document, truncated, made: _ } = done;
        let Some(document) = document else { return result.map(|()| None) };
        let plan = &self.execution.plan;
        let step = &plan.steps[self.step].id;
        let mut fields = Map::new();
        fields.insert("step".to_owned(), json!(step));
        fields.insert("status".to_owned(), json!(result.is_ok()));
        fields.insert("message".to_owned(), json!(result.as_ref().err().map(|reason| &reason.message)));
        fields.insert("truncated".to_owned(), json!(truncated));
        fields.insert("uri".to_owned(), json!(format!("{}/outputs/{step}.json", plan.execution)));
        fields.insert("contentType".to_owned(), json!("application/json"));
        let has_length = document.contains_key("contentLength");
        fields.extend(document);
        let bytes = if has_length { text(&fields) } else { with_length(fields) };
        if bytes.len() > OUTPUT_BYTES {
            let message = format!("the output has {} bytes, the limit is {OUTPUT_BYTES}", bytes.len());
            return Err(Reason::new(Name::Limit, message));
        }
        let output = Output { bytes: bytes.len() as u64, truncated };
        let path = self.driver.outbox.output_path(plan.execution, step);
        let written = tokio::task::spawn_blocking(move || disk::write_durably(&path, &bytes)).await;
        match written.map_err(std::io::Error::other).and_then(|written| written) {
            Ok(()) => result.map(|()| Some(output)),
            Err(error) => {
                let message = format!("failed to keep the output: {error}");
                result.and(Err(Reason::new(Name::TransferError, message)))
            }
        }
    }
}

fn text(fields: &Map<String, Value>) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(fields).unwrap_or_default();
    text.push(b'\n');
    text
}

/// The document says its own length: that of the text that says it.
fn with_length(mut fields: Map<String, Value>) -> Vec<u8> {
    let mut length = 0;
    loop {
        fields.insert("contentLength".to_owned(), json!(length));
        let mut bytes = text(&fields);
        // A length never needs fewer digits than the one before; one more newline when it needed none of them.
        if bytes.len() <= length {
            bytes.resize(length, b'\n');
            return bytes;
        }
        length = bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_its_own_length() {
        for size in (0..200).chain(950..1050) {
            let bytes = with_length([("files".to_owned(), json!("x".repeat(size)))].into_iter().collect());
            let back: Value = serde_json::from_slice(&bytes).expect("JSON");
            assert_eq!(back.get("contentLength"), Some(&json!(bytes.len())));
        }
    }
}
