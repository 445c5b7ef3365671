//! One frame of the journal, as bytes and back: length, checksum over length and payload, payload.
//!
//! Must not: know where frames lie.

use serde::{Deserialize, Serialize};

use super::segment::{Cursor, JournalError};
use crate::bundle::ExecutionId;
use crate::sequence::Recorded;
use crate::time::BootTime;

pub(super) const FRAME_HEADER: usize = 8;
/// A decision that touches every step of the longest bundle stays far below.
pub(super) const FRAME_MAX: usize = 32 << 20;
/// How every payload begins.
const OPENING: &[u8] = b"{\"frame\":\"";

/// What one append writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum Frame {
    /// A daemon started.
    Started {
        /// In which boot.
        boot: String,
        /// Which version of it.
        version: String,
        /// How far its boot time is ahead of the board's, in milliseconds: what earlier boots have consumed.
        #[serde(default)]
        offset_ms: u64,
    },
    /// One decision.
    Decided {
        /// Cursor of its first record.
        first: Cursor,
        /// Its records.
        records: Vec<Recorded>,
    },
    /// Ended executions of which nothing but their identity is kept from here on.
    Forgotten {
        /// Their identities.
        executions: Vec<ExecutionId>,
    },
    /// The first frame of a compacted segment: what is before a cursor, without the records of what is forgotten.
    Compacted {
        /// Cursor of the first record that is not in it.
        until: Cursor,
        /// The latest boot time of any record that was in it.
        latest: BootTime,
    },
    /// Boot time has come this far while budgets ran and nothing was decided.
    Reached {
        /// How far.
        boot: BootTime,
    },
}

/// The bytes of a frame.
pub(super) fn encode(frame: &Frame) -> Result<Vec<u8>, JournalError> {
    let mut bytes = vec![0; FRAME_HEADER];
    let mut payload = serde_json::Serializer::new(&mut bytes);
    let large = |bytes| JournalError::Large { bytes };
    frame.serialize(&mut payload).map_err(|_| large(0))?;
    let length = bytes.len() - FRAME_HEADER;
    let field = u32::try_from(length).ok().filter(|_| length <= FRAME_MAX).ok_or_else(|| large(length))?;
    bytes[..4].copy_from_slice(&field.to_le_bytes());
    let crc = checksum(&bytes[..4], &bytes[FRAME_HEADER..]);
    bytes[4..FRAME_HEADER].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

pub(super) fn checksum(length: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(length), payload)
}

/// Zero bytes in a row that no frame has: its payload is text, and its length is not 0.
const HOLE: usize = 16;

/// Whether some of these bytes were never written: a file may have got its length before its bytes, and what is missing
/// reads as zeros.
pub(super) fn has_hole(bytes: &[u8]) -> bool {
    let unwritten = |run: &[u8]| run.iter().all(|byte| *byte == 0);
    unwritten(bytes) || bytes.windows(HOLE).any(unwritten)
}

/// A little-endian field of a frame's header.
pub(super) fn field(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |field| u32::from_le_bytes([field[0], field[1], field[2], field[3]]))
}

/// Reads the frame at the start of these bytes. `Ok(None)` when they are too few to tell.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(usize, Frame)>, String> {
    let Some((header, rest)) = bytes.split_at_checked(FRAME_HEADER) else { return Ok(None) };
    let length = field(header, 0) as usize;
    if length == 0 || length > FRAME_MAX {
        return Err(format!("a frame of {length} bytes"));
    }
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    if checksum(&header[..4], payload) != field(header, 4) {
        return Err("its checksum does not fit".to_owned());
    }
    let frame = serde_json::from_slice(payload).map_err(|error| format!("a frame that cannot be read: {error}"))?;
    Ok(Some((FRAME_HEADER + length, frame)))
}

/// Where the first whole frame behind an offset begins, if there is one.
pub(super) fn whole_after(bytes: &[u8], offset: usize) -> Option<usize> {
    let openings = bytes.windows(OPENING.len()).enumerate().skip(offset + 1 + FRAME_HEADER);
    let begins = openings.filter(|(_, window)| *window == OPENING).map(|(at, _)| at - FRAME_HEADER);
    begins.into_iter().find(|at| decode(&bytes[*at..]).is_ok_and(|found| found.is_some()))
}

/// Whether a frame may begin here: the end of what was written, or a payload behind a header.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    bytes.is_empty() || bytes.get(FRAME_HEADER..).is_some_and(|payload| payload.starts_with(OPENING))
}
