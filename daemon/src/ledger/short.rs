//! Whether a state directory proves that its journal was longer than it is: files that went, or were cut.
//!
//! Must not: read the journal, or change anything.

use std::path::Path;

use super::seal;
use super::segment::{HEADER, JournalError, Position, length, segments};

/// What is missing of a journal, in words. Without a seal a shorter journal looks like one of which a power cut took a
/// tail that was never acknowledged; only one without any record is told then.
pub(super) fn missing(state_dir: &Path) -> Result<Option<String>, JournalError> {
    let (dir, index) = (state_dir.join("journal"), state_dir.join("index"));
    let last = if dir.is_dir() { segments(&dir)?.last().copied() } else { None };
    let end = match last {
        Some(segment) => Position { segment, offset: length(&dir, segment)? },
        None => Position { segment: 0, offset: 0 },
    };
    let told = |position: Position| format!("byte {} of segment {}", position.offset, position.segment);
    if let Some(sealed) = seal::journal(&index).filter(|sealed| *sealed > end) {
        return Ok(Some(format!("ends at {}, and went on to {} when the daemon left", told(end), told(sealed))));
    }
    // The identity is made behind the first record.
    let began = state_dir.join("ledger-id").exists() && index.exists();
    let empty = end.segment <= 1 && end.offset <= HEADER;
    Ok((began && empty).then(|| "holds no record, although a daemon has worked here".to_owned()))
}
